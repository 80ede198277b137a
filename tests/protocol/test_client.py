"""The reference client (client.py): any cut of the stream and a resume give the same text and events."""

from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
import msgspec
from hypothesis import given

from protocol import frames
from protocol.client import ChannelView
from protocol.codec import decode_server_frame, encode

USAGE = frames.Usage(prompt_tokens=1, completion_tokens=1, total_tokens=2, cost="0", state="settled")
LIMITS = frames.Limits(max_frame_bytes=65536, max_message_length=4000, max_sessions=10, max_generations=3)
GENERATION: dict[str, Any] = {
    "conversation": "c",
    "message": "m",
    "reply_to": "q",
    "model": "a/b",
    "attempt": 1,
    "estimated_response_ms": 1000,
    "is_free_model": True,
}


def a_delta(at: int, text: str, *, attempt: int = 1, generation: str = "g", **changes: Any) -> frames.Delta:
    return frames.Delta(generation=generation, attempt=attempt, at=at, text=text, **changes)


def started(offset: int, generation: str = "g") -> frames.GenerationStarted:
    return frames.GenerationStarted(position=f"e:{offset}", generation=generation, **GENERATION)


def state(generation: str = "g", **changes: Any) -> frames.GenerationState:
    return frames.GenerationState(
        generation=generation, **GENERATION | {"length": 0, "elapsed_ms": 5} | changes
    )


def finished(offset: int, text: str | None, generation: str = "g") -> frames.GenerationFinished:
    message = frames.Message(
        id="m",
        sender_type="assistant",
        content=text,
        content_type="text",
        parent_message_id="q",
        created_at="2026-03-01T08:30:00.125Z",
        metadata={},
    )
    return frames.GenerationFinished(
        position=f"e:{offset}",
        generation=generation,
        conversation="c",
        status="completed",
        finish_reason="stop",
        message=None if text is None else message,
        usage=USAGE,
        model="a/b",
        served_model=None,
        segments=[],
        length=len(text or ""),
        sha256="",
        processing_time_ms=1,
        persisted=True,
        error=None,
    )


def settled(offset: int) -> frames.UsageSettled:
    return frames.UsageSettled(position=f"e:{offset}", generation="g", usage=USAGE)


def welcome(resume: frames.Resume, position: str, session: str = "s") -> frames.Welcome:
    return frames.Welcome(
        protocol=1,
        session=session,
        user="u",
        resume=resume,
        position=position,
        heartbeat_ms=25000,
        token_expires_at="2026-03-01T08:30:00.125Z",
        limits=LIMITS,
    )


def a_view(*received: frames.Frame, **options: Any) -> ChannelView:
    view = ChannelView(**options)
    for frame in received or (welcome("fresh", "e:0"), frames.Synced(position="e:0")):
        view.apply(frame)
    return view


# --- texts -----------------------------------------------------------------------------------


def test_deltas_make_a_text():
    view = a_view()
    for at, text in [(0, "Hel"), (3, "lo"), (5, ""), (3, "p"), (0, "All new")]:
        assert view.apply(a_delta(at, text))
    assert view.text("g") == "All new"


def test_applying_a_delta_twice_changes_nothing():
    view = a_view()
    for delta in [a_delta(0, "Hello"), a_delta(5, " there"), a_delta(5, " there")]:
        view.apply(delta)
    assert view.text("g") == "Hello there"


def test_a_delta_of_an_older_attempt_is_ignored():
    view = a_view()
    for delta in [a_delta(0, "Hello"), a_delta(2, "y", attempt=2), a_delta(5, " there", attempt=1)]:
        view.apply(delta)
    assert view.text("g") == "Hey"
    assert view.resume_point().texts == {"g": frames.TextCursor(attempt=2, at=3)}
    assert not view.needs_sync


def test_places_count_code_points():
    view = a_view()
    for delta in [a_delta(0, "\U0001f469\u200d\U0001f680"), a_delta(3, "!")]:
        view.apply(delta)
    assert view.text("g") == "\U0001f469\u200d\U0001f680!"
    assert not view.needs_sync


def test_a_delta_beyond_the_text_asks_for_a_sync_and_changes_nothing():
    view = a_view()
    view.apply(a_delta(0, "Hello"))
    assert not view.apply(a_delta(6, "there"))
    assert (view.needs_sync, view.text("g")) == (True, "Hello")
    for frame in [state(), a_delta(5, " there"), frames.Synced(position="e:0")]:
        view.apply(frame)
    assert (view.needs_sync, view.text("g")) == (False, "Hello there")


def test_a_switch_takes_nothing_away_before_its_first_delta():
    view = a_view()
    view.apply(started(1))
    view.apply(a_delta(0, "Hello"))
    view.apply(
        frames.GenerationSwitched(
            position="e:2",
            generation="g",
            attempt=2,
            from_model="a/b",
            to_model="c/d",
            cause="stall_timeout",
            mode="restart",
            keep=0,
        )
    )
    view.apply(a_delta(5, "!"))
    assert view.text("g") == "Hello!"
    assert view.resume_point().texts == {"g": frames.TextCursor(attempt=1, at=6)}


def test_reasoning_is_a_text_of_its_own_and_no_part_of_the_resume_point():
    view = a_view()
    view.apply(a_delta(0, "Let me think", kind="reasoning"))
    view.apply(a_delta(0, "Answer"))
    assert view.reasoning["g"].text == "Let me think"
    assert view.text("g") == "Answer"
    assert view.resume_point().texts == {"g": frames.TextCursor(attempt=1, at=6)}


def test_reasoning_joined_late_begins_there_and_a_new_attempt_begins_anew():
    view = a_view()
    for at, text in [(7, "late"), (11, "r"), (8, "ong"), (3, "early")]:
        view.apply(a_delta(at, text, kind="reasoning"))
    assert view.reasoning["g"].text == "early"
    view.apply(a_delta(0, "again", attempt=2, kind="reasoning"))
    assert view.reasoning["g"].text == "again"
    assert not view.apply(a_delta(90, "of the first attempt", kind="reasoning"))
    assert view.reasoning["g"].text == "again"
    assert not view.needs_sync


# --- facts -----------------------------------------------------------------------------------


def test_events_are_counted_and_repeated_ones_ignored():
    view = a_view()
    assert view.apply(started(1))
    assert not view.apply(started(1))
    assert view.apply(settled(2))
    assert view.position == "e:2"
    assert [type(event) for event in view.events] == [frames.GenerationStarted, frames.UsageSettled]


def test_a_missing_event_asks_for_a_resume_and_is_not_stepped_over():
    view = a_view()
    view.apply(settled(1))
    assert not view.apply(settled(3))
    assert view.needs_resume
    assert view.resume_point().position == "e:1"
    for frame in [welcome("replay", "e:3"), settled(2), settled(3), frames.Synced(position="e:3")]:
        view.apply(frame)
    assert view.position == "e:3"
    assert not view.needs_resume


def test_another_epoch_without_a_reset_asks_for_a_resume():
    view = a_view()
    view.apply(settled(1))
    assert not view.apply(msgspec.structs.replace(settled(2), position="f:2"))
    assert view.needs_resume


def test_synced_beyond_what_was_seen_asks_for_a_resume():
    view = a_view()
    view.apply(frames.Synced(position="e:7"))
    assert view.needs_resume
    assert view.position == "e:0"


def test_an_event_without_a_sane_position_is_passed_over():
    view = a_view()
    assert not view.apply(msgspec.structs.replace(settled(1), position="nonsense"))
    assert view.position == "e:0"


def test_a_finished_generation_holds_the_whole_message():
    view = a_view()
    for frame in [started(1), a_delta(0, "Hel"), finished(2, "Hello")]:
        view.apply(frame)
    assert view.text("g") == "Hello"
    assert view.last_texts["g"].text == "Hel"
    assert not view.running
    assert view.resume_point().texts is None
    assert not view.apply(a_delta(3, "lo"))
    assert not view.apply(state())


def test_a_generation_without_a_message_ends_empty_and_can_be_forgotten():
    view = a_view()
    for frame in [started(1), finished(2, None)]:
        view.apply(frame)
    assert view.text("g") == ""
    view.forget("g")
    assert not view.finished
    assert not view.last_texts


def test_a_state_may_come_before_its_start_and_is_not_overwritten_by_it():
    view = a_view()
    view.apply(state(attempt=2, length=10))
    view.apply(started(1))
    assert view.running["g"].attempt == 2


def test_the_stream_of_one_generation_has_gaps_in_its_positions():
    view = ChannelView(contiguous=False)
    for frame in [started(5), a_delta(0, "Hi"), settled(9), finished(12, "Hi")]:
        assert view.apply(frame)
    assert not view.apply(settled(9))
    assert not view.needs_resume
    assert view.position == "e:12"


def test_control_frames_and_unknown_types_change_nothing():
    view = a_view()
    for frame in [
        None,
        frames.Heartbeat(),
        frames.Pong(),
        frames.Ack(re="1"),
        frames.Drain(reconnect_in_ms=1, reason="x"),
        frames.AuthExpiring(expires_in_ms=1),
        frames.Interim(generation="g", phase="waiting", elapsed_ms=1, text="…", model="a/b"),
    ]:
        assert not view.apply(frame)
    assert view.resume_point() == frames.ResumePoint(session="s", position="e:0")


# --- welcome and reset -----------------------------------------------------------------------


def test_fresh_asks_for_rest_and_live_does_not():
    view = a_view()
    assert view.needs_refetch
    view.needs_refetch = False
    view.apply(welcome("live", "e:0", session="s2"))
    assert not view.needs_refetch
    assert not view.synced
    assert view.session == "s2"
    view.apply(frames.Synced(position="e:0"))
    assert view.synced


def test_a_reset_keeps_what_is_shown_until_its_snapshot_comes():
    view = a_view()
    for frame in [
        started(1),
        started(2, "lost"),
        a_delta(0, "Hello", attempt=3),
        a_delta(0, "x", generation="lost"),
    ]:
        view.apply(frame)
    view.needs_refetch = False
    view.apply(frames.Reset(position="f:0"))
    assert view.text("g") == "Hello"
    assert view.position == "f:0"
    assert view.needs_refetch
    for frame in [state(attempt=2), a_delta(0, "Hel", attempt=2), frames.Synced(position="f:0")]:
        view.apply(frame)
    assert view.text("g") == "Hel"
    assert set(view.running) == {"g"}
    assert set(view.texts) == {"g"}
    assert view.apply(msgspec.structs.replace(finished(1, "Hello"), position="f:1"))


def test_a_view_that_was_never_welcomed_takes_the_first_position_it_is_told():
    view = ChannelView()
    assert view.resume_point() == frames.ResumePoint()
    view.apply(frames.Synced(position="e:4"))
    assert view.position == "e:4"
    other = ChannelView()
    other.apply(settled(4))
    assert other.position == "e:4"


# --- any cut ----------------------------------------------------------------------------------


@dataclass
class Generation:
    """What a server holds of a generation: its text and where each attempt's text began."""

    id: str
    text: str = ""
    attempt: int = 0
    begins: list[tuple[int, int]] = field(default_factory=list)

    def append(self, attempt: int, at: int, text: str) -> frames.Delta:
        if attempt > self.attempt:
            self.begins.append((attempt, at))
            self.attempt = attempt
        self.text = self.text[:at] + text
        return a_delta(at, text, attempt=attempt, generation=self.id)

    def since(self, cursor: frames.TextCursor | None) -> frames.Delta:
        at = 0
        if cursor is not None and cursor.at <= len(self.text):
            at = min([cursor.at, *(place for attempt, place in self.begins if attempt > cursor.attempt)])
        return a_delta(at, self.text[at:], attempt=self.attempt, generation=self.id)


class Channel:
    """A scripted server: steps become events and deltas, and a resume is answered as the wire says."""

    def __init__(self) -> None:
        self.log: list[frames.Event] = []
        self.generation: Generation | None = None

    def step(self, kind: str, number: int, text: str) -> list[frames.Frame]:
        running = self.generation
        if kind == "note" or (running is None and kind != "start") or (running and kind == "start"):
            return self.publish(settled(len(self.log) + 1))
        if running is None:
            self.generation = Generation(f"g{len(self.log)}")
            return self.publish(started(len(self.log) + 1, self.generation.id))
        if kind == "finish":
            self.generation = None
            return self.publish(finished(len(self.log) + 1, running.text, running.id))
        if kind == "switch":
            at = number % (len(running.text) + 1)
            return [running.append(max(running.attempt, 1) + 1 + number % 2, at, text)]
        return [running.append(max(running.attempt, 1), len(running.text), text)]

    def publish(self, event: frames.Event) -> list[frames.Frame]:
        self.log.append(event)
        return [event]

    def resume(self, point: frames.ResumePoint) -> list[frames.Frame]:
        seen = int((point.position or "e:0").partition(":")[2])
        head = f"e:{len(self.log)}"
        answer: list[frames.Frame] = [
            welcome("live" if seen == len(self.log) else "replay", head),
            *self.log[seen:],
        ]
        if self.generation is not None:
            answer.append(state(self.generation.id, length=len(self.generation.text)))
            if self.generation.text:
                answer.append(self.generation.since((point.texts or {}).get(self.generation.id)))
        return [*answer, frames.Synced(position=head)]


steps = st.lists(
    st.tuples(
        st.sampled_from(["start", "append", "append", "append", "switch", "finish", "note"]),
        st.integers(0, 50),
        st.text(min_size=1, max_size=6),
        st.booleans(),
    ),
    max_size=40,
)


@given(steps)
def test_any_cut_and_resume_gives_the_same_text_and_events(script: list[tuple[str, int, str, bool]]):
    channel, whole, cut = Channel(), a_view(), a_view()
    for kind, number, text, connected in script:
        for frame in channel.step(kind, number, text):
            whole.apply(frame)
            if connected and not cut.needs_resume and cut.synced:
                assert cut.apply(decode_server_frame(encode(frame)))
        if channel.generation:
            assert whole.text(channel.generation.id) == channel.generation.text
        if not connected:
            cut.synced = False  # the connection is gone: nothing arrives until the next resume
        elif not cut.synced:
            for frame in channel.resume(cut.resume_point()):
                cut.apply(frame)
    for frame in channel.resume(cut.resume_point()):
        cut.apply(frame)
    assert cut.events == whole.events == channel.log
    for event in channel.log:
        if isinstance(event, frames.GenerationStarted):
            assert cut.text(event.generation) == whole.text(event.generation)
    assert cut.resume_point().position == whole.resume_point().position
    assert not cut.needs_sync
    assert not cut.needs_resume


@given(st.lists(st.tuples(st.integers(0, 3), st.text(max_size=5)), max_size=20), st.data())
def test_merging_or_splitting_deltas_never_changes_the_text(
    pieces: list[tuple[int, str]], data: st.DataObject
):
    text = "".join(piece for _, piece in pieces)
    view = a_view()
    at = 0
    while at < len(text):
        size = data.draw(st.integers(1, len(text) - at))
        view.apply(a_delta(at, text[at : at + size]))
        at += size
    assert view.text("g") == text
