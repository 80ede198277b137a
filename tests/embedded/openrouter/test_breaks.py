"""Every way a call breaks: before its headers, and inside its stream at the beginning, middle and end."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from server.embedded.openrouter.behaviour import Behaviour, Failure
from server.embedded.openrouter.ledger import Call
from server.embedded.openrouter.player import Player
from server.embedded.openrouter.simulator import Simulator
from tests.embedded.openrouter.listening import (
    Heard,
    a_body,
    ask,
    exchange,
    get,
    hear,
    heard_of,
    request,
    with_simulator,
)
from tests.scripted.waiting import eventually

TOKENS = ("One", " two", " three", ".")
PLACES = pytest.mark.parametrize("at", [0, 2, 4, 99])
SHOWN = {0: "", 2: "One two", 4: "One two three.", 99: "One two three."}


def breaking(how: Any, at: int, **changes: Any) -> Behaviour:
    return Behaviour(tokens=TOKENS, fail=Failure(how=how, at=at, **changes))


# --- in band: the stream itself says it ------------------------------------------------------------


@PLACES
@pytest.mark.parametrize(
    ("how", "choice", "error"),
    [
        ("error", ("error", "error"), {"code": 502, "message": "Provider returned error"}),
        ("error_empty_choices", None, {"code": 502, "message": "Provider returned error"}),
        ("error_string_code", ("error", "error"), {"code": "server_error"}),
        ("error_choice_only", ("error", "MALFORMED_FUNCTION_CALL"), None),
        ("error_native_only", ("stop", "network_error"), None),
        ("error_availability", None, {"http_status": 502, "message": "Provider returned error"}),
    ],
)
def test_an_error_in_band_has_its_shape_at_every_place(how: Any, choice: Any, error: Any, at: int):
    heard, call = hear(breaking(how, at))

    *_, last = heard.chunks
    assert heard.status == 200
    assert heard.text == call.sent == SHOWN[at]
    ends = [(c["finish_reason"], c["native_finish_reason"]) for c in last["choices"]]
    assert ends == ([] if choice is None else [choice])
    if error is None:
        assert "error" not in last
    else:
        assert error.items() <= last["error"].items()
    assert [chunk for chunk in heard.chunks if "usage" in chunk] == []
    assert (heard.end, heard.done, call.state, call.broken) == ("whole", False, "failed", False)


@pytest.mark.parametrize(
    "how",
    [
        "error",
        "error_empty_choices",
        "error_string_code",
        "error_choice_only",
        "error_native_only",
        "error_availability",
    ],
)
def test_an_error_in_band_may_be_followed_by_done(how: Any):
    heard, _ = hear(breaking(how, 2, done=True))

    assert heard.done
    assert heard.data.count(b"[DONE]") == 1


def test_an_error_in_band_says_what_it_is_told_to():
    heard, _ = hear(breaking("error", 0, code=429, message="Slow down", error_type="rate_limit_exceeded"))

    error = heard.chunks[-1]["error"]
    assert error == {
        "code": 429,
        "message": "Slow down",
        "metadata": {"error_type": "rate_limit_exceeded", "provider_name": None},
    }


def test_the_metadata_of_an_error_in_band_may_be_any():
    metadata = {"raw": "busy", "provider_name": "X", "limit_source": "provider", "remedy_hint": "wait"}
    heard, _ = hear(breaking("error_empty_choices", 1, metadata=metadata))

    assert heard.chunks[-1]["error"]["metadata"] == metadata


def test_an_error_in_band_may_come_after_comments_alone():
    """An upstream refusal that arrives once the 200 is committed."""
    heard, call = hear(
        Behaviour(text="Never.", comments_first=2, fail=Failure(how="error_empty_choices", code=429))
    )

    assert (len(heard.comments), heard.text, len(heard.chunks)) == (2, "", 1)
    assert heard.chunks[0]["error"]["code"] == 429
    assert call.first_token_at is None


# --- the connection says it -----------------------------------------------------------------------


@PLACES
@pytest.mark.parametrize(("how", "end"), [("close", "closed"), ("eof", "whole")])
def test_a_stream_may_end_without_a_finish(how: Any, end: str, at: int):
    heard, call = hear(breaking(how, at))

    assert (heard.text, heard.finishes, heard.done, heard.end) == (SHOWN[at], [], False, end)
    assert (call.state, call.broken, call.sent) == ("failed", True, SHOWN[at])


@PLACES
def test_a_stream_may_be_reset(at: int):
    heard, call = hear(breaking("reset", at))

    # what a reset overtakes is lost
    assert heard.end == "reset"
    assert SHOWN[at].startswith(heard.text)
    assert (call.state, call.broken, call.sent) == ("failed", True, SHOWN[at])


def test_without_chunks_an_end_and_a_closed_connection_are_the_same():
    heard, _ = hear(Behaviour(tokens=TOKENS, chunked=False, fail=Failure(how="close", at=2)))

    assert (heard.text, heard.end) == ("One two", "whole")


@PLACES
@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("malformed", b'data: {"id":"gen-broken","choices":[{"delta":{"cont\n\n'),
        ("not_sse", b"<html><body>upstream connect error</body></html>\n\n"),
    ],
)
def test_a_stream_may_become_something_else(how: Any, expected: bytes, at: int):
    heard, call = hear(breaking(how, at))

    assert heard.writes[-1] == expected
    assert sum(b'"content":' in write for write in heard.writes) == min(at, 4)
    assert (heard.end, call.sent) == ("whole", SHOWN[at])


@pytest.mark.parametrize("size", [10, 200_000])
def test_a_line_may_never_end(size: int):
    heard, call = hear(
        breaking("endless_line", 1, size=size), until=lambda h: h.body.count(b"x") >= size, stream=True
    )

    line = heard.lines[-1]
    assert line.startswith(b'data: {"id":"x')
    assert line.count(b"x") == size
    assert call.state == "aborted"


@PLACES
def test_a_stalled_stream_says_nothing_at_all(at: int):
    async def act(simulator: Simulator) -> None:
        simulator.script(Behaviour(tokens=TOKENS, comments="waiting", fail=Failure(how="stall", at=at)))
        heard = Heard()
        asking = asyncio.create_task(ask(simulator, into=heard))
        await eventually(lambda: simulator.calls() and simulator.calls()[0].tokens_sent == min(at, 4))
        for _ in range(20):  # time for the server to say more, were it to
            assert (await get(simulator, "/models")).status == 200
        call = simulator.calls()[0]
        assert (call.state, call.sent, heard.text) == ("open", SHOWN[at], SHOWN[at])
        assert heard.comments == []
        asking.cancel()
        await eventually(lambda: call.state == "aborted")

    with_simulator(act)


@PLACES
def test_a_stalled_stream_may_go_on_with_comments_for_ever(at: int):
    heard, call = hear(
        Behaviour(tokens=TOKENS, comment_every_ms=2, fail=Failure(how="stall_comments", at=at)),
        until=lambda h: len(h.comments) == 5,
    )

    assert (heard.text, call.sent) == (SHOWN[at], SHOWN[at])
    assert heard.body.endswith(b": OPENROUTER PROCESSING\n\n" * 5)
    assert (call.state, call.broken) == ("aborted", False)


# --- before the headers ---------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "end"), [("reset", "reset"), ("close", "closed")])
def test_a_connection_may_break_before_the_headers(how: Any, end: str):
    heard, call = hear(Behaviour(text="Never.", before_headers=how))

    assert (heard.status, heard.body, heard.end) == (None, b"", end)
    assert (call.status, call.state, call.headers_at) == (None, "failed", None)


def test_the_answer_may_be_no_http():
    async def act(simulator: Simulator) -> bytes:
        simulator.script(Behaviour(text="Never.", before_headers="garbage"))
        address = urlsplit(simulator.origin)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(request("POST", f"{simulator.base_url}/chat/completions", json.dumps(a_body()).encode()))
        said = await reader.read()
        writer.close()
        return said

    assert b"this is not HTTP" in with_simulator(act)


def test_headers_may_never_come():
    async def act(simulator: Simulator) -> None:
        simulator.script(Behaviour(text="Never.", before_headers="hang"))
        asking = asyncio.create_task(ask(simulator))
        await eventually(simulator.calls)
        for _ in range(20):
            assert (await get(simulator, "/models")).status == 200
        (call,) = simulator.calls()
        assert (call.state, call.headers_at, asking.done()) == ("open", None, False)
        asking.cancel()
        await eventually(lambda: call.state == "aborted")
        assert call.bill is not None
        assert call.bill.completion_tokens == 0

    with_simulator(act)


def test_headers_and_first_token_come_no_sooner_than_asked():
    heard, call = hear(Behaviour(text="Hi", headers_ms=30, first_token_ms=30))

    assert heard.text == "Hi"
    assert call.headers_at is not None
    assert call.first_token_at is not None
    assert call.headers_at - call.received_at >= 0.028
    assert call.first_token_at - call.received_at >= 0.058


def test_tokens_keep_their_interval():
    _, call = hear(Behaviour(tokens=("a",) * 6, interval_ms=10, jitter=0.2))

    assert call.last_token_at is not None
    assert call.last_token_at - call.received_at >= 5 * 0.008 - 0.002


def test_an_address_may_be_there_and_take_no_connection():
    async def act(simulator: Simulator) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await exchange(simulator.unreachable_url + "/models", method="GET")

    with_simulator(act)


# --- gates ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("at", "text"), [(0, ""), (2, "One two"), (99, "One two three.")])
def test_a_call_waits_at_its_gate_until_it_is_released(at: int, text: str):
    async def act(simulator: Simulator) -> None:
        simulator.script(Behaviour(tokens=TOKENS, gate="middle", gate_at=at))
        asking = asyncio.create_task(ask(simulator))
        await simulator.reached("middle")
        (call,) = simulator.calls()
        assert (call.state, call.sent, call.waiting_at) == ("open", text, "middle")
        assert simulator.release("middle") == 1
        heard = await asking
        assert (heard.text, heard.done, call.waiting_at) == ("One two three.", True, None)
        # a released gate stays open
        simulator.script(Behaviour(tokens=TOKENS, gate="middle", gate_at=at))
        assert (await ask(simulator)).done

    with_simulator(act)


def test_a_gate_may_stand_before_the_headers():
    async def act(simulator: Simulator) -> None:
        simulator.script(Behaviour(text="Hi", gate_before_headers="door"))
        asking = asyncio.create_task(ask(simulator))
        await simulator.reached("door")
        (call,) = simulator.calls()
        assert (call.headers_at, call.waiting_at) == (None, "door")
        simulator.release("door")
        assert (await asking).text == "Hi"

    with_simulator(act)


def test_who_leaves_at_a_gate_waits_there_no_more():
    async def act(simulator: Simulator) -> None:
        simulator.script(Behaviour(tokens=TOKENS, gate="middle", gate_at=1))
        asking = asyncio.create_task(ask(simulator))
        await simulator.reached("middle")
        asking.cancel()
        (call,) = simulator.calls()
        await eventually(lambda: call.state == "aborted")
        assert call.waiting_at is None
        assert simulator.release("middle") == 0

    with_simulator(act)


# --- a reader that does not read --------------------------------------------------------------------


def test_what_the_kernel_did_not_take_does_not_count_as_sent():
    """A reader that never reads has been shown what fits into the sockets between, and no more."""

    async def act(simulator: Simulator) -> None:
        simulator.script(Behaviour(tokens=("x" * 60_000,) * 300))
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.setblocking(False)
        address = urlsplit(simulator.origin)
        await asyncio.get_running_loop().sock_connect(narrow, (address.hostname, address.port))
        reader, writer = await asyncio.open_connection(sock=narrow, limit=2)
        writer.write(request("POST", f"{simulator.base_url}/chat/completions", json.dumps(a_body()).encode()))
        await eventually(simulator.calls)
        (call,) = simulator.calls()
        await eventually(lambda: player_of(simulator, call)._stuck, what="nothing more fits in between")
        player, shown = player_of(simulator, call), call.tokens_sent
        assert player._unsent is not None
        assert shown < 300
        received = bytearray()
        while len(received) < 60_000 * (shown + 1):
            received += await reader.read(1_000_000)
        writer.close()
        await eventually(lambda: call.state == "aborted")
        assert shown < call.tokens_sent < 300

    with_simulator(act)


def player_of(simulator: Simulator, call: Call) -> Player:
    """What plays the call."""
    (player,) = (each._player for each in simulator._connections if each.call is call)
    assert player is not None
    return player


def test_dropped_connections_are_readers_that_left():
    async def act(simulator: Simulator) -> None:
        simulator.script(Behaviour(tokens=TOKENS, gate="middle", gate_at=2))
        asking = asyncio.create_task(ask(simulator))
        await simulator.reached("middle")
        assert simulator.drop_connections() == 1
        heard = await asking
        (call,) = simulator.calls()
        await eventually(lambda: call.state == "aborted")
        assert SHOWN[2].startswith(heard.text)
        assert heard.end in {"reset", "closed"}

    with_simulator(act)


@pytest.mark.parametrize("how", ["error", "reset", "stall"])
def test_a_failure_without_a_stream_is_a_status(how: Any):
    heard, call = hear(breaking(how, 0, code=503, message="No.", metadata={"x": 1}), stream=False)

    assert (heard.status, call.state) == (503, "failed")
    assert heard.json == {"error": {"code": 503, "message": "No.", "metadata": {"x": 1}}}


def test_after_any_break_the_next_call_is_answered():
    async def act(simulator: Simulator) -> None:
        hows: list[Any] = ["error", "close", "eof", "reset", "malformed", "not_sse"]
        for how in hows:
            await heard_of(simulator, breaking(how, 1))
            heard, _ = await heard_of(simulator, Behaviour(text="Hi"))
            assert json.loads(heard.data[0])["model"] == "openai/gpt-4o-mini"
            assert heard.done

    with_simulator(act)
