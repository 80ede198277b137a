from __future__ import annotations

import dataclasses

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codec import encode
from protocol.frames import GenerationStarted, Interim
from protocol.position import Position
from server.channels.broker import Arrival, EventArrived, FrameArrived, LogEntry, Revoked, TextArrived
from server.channels.channel import Channel, kind_of
from tests.channels.mending import a_channel, hear, mend
from tests.channels.readers import ReaderThatCounts
from tests.channels.story import USER, Story, an_id

NOTICE = encode(Interim(generation=an_id(1), phase="waiting", elapsed_ms=1, text="Soon.", model="m/1"))


def read_by(channel: Channel, *offsets: int) -> list[ReaderThatCounts]:
    readers = [ReaderThatCounts(offset) for offset in offsets]
    channel.readers.update(readers)
    return readers


def text_of(channel: Channel, generation: str) -> str:
    return channel.texts[generation].text.whole()


def offsets(channel: Channel) -> list[int]:
    return [entry.offset for entry in channel.entries]


# --- arrivals -----------------------------------------------------------------------------------


def test_a_generation_is_told_from_its_start_to_its_end() -> None:
    story = Story()
    channel = a_channel(story)
    (reader,) = read_by(channel, 0)
    generation, started = story.start()

    hear(channel, started)
    assert channel.running()[0].state.model == "m/1"
    assert channel.running()[0].started_ms == 4_000

    hear(channel, [*story.append(generation, "Hel"), *story.append(generation, "lo")])
    assert text_of(channel, generation) == "Hello"
    assert channel.running()[0].ended is None

    hear(channel, story.finish(generation))
    assert channel.running() == []
    assert channel.texts[generation].ended == 2
    assert channel.position == story.head
    assert not channel.stale
    assert reader.woken == 4


def test_a_switch_changes_the_state_and_not_the_text() -> None:
    story = Story()
    channel = a_channel(story)
    generation, started = story.start()
    hear(channel, [*started, *story.append(generation, "one"), *story.switch(generation)])

    live = channel.texts[generation]
    assert (live.state.attempt, live.state.model) == (2, "m/2")
    assert (live.text.attempt, live.text.whole()) == (1, "one")

    hear(channel, story.append(generation, "two", at=1))
    assert (live.text.attempt, live.text.whole()) == (2, "otwo")


def test_text_of_an_attempt_that_was_not_announced_waits_for_its_announcement() -> None:
    story = Story()
    channel = a_channel(story)
    generation, started = story.start()
    hear(channel, [*started, *story.append(generation, "one")])
    story.switch(generation)  # published, and lost on the way

    hear(channel, story.append(generation, "two"))
    assert channel.stale
    assert text_of(channel, generation) == "one"

    mend(channel, story)
    assert [kind_of(entry.body) for entry in channel.entries][-1] == "generation.switched"
    assert text_of(channel, generation) == "onetwo"


def test_an_arrival_of_what_is_known_changes_nothing() -> None:
    story = Story()
    channel = a_channel(story)
    generation, started = story.start()
    heard = [*started, *story.append(generation, "Hello"), *story.switch(generation)]
    hear(channel, heard)

    hear(channel, heard)

    assert channel.position == story.head
    assert offsets(channel) == [1, 2]
    assert text_of(channel, generation) == "Hello"
    assert not channel.stale


def test_a_started_event_again_in_a_new_epoch_keeps_the_text() -> None:
    story = Story()
    generation, _ = story.start()
    story.append(generation, "Hello")
    channel = a_channel(story)
    started = msgspec.json.decode(story.log[0].body, type=GenerationStarted)

    hear(
        channel,
        [EventArrived(USER, story.epoch, 2, "generation.started", generation, encode(started))],
    )

    assert text_of(channel, generation) == "Hello"


@pytest.mark.parametrize("kind", ["generation.switched", "generation.finished"])
def test_an_event_of_a_generation_that_is_not_known_is_only_an_event(kind: str) -> None:
    story = Story()
    generation, _ = story.start()
    channel = a_channel()
    channel.begin_epoch(story.head)

    hear(channel, story.switch(generation) if kind.endswith("switched") else story.finish(generation))

    assert [kind_of(entry.body) for entry in channel.entries] == [kind]
    assert channel.texts == {}


def test_a_switch_to_an_attempt_already_known_changes_nothing() -> None:
    story = Story()
    generation, _ = story.start()
    channel = a_channel(story)
    (switch,) = story.switch(generation)
    story.switch(generation)
    channel.merge(story.snapshot(), 0)

    hear(channel, [switch])

    assert channel.offset == story.head.offset - 1
    assert channel.texts[generation].state.attempt == 3


@pytest.mark.parametrize(
    "arrival",
    [
        pytest.param(EventArrived(USER, "e0", 3, "x", "", b'{"type":"x"}'), id="a hole in the log"),
        pytest.param(EventArrived(USER, "e9", 2, "x", "", b'{"type":"x"}'), id="another epoch"),
        pytest.param(TextArrived(USER, an_id(1), 1, 1, 9, 10, "x"), id="a hole in a text"),
        pytest.param(TextArrived(USER, an_id(7), 1, 0, 0, 1, "x"), id="a text nobody has heard of"),
    ],
)
def test_an_arrival_that_does_not_fit_makes_the_channel_stale_and_changes_nothing(
    arrival: EventArrived | TextArrived,
) -> None:
    story = Story()
    generation, _ = story.start()
    story.append(generation, "Hello")
    channel = a_channel(story)
    (reader,) = read_by(channel, 1)

    hear(channel, [arrival])

    assert channel.stale
    assert reader.woken == 0
    assert channel.position == story.head
    assert text_of(channel, generation) == "Hello"


def test_notices_go_to_every_reader_also_while_a_snapshot_is_read() -> None:
    channel = a_channel(Story())
    readers = read_by(channel, 0, 0)
    channel.buffered = []

    hear(channel, [FrameArrived(USER, NOTICE)])

    assert [reader.notices for reader in readers] == [[NOTICE], [NOTICE]]
    assert channel.buffered == []


def test_a_revocation_goes_to_every_reader_also_while_a_snapshot_is_read() -> None:
    channel = a_channel(Story())
    readers = read_by(channel, 0, 0)
    channel.buffered = []

    hear(channel, [Revoked(USER)])

    assert [reader.revocations for reader in readers] == [1, 1]


def test_events_and_texts_wait_while_a_snapshot_is_read() -> None:
    story = Story()
    channel = a_channel(story)
    channel.buffered = []
    generation, started = story.start()
    arrivals = [*started, *story.append(generation, "Hello")]

    hear(channel, arrivals)

    assert channel.buffered == arrivals
    assert channel.offset == 0


def test_only_what_is_stored_ends_the_quiet() -> None:
    story = Story()
    channel = a_channel(story)
    generation, started = story.start()

    hear(channel, started, now=10.0)
    assert channel.quiet_since == 10.0
    hear(channel, story.append(generation, "x"), now=11.0)
    assert channel.quiet_since == 11.0
    hear(channel, [FrameArrived(USER, NOTICE), Revoked(USER)], now=12.0)
    assert channel.quiet_since == 11.0


# --- ends that hold what was missed ---------------------------------------------------------------


def test_an_end_holds_the_text_whose_last_append_was_missed() -> None:
    story = Story()
    channel = a_channel(story)
    generation, started = story.start()
    hear(channel, [*started, *story.append(generation, "Hello")])
    story.append(generation, " world")

    hear(channel, story.finish(generation))

    live = channel.texts[generation]
    assert (live.text.attempt, live.text.whole(), live.text.begins) == (1, "Hello world", [(1, 0)])


def test_an_end_holds_the_text_also_where_another_of_the_same_length_was_known() -> None:
    story = Story()
    channel = a_channel(story)
    generation, started = story.start()
    hear(channel, [*started, *story.append(generation, "Hello"), *story.switch(generation)])
    story.append(generation, "??", at=3)  # all that the second attempt says, and it is missed

    hear(channel, story.finish(generation))

    live = channel.texts[generation]
    assert (live.text.attempt, live.text.whole()) == (2, "Hel??")
    assert live.text.valid_prefix(1, 5) == 3


def test_an_end_without_a_message_ends_with_no_text() -> None:
    story = Story()
    channel = a_channel(story)
    generation, started = story.start()
    hear(channel, [*started, *story.append(generation, "Hello"), *story.switch(generation)])
    story.append(generation, "", at=0)

    hear(channel, story.finish(generation))

    assert text_of(channel, generation) == ""


def test_what_a_newer_node_says_in_its_events_is_passed_on() -> None:
    story = Story()
    channel = a_channel(story)
    generation, started = story.start()
    hear(channel, [*started, *story.append(generation, "Hello")])
    told: list[EventArrived] = []
    for arrival in [*story.switch(generation), *story.finish(generation)]:
        assert isinstance(arrival, EventArrived)
        fields = msgspec.json.decode(arrival.body)
        fields |= {"cause": "sun_spots", "status": "postponed", "mood": {"deep": 1}}
        told.append(dataclasses.replace(arrival, body=msgspec.json.encode(fields)))

    hear(channel, told)

    assert channel.texts[generation].ended == 3
    assert b"sun_spots" in channel.entries[1].body


# --- snapshots ----------------------------------------------------------------------------------


def test_a_snapshot_tells_what_runs() -> None:
    story = Story()
    generation, _ = story.start()
    story.append(generation, "Hello")
    story.switch(generation)

    channel = a_channel(story)

    (live,) = channel.running()
    assert (live.state.attempt, live.state.model, live.state.length) == (2, "m/2", 5)
    assert (live.text.attempt, live.text.whole(), live.text.begins) == (1, "Hello", [(1, 0)])
    assert live.started_ms == 0  # a second before the store's 1,000 ms, by the node's clock
    assert channel.position == story.head
    assert list(channel.entries) == []


def test_a_snapshot_mends_what_was_missed_and_wakes_the_readers() -> None:
    story = Story()
    channel = a_channel(story)
    (reader,) = read_by(channel, 0)
    generation, _ = story.start()
    story.append(generation, "Hello")
    story.switch(generation)
    story.append(generation, " you", at=2)

    mend(channel, story)

    assert offsets(channel) == [1, 2]
    assert text_of(channel, generation) == "He you"
    assert reader.woken == 1


def test_a_snapshot_never_takes_text_back() -> None:
    story = Story()
    channel = a_channel(story)
    generation, started = story.start()
    hear(channel, started)
    behind = story.snapshot()
    hear(channel, [*story.append(generation, "Hello"), *story.switch(generation)])

    channel.merge(behind, 0)

    live = channel.texts[generation]
    assert (live.state.attempt, live.text.whole()) == (2, "Hello")


def test_a_generation_that_ended_unseen_is_forgotten_with_a_snapshot_and_one_that_ended_seen_is_kept() -> (
    None
):
    story = Story()
    channel = a_channel(story)
    seen, started = story.start()
    unseen, also_started = story.start()
    hear(channel, [*started, *also_started, *story.append(seen, "x")])
    hear(channel, story.finish(seen))
    story.finish(unseen)
    story.forget(0)

    mend(channel, story)

    assert list(channel.texts) == [seen]
    assert channel.position == story.head


def test_fill_passes_over_what_is_known_and_stops_at_a_hole() -> None:
    story = Story()
    channel = a_channel(story)
    generation, started = story.start()
    hear(channel, started)
    for _ in range(3):
        story.settle(generation)

    channel.fill([story.log[0], story.log[1], story.log[3]])

    assert offsets(channel) == [1, 2]


@pytest.mark.parametrize(("to", "offset", "kept"), [(1, 2, [1, 2]), (2, 2, [1, 2]), (7, 7, [])])
def test_entries_the_log_no_longer_has_are_given_up(to: int, offset: int, kept: list[int]) -> None:
    story = Story()
    channel = a_channel(story)
    generation, started = story.start()
    hear(channel, [*started, *story.settle(generation)])

    channel.skip_to(to)

    assert (channel.offset, offsets(channel)) == (offset, kept)


# --- epochs -------------------------------------------------------------------------------------


def test_what_runs_outlives_an_epoch_and_what_ended_does_not() -> None:
    story = Story()
    channel = a_channel(story)
    read_by(channel, 0)
    running, started = story.start()
    ended, also_started = story.start()
    hear(channel, [*started, *also_started, *story.append(running, "Hello"), *story.append(ended, "x")])
    hear(channel, story.finish(ended))
    story.lose_epoch(tail=0, all_texts=False)

    mend(channel, story)

    assert list(channel.texts) == [running]
    assert text_of(channel, running) == "Hello"
    assert list(channel.entries) == []
    assert channel.position == Position("e1", 0)


def test_text_the_store_lost_the_end_of_is_not_taken_back() -> None:
    story = Story()
    channel = a_channel(story)
    generation, started = story.start()
    hear(channel, [*started, *story.append(generation, "Hello")])
    story.lose_epoch(tail=2, all_texts=False)
    mend(channel, story)
    assert text_of(channel, generation) == "Hello"

    hear(channel, story.append(generation, " you"))

    assert not channel.stale
    assert text_of(channel, generation) == "Hello you"


def test_a_generation_that_began_again_from_nothing_is_another_text() -> None:
    story = Story()
    channel = a_channel(story)
    generation, started = story.start()
    hear(channel, [*started, *story.append(generation, "Hello"), *story.switch(generation)])
    story.lose_epoch(tail=0, all_texts=True)
    story.begin_again(generation)
    story.append(generation, "Hi")

    mend(channel, story)

    live = channel.texts[generation]
    assert (live.state.attempt, live.text.attempt, live.text.whole()) == (1, 1, "Hi")


def test_a_generation_the_store_lost_is_forgotten_until_its_owner_writes_it_again() -> None:
    story = Story()
    channel = a_channel(story)
    generation, started = story.start()
    hear(channel, [*started, *story.append(generation, "Hello")])
    story.lose_epoch(tail=0, all_texts=True)
    mend(channel, story)
    assert channel.texts == {}

    hear(channel, story.append(generation, " you"))
    assert channel.stale
    mend(channel, story)

    assert text_of(channel, generation) == "Hello you"


# --- reading, and forgetting ----------------------------------------------------------------------


def test_entries_after_an_offset_are_given_as_far_back_as_memory_goes() -> None:
    story = Story()
    generation, _ = story.start()
    channel = a_channel(story)
    hear(channel, [*story.settle(generation), *story.settle(generation), *story.settle(generation)])

    assert channel.after(0) is None
    assert [entry.offset for entry in channel.after(1) or ()] == [2, 3, 4]
    assert [entry.offset for entry in channel.after(3) or ()] == [4]
    assert channel.after(4) == []
    assert channel.after(5) == []


def test_nothing_in_memory_is_not_nothing_missed() -> None:
    story = Story()
    story.start()
    channel = a_channel(story)

    assert channel.after(0) is None
    assert channel.after(1) == []


@pytest.mark.parametrize(("count", "size"), [(1000, 10), (300, 3000), (3, 200_000)])
def test_memory_for_those_who_lag_is_bounded(count: int, size: int) -> None:
    channel = a_channel(Story())
    read_by(channel, 0)
    body = b'{"type":"x","y":"' + b"y" * size + b'"}'

    hear(channel, [EventArrived(USER, "e0", offset, "x", "", body) for offset in range(1, count + 1)])

    assert channel.entries[-1].offset == channel.offset == count
    assert len(channel.entries) <= 256
    assert sum(len(entry.body) for entry in channel.entries) <= max(64 * 1024, len(body))


def test_what_every_reader_has_is_forgotten_and_the_rest_is_kept() -> None:
    story = Story()
    channel = a_channel(story)
    quick, slow = read_by(channel, 0, 0)
    first, first_started = story.start()
    second, second_started = story.start()
    hear(channel, [*first_started, *second_started, *story.finish(first), *story.finish(second)])

    quick.offset, slow.offset = 4, 3
    channel.forget_delivered()
    assert offsets(channel) == [4]
    assert list(channel.texts) == [second]

    slow.offset = 4
    channel.forget_delivered()
    assert offsets(channel) == []
    assert channel.texts == {}


def test_a_running_text_is_not_forgotten_though_everybody_has_it() -> None:
    story = Story()
    channel = a_channel(story)
    generation, started = story.start()
    hear(channel, started)
    read_by(channel, 1)

    channel.forget_delivered()

    assert offsets(channel) == []
    assert list(channel.texts) == [generation]


def test_where_nobody_reads_everything_is_forgotten() -> None:
    story = Story()
    channel = a_channel(story)
    generation, started = story.start()
    hear(channel, [*started, *story.finish(generation)])

    channel.forget_delivered()

    assert offsets(channel) == []
    assert channel.texts == {}


@pytest.mark.parametrize("kind", ["a", "generation.started"])
def test_the_kind_of_a_frame_is_read_without_decoding_it(kind: str) -> None:
    assert kind_of(b'{"type":"%b","x":""type""}' % kind.encode()) == kind


# --- any loss -----------------------------------------------------------------------------------


@st.composite
def happenings(draw: st.DrawFn) -> list[tuple[str, int, str, bool]]:
    """What happens, to which of the running generations, with what text, and whether it is heard of."""
    return draw(
        st.lists(
            st.tuples(
                st.sampled_from(["start", "append", "append", "append", "switch", "finish", "settle"]),
                st.integers(0, 9),
                st.text(alphabet="abé😀", max_size=4),
                st.sampled_from([True, True, True, False]),
            ),
            max_size=40,
        )
    )


def tell(story: Story, what: str, which: int, text: str) -> list[Arrival]:
    """It happens; a place for the text is drawn from `which`."""
    running = list(story.running)
    if what == "start" or not running:
        return story.start()[1]
    generation = running[which % len(running)]
    match what:
        case "append":
            length = len(story.running[generation].text)
            return story.append(generation, text, at=which % (length + 1))
        case "switch":
            return story.switch(generation)
        case "finish":
            return story.finish(generation)
        case _:
            return story.settle(generation)


@given(happenings(), st.integers(1, 5))
def test_whatever_arrivals_were_missed_a_snapshot_mends_the_channel(
    happened: list[tuple[str, int, str, bool]], patience: int
) -> None:
    story = Story()
    channel = a_channel(story)
    read_by(channel, 0)
    stale_for = 0
    for what, which, text, heard in happened:
        arrivals = tell(story, what, which, text)
        if heard:
            hear(channel, arrivals)
        stale_for = stale_for + 1 if channel.stale else 0
        if stale_for >= patience:
            mend(channel, story)

    mend(channel, story)

    assert channel.position == story.head
    assert offsets(channel) == list(range(1, story.head.offset + 1))
    told = {live.state.generation: (live.state.attempt, live.text.whole()) for live in channel.running()}
    assert told == {name: (each.attempt, each.text) for name, each in story.running.items()}
    ended = {name: live.text.whole() for name, live in channel.texts.items() if live.ended is not None}
    assert ended == {name: each.text for name, each in story.ended.items()}


@given(happenings())
def test_a_channel_that_is_not_stale_is_at_most_behind(happened: list[tuple[str, int, str, bool]]) -> None:
    story = Story()
    channel = a_channel(story)
    was: dict[str, set[str]] = {}
    for what, which, text, heard in happened:
        arrivals = tell(story, what, which, text)
        for name, each in (story.running | story.ended).items():
            was.setdefault(name, {""}).add(each.text)
        if heard:
            hear(channel, arrivals)
        for name, live in channel.texts.items():
            assert live.text.whole() in was[name]


def test_entries_are_what_the_log_says() -> None:
    story = Story()
    channel = a_channel(story)
    generation, started = story.start()

    hear(channel, [*started, *story.finish(generation)])

    assert list(channel.entries) == [LogEntry(1, story.log[0].body), LogEntry(2, story.log[1].body)]
