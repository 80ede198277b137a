"""The oracle's first half: what the frames alone show.

Sans-I/O. I1 the log, I2 the text as a client sees it, I3 the end, I5 honesty, and the sums a
`generation.finished` carries. `tests/oracle.py` is the door.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.scripted.recording import Frame, Recorded, Recording

EVENTS = frozenset(
    {
        "conversation.created",
        "conversation.updated",
        "conversation.deleted",
        "message.created",
        "generation.started",
        "generation.switched",
        "generation.finished",
        "usage.settled",
        "notification",
    }
)


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant (`I1` ... `I9` of the quality page) that does not hold, and what shows it."""

    invariant: str
    what: str
    evidence: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        facts = " ".join(f"{name}={str(value)[:160]!r}" for name, value in self.evidence.items())
        return f"{self.invariant}: {self.what} {facts}"


# --- I1 the log, I5 honesty -----------------------------------------------------------------


def check_log(recording: Recording, resets: int | None) -> Iterator[Violation]:
    told = 0
    held: tuple[str, int] | None = None
    goal: tuple[str, int] | None = None
    for connection, frame, _ in recording.sessions():
        kind = frame.get("type")
        where = {"connection": connection, "held": held, "position": frame.get("position")}
        if kind == "welcome":
            asked = recording.presented[connection].get("position")
            before, (held, violation) = held, _welcomed(asked, frame)
            resumed = before is not None and frame["resume"] in {"live", "replay"} and not violation
            if before is not None and resumed and held[0] == before[0] and held[1] > before[1]:
                yield Violation("I1", "the client goes on after an event it was never given", where)
            goal = _parse(frame["position"]) if frame["resume"] == "replay" else None
            told += frame["resume"] == "reset"
            yield from violation
        elif kind == "reset":
            told += 1
            held, goal = _parse(frame["position"]), None
        elif kind == "synced" and held is not None:
            at = _parse(frame["position"])
            if at[0] != held[0] or at[1] > held[1]:
                yield Violation("I1", "synced beyond what was delivered", where)
            if goal is not None and held[1] < goal[1]:
                yield Violation("I1", "the replay ended before its end", {**where, "goal": goal})
            goal = None
        elif kind in EVENTS:
            at = _parse(frame["position"])
            if held is None:
                yield Violation("I1", "an event before welcome", where)
            elif at[0] != held[0]:
                yield Violation("I5", "the epoch changed and the client was not told", where)
            elif at[1] == held[1]:
                yield Violation("I1", "an event twice", where)
            elif at[1] < held[1]:
                yield Violation("I1", "an event out of order", where)
            elif at[1] > held[1] + 1:
                yield Violation("I1", "a hole in the log", where)
            held = max(held, at) if held is not None and held[0] == at[0] else at
    if resets is not None and told > resets:
        yield Violation("I5", "reset, though nothing was lost", {"told": told, "allowed": resets})


def _welcomed(asked: str | None, welcome: Frame) -> tuple[tuple[str, int], list[Violation]]:
    """Where the client is after `welcome`, and what is wrong with that."""
    position = _parse(welcome["position"])
    resume = welcome["resume"]
    evidence = {"presented": asked, "resume": resume, "position": welcome["position"]}
    if resume == "reset":
        return position, []
    if asked is None or resume == "fresh":
        honest = asked is None and resume == "fresh"
        return position, [] if honest else [
            Violation("I5", "welcome does not fit what was presented", evidence)
        ]
    at = _parse(asked)
    if at[0] != position[0]:
        return position, [Violation("I5", "another epoch, and the client was not told", evidence)]
    if (resume == "live" and at != position) or (resume == "replay" and at[1] >= position[1]):
        return at, [Violation("I1", f"{resume} does not begin where the client is", evidence)]
    return at, []


def _parse(position: str) -> tuple[str, int]:
    epoch, _, offset = position.rpartition(":")
    return epoch, int(offset)


# --- I2 the text, as a client sees it -------------------------------------------------------


@dataclass(slots=True)
class _Text:
    text: str = ""
    attempt: int = 0  # of the text held
    announced: int = 0  # by started, switched and state
    keeps: dict[int, int] = field(default_factory=dict)


def check_texts(recording: Recording) -> Iterator[Violation]:
    for line in recording.lines():
        yield from _line(line, recording.presented)


def _line(line: list[Recorded], presented: Mapping[int, dict[str, Any]]) -> Iterator[Violation]:
    texts: dict[str, _Text] = {}
    # a stream of one turn is live from its beginning; a session once it is synced
    live = line[0].connection not in presented
    for connection, frame, _ in line:
        kind = frame.get("type")
        if kind == "welcome":
            live = False
            _held(texts, presented[connection].get("texts") or {})
        elif kind == "reset":
            live = False
        elif kind == "synced":
            live = True
        if "generation" not in frame or kind in {"ack", "interim", "usage.settled"}:
            continue
        text = texts.setdefault(frame["generation"], _Text())
        if kind in {"generation.started", "generation.state"}:
            text.announced = max(text.announced, frame["attempt"])
        elif kind == "generation.switched":
            text.announced = max(text.announced, frame["attempt"])
            text.keeps[frame["attempt"]] = frame["keep"]
        elif kind == "delta" and frame.get("kind") != "reasoning":
            yield from _apply(text, frame, live=live)
        elif kind == "generation.finished":
            yield from _shown(text, frame, live=live)


def _held(texts: dict[str, _Text], cursors: Mapping[str, Any]) -> None:
    """A client begins again with what it presented; what it did not, it no longer holds."""
    for generation, text in texts.items():
        cursor = cursors.get(generation)
        text.text = text.text[: cursor["at"]] if cursor else ""
        text.attempt = text.attempt if cursor else 0


def _apply(text: _Text, delta: Frame, *, live: bool) -> Iterator[Violation]:
    evidence = {"delta": delta, "held": len(text.text), "attempt": text.attempt}
    attempt, at = delta["attempt"], delta["at"]
    if attempt < text.attempt:
        return
    if at > len(text.text):
        yield Violation("I2", "a delta beyond the text held", evidence)
    if live and attempt > text.announced:
        yield Violation("I2", "a delta of an attempt that was not announced", evidence)
    if attempt > text.attempt and at > text.keeps.get(attempt, at):
        yield Violation("I2", "an attempt begins above its keep", {**evidence, "keep": text.keeps[attempt]})
    text.announced = max(text.announced, attempt)
    text.text = text.text[:at] + delta["text"]
    text.attempt = attempt


def _shown(text: _Text, finished: Frame, *, live: bool) -> Iterator[Violation]:
    content = content_of(finished)
    evidence = {"generation": finished["generation"], "shown": text.text, "message": content}
    if live:
        if text.text != content:
            yield Violation("I2", "the text shown is not the message", evidence)
        return
    # replayed: what the client holds is a prefix as far as no later attempt began below it
    later = [s["from"] for s in finished["segments"] if s["attempt"] > text.attempt and s["from"] < s["to"]]
    valid = min([len(text.text), *later])
    if not content.startswith(text.text[:valid]):
        yield Violation("I2", "the text shown was taken back", evidence)


def content_of(finished: Frame) -> str:
    return (finished["message"] or {}).get("content") or ""


# --- I3 the end ------------------------------------------------------------------------------


def check_ends(recording: Recording) -> Iterator[Violation]:
    ends: dict[str, dict[str, Frame]] = {}
    begun: dict[str, int] = {}  # generation -> where in the recording it was heard of first
    forgot = -1  # where the client was last told to forget its position
    for index, (connection, frame, _) in enumerate(recording.heard):
        kind = frame.get("type")
        generation = frame.get("generation")
        if kind == "generation.finished":
            ends.setdefault(frame["generation"], {})[frame["position"]] = frame
            yield from _sound(frame)
        elif kind in {"generation.started", "generation.state"} or (kind == "ack" and generation):
            begun.setdefault(str(generation), index)
        if kind == "reset" or (
            kind == "welcome" and frame["resume"] in {"fresh", "reset"} and connection in recording.presented
        ):
            forgot = index
    for generation, all_ends in ends.items():
        if len(all_ends) > 1:
            yield Violation("I3", "finished twice", {"generation": generation, "at": list(all_ends)})
    if recording.presented:
        for generation, index in begun.items():
            if generation not in ends and forgot < index:
                yield Violation("I3", "never finished", {"generation": generation})


def _sound(finished: Frame) -> Iterator[Violation]:
    """Whether a `generation.finished` agrees with itself: length, digest, segments, sums."""
    content = content_of(finished)
    evidence = {"generation": finished["generation"], "message": content}
    digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
    if finished["length"] != len(content):
        yield Violation("I2", "length is not the message's", {**evidence, "length": finished["length"]})
    if finished["sha256"] != digest:
        yield Violation("I2", "sha256 is not the message's", {**evidence, "sha256": finished["sha256"]})
    segments = finished["segments"]
    spans = [(s["from"], s["to"]) for s in segments if s["from"] < s["to"]]
    edges = [0, *(edge for span in spans for edge in span), len(content)]
    if any(s["from"] > s["to"] for s in segments) or any(
        a != b for a, b in zip(*[iter(edges)] * 2, strict=True)
    ):
        yield Violation("I2", "segments do not cover the message", {**evidence, "segments": spans})
    attempts = [s["attempt"] for s in segments]
    if attempts != list(range(1, len(attempts) + 1)):
        yield Violation("I2", "not one segment per attempt", {**evidence, "attempts": attempts})
    usage = finished["usage"]
    if total(s["usage"] for s in segments) != total([usage]):
        yield Violation("I4", "usage is not the sum over the segments", {**evidence, "usage": usage})
    if usage["total_tokens"] != usage["prompt_tokens"] + usage["completion_tokens"]:
        yield Violation("I4", "total_tokens is not the sum of both", {**evidence, "usage": usage})
    if (finished["status"] in {"failed", "interrupted"}) != (finished.get("error") is not None):
        yield Violation("I3", "status and error disagree", {**evidence, "status": finished["status"]})


def check_moves_again(
    recording: Recording, generation: str, when: float, within: float
) -> Iterator[Violation]:
    moves = {"delta", "generation.finished"}
    heard = [
        e for e in recording.heard if e.frame.get("generation") == generation and e.frame["type"] in moves
    ]
    if any(e.frame["type"] == "generation.finished" and e.at <= when for e in heard):
        return
    after = min((e.at - when for e in heard if e.at > when), default=None)
    if after is None or after > within:
        yield Violation("I3", "neither moved nor ended in time", {"generation": generation, "after": after})


def check_answers(recording: Recording) -> Iterator[Violation]:
    for command, answers in recording.answered():
        if len(answers) > 1:
            yield Violation("I7", "a command was answered twice", {"command": command, "answers": answers})


def total(usages: Iterable[Mapping[str, Any]]) -> tuple[int, int, Decimal]:
    prompt, completion, cost = 0, 0, Decimal(0)
    for usage in usages:
        prompt += usage["prompt_tokens"]
        completion += usage["completion_tokens"]
        cost += Decimal(str(usage["cost"]))
    return prompt, completion, cost
