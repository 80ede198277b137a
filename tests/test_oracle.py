"""The oracle sees every violation that is planted, and none where there is none.

A detector that was never shown the thing it detects proves nothing: every test takes the one good run below,
spoils one thing, and names the invariant that must be called broken.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.oracle import _is_from, assert_holds, check
from tests.oracle_wire import Violation
from tests.scripted.recording import Frame, Recorded, Recording

ME, OTHER = "0198a000-0000-7000-8000-00000000000a", "0198a000-0000-7000-8000-00000000000b"
CONVERSATION, QUESTION, ANSWER, GENERATION, KEY, STRANGER = (
    f"0198a000-0000-7000-8000-0000000000{n}" for n in ("c1", "c2", "c3", "c4", "c5", "b9")
)
TEXT = "Hello world again"


class Run:
    """One good run, cut once, with a fallback in mid-answer; a test spoils its parts."""

    def __init__(self) -> None:
        first, second = bill(4, 3, "0.001"), bill(9, 2, "0.0005")
        summed = bill(13, 5, "0.0015")
        at_settlement = {**summed, "state": "settled"}
        self.recording = Recording(
            ME, presented={1: {}, 2: {"position": "e1:3", "texts": {GENERATION: {"attempt": 1, "at": 9}}}}
        )
        send = {"type": "message.send", "content": "hi", "client_message_id": KEY}
        ack = {"conversation": CONVERSATION, "message": QUESTION, "generation": GENERATION}
        self.hear(1, welcome("fresh", "e1:0"), {"type": "synced", "position": "e1:0"})
        self.say(1, {**send, "id": "1"})
        self.hear(
            1,
            {"type": "ack", "re": "1", **ack, "duplicate": False},
            event("conversation.created", 1, conversation={"id": CONVERSATION}),
            event("message.created", 2, conversation=CONVERSATION, message={"id": QUESTION}),
            event("generation.started", 3, generation=GENERATION, attempt=1, model="a"),
            delta(1, 0, "Hello "),
            delta(1, 6, "wor"),
        )
        self.say(2, {**send, "id": "1"})
        self.hear(
            2,
            welcome("replay", "e1:4"),
            event("notification", 4, notification={"assessmentId": "r1", "stage": "chatbot_ready"}),
            {"type": "generation.state", "generation": GENERATION, "attempt": 1, "model": "a", "length": 9},
            delta(1, 9, "l"),
            {"type": "synced", "position": "e1:4"},
            {"type": "ack", "re": "1", **ack, "duplicate": True},
            event("generation.switched", 5, generation=GENERATION, attempt=2, keep=9),
            delta(2, 8, "rld"),
            delta(2, 11, " again"),
            event(
                "generation.finished",
                6,
                generation=GENERATION,
                conversation=CONVERSATION,
                status="completed",
                message={"id": ANSWER, "content": TEXT},
                usage=summed,
                segments=[segment(1, 0, 8, first), segment(2, 8, 17, second)],
                length=17,
                sha256=hashlib.sha256(TEXT.encode()).hexdigest(),
                error=None,
            ),
            event("usage.settled", 7, generation=GENERATION, usage=at_settlement),
        )
        self.upstream: dict[str, Any] = {
            "calls": [
                {"id": "gen-1", "text": "Hello worl", "bill": first},
                {"id": "gen-2", "text": "world again", "bill": second},
                {"id": None, "text": "", "bill": None},
            ],
            "intended": {GENERATION: TEXT},
        }
        self.rows: dict[str, Any] = {
            "messages": [
                message_row(QUESTION, "user", "hi"),
                message_row(ANSWER, "assistant", TEXT),
            ],
            "generations": [
                {
                    "id": GENERATION,
                    "user_id": ME,
                    "conversation_id": CONVERSATION,
                    "reply_to": QUESTION,
                    "message_id": ANSWER,
                    "client_message_id": KEY,
                    "status": "completed",
                },
                {
                    "id": STRANGER,
                    "user_id": OTHER,
                    "conversation_id": STRANGER.replace("b9", "b8"),
                    "reply_to": STRANGER.replace("b9", "b7"),
                    "message_id": STRANGER.replace("b9", "b6"),
                    "client_message_id": KEY,
                    "status": "accepted",
                },
            ],
            "usage": [usage_row(1, "gen-1", first), usage_row(2, "gen-2", second)],
            "notifications": [{"assessmentId": "r1", "stage": "chatbot_ready"}],
        }

    def hear(self, connection: int, *frames: Frame) -> None:
        start = len(self.recording.heard)
        self.recording.heard += [Recorded(connection, f, start + n) for n, f in enumerate(frames)]

    def say(self, connection: int, command: Frame) -> None:
        self.recording.sent.append(Recorded(connection, command, float(len(self.recording.heard))))

    def index(self, kind: str, nth: int = 0) -> int:
        found = [n for n, entry in enumerate(self.recording.heard) if entry.frame["type"] == kind]
        return found[nth]

    def frame(self, kind: str, nth: int = 0) -> Frame:
        return self.recording.heard[self.index(kind, nth)].frame

    def violations(self, **options: Any) -> list[Violation]:
        return check(self.recording, self.upstream, self.rows, **options)


def bill(prompt: int, completion: int, cost: str) -> Frame:
    total = prompt + completion
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        "cost": cost,
        "state": "estimated",
    }


def welcome(resume: str, position: str) -> Frame:
    return {"type": "welcome", "resume": resume, "position": position, "user": ME, "session": "s"}


def event(kind: str, offset: int, **fields: Any) -> Frame:
    return {"type": kind, "position": f"e1:{offset}", **fields}


def delta(attempt: int, at: int, text: str) -> Frame:
    return {"type": "delta", "generation": GENERATION, "attempt": attempt, "at": at, "text": text}


def segment(attempt: int, start: int, to: int, usage: Frame) -> Frame:
    return {"attempt": attempt, "model": "m", "served_model": None, "from": start, "to": to, "usage": usage}


def message_row(message: str, sender: str, content: str) -> Frame:
    return {"id": message, "conversation_id": CONVERSATION, "sender_type": sender, "content": content}


def usage_row(attempt: int, upstream_id: str | None, of: Frame) -> Frame:
    return {
        **of,
        "generation_id": GENERATION,
        "attempt": attempt,
        "upstream_id": upstream_id,
        "state": "settled",
    }


# --- what is right is called right ------------------------------------------------------------


def test_a_good_run_has_no_violation():
    run = Run()
    assert run.violations() == []
    assert_holds(run.recording, run.upstream, run.rows)


def test_a_good_run_is_good_without_the_upstream_and_without_the_rows():
    assert check(Run().recording) == []


def test_frames_replayed_to_a_client_that_presents_an_older_position_are_no_violation():
    run = Run()
    run.recording.presented[3] = {"position": "e1:4"}
    again = [run.frame(kind) for kind in ("generation.switched", "generation.finished", "usage.settled")]
    run.hear(3, welcome("replay", "e1:7"), *again, {"type": "synced", "position": "e1:7"})
    assert run.violations() == []


def test_one_turn_streamed_by_itself_needs_neither_welcome_nor_every_offset():
    run = Run()
    turn = ("message.created", "generation.started", "delta", "delta", "delta", "generation.switched")
    nth: dict[str, int] = {}
    for kind in turn:
        run.hear(9, run.frame(kind, nth.get(kind, 0)))
        nth[kind] = nth.get(kind, 0) + 1
    run.hear(9, run.frame("delta", 3), run.frame("delta", 4), run.frame("generation.finished"))
    assert run.violations() == []


def test_a_generation_that_ended_while_the_client_was_told_to_forget_is_no_violation():
    run = Run()
    del run.recording.heard[run.index("generation.finished") :]
    run.recording.presented[3] = {"position": "e1:5"}
    run.hear(3, welcome("reset", "e2:1"), {"type": "synced", "position": "e2:1"})
    assert run.violations(resets=1) == []


def test_a_cancelled_answer_is_a_prefix_of_what_the_upstream_said():
    run = Run()
    finished = run.frame("generation.finished")
    finished.update(status="cancelled", length=11, sha256=hashlib.sha256(TEXT[:11].encode()).hexdigest())
    finished["message"]["content"] = run.rows["messages"][1]["content"] = TEXT[:11]
    finished["segments"][1]["to"] = 11
    run.rows["generations"][0]["status"] = "cancelled"
    del run.recording.heard[run.index("delta", 4)]
    assert run.violations() == []


@pytest.mark.parametrize(
    ("part", "said", "holds"),
    [
        ("\U0001f469\U0001f3fd\u200d\U0001f527 and on", "\U0001f527 and on", True),
        ("e\u0301tude", "\u0301tude", True),
        (" and on", "and on", True),
        ("xand on", "and on", False),
        ("and on, and on", "and on", False),
    ],
)
def test_a_continuation_may_take_with_it_the_character_that_was_cut_through_and_nothing_else(
    part: str, said: str, holds: bool
):
    assert _is_from(part, said, first=False, whole=True) is holds


# --- what is wrong is called by its name --------------------------------------------------------

Spoil = Callable[[Run], object]


def drop(kind: str, nth: int = 0) -> Spoil:
    return lambda run: run.recording.heard.pop(run.index(kind, nth))


def twice(kind: str, nth: int = 0, **changes: Any) -> Spoil:
    def spoil(run: Run) -> None:
        at = run.index(kind, nth)
        entry = run.recording.heard[at]
        run.recording.heard.insert(at + 1, entry._replace(frame={**copy.deepcopy(entry.frame), **changes}))

    return spoil


def swap(kind: str, nth: int = 0) -> Spoil:
    """Exchange a frame and the one after it."""

    def spoil(run: Run) -> None:
        heard, at = run.recording.heard, run.index(kind, nth)
        heard[at], heard[at + 1] = heard[at + 1], heard[at]

    return spoil


def change(kind: str, nth: int = 0, **changes: Any) -> Spoil:
    return lambda run: run.frame(kind, nth).update(changes)


def row(table: str, nth: int, **changes: Any) -> Spoil:
    return lambda run: run.rows[table][nth].update(changes)


def lose_row(table: str, nth: int) -> Spoil:
    return lambda run: run.rows[table].pop(nth)


def keep_row_twice(table: str, nth: int, **changes: Any) -> Spoil:
    return lambda run: run.rows[table].append({**run.rows[table][nth], **changes})


def call(nth: int, **changes: Any) -> Spoil:
    return lambda run: run.upstream["calls"][nth].update(changes)


def another_epoch(from_offset: int) -> Spoil:
    """The log goes on in a new epoch and nobody says so."""

    def spoil(run: Run) -> None:
        for entry in run.recording.heard:
            _, _, offset = entry.frame.get("position", "e1:0").partition(":")
            if entry.frame["type"] != "welcome" and int(offset) >= from_offset:
                entry.frame["position"] = f"e2:{int(offset) - from_offset + 1}"

    return spoil


def another_content(text: str) -> Spoil:
    """The message, its digest and its row agree on a text that was not shown."""

    def spoil(run: Run) -> None:
        finished = run.frame("generation.finished")
        finished["message"]["content"] = run.rows["messages"][1]["content"] = text
        finished["sha256"] = hashlib.sha256(text.encode()).hexdigest()

    return spoil


def segment_of(nth: int, **changes: Any) -> Spoil:
    return lambda run: run.frame("generation.finished")["segments"][nth].update(changes)


def finish_again(run: Run) -> None:
    run.hear(2, {**copy.deepcopy(run.frame("generation.finished")), "position": "e1:8"})


PLANTED: dict[str, tuple[str, str, Spoil]] = {
    "an event dropped": ("I1", "a hole in the log", drop("message.created")),
    "the last event before the cut dropped": ("I1", "never given", drop("generation.started")),
    "an event of the replay dropped": ("I1", "replay ended before its end", drop("notification")),
    "an event duplicated": ("I1", "an event twice", twice("message.created")),
    "events reordered": ("I1", "out of order", swap("conversation.created")),
    "live, though something was missed": ("I1", "does not begin where", change("welcome", 1, resume="live")),
    "synced beyond what was delivered": ("I1", "synced beyond", change("synced", 0, position="e1:3")),
    "an event before welcome": ("I1", "an event before welcome", drop("welcome")),
    "the epoch changes silently": ("I5", "the epoch changed", another_epoch(5)),
    "welcome continues in another epoch": ("I5", "another epoch", change("welcome", 1, position="e2:4")),
    "a position answered as if fresh": ("I5", "does not fit", change("welcome", 1, resume="fresh")),
    "a reset that nothing called for": ("I5", "nothing was lost", change("welcome", 1, resume="reset")),
    "a delta altered by a character": ("I2", "shown is not the message", change("delta", 0, text="Hellq ")),
    "a delta dropped": ("I2", "beyond the text held", drop("delta", 3)),
    "a delta beyond the text": ("I2", "beyond the text held", change("delta", 1, at=7)),
    "a new attempt above its keep": ("I2", "above its keep", change("generation.switched", 0, keep=7)),
    "switched after its delta": ("I2", "not announced", swap("generation.switched")),
    "text after the end": ("I2", "shown is not the message", swap("delta", 4)),
    "a message that was not shown": ("I2", "shown is not the message", another_content("Hello world agaiN")),
    "a wrong digest": ("I2", "sha256", change("generation.finished", 0, sha256="0" * 64)),
    "a wrong length": ("I2", "length", change("generation.finished", 0, length=16)),
    "segments with a hole": ("I2", "do not cover", segment_of(0, to=7)),
    "segments that overlap": ("I2", "do not cover", segment_of(1, **{"from": 7})),
    "a segment backwards": ("I2", "do not cover", segment_of(0, **{"from": 9})),
    "an attempt without a segment": ("I2", "one segment per attempt", segment_of(1, attempt=3)),
    "the row says something else": ("I2", "the row is not", row("messages", 1, content=TEXT + ".")),
    "the answer's row is missing": ("I2", "the row is not", lose_row("messages", 1)),
    "the upstream said something else": ("I2", "upstream said", call(0, text="Hallo worl")),
    "the upstream said more": ("I2", "upstream said", call(1, text="world again.")),
    "not the intended answer": (
        "I2",
        "intended",
        lambda run: run.upstream["intended"].update({GENERATION: "x"}),
    ),
    "finished a second time": ("I3", "finished twice", finish_again),
    "finished missing": ("I3", "never finished", drop("generation.finished")),
    "a row stays open": ("I3", "stays open", row("generations", 0, status="accepted")),
    "a row ended otherwise": ("I3", "ended otherwise", row("generations", 0, status="failed")),
    "failed and no reason given": ("I3", "disagree", change("generation.finished", 0, status="failed")),
    "the sum off by one": ("I4", "sum over the segments", segment_of(0, usage=bill(5, 3, "0.001"))),
    "total_tokens off by one": (
        "I4",
        "sum of both",
        change("generation.finished", 0, usage={**bill(13, 5, "0.0015"), "total_tokens": 19}),
    ),
    "a usage row off by one": ("I4", "not the bill", row("usage", 0, prompt_tokens=5)),
    "a usage row's cost off by a little": ("I4", "not the bill", row("usage", 0, cost="0.001000000001")),
    "a settlement that is not the rows' sum": (
        "I4",
        "what was told",
        change("usage.settled", 0, usage={**bill(13, 6, "0.0015"), "state": "settled"}),
    ),
    "an attempt without a usage row": ("I4", "one usage row per attempt", lose_row("usage", 1)),
    "a bill that no row counts": ("I4", "no row counts", row("usage", 1, upstream_id=None)),
    "an attempt charged twice": ("I4", "charged twice", keep_row_twice("usage", 0)),
    "a bill never settled": ("I4", "not the bill", row("usage", 0, state="estimated")),
    "a stranger's id": ("I6", "another user's", change("delta", 0, generation=STRANGER)),
    "a stranger's id inside a text": ("I6", "another user's", change("delta", 0, text=f"see {STRANGER}")),
    "a stranger's id as a key": ("I6", "another user's", change("delta", 0, extra=[{STRANGER: 1}])),
    "a stranger's channel": ("I6", "another user's", change("welcome", 0, user=OTHER)),
    "a command answered twice": ("I7", "answered twice", twice("ack")),
    "acked and no generation row": ("I7", "no generation is kept", lose_row("generations", 0)),
    "acked and no message row": ("I7", "message is not kept", lose_row("messages", 0)),
    "acked and another text kept": ("I7", "message is not kept", row("messages", 0, content="ho")),
    "acked to another user": ("I7", "another command's", row("generations", 0, user_id=OTHER)),
    "sent again and done again": ("I7", "did it twice", keep_row_twice("generations", 0, id=KEY)),
    "sent again and not called a duplicate": ("I7", "a duplicate", change("ack", 1, duplicate=False)),
    "sent again and something else": ("I7", "something else", change("ack", 1, message=ANSWER)),
    "a message nothing answers": ("I7", "nothing answers", keep_row_twice("messages", 0, id=KEY)),
    "a stage told twice": (
        "I9",
        "told twice",
        lambda run: run.hear(2, {**run.frame("notification"), "position": "e1:8"}),
    ),
    "a stage never told": (
        "I9",
        "not told",
        lambda run: run.rows["notifications"].append({"assessmentId": "r2", "stage": "chatbot_ready"}),
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_violation_is_called_by_its_name(name: str):
    invariant, words, spoil = PLANTED[name]
    run = Run()
    spoil(run)
    found = run.violations()
    assert [v for v in found if v.invariant == invariant and words in v.what], found


def test_silence_after_the_death_of_the_owner_is_seen():
    """I3: within the time given its text moves again or it ends."""
    run = Run()
    death = run.recording.heard[run.index("delta", 2)].at
    assert run.violations(deaths={GENERATION: death}) == []
    late = [entry._replace(at=entry.at + 20 * (entry.at > death)) for entry in run.recording.heard]
    run.recording.heard = late
    assert [v.invariant for v in run.violations(deaths={GENERATION: death})] == ["I3"]
    end = run.recording.heard[run.index("generation.finished")].at
    assert run.violations(deaths={GENERATION: end}) == []


def test_a_replayed_end_that_takes_back_what_was_shown_is_seen():
    """I2: what was shown stays, as far as no later attempt began below it."""
    run = Run()
    run.recording.presented[3] = {"position": "e1:5", "texts": {GENERATION: {"attempt": 2, "at": 17}}}
    again = [run.frame(kind) for kind in ("generation.finished", "usage.settled")]
    run.hear(3, welcome("replay", "e1:7"), *again, {"type": "synced", "position": "e1:7"})
    assert run.violations() == []
    run.frame("delta", 3)["text"] = "r1d"
    assert any("taken back" in v.what for v in run.violations())


def test_a_failure_names_every_violation():
    run = Run()
    drop("message.created")(run)
    with pytest.raises(AssertionError, match="I1: a hole in the log"):
        assert_holds(run.recording, run.upstream, run.rows)
