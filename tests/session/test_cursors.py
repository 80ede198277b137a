from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.client import ChannelView
from protocol.codec import decode_server_frame, encode
from protocol.frames import Message, MessageCreated, TextCursor
from server.channels.broker import EventArrived, LogEntry
from server.channels.channel import Channel
from server.session.cursors import BATCH_BYTES, Batch, Cursors, Need, Outgoing, TurnFilter, is_about
from tests.channels.mending import NODE_MS, a_channel, hear, mend
from tests.channels.story import USER, Story, an_id
from tests.session.reading import ReaderThatIsCut


def at_the_head(channel: Channel, **other: Any) -> Cursors:
    """The cursors of a reader who was told of what runs."""
    told = {generation: live.state.attempt for generation, live in channel.texts.items()}
    return Cursors(*channel.position, **{"told": told} | other)


def collected(cursors: Cursors, channel: Channel) -> list[dict[str, Any]]:
    """All there is, batch by batch."""
    frames: list[dict[str, Any]] = []
    while True:
        batch = cursors.collect(channel)
        assert isinstance(batch, Batch)
        frames += [json.loads(frame.body) for frame in batch.frames]
        if not batch.full:
            return frames


def brief(frames: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """A delta as `(attempt, at, text)`, anything else as its type."""
    return [
        (frame["attempt"], frame["at"], frame["text"]) if frame["type"] == "delta" else (frame["type"],)
        for frame in frames
    ]


# --- order --------------------------------------------------------------------------------------


def test_events_come_in_the_order_of_the_log_and_texts_after_them() -> None:
    story = Story()
    channel = a_channel(story)
    cursors = at_the_head(channel)
    generation, started = story.start()
    hear(channel, [*started, *story.append(generation, "one"), *story.switch(generation)])
    hear(channel, [*story.append(generation, " two"), *story.settle(generation)])

    frames = collected(cursors, channel)

    assert brief(frames) == [
        ("generation.started",),
        ("generation.switched",),
        ("usage.settled",),
        (2, 0, "one two"),
    ]
    assert [frame["position"] for frame in frames[:3]] == ["e0:1", "e0:2", "e0:3"]
    assert collected(cursors, channel) == []


def test_all_text_of_a_generation_comes_before_its_end_and_an_end_before_later_events() -> None:
    story = Story()
    channel = a_channel(story)
    cursors = at_the_head(channel)
    first, first_started = story.start()
    second, second_started = story.start()
    hear(channel, [*first_started, *second_started, *story.append(first, "1"), *story.append(second, "2")])
    hear(channel, [*story.finish(first), *story.settle(second), *story.append(second, "22")])

    frames = collected(cursors, channel)

    assert brief(frames) == [
        ("generation.started",),
        ("generation.started",),
        (1, 0, "1"),
        ("generation.finished",),
        ("usage.settled",),
        (1, 0, "222"),
    ]


def test_an_event_carries_its_position_and_is_otherwise_what_was_published() -> None:
    story = Story()
    channel = a_channel(story)
    cursors = at_the_head(channel)
    _, started = story.start()
    hear(channel, started)

    batch = cursors.collect(channel)

    assert isinstance(batch, Batch)
    (frame,) = batch.frames
    assert (frame.kind, frame.position) == ("generation.started", "e0:1")
    assert json.loads(frame.body) == {**json.loads(story.log[0].body), "position": "e0:1"}


def test_texts_and_states_carry_no_position() -> None:
    story = Story()
    generation, _ = story.start()
    story.append(generation, "Hello")
    channel = a_channel(story)
    cursors = at_the_head(channel)

    state = cursors.state(channel.texts[generation], NODE_MS)
    batch = cursors.collect(channel)

    assert isinstance(batch, Batch)
    assert [frame.position for frame in [state, *batch.frames]] == [None, None]
    told = json.loads(state.body)
    assert (told["type"], told["attempt"], told["model"]) == ("generation.state", 1, "m/1")
    assert (told["length"], told["elapsed_ms"]) == (5, 4_000)


def test_a_generation_from_the_future_has_run_for_no_time() -> None:
    story = Story()
    generation, _ = story.start()
    channel = a_channel(story)

    state = at_the_head(channel).state(channel.texts[generation], -1)

    assert json.loads(state.body)["elapsed_ms"] == 0


def test_an_end_whose_text_is_no_longer_held_comes_alone() -> None:
    story = Story()
    generation, _ = story.start()
    story.append(generation, "Hello")
    story.finish(generation)
    channel = a_channel(story)
    cursors = Cursors("e0", 0, {generation: TextCursor(attempt=1, at=2)})
    batch = Batch()

    assert cursors.take(story.log, channel, batch)

    assert [frame.kind for frame in batch.frames] == ["generation.started", "generation.finished"]
    assert cursors.offset == 2


def test_what_the_channel_has_not_seen_waits_for_it() -> None:
    story = Story()
    channel = a_channel(story)
    cursors = at_the_head(channel)
    generation, started = story.start()
    hear(channel, started)
    end = [*story.append(generation, "Hello"), *story.finish(generation)]
    batch = Batch()

    # a page of the log is ahead of pub/sub
    assert cursors.take(story.log, channel, batch)
    assert [frame.kind for frame in batch.frames] == ["generation.started"]
    assert cursors.offset == 1

    hear(channel, end)
    assert brief(collected(cursors, channel)) == [(1, 0, "Hello"), ("generation.finished",)]


# --- what is needed ------------------------------------------------------------------------------


def test_another_epoch_needs_a_reset() -> None:
    channel = a_channel(Story())

    assert Cursors("e9", 0).collect(channel) is Need.RESET


def test_events_that_are_not_in_memory_need_the_log() -> None:
    story = Story()
    generation, _ = story.start()
    channel = a_channel(story)
    hear(channel, story.settle(generation))

    assert Cursors("e0", 0).collect(channel) is Need.LOG
    assert brief(collected(Cursors("e0", 1), channel)) == [("usage.settled",), ("generation.state",)]


def test_a_restart_begins_at_the_head_with_texts_from_their_start() -> None:
    story = Story()
    generation, _ = story.start()
    story.append(generation, "Hello")
    channel = a_channel(story)
    cursors = Cursors("e9", 7, {generation: TextCursor(attempt=1, at=5)})

    cursors.restart(channel.position)

    assert brief(collected(cursors, channel)) == [("generation.state",), (1, 0, "Hello")]


def test_a_generation_the_lost_store_has_again_is_told_by_its_state_before_its_text() -> None:
    story = Story()
    channel = a_channel(story)
    generation, started = story.start()
    hear(channel, [*started, *story.append(generation, "Hello")])
    story.lose_epoch(tail=0, all_texts=True)
    mend(channel, story)
    # it comes while the owner has not written it again
    cursors = at_the_head(channel)
    assert collected(cursors, channel) == []

    story.append(generation, " you")
    mend(channel, story)

    state, *text = collected(cursors, channel)
    assert (state["type"], state["generation"], state["length"]) == ("generation.state", generation, 9)
    assert brief(text) == [(1, 0, "Hello you")]
    hear(channel, story.append(generation, "!"))
    assert brief(collected(cursors, channel)) == [(1, 9, "!")]


def test_an_attempt_is_told_once_by_the_event_or_by_a_state() -> None:
    story = Story()
    channel = a_channel(story)
    generation, started = story.start()
    hear(channel, started)
    cursors = at_the_head(channel)
    hear(channel, [*story.switch(generation), *story.append(generation, "Two")])
    assert brief(collected(cursors, channel)) == [("generation.switched",), (2, 0, "Two")]

    # its switch went with the log
    story.lose_epoch(tail=0, all_texts=False)
    mend(channel, story)
    cursors.restart(channel.position)
    assert brief(collected(cursors, channel)) == [("generation.state",), (2, 0, "Two")]
    hear(channel, [*story.switch(generation), *story.append(generation, " three", at=3)])
    assert brief(collected(cursors, channel)) == [("generation.switched",), (3, 3, " three")]

    hear(channel, story.finish(generation))
    assert brief(collected(cursors, channel)) == [("generation.finished",)]
    assert cursors.told == {}


# --- texts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cursor", "deltas"),
    [
        pytest.param(None, [(2, 0, "one two")], id="none: from the start"),
        pytest.param((2, 4), [(2, 4, "two")], id="in the present attempt"),
        pytest.param((2, 7), [], id="at the end"),
        pytest.param((1, 2), [(2, 2, "e two")], id="of an older attempt, below the cut"),
        pytest.param((1, 6), [(2, 3, " two")], id="of an older attempt, beyond the cut"),
        pytest.param((2, 8), [(2, 0, "one two")], id="beyond the text"),
        pytest.param((3, 2), [(2, 0, "one two")], id="of an attempt that has not begun"),
    ],
)
def test_a_text_goes_on_at_the_longest_valid_prefix(
    cursor: tuple[int, int] | None, deltas: list[tuple[int, int, str]]
) -> None:
    story = Story()
    generation, _ = story.start()
    story.append(generation, "one 2?")
    story.switch(generation)
    story.append(generation, " two", at=3)
    channel = a_channel(story)
    cursors = at_the_head(channel)
    cursors.present(None if cursor is None else {generation: TextCursor(attempt=cursor[0], at=cursor[1])})

    assert brief(collected(cursors, channel)) == deltas
    assert collected(cursors, channel) == []


def test_what_is_void_is_cut_also_where_nothing_new_stands_yet() -> None:
    story = Story()
    channel = a_channel(story)
    cursors = at_the_head(channel)
    generation, started = story.start()
    hear(channel, [*started, *story.append(generation, "one two")])
    collected(cursors, channel)
    hear(channel, [*story.switch(generation), *story.append(generation, "", at=3)])

    assert brief(collected(cursors, channel)) == [("generation.switched",), (2, 3, "")]
    assert collected(cursors, channel) == []

    hear(channel, story.append(generation, "!"))
    assert brief(collected(cursors, channel)) == [(2, 3, "!")]


def test_cursors_into_what_is_no_text_are_forgotten() -> None:
    story = Story()
    generation, _ = story.start()
    channel = a_channel(story)
    cursors = at_the_head(channel)
    cursors.present({an_id(n): TextCursor(attempt=1, at=0) for n in (1, 50, 51)})
    cursors.told[an_id(50)] = 1

    cursors.forget(channel)

    assert list(cursors.texts) == [generation]
    assert cursors.told == {generation: 1}


def test_a_cursor_goes_with_its_text() -> None:
    story = Story()
    channel = a_channel(story)
    cursors = at_the_head(channel)
    generation, started = story.start()
    hear(channel, [*started, *story.append(generation, "x")])
    collected(cursors, channel)
    assert list(cursors.texts) == [generation]

    hear(channel, story.finish(generation))
    collected(cursors, channel)

    assert cursors.texts == {}


# --- bounds -------------------------------------------------------------------------------------


def sizes(cursors: Cursors, channel: Channel) -> list[int]:
    """The bytes of each batch, to the end."""
    found = []
    while True:
        batch = cursors.collect(channel)
        assert isinstance(batch, Batch)
        found.append(sum(len(frame.body) for frame in batch.frames))
        if not batch.full:
            return found


@pytest.mark.parametrize("char", ["x", "漢", "😀", "\n"])
def test_a_lagging_reader_is_given_a_long_text_in_bounded_batches(char: str) -> None:
    story = Story()
    generations = [story.start()[0] for _ in range(3)]
    for generation in generations:
        story.append(generation, char * 60_000)
    channel = a_channel(story)
    cursors = at_the_head(channel)

    assert max(sizes(cursors, channel)) < BATCH_BYTES + 20_000
    assert {name: cursor.at for name, cursor in cursors.texts.items()} == dict.fromkeys(generations, 60_000)


def test_a_lagging_reader_is_given_many_events_and_an_end_in_bounded_batches() -> None:
    story = Story()
    channel = a_channel(story)
    cursors = at_the_head(channel)
    generation, started = story.start()
    hear(channel, [*started, *story.append(generation, "x" * 20_000)])
    for _ in range(200):
        hear(channel, story.settle(generation))
    hear(channel, story.finish(generation))
    hear(channel, story.settle(generation))

    found = sizes(cursors, channel)

    assert len(found) > 2
    assert max(found) < BATCH_BYTES + 25_000
    assert cursors.offset == channel.offset


def test_an_end_waits_until_all_of_its_text_is_collected() -> None:
    story = Story()
    channel = a_channel(story)
    cursors = at_the_head(channel)
    generation, started = story.start()
    hear(channel, started)
    collected(cursors, channel)
    hear(channel, [*story.append(generation, "x" * 100_000), *story.finish(generation)])

    frames = collected(cursors, channel)

    kinds = [frame["type"] for frame in frames]
    assert kinds == [*["delta"] * (len(kinds) - 1), "generation.finished"]
    assert "".join(frame["text"] for frame in frames[:-1]) == "x" * 100_000


def test_merging_costs_at_most_a_hundred_bytes_more_than_the_text() -> None:
    story = Story()
    channel = a_channel(story)
    cursors = at_the_head(channel)
    generation, started = story.start()
    hear(channel, started)
    collected(cursors, channel)
    for _ in range(500):
        hear(channel, story.append(generation, "word "))

    batch = cursors.collect(channel)

    assert isinstance(batch, Batch)
    (frame,) = batch.frames
    assert len(frame.body) <= 2500 + 110


# --- one turn only ------------------------------------------------------------------------------


def a_question(number: int, content: str) -> bytes:
    message = Message(
        id=an_id(number),
        sender_type="user",
        content=content,
        content_type="text",
        parent_message_id=an_id(77),
        created_at="2026-01-01T00:00:00.000Z",
        metadata={},
    )
    return encode(MessageCreated(conversation=an_id(900), message=message, client_message_id=None))


@pytest.mark.parametrize(
    ("kind", "body", "wanted"),
    [
        ("message.created", a_question(5, "hi"), True),
        ("message.created", a_question(6, "hi"), False),
        ("message.created", a_question(6, an_id(5)), False),
        ("generation.started", b'{"type":"generation.started","generation":"%b"}' % an_id(1).encode(), True),
        ("generation.started", b'{"type":"generation.started","generation":"%b"}' % an_id(2).encode(), False),
        ("conversation.created", b'{"type":"conversation.created","x":"%b"}' % an_id(5).encode(), False),
        ("usage.settled", b'{"type":"usage.settled","generation":"%b"}' % an_id(1).encode(), False),
    ],
)
def test_a_turn_is_its_question_and_its_generation(kind: str, body: bytes, *, wanted: bool) -> None:
    only = TurnFilter(an_id(1), an_id(5))

    assert only.wants(kind, body) is wanted
    assert not only.done


def test_a_turns_stream_ends_with_its_generation_and_shows_no_other() -> None:
    story = Story()
    mine, _ = story.start()
    other, _ = story.start()
    story.append(mine, "mine")
    story.append(other, "other")
    channel = a_channel(story)
    only = TurnFilter(mine, an_id(5))
    cursors = at_the_head(channel, only=only)
    assert [cursors.follows(live) for live in channel.running()] == [True, False]

    hear(channel, story.finish(other))
    shown = [(brief(collected(cursors, channel)), only.done)]
    hear(channel, story.finish(mine))
    shown += [(brief(collected(cursors, channel)), only.done)]

    assert shown == [([(1, 0, "mine")], False), ([("generation.finished",)], True)]
    assert cursors.offset == channel.offset


def test_what_a_frame_is_about_stands_at_its_beginning() -> None:
    assert is_about(b'{"type":"delta","generation":"%b","text":"x"}' % an_id(1).encode(), an_id(1))
    assert not is_about(b'{"type":"delta","text":"%b%b"}' % (b"x" * 200, an_id(1).encode()), an_id(1))


# --- any reader, any cut, any loss --------------------------------------------------------------


_WHAT = (
    *("start", "append", "append", "append", "append", "switch", "finish", "settle"),
    *("read", "read", "cut", "connect", "mend", "forget"),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(_WHAT),
        st.integers(0, 9),
        st.text(alphabet="ab é漢😀\n", max_size=5),
        st.sampled_from([True, True, True, True, False]),
    ),
    max_size=60,
)
Step = tuple[str, int, str, bool]


class Play:
    """A story, a channel that hears of it (or not), and readers."""

    def __init__(self, readers: int) -> None:
        self.story = Story()
        self.channel = a_channel(self.story)
        self.readers = [ReaderThatIsCut(self.story, self.channel) for _ in range(readers)]
        self.channel.readers.update(self.readers)
        self.unheard: set[str] = set()
        for reader in self.readers:
            reader.connect()

    def step(self, step: Step, reader: ReaderThatIsCut) -> None:
        what, which, text, heard = step
        story, channel = self.story, self.channel
        running = list(story.running)
        generation = running[which % len(running)] if running else None
        arrivals = None
        match what:
            case "read":
                reader.read()
            case "cut":
                reader.cuts = which
            case "connect" if reader.cursors is None:
                mend(channel, story)
                reader.connect()
            case "mend" if channel.stale:
                mend(channel, story)
            case "forget":
                channel.forget_delivered()
            case "epoch":
                story.lose_epoch(tail=which, all_texts=not heard)
                if not heard:
                    # who looks before an owner has written them again finds none of them
                    self.unheard.update(story.running)
                mend(channel, story)
            case "start":
                generation, arrivals = story.start()
            case "append" if generation is not None:
                arrivals = story.append(generation, text, at=which)
            case "switch" if generation is not None:
                arrivals = story.switch(generation)
            case "finish" if generation is not None:
                arrivals = story.finish(generation)
            case "settle":
                arrivals = story.settle(an_id(which))
            case _:
                pass
        if arrivals is not None and heard:
            hear(channel, arrivals)
        elif generation is not None:
            self.unheard.add(generation)

    def end(self) -> None:
        """Everything that runs ends, everybody is connected and has read all."""
        for generation in list(self.story.running):
            self.story.finish(generation)
        mend(self.channel, self.story)
        for reader in self.readers:
            reader.cuts = None
            if reader.cursors is None:
                reader.connect()
            reader.read()


@given(STEPS)
def test_any_cuts_and_resumes_give_the_same_texts_and_events_as_never_cut(steps: list[Step]) -> None:
    play = Play(readers=2)
    cut, never_cut = play.readers
    for step in steps:
        play.step(step, cut)
        never_cut.read()
    for generation in play.story.running:
        mend(play.channel, play.story)
        if cut.cursors is None:
            cut.cuts = None
            cut.connect()
        cut.cuts = None
        cut.read()
        never_cut.read()
        assert cut.text(generation) == never_cut.text(generation) == play.story.running[generation].text

    play.end()

    facts = [json.loads(body) for body in play.story.facts]
    assert cut.facts() == never_cut.facts() == facts
    assert cut.violations() == []
    assert never_cut.violations() == []


@given(STEPS, st.lists(st.tuples(st.integers(0, 60), st.just("epoch")), max_size=2))
def test_lost_epochs_are_told_and_texts_are_right_in_the_new_one(
    steps: list[Step], losses: list[tuple[int, str]]
) -> None:
    play = Play(readers=2)
    reader, never_cut = play.readers
    played = list(steps)
    for place, what in losses:
        played.insert(place, (what, place % 7, "", place % 3 != 0))
    for step in played:
        play.step(step, reader)
        never_cut.read()

    play.end()

    for each in (reader, never_cut):
        for violation in each.violations(resets=None):
            # text that was missed, and that the store then lost, is told by the end alone
            assert violation.what == "the text shown is not the message"
            assert violation.evidence["generation"] in play.unheard
            assert losses
        for generation, finished in each.held.finished.items():
            content = (finished["message"] or {"content": ""})["content"]
            assert content == play.story.ended[generation].text
    # one that is there is told all of the present epoch
    present = [json.loads(entry.body) for entry in play.story.log]
    assert never_cut.facts()[len(never_cut.facts()) - len(present) :] == present


@given(STEPS)
def test_merging_deltas_for_a_slow_reader_never_changes_the_text(steps: list[Step]) -> None:
    play = Play(readers=2)
    slow, quick = play.readers
    for step in steps:
        # the slow one never reads between two happenings
        if step[0] not in {"read", "cut", "connect"}:
            play.step(step, slow)
        quick.read()
    mend(play.channel, play.story)
    slow.read()
    quick.read()

    for generation, told in play.story.running.items():
        assert slow.text(generation) == quick.text(generation) == told.text
    play.end()
    assert slow.violations() == []
    assert slow.facts() == quick.facts()
    deltas = [len([e for e in r.recording.heard if e.frame["type"] == "delta"]) for r in (slow, quick)]
    assert deltas[0] <= deltas[1] + len(play.story.ended)


@given(STEPS, st.data())
def test_any_suffix_of_deltas_may_be_replayed(steps: list[Step], data: st.DataObject) -> None:
    play = Play(readers=1)
    (reader,) = play.readers
    for step in steps:
        if step[0] != "cut":
            play.step(step, reader)
    mend(play.channel, play.story)
    reader.read()
    deltas = [entry.frame for entry in reader.recording.heard if entry.frame["type"] == "delta"]
    before = {generation: reader.text(generation) for generation in play.story.running}

    suffix = deltas[data.draw(st.integers(0, len(deltas))) :]
    view = ChannelView()
    for entry in reader.recording.heard:
        view.apply(decode_server_frame(json.dumps(entry.frame)))
    for frame in suffix:
        reader.held.take(frame)
        view.apply(decode_server_frame(json.dumps(frame)))

    for generation, told in play.story.running.items():
        assert before[generation] == reader.text(generation) == view.text(generation) == told.text


def test_a_reader_that_never_reads_holds_up_no_memory_of_texts_that_run() -> None:
    story = Story()
    channel = a_channel(story)
    cursors = at_the_head(channel)
    generation, started = story.start()
    hear(channel, started)
    for _ in range(1000):
        hear(channel, story.append(generation, "word "))

    batch = cursors.collect(channel)

    assert isinstance(batch, Batch)
    assert len(batch.frames) == 3  # the start, and two deltas for a thousand


def test_a_frame_ready_to_send_says_what_it_is() -> None:
    assert Outgoing("delta", b"{}") == Outgoing("delta", b"{}", None)


def test_an_event_nobody_can_place_is_still_sent() -> None:
    channel = a_channel(Story())
    cursors = at_the_head(channel)
    entry = LogEntry(1, b'{"type":"from.the.future","x":1}')

    hear(channel, [EventArrived(USER, "e0", 1, "from.the.future", "", entry.body)])

    assert collected(cursors, channel) == [{"type": "from.the.future", "position": "e0:1", "x": 1}]
