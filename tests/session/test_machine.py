from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codes import CloseCode, ErrorCode
from protocol.frames import AuthExpiring, Error, Heartbeat, type_of
from server.session.machine import (
    Action,
    Close,
    Execute,
    SessionLimits,
    SessionMachine,
    State,
    Tell,
    error_frame,
    token_time,
)

LIMITS = SessionLimits()
WALL = 1_700_000_000.0
UUID = "00000000-0000-4000-8000-000000000001"
HELLO = {"type": "hello", "id": "h"}
COMMANDS: dict[str, dict[str, Any]] = {
    "auth": {"token": "t"},
    "message.send": {"content": "hi", "client_message_id": UUID},
    "message.regenerate": {"message": UUID, "client_message_id": UUID},
    "generation.stop": {"generation": UUID},
    "sync": {},
    "ping": {},
}


def raw(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, "id": "7", **COMMANDS.get(kind, {}), **fields})


def a_machine(*, limits: SessionLimits = LIMITS, jitter: float = 0.0) -> SessionMachine:
    return SessionMachine(limits, 0.0, heartbeat_jitter=jitter)


def an_open_machine(*, token_ends: float = WALL + 3600, jitter: float = 0.0) -> SessionMachine:
    machine = a_machine(jitter=jitter)
    (action,) = machine.receive(json.dumps(HELLO), 0.0, WALL)
    assert isinstance(action, Execute)
    machine.opened(token_ends)
    return machine


def tick(
    machine: SessionMachine,
    now: float,
    wall: float = WALL,
    *,
    last_sent: float | None = None,
    stuck_since: float | None = None,
) -> list[Action]:
    return machine.tick(now, wall, last_sent=now if last_sent is None else last_sent, stuck_since=stuck_since)


def told(actions: list[Action]) -> list[tuple[str, str | None]]:
    """The errors among the actions, by code and `re`."""
    errors = [action.frame for action in actions if isinstance(action, Tell)]
    return [(error.code, error.re) for error in errors if isinstance(error, Error)]


def closed(actions: list[Action]) -> list[CloseCode]:
    return [action.code for action in actions if isinstance(action, Close)]


# --- the first frame -------------------------------------------------------------------------------


def test_hello_is_carried_out_and_then_every_command_is() -> None:
    machine = a_machine()
    (hello,) = machine.receive(json.dumps(HELLO), 0.0, WALL)
    assert isinstance(hello, Execute)

    machine.opened(WALL + 3600)

    assert machine.state is State.OPEN
    for kind in COMMANDS:
        (action,) = machine.receive(raw(kind), 1.0, WALL)
        assert isinstance(action, Execute)
        assert type_of(action.command) == kind


@pytest.mark.parametrize("kind", COMMANDS)
def test_any_other_command_first_is_unauthenticated_and_closes(kind: str) -> None:
    machine = a_machine()

    actions = machine.receive(raw(kind), 0.0, WALL)

    assert told(actions) == [(ErrorCode.UNAUTHENTICATED, "7")]
    assert closed(actions) == [CloseCode.NOT_AUTHENTICATED]


def test_another_command_first_is_unauthenticated_also_where_its_fields_are_wrong() -> None:
    actions = a_machine().receive(raw("message.send", content=5), 0.0, WALL)

    assert told(actions) == [(ErrorCode.UNAUTHENTICATED, "7")]
    assert closed(actions) == [CloseCode.NOT_AUTHENTICATED]


def test_a_bad_frame_first_is_answered_and_hello_may_still_follow() -> None:
    machine = a_machine()

    assert told(machine.receive(raw("nonsense"), 0.0, WALL)) == [(ErrorCode.UNKNOWN_TYPE, "7")]
    assert told(machine.receive(raw("hello", token=5), 0.0, WALL)) == [(ErrorCode.BAD_REQUEST, "7")]

    (action,) = machine.receive(json.dumps(HELLO), 1.0, WALL)
    assert isinstance(action, Execute)


@pytest.mark.parametrize(("now", "closes"), [(4.9, []), (5.0, [CloseCode.NO_HELLO])])
def test_a_hello_that_is_late_closes(now: float, closes: list[CloseCode]) -> None:
    assert closed(tick(a_machine(), now)) == closes


def test_a_hello_that_is_being_answered_is_not_late() -> None:
    machine = a_machine()
    machine.receive(json.dumps(HELLO), 4.0, WALL)

    assert tick(machine, 60.0, last_sent=0.0) == []


def test_a_second_hello_is_a_bad_request() -> None:
    machine = an_open_machine()

    actions = machine.receive(json.dumps(HELLO), 1.0, WALL)

    assert told(actions) == [(ErrorCode.BAD_REQUEST, "h")]
    assert closed(actions) == []


# --- bad frames ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "code", "re"),
    [
        ("{", ErrorCode.BAD_REQUEST, None),
        ("[]", ErrorCode.BAD_REQUEST, None),
        ('{"type":"ping","id":5}', ErrorCode.BAD_REQUEST, None),
        ('{"type":"generation.stop","id":"7"}', ErrorCode.BAD_REQUEST, "7"),
        ('{"type":"dance","id":"7"}', ErrorCode.UNKNOWN_TYPE, "7"),
        ('{"type":"ping","id":"\\u0000"}', ErrorCode.BAD_REQUEST, None),
        ('{"type":"ping","x":"\ud800"}', ErrorCode.BAD_REQUEST, None),
    ],
)
def test_a_bad_frame_is_answered_and_the_session_goes_on(frame: str, code: str, re: str | None) -> None:
    machine = an_open_machine()

    assert told(machine.receive(frame, 1.0, WALL)) == [(code, re)]

    (action,) = machine.receive(raw("ping"), 2.0, WALL)
    assert isinstance(action, Execute)


def test_the_tenth_bad_frame_within_a_minute_is_answered_and_closes() -> None:
    machine = an_open_machine()
    for count in range(9):
        assert closed(machine.receive("{", float(count), WALL)) == []

    actions = machine.receive("{", 60.0, WALL)

    assert told(actions) == [(ErrorCode.BAD_REQUEST, None)]
    assert closed(actions) == [CloseCode.MALFORMED]


def test_bad_frames_over_more_than_a_minute_do_not_close() -> None:
    machine = an_open_machine()

    for count in range(40):
        assert closed(machine.receive("{", count * 6.7, WALL)) == []


@given(st.lists(st.floats(0.1, 20.0), min_size=1, max_size=60))
def test_bad_frames_close_as_soon_as_ten_lie_within_a_minute(pauses: list[float]) -> None:
    machine = an_open_machine()
    times: list[float] = []
    now = 0.0
    for pause in pauses:
        now += pause
        times.append(now)
        expected = len(times) >= 10 and now - times[-10] <= 60.0
        assert (closed(machine.receive("{", now, WALL)) == [CloseCode.MALFORMED]) == expected
        if expected:
            return


@pytest.mark.parametrize("data", [b"", b'{"type":"ping"}'])
def test_a_binary_frame_closes(data: bytes) -> None:
    assert an_open_machine().receive(data, 1.0, WALL) == [Close(CloseCode.MALFORMED)]
    assert a_machine().receive(data, 1.0, WALL) == [Close(CloseCode.MALFORMED)]


# --- the size of frames ----------------------------------------------------------------------------


@pytest.mark.parametrize("char", ["x", "é", "漢", "😀"])
def test_a_frame_may_take_64_kib_of_utf_8_and_not_a_byte_more(char: str) -> None:
    empty = json.dumps({"type": "ping", "x": ""})
    room = LIMITS.max_frame_bytes - len(empty)
    filling = char * (room // len(char.encode()))
    filling += "x" * (room - len(filling.encode()))
    fits = json.dumps({"type": "ping", "x": filling}, ensure_ascii=False)
    assert len(fits.encode()) == 65536

    (action,) = an_open_machine().receive(fits, 1.0, WALL)
    assert isinstance(action, Execute)

    assert an_open_machine().receive(fits + " ", 1.0, WALL) == [Close(CloseCode.FRAME_TOO_BIG)]


def test_lone_surrogates_do_not_keep_a_frame_from_being_measured() -> None:
    fits = '{"type":"ping","x":"' + "\ud800" * 20_000 + '"}'
    too_big = '{"type":"ping","x":"' + "\ud800" * 22_000 + '"}'

    assert told(an_open_machine().receive(fits, 1.0, WALL)) == [(ErrorCode.BAD_REQUEST, None)]
    assert an_open_machine().receive(too_big, 1.0, WALL) == [Close(CloseCode.FRAME_TOO_BIG)]


# --- the rate of frames ----------------------------------------------------------------------------


def test_forty_frames_at_once_are_taken_and_the_next_closes() -> None:
    machine = a_machine()
    machine.receive(json.dumps(HELLO), 0.0, WALL)
    machine.opened(WALL + 3600)
    for _ in range(39):
        assert closed(machine.receive(raw("ping"), 0.0, WALL)) == []

    assert machine.receive(raw("ping"), 0.0, WALL) == [Close(CloseCode.TOO_MANY_FRAMES)]


def test_twenty_frames_a_second_are_taken_for_ever() -> None:
    machine = an_open_machine()

    for count in range(1, 2000):
        assert closed(machine.receive(raw("ping"), count * 0.05, WALL)) == []


def test_bad_frames_count_as_frames() -> None:
    machine = an_open_machine()
    machine.receive("{", 0.0, WALL)
    for _ in range(38):
        machine.receive(raw("ping"), 0.0, WALL)

    assert machine.receive("{", 0.0, WALL) == [Close(CloseCode.TOO_MANY_FRAMES)]


@given(st.lists(st.floats(0.0, 0.5), min_size=1, max_size=120))
def test_no_more_than_a_burst_and_the_rate_is_taken(pauses: list[float]) -> None:
    machine = an_open_machine()
    now, taken = 0.0, 1
    for pause in pauses:
        now += pause
        if closed(machine.receive(raw("ping"), now, WALL)):
            assert taken + 1 > 40
            return
        taken += 1
        assert taken <= 40 + 20 * now + 1e-6


# --- the token -------------------------------------------------------------------------------------


def test_a_token_that_ends_is_announced_a_minute_before_and_once() -> None:
    machine = an_open_machine(token_ends=WALL + 100)

    assert tick(machine, 1.0, WALL + 39.9) == []
    assert tick(machine, 2.0, WALL + 40.5) == [Tell(AuthExpiring(expires_in_ms=59_500))]
    assert tick(machine, 3.0, WALL + 41) == []
    assert tick(machine, 4.0, WALL + 101) == []


def test_a_token_that_has_ended_is_announced_as_ended() -> None:
    machine = an_open_machine(token_ends=WALL - 1)

    assert tick(machine, 1.0, WALL) == [Tell(AuthExpiring(expires_in_ms=0))]


@pytest.mark.parametrize(("kind", "refused"), [(k, k.startswith("message.")) for k in COMMANDS])
def test_with_an_ended_token_nothing_new_is_begun_and_the_rest_goes_on(kind: str, *, refused: bool) -> None:
    machine = an_open_machine(token_ends=WALL + 100)
    (before,) = machine.receive(raw(kind), 1.0, WALL + 99.9)
    assert isinstance(before, Execute)

    actions = machine.receive(raw(kind), 2.0, WALL + 100)

    assert told(actions) == ([(ErrorCode.TOKEN_EXPIRED, "7")] if refused else [])
    assert any(isinstance(action, Execute) for action in actions) != refused
    assert closed(actions) == []


def test_commands_are_refused_by_nobodys_clock_before_hello_is_answered() -> None:
    machine = a_machine()
    machine.receive(json.dumps(HELLO), 0.0, WALL)

    (action,) = machine.receive(raw("message.send"), 0.0, WALL)

    assert isinstance(action, Execute)


def test_a_token_that_has_ended_closes_after_a_grace() -> None:
    machine = an_open_machine(token_ends=WALL)
    tick(machine, 0.0, WALL)

    assert tick(machine, 24.0, WALL + 24.9) == []
    assert tick(machine, 25.0, WALL + 25) == [Close(CloseCode.TOKEN_EXPIRED)]
    assert machine.state is State.CLOSED


def test_a_newer_token_opens_the_session_again_and_is_announced_in_its_turn() -> None:
    machine = an_open_machine(token_ends=WALL)
    tick(machine, 1.0, WALL + 1)
    assert told(machine.receive(raw("message.send"), 1.0, WALL + 1)) == [(ErrorCode.TOKEN_EXPIRED, "7")]

    machine.extended(WALL + 200)

    (action,) = machine.receive(raw("message.send"), 2.0, WALL + 2)
    assert isinstance(action, Execute)
    assert tick(machine, 3.0, WALL + 30) == []
    assert tick(machine, 4.0, WALL + 150) == [Tell(AuthExpiring(expires_in_ms=50_000))]


# --- silence, and readers that do not read -----------------------------------------------------------


def test_silence_is_filled_with_heartbeats() -> None:
    machine = an_open_machine()

    assert tick(machine, 30.0, last_sent=5.1) == []
    assert tick(machine, 30.0, last_sent=5.0) == [Tell(Heartbeat())]


@pytest.mark.parametrize("jitter", [-1.0, 0.0, 1.0])
def test_heartbeats_come_within_a_fifth_of_their_time(jitter: float) -> None:
    machine = an_open_machine(jitter=jitter)
    due = 25.0 * (1 + 0.15 * jitter)

    assert tick(machine, due - 0.01, last_sent=0.0) == []
    assert tick(machine, due + 0.01, last_sent=0.0) == [Tell(Heartbeat())]


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        (SessionLimits(), 1.0),
        (SessionLimits(heartbeat_seconds=1), 0.05),
        (SessionLimits(heartbeat_seconds=0.1), 0.05),
        (SessionLimits(slow_reader_seconds=4), 0.2),
        (SessionLimits(auth_grace_seconds=10), 0.5),
        (SessionLimits(auth_grace_seconds=0), 1.0),
    ],
)
def test_a_look_is_late_by_no_more_than_a_twentieth_of_the_shortest_clock(
    limits: SessionLimits, seconds: float
) -> None:
    assert limits.look_seconds == seconds


def test_there_are_no_heartbeats_before_hello_nor_for_one_who_does_not_read() -> None:
    assert tick(a_machine(), 4.0, last_sent=-100.0) == []
    assert tick(an_open_machine(), 40.0, last_sent=0.0, stuck_since=30.0) == []


@pytest.mark.parametrize("make", [a_machine, an_open_machine])
def test_one_who_does_not_read_is_closed(make: Any) -> None:
    assert closed(tick(make(), 3.0, stuck_since=-26.9)) == []
    assert tick(make(), 3.0, stuck_since=-27.0) == [Close(CloseCode.CANNOT_KEEP_UP)]


# --- afterwards ------------------------------------------------------------------------------------


def test_nothing_follows_from_anything_once_closed() -> None:
    machine = an_open_machine(token_ends=WALL)
    machine.close()

    assert machine.receive(raw("ping"), 1.0, WALL) == []
    assert machine.receive(b"", 1.0, WALL) == []
    assert tick(machine, 1000.0, WALL + 1000, last_sent=0.0, stuck_since=0.0) == []


@given(st.lists(st.one_of(st.text(max_size=30), st.binary(max_size=5), st.sampled_from(sorted(COMMANDS)))))
def test_whatever_comes_in_every_frame_has_one_consequence_until_the_close(
    frames: list[str | bytes],
) -> None:
    machine = an_open_machine()
    over = False
    for count, frame in enumerate(frames):
        sent = raw(frame) if isinstance(frame, str) and frame in COMMANDS else frame
        actions = machine.receive(sent, count * 0.05, WALL)
        if over:
            assert actions == []
            continue
        answers = [action for action in actions if not isinstance(action, Close)]
        over = bool(closed(actions))
        assert len(answers) <= 1
        assert answers or over


@pytest.mark.parametrize(
    ("code", "retryable"), [(ErrorCode.RATE_LIMITED, True), (ErrorCode.BAD_REQUEST, False)]
)
def test_whether_a_retry_helps_is_a_property_of_the_code(code: ErrorCode, *, retryable: bool) -> None:
    error = error_frame(code, "no", re="1", retry_after_ms=5)

    assert (error.code, error.message, error.re, error.retry_after_ms) == (code, "no", "1", 5)
    assert error.retryable is retryable


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_772_958_600.25, "2026-03-08T08:30:00.250Z"),
        (float("inf"), "9999-12-31T23:59:59.000Z"),
    ],
)
def test_a_tokens_end_is_written_as_clients_read_it(ends: float, text: str) -> None:
    assert token_time(ends) == text
