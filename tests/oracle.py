"""The oracle: do the invariants hold for what was recorded?

Sans-I/O. `check` holds a client's recording against the upstream's ground truth and against the rows of
PostgreSQL, read after things settled. It shares no code with the server nor with `protocol/`, so that it
cannot share a mistake with them. Times never fail a recording, but for `deaths`.

The upstream is `{"calls": [...], "intended": {generation: text}}`. A call is what one request was given:
`id` (the upstream's generation id; `None` if no headers were sent), `text` (the visible text sent, whole or
in part), `bill` (`{prompt_tokens, completion_tokens, cost}`, or `None` where there will be none). `intended`
is optional: what the whole answer would be, where a test scripted a continuation.
The rows are `{"messages": [...], "generations": [...], "usage": [...], "notifications": [...]}`, dicts with the
names of the store port's rows (`notifications` optional: `assessmentId` and `stage` of each one owed to the
user). Rows of other users may be among them, with their `user_id`; they make their ids foreign.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.oracle_wire import (
    Violation,
    check_answers,
    check_ends,
    check_log,
    check_moves_again,
    check_texts,
    content_of,
    total,
)
from tests.scripted.recording import Frame, Recording

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# a character in more than one code point: marks, joiners, skin tones, variants, flags
_CLUSTER = re.compile(
    "\\S(?:[\u0300-\u036f\u200d\ufe0f\U0001f3fb-\U0001f3ff\U0001f1e6-\U0001f1ff]|(?<=\u200d).)*"
)
_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")


def check(
    recording: Recording,
    upstream: Mapping[str, Any] | None = None,
    rows: Mapping[str, Any] | None = None,
    *,
    resets: int | None = 0,
    deaths: Mapping[str, float] | None = None,
    within: float = 15.0,
) -> list[Violation]:
    """Everything that is wrong with a recording; an empty list if nothing is.

    Args:
        recording: What the client heard and said.
        upstream: The ground truth; without it the text is only held against itself and the rows.
        rows: PostgreSQL after things settled; without it what is kept is not looked at.
        resets: How many times the client may have been told `reset`; `None`: any number.
        deaths: When the owner of a generation died (or Redis and one node were there again), by
            generation, on the recording's clock.
        within: Seconds in which such a generation must move or end.
    """
    found = [
        *check_log(recording, resets),
        *check_texts(recording),
        *check_ends(recording),
        *check_answers(recording),
    ]
    found += _notifications(recording, rows)
    for generation, when in (deaths or {}).items():
        found += check_moves_again(recording, generation, when, within)
    if rows is not None:
        found += [*_isolation(recording, rows), *_kept(recording, rows), *_stored(recording, rows)]
        found += _usage(recording, upstream, rows)
        if upstream is not None:
            found += _truth(recording, upstream, rows)
    return found


def assert_holds(
    recording: Recording,
    upstream: Mapping[str, Any] | None = None,
    rows: Mapping[str, Any] | None = None,
    **options: Any,
) -> None:
    """Fail with every violation named."""
    found = check(recording, upstream, rows, **options)
    assert not found, f"{recording.name}: " + "\n".join(map(str, found))


# --- I7 acked means kept ---------------


def _kept(recording: Recording, rows: Mapping[str, Any]) -> Iterator[Violation]:
    messages = _by(rows["messages"], "id")
    generations = _by(rows["generations"], "id")
    firsts: dict[str, Frame] = {}
    fresh: dict[str, Frame] = {}
    for command, answers in recording.answered():
        ack = answers[0] if answers and answers[0]["type"] == "ack" else None
        if ack is None or ack.get("generation") is None:
            continue
        evidence = {"command": command, "ack": ack}
        row = generations.get(ack["generation"], [])
        if len(row) != 1:
            yield Violation("I7", "acked and no generation is kept", evidence)
            continue
        key = command.get("client_message_id")
        if key is None:
            continue
        if row[0]["client_message_id"] != key or row[0]["user_id"] != recording.user:
            yield Violation("I7", "the generation kept is another command's", {**evidence, "row": row[0]})
        first = firsts.setdefault(key, ack)
        if any(first.get(name) != ack.get(name) for name in ("conversation", "message", "generation")):
            yield Violation("I7", "sent again, it became something else", {**evidence, "first": first})
        elif not ack.get("duplicate") and fresh.setdefault(key, ack) is not ack:
            # of those under way together any one may be the first
            yield Violation("I7", "sent again, it was not called a duplicate", evidence)
        if command["type"] == "message.send":
            kept = messages.get(ack["message"], [])
            if len(kept) != 1 or kept[0]["content"] != command["content"]:
                yield Violation("I7", "acked and the message is not kept", {**evidence, "rows": kept})
    mine = [row for row in rows["generations"] if row["user_id"] == recording.user]
    for key, same in _by(mine, "client_message_id").items():
        if len(same) > 1:
            yield Violation("I7", "one command did it twice", {"client_message_id": key})
    answered = {row["reply_to"] for row in rows["generations"]}
    for row in rows["messages"]:
        if row["sender_type"] == "user" and row["id"] not in answered:
            yield Violation("I7", "a message is kept that nothing answers", {"message": row["id"]})


def _stored(recording: Recording, rows: Mapping[str, Any]) -> Iterator[Violation]:
    """I2 and I3 in PostgreSQL: the row is the message, no row stays open."""
    for row in rows["generations"]:
        if row["user_id"] == recording.user and row["status"] == "accepted":
            yield Violation("I3", "a generation stays open", {"generation": row["id"]})
    messages, generations = _by(rows["messages"], "id"), _by(rows["generations"], "id")
    gone = {f["conversation"]["id"] for f in recording.of_type("conversation.deleted")}
    for finished in recording.of_type("generation.finished"):
        if finished["conversation"] in gone:
            continue
        evidence = {"generation": finished["generation"]}
        statuses = [row["status"] for row in generations.get(finished["generation"], [])]
        if statuses != [finished["status"]]:
            yield Violation("I3", "the row ended otherwise", {**evidence, "rows": statuses})
        if finished["message"] is not None:
            contents = [row["content"] for row in messages.get(finished["message"]["id"], [])]
            if contents != [content_of(finished)]:
                yield Violation("I2", "the row is not the message", {**evidence, "rows": contents})


# --- I2 against the upstream, I4 usage ---------------


def _truth(recording: Recording, upstream: Mapping[str, Any], rows: Mapping[str, Any]) -> Iterator[Violation]:
    calls = {call["id"]: call for call in upstream["calls"] if call["id"] is not None}
    usage = {(row["generation_id"], row["attempt"]): row for row in rows["usage"]}
    for finished in recording.of_type("generation.finished"):
        content, generation = content_of(finished), finished["generation"]
        completed = finished["status"] == "completed"
        intended = upstream.get("intended", {}).get(generation)
        if intended is not None and content != (intended if completed else intended[: len(content)]):
            yield Violation("I2", "not the intended answer", {"message": content, "intended": intended})
        spans = [s for s in finished["segments"] if s["from"] < s["to"]]
        for segment in spans:
            row = usage.get((generation, segment["attempt"]))
            call = calls.get(row["upstream_id"]) if row else None
            if call is None:
                continue
            said = _NOT_STORABLE.sub("\ufffd", call["text"])
            part = content[segment["from"] : segment["to"]]
            whole = completed and segment is spans[-1]
            if not _is_from(part, said, first=segment is spans[0] and segment["from"] == 0, whole=whole):
                evidence = {
                    "generation": generation,
                    "attempt": segment["attempt"],
                    "part": part,
                    "said": said,
                }
                yield Violation("I2", "not what the upstream said", evidence)


def _is_from(part: str, said: str, *, first: bool, whole: bool) -> bool:
    """Whether a segment is what an attempt said.

    What begins the message is shown as it was said. A continuation may lose an overlap or a preamble at its
    beginning, and the seam mends the white space there; a character that was cut through is wholly its own.
    """
    if first and whole:
        return part == said
    if first:
        return said.startswith(part)
    part = part.lstrip()
    cluster = _CLUSTER.match(part)
    beginnings = range(len(cluster[0]) if cluster else 1)
    if whole:
        return any(said.endswith(part[at:]) for at in beginnings)
    return any(part[at:] in said for at in beginnings)


def _usage(
    recording: Recording, upstream: Mapping[str, Any] | None, rows: Mapping[str, Any]
) -> Iterator[Violation]:
    by_generation = _by(rows["usage"], "generation_id")
    settled = {f["generation"]: f["usage"] for f in recording.of_type("generation.finished", "usage.settled")}
    for finished in recording.of_type("generation.finished"):
        generation = finished["generation"]
        mine = sorted(by_generation.get(generation, []), key=lambda row: row["attempt"])
        evidence = {"generation": generation, "rows": mine}
        if [row["attempt"] for row in mine] != [s["attempt"] for s in finished["segments"]]:
            yield Violation("I4", "not one usage row per attempt", evidence)
        told = settled[generation]
        if told["state"] == "settled" and total(mine) != total([told]):
            yield Violation("I4", "the rows' sum is not what was told", {**evidence, "told": told})
    ids = _by([row for row in rows["usage"] if row["upstream_id"] is not None], "upstream_id")
    for upstream_id, same in ids.items():
        if len(same) > 1:
            yield Violation("I4", "charged twice", {"upstream_id": upstream_id})
    if upstream is None:
        return
    unknown = sum(row["upstream_id"] is None and row["state"] == "unknown" for row in rows["usage"])
    for call in upstream["calls"]:
        if call["id"] is None or call["bill"] is None:
            continue
        if call["id"] not in ids:
            unknown -= 1
            if unknown < 0:
                yield Violation("I4", "a bill that no row counts", {"call": call})
            continue
        row, bill = ids[call["id"]][0], call["bill"]
        if row["state"] != "settled" or total([row]) != total([bill]):
            yield Violation("I4", "the row is not the bill", {"row": row, "bill": bill})


# --- I6 isolation, I9 notifications ---------------


def _isolation(recording: Recording, rows: Mapping[str, Any]) -> Iterator[Violation]:
    owners = {row["id"]: row["user_id"] for row in rows["generations"]}
    mine: set[str] = {recording.user}
    foreign: set[str] = set()
    for table in ("generations", "messages", "usage"):
        for row in rows[table]:
            owner = row.get("user_id") or owners.get(row.get("generation_id"))
            ids = {row[name] for name in ("id", "user_id", "conversation_id", "message_id") if row.get(name)}
            if owner is not None:
                (mine if owner == recording.user else foreign).update(ids)
    for connection, frame, _ in recording.heard:
        strangers = (set(_strings(frame)) & foreign) - mine
        if strangers or frame.get("user", recording.user) != recording.user:
            evidence = {"connection": connection, "ids": sorted(strangers), "frame": frame}
            yield Violation("I6", "a frame names what is another user's", evidence)


def _strings(value: Any) -> Iterator[str]:
    """Every id anywhere in a frame, keys and texts included."""
    if isinstance(value, str):
        yield from _ID.findall(value)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _strings(key)
            yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)


def _notifications(recording: Recording, rows: Mapping[str, Any] | None) -> Iterator[Violation]:
    heard: dict[tuple[str, str], set[str]] = {}
    for frame in recording.of_type("notification"):
        body = frame["notification"]
        heard.setdefault((body["assessmentId"], body["stage"]), set()).add(frame["position"])
    for stage, positions in heard.items():
        if len(positions) > 1:
            yield Violation("I9", "a stage was told twice", {"stage": stage, "at": sorted(positions)})
    for row in (rows or {}).get("notifications", []):
        owed = (row["assessmentId"], row["stage"])
        if owed not in heard:
            yield Violation("I9", "a stage was not told", {"stage": owed})


def _by(rows: Any, name: str) -> dict[Any, list[Any]]:
    """Rows by the value of one column."""
    groups: dict[Any, list[Any]] = {}
    for row in rows:
        groups.setdefault(row[name], []).append(row)
    return groups
