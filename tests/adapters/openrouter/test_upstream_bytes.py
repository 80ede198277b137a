"""The adapter against a server that sends exact bytes: what HTTP itself can do to a stream."""

from __future__ import annotations

import asyncio
import gc
import json
import operator
import socket
from contextlib import aclosing
from functools import partial
from typing import Any

import aiohttp
import pytest

from server.adapters.openrouter.upstream import OpenRouter, OpenRouterLimits
from server.generations.upstream import Done, Failed, FailureKind, Finish, Opened, Served, Text
from tests.adapters.openrouter.asking import KEY, a_request, all_facts, an_adapter, text_of
from tests.scripted.raw_upstream import EVENT_STREAM, LAST_CHUNK, Exchange, RawUpstream, chunked
from tests.scripted.waiting import eventually

CONTENT = b'data: {"id":"gen-1","model":"a/b","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
FINISH = b'data: {"id":"gen-1","model":"a/b","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def facts_for(script: Any, **changes: Any) -> tuple[list[Any], RawUpstream]:
    """All facts of one call answered by `script`, and the server with what it received."""

    async def ask() -> tuple[list[Any], RawUpstream]:
        async with RawUpstream(script) as upstream:
            openrouter = an_adapter(upstream.base_url, **changes)
            try:
                async with asyncio.timeout(10):
                    return await all_facts(openrouter), upstream
            finally:
                await openrouter.aclose()

    return asyncio.run(ask())


def test_a_stream_that_ends_as_it_should():
    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunked(CONTENT) + chunked(FINISH + DONE) + LAST_CHUNK)

    facts, _ = facts_for(script)

    assert isinstance(facts[0], Opened)
    assert facts[0].generation_id == "gen-header"
    assert facts[1:] == [Served("a/b", "gen-1"), Text("Hi"), Finish("stop", None), Done()]


def test_what_is_sent():
    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunked(CONTENT + FINISH + DONE) + LAST_CHUNK)

    _, upstream = facts_for(script, title="ATMA für Schüler")

    head, body = upstream.exchanges[0].head, json.loads(upstream.exchanges[0].body)
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /api/v1/chat/completions HTTP/1.1"
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:] if line)}
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["http-referer"] == "https://atma.test"
    assert headers["x-openrouter-title"] == headers["x-title"] == "ATMA für Schüler"
    assert headers["x-request-id"] == "r-1"
    assert headers["accept-encoding"] == "identity"
    assert headers["content-type"] == "application/json"
    assert body == {
        "model": "openai/gpt-4o-mini",
        "messages": [{"role": "user", "content": "Which job suits me?"}],
        "stream": True,
        "max_tokens": 500,
        "temperature": 0.7,
        "user": "u-1",
        "session_id": "c-1",
    }


@pytest.mark.parametrize("how", ["reset", "close", "garbage"])
def test_a_stream_that_breaks_has_failed_after_its_text(how: str):
    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunked(CONTENT))
        await release.wait()
        if how == "garbage":
            await exchange.send(b"not a chunk size\r\n")
        else:
            getattr(exchange, how)()

    release = asyncio.Event()

    async def ask() -> list[Any]:
        async with (
            RawUpstream(script) as upstream,
            aclosing(an_adapter(upstream.base_url)) as openrouter,
        ):
            facts: list[Any] = []
            async with asyncio.timeout(10), aclosing(openrouter.stream(a_request())) as stream:
                async for read in stream:
                    facts += read
                    if text_of(facts):
                        release.set()
            return facts

    facts = asyncio.run(ask())

    assert text_of(facts) == "Hi"
    assert isinstance(facts[-1], Failed)
    assert (facts[-1].kind, facts[-1].status) == (FailureKind.TRUNCATED, None)


def content_under(stream: Any) -> aiohttp.StreamReader:
    """What aiohttp holds for the stream that is being read."""
    content = stream.ag_frame.f_locals["link"]._raw.content
    assert isinstance(content, aiohttp.StreamReader)
    return content


def has_more(content: aiohttp.StreamReader) -> bool:
    """Whether more than the first event has arrived."""
    return content.total_bytes > len(CONTENT)


@pytest.mark.parametrize("how", ["reset", "close"])
def test_what_arrived_before_the_break_is_not_lost_by_a_slow_reader(how: str):
    """aiohttp refuses to give out what it had buffered once the connection broke; it may be the end."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunked(CONTENT))
        await holding.wait()
        await exchange.send(chunked(FINISH + DONE))
        await received.wait()
        getattr(exchange, how)()

    holding, received = asyncio.Event(), asyncio.Event()

    async def ask() -> list[Any]:
        async with (
            RawUpstream(script) as upstream,
            aclosing(an_adapter(upstream.base_url)) as openrouter,
        ):
            facts: list[Any] = []
            async with asyncio.timeout(10), aclosing(openrouter.stream(a_request())) as stream:
                async for read in stream:
                    facts += read
                    if text_of(facts) and not holding.is_set():
                        # the reader is busy while the rest arrives and the connection breaks
                        content = content_under(stream)
                        holding.set()
                        await eventually(partial(has_more, content))
                        received.set()
                        await eventually(content.exception)
            return facts

    facts = asyncio.run(ask())

    assert facts[1:] == [Served("a/b", "gen-1"), Text("Hi"), Finish("stop", None), Done()]


def test_a_connection_that_breaks_when_nobody_uses_it_is_nobodys_error():
    """It is kept for the next call; asyncio would report the loss when it forgets it."""
    kept: list[Exchange] = []
    reported: list[Any] = []

    async def script(exchange: Exchange) -> None:
        kept.append(exchange)
        await exchange.send(EVENT_STREAM + chunked(CONTENT))
        await being_read.wait()
        await exchange.send(chunked(FINISH + DONE) + LAST_CHUNK)

    being_read = asyncio.Event()

    async def ask() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
        async with (
            RawUpstream(script) as upstream,
            aclosing(an_adapter(upstream.base_url)) as openrouter,
        ):
            async with aclosing(openrouter.stream(a_request())) as stream:
                async for _ in stream:
                    being_read.set()
            kept[-1].reset()

            async def uses_another() -> bool:
                await all_facts(openrouter)
                return upstream.connections == 2

            await eventually(uses_another)

    asyncio.run(ask())
    gc.collect()

    assert reported == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", FailureKind.CONNECTION_LOST),
        (b"HTTP/1.1 200", FailureKind.CONNECTION_LOST),
        (b"garbage\r\n\r\n", FailureKind.MALFORMED),
        (PLAIN + b"Content-Length: 0\r\n\r\n", FailureKind.TRUNCATED),
        (b"HTTP/1.1 204 No Content\r\n\r\n", FailureKind.TRUNCATED),
        (PLAIN + b"\r\n" + CONTENT, FailureKind.TRUNCATED),
        (PLAIN + b"Content-Length: 9999\r\n\r\n" + CONTENT, FailureKind.TRUNCATED),
        (PLAIN + b"\r\n<html>", FailureKind.MALFORMED),
        (PLAIN + b"\r\ndata: " + b"x" * (1 << 20) + b"x", FailureKind.MALFORMED),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", FailureKind.UPSTREAM_ERROR),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 9999\r\n\r\n<html>", FailureKind.OVERLOADED),
    ],
)  # fmt: skip
def test_whatever_comes_before_the_connection_closes_is_one_failure(answer: bytes, kind: FailureKind):
    async def script(exchange: Exchange) -> None:
        await exchange.send(answer)
        exchange.close()

    facts, _ = facts_for(script)

    assert [fact.kind for fact in facts if isinstance(fact, Failed)] == [kind]
    assert isinstance(facts[-1], Failed)
    assert facts[-1].detail


@pytest.mark.parametrize("end", [DONE, b""])
def test_a_body_that_ends_with_the_connection_is_whole_after_a_finish(end: bytes):
    async def script(exchange: Exchange) -> None:
        await exchange.send(PLAIN + b"\r\n" + CONTENT + FINISH + end)
        exchange.close()

    facts, _ = facts_for(script)

    assert facts[1:] == [Served("a/b", "gen-1"), Text("Hi"), Finish("stop", None), Done()]


def test_a_whole_completion_or_error_under_200_is_understood():
    async def script(exchange: Exchange) -> None:
        body = bodies.pop()
        await exchange.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            + body
        )

    whole = b'{"id":"gen-1","model":"a/b","choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}'
    bodies = [whole, b'{"error":{"code":429,"message":"slow down"}}']

    refused, _ = facts_for(script)
    answered, _ = facts_for(script)

    assert refused[1] == Failed(FailureKind.RATE_LIMITED_MODEL, detail="429 slow down")
    assert answered[1:] == [Served("a/b", "gen-1"), Text("Hi"), Finish("stop", None), Done()]


def test_an_error_whose_body_never_comes_is_known_by_its_status():
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nContent-Length: 100\r\n\r\n{")
        await exchange.gone.wait()

    facts, _ = facts_for(script, limits=OpenRouterLimits(refusal_seconds=0.05))

    assert [(fact.kind, fact.status, fact.retry_after_seconds) for fact in facts] == [
        (FailureKind.RATE_LIMITED_MODEL, 429, 7.0)
    ]


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "no-such-host.invalid:{port}"])
def test_nobody_there_is_a_refused_connection(host: str):
    async def ask() -> list[Any]:
        openrouter = an_adapter(f"http://{host.format(port=closed_port())}/api/v1")
        facts = await all_facts(openrouter)
        await openrouter.aclose()
        return facts

    facts = asyncio.run(ask())

    assert [fact.kind for fact in facts] == [FailureKind.CONNECT_REFUSED]


def test_tls_that_is_none_is_a_refused_connection():
    async def script(exchange: Exchange) -> None:
        raise AssertionError("no request can arrive")

    async def ask() -> list[Any]:
        async with RawUpstream(script) as upstream:
            openrouter = an_adapter(upstream.base_url.replace("http:", "https:"))
            facts = await all_facts(openrouter, connect_seconds=0.3)
            await openrouter.aclose()
            return facts

    facts = asyncio.run(ask())

    # the other side waits for an HTTP head and never answers the handshake
    assert [fact.kind for fact in facts] == [FailureKind.CONNECT_TIMEOUT]


@pytest.mark.parametrize("messages", [({"content": "\ud83d"},), ({"content": object()},)])
def test_a_prompt_that_is_no_json_is_a_bad_request_and_nothing_is_sent(messages: Any):
    async def ask() -> list[Any]:
        openrouter = an_adapter("http://127.0.0.1:9/api/v1")
        facts = await all_facts(openrouter, messages=messages)
        await openrouter.aclose()
        return facts

    assert [fact.kind for fact in asyncio.run(ask())] == [FailureKind.BAD_REQUEST]


@pytest.mark.parametrize(
    "changes",
    [{"keys": []}, {"keys": ["a\r\nb"]}, {"title": "a\nb"}, {"referer": "\0"}, {"base_url": "openrouter.ai"}],
)
def test_what_cannot_work_is_said_at_construction_without_showing_a_key(changes: dict[str, Any]):
    with pytest.raises(ValueError) as told:  # the message differs
        OpenRouter(**{"base_url": "http://x", "keys": ["k"], "referer": "", "title": "", **changes})

    assert "a\r" not in str(told.value)


async def asking_until_open(openrouter: OpenRouter, opened: asyncio.Event) -> None:
    async with aclosing(openrouter.stream(a_request())) as stream:
        async for _ in stream:
            opened.set()


@pytest.mark.parametrize("cancellations", [1, 2])
@pytest.mark.parametrize("where", ["before headers", "reading"])
def test_cancelling_closes_the_connection_at_once(where: str, cancellations: int):
    async def script(exchange: Exchange) -> None:
        if where == "reading":
            await exchange.send(EVENT_STREAM + chunked(CONTENT))
        asked.set()
        await exchange.gone.wait()

    asked = asyncio.Event()

    async def ask() -> None:
        async with (
            RawUpstream(script) as upstream,
            aclosing(an_adapter(upstream.base_url)) as openrouter,
        ):
            opened = asyncio.Event()
            task = asyncio.create_task(asking_until_open(openrouter, opened))
            async with asyncio.timeout(5):
                await asked.wait()
                if where == "reading":
                    await opened.wait()
                for _ in range(cancellations):
                    task.cancel()
                    await asyncio.sleep(0)
                with pytest.raises(asyncio.CancelledError):
                    await task
                await upstream.exchanges[0].gone.wait()

    asyncio.run(ask())


def test_closing_the_generator_between_reads_closes_the_connection_at_once():
    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunked(CONTENT))
        await exchange.gone.wait()

    async def ask() -> None:
        async with (
            RawUpstream(script) as upstream,
            aclosing(an_adapter(upstream.base_url)) as openrouter,
        ):
            stream = openrouter.stream(a_request())
            async with asyncio.timeout(5):
                await anext(stream)
                await stream.aclose()
                await upstream.exchanges[0].gone.wait()

    asyncio.run(ask())


@pytest.mark.parametrize("late", [False, True])
def test_a_finished_stream_gives_its_connection_to_the_next(late: bool):
    """Also when its reader leaves on `Done` and the body's end comes a moment later."""

    async def script(exchange: Exchange) -> None:
        end = chunked(CONTENT + FINISH + DONE)
        if not late:
            await exchange.send(EVENT_STREAM + end + LAST_CHUNK)
            return
        await exchange.send(EVENT_STREAM + end)
        await left.wait()
        await exchange.send(LAST_CHUNK)
        ended.set()

    left, ended = asyncio.Event(), asyncio.Event()

    async def ask() -> int:
        async with (
            RawUpstream(script) as upstream,
            aclosing(an_adapter(upstream.base_url)) as openrouter,
            asyncio.timeout(10),
        ):
            for _ in range(2):
                async with aclosing(openrouter.stream(a_request())) as stream:
                    async for facts in stream:
                        if isinstance(facts[-1], Done):
                            break
                if late:
                    left.set()
                    await ended.wait()
                    connector = openrouter._client._transport.client._connector  # type: ignore[attr-defined]
                    await eventually(partial(operator.not_, connector._acquired))
            return upstream.connections

    assert asyncio.run(ask()) == 1


def test_a_body_that_does_not_end_after_done_is_closed_after_a_moment():
    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunked(CONTENT + FINISH + DONE))
        await exchange.gone.wait()

    async def ask() -> None:
        async with (
            RawUpstream(script) as upstream,
            aclosing(an_adapter(upstream.base_url)) as openrouter,
            asyncio.timeout(10),
        ):
            openrouter._lingering._seconds = 0.05
            assert isinstance((await all_facts(openrouter))[-1], Done)
            await upstream.exchanges[0].gone.wait()

    asyncio.run(ask())


def test_closing_the_adapter_ends_what_lingers_and_what_streams():
    async def script(exchange: Exchange) -> None:
        content = CONTENT if len(upstream_seen) else CONTENT + FINISH + DONE
        upstream_seen.append(exchange)
        await exchange.send(EVENT_STREAM + chunked(content))
        await exchange.gone.wait()

    upstream_seen: list[Exchange] = []

    async def ask() -> list[Any]:
        async with RawUpstream(script) as upstream, asyncio.timeout(10):
            openrouter = an_adapter(upstream.base_url)
            await all_facts(openrouter)
            stream = openrouter.stream(a_request())
            await anext(stream)
            await anext(stream)
            await openrouter.aclose()
            rest = [fact async for facts in stream for fact in facts]
            for exchange in upstream_seen:
                await exchange.gone.wait()
            return rest

    rest = asyncio.run(ask())

    assert [fact.kind for fact in rest] == [FailureKind.TRUNCATED]


def test_more_streams_than_any_default_limit_of_connections():
    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunked(CONTENT))
        await everybody.wait()
        await exchange.send(chunked(FINISH + DONE) + LAST_CHUNK)

    everybody = asyncio.Event()

    async def ask() -> list[str]:
        async with (
            RawUpstream(script) as upstream,
            aclosing(an_adapter(upstream.base_url)) as openrouter,
            asyncio.timeout(30),
        ):
            tasks = [asyncio.create_task(all_facts(openrouter)) for _ in range(130)]
            await eventually(lambda: len(upstream.exchanges) == 130)
            everybody.set()
            return [text_of(facts) for facts in await asyncio.gather(*tasks)]

    assert asyncio.run(ask()) == ["Hi"] * 130
