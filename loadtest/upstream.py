"""The model the load tests ask: a fast server that speaks OpenRouter's stream and stamps every token.

A process of its own. All streams are paced by one timer: time is cut into slots, a stream lives in the slot
in which it began and gets a token whenever its slot comes round. `GET /stats` tells, and forgets, how long
each request was under way from the client's send.

    python -m loadtest.upstream --port 9100 --rate 20
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
from typing import Any, cast

import uvloop

from loadtest.stamps import asked, token

SLOT_SECONDS = 0.005
MODELS = (
    "qwen/qwen3-235b-a22b-07-25:free",
    "meta-llama/llama-3.2-3b-instruct:free",
    "openrouter/free",
    "openai/gpt-4o-mini",
)
_PROMPT_TOKENS = 12


def now_us() -> int:
    """Microseconds of the machine's monotonic clock."""
    return time.monotonic_ns() // 1000


class Stream:
    """One answer under way."""

    __slots__ = ("_after", "_before", "_connection", "_id", "_left", "_model", "_wanted")

    def __init__(self, connection: Connection, generation_id: str, model: str, tokens: int) -> None:
        self._connection = connection
        self._id, self._model = generation_id, model
        self._left = self._wanted = tokens
        whole = self._chunk({"content": "\0", "role": "assistant"}, None)
        before, _, after = whole.partition(b"\\u0000")
        self._before, self._after = before, after

    def step(self) -> bool:
        """Send the next token; whether there are more."""
        transport = self._connection.transport
        if transport is None or transport.is_closing():
            return False
        data = self._before + token(now_us()).encode() + self._after
        self._left -= 1
        if self._left == 0:
            data += self._end()
        transport.write(b"%x\r\n%b\r\n" % (len(data), data) + (b"0\r\n\r\n" if self._left == 0 else b""))
        return self._left > 0

    def _end(self) -> bytes:
        stop = {"content": "", "role": "assistant"}
        usage = {
            "prompt_tokens": _PROMPT_TOKENS,
            "completion_tokens": self._wanted,
            "total_tokens": _PROMPT_TOKENS + self._wanted,
            "cost": 0,
        }
        return self._chunk(stop, "stop") + self._chunk(stop, "stop", usage=usage) + b"data: [DONE]\n\n"

    def _chunk(self, delta: dict[str, str], finish: str | None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "native_finish_reason": finish}
        chunk = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": self._model,
            "provider": "Load",
            "choices": [choice],
            **more,
        }
        return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


class Wheel:
    """The one timer: every stream in its slot."""

    def __init__(self, rate: float) -> None:
        self.slots: list[list[Stream]] = [[] for _ in range(max(1, round(1 / rate / SLOT_SECONDS)))]
        self._slot_seconds = 1 / rate / len(self.slots)
        self._turn = 0

    def start(self) -> None:
        """Begin to turn."""
        self._began = asyncio.get_running_loop().time()
        self._next()

    def add(self, stream: Stream) -> None:
        """Send the first token now and the others as the slot comes round."""
        if stream.step():
            self.slots[self._turn % len(self.slots)].append(stream)

    def _next(self) -> None:
        loop = asyncio.get_running_loop()
        while self._began + (self._turn + 1) * self._slot_seconds <= loop.time():
            self._turn += 1
            slot = self._turn % len(self.slots)
            streams = self.slots[slot]
            # what is added while this runs lands in this slot and waits for its next turn
            self.slots[slot] = []
            self.slots[slot] += [stream for stream in streams if stream.step()]
        loop.call_at(self._began + (self._turn + 1) * self._slot_seconds, self._next)


class LoadUpstream:
    """What is shared by all connections."""

    def __init__(self, rate: float, tokens: int) -> None:
        self.wheel = Wheel(rate)
        self.tokens = tokens
        self.ids = itertools.count(1)
        self.accepted_us: list[int] = []
        self.requests = 0
        self.asked: dict[str, int] = {}


class Connection(asyncio.Protocol):
    """One keep-alive HTTP/1.1 connection, one request at a time."""

    def __init__(self, upstream: LoadUpstream) -> None:
        self._upstream = upstream
        self._buffer = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport by inheritance
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (head_end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:head_end].decode("latin-1")
            size = 0
            for line in head.split("\r\n")[1:]:
                name, _, value = line.partition(":")
                if name.lower() == "content-length":
                    size = int(value)
            if len(self._buffer) < head_end + 4 + size:
                return
            body = self._buffer[head_end + 4 : head_end + 4 + size]
            self._buffer = self._buffer[head_end + 4 + size :]
            method, target, _ = head.split("\r\n", 1)[0].split(" ", 2)
            self._request(method, target, body)

    def _request(self, method: str, target: str, body: bytes) -> None:
        path, _, query = target.partition("?")
        if method == "POST" and path.endswith("/chat/completions"):
            self._stream(body)
        elif path.endswith("/models"):
            price = {"prompt": "0", "completion": "0"}
            models = [{"id": m, "name": m, "context_length": 131072, "pricing": price} for m in MODELS]
            self._json({"data": models})
        elif path.endswith("/generation"):
            generation = query.partition("id=")[2].partition("&")[0]
            self._settle(generation)
        elif path == "/stats":
            self._json({"accepted_us": self._upstream.accepted_us, "requests": self._upstream.requests})
            self._upstream.accepted_us = []
        else:
            self._json({"data": {"label": "load", "limit": None, "usage": 0}})

    def _stream(self, body: bytes) -> None:
        upstream = self._upstream
        now = now_us()
        sent, tokens = asked(body) or (now, upstream.tokens)
        upstream.requests += 1
        upstream.accepted_us.append(now - sent)
        generation = f"gen-{int(time.time())}-{next(upstream.ids):020d}"
        upstream.asked[generation] = tokens
        model = json.loads(body).get("model", MODELS[0])
        assert self.transport is not None
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
            b"X-Generation-Id: " + generation.encode() + b"\r\n\r\n"
        )
        upstream.wheel.add(Stream(self, generation, model, tokens))

    def _settle(self, generation: str) -> None:
        tokens = self._upstream.asked.get(generation)
        if tokens is None:
            self._json({"error": {"code": 404, "message": "Generation not found"}}, "404 Not Found")
            return
        counts = {"native_tokens_prompt": _PROMPT_TOKENS, "native_tokens_completion": tokens}
        self._json(
            {"data": {"id": generation, "model": MODELS[0], "total_cost": 0, "cancelled": False, **counts}}
        )

    def _json(self, value: Any, status: str = "200 OK") -> None:
        body = json.dumps(value).encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        assert self.transport is not None
        self.transport.write(head.encode() + body)


async def serve(host: str, port: int, rate: float, tokens: int) -> asyncio.Server:
    """Listen; the server is started."""
    upstream = LoadUpstream(rate, tokens)
    upstream.wheel.start()
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: Connection(upstream), host, port, backlog=4096)


async def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, default=20, help="tokens per second and stream")
    parser.add_argument(
        "--tokens", type=int, default=100, help="length of an answer where the prompt names none"
    )
    arguments = parser.parse_args()
    server = await serve("127.0.0.1", arguments.port, arguments.rate, arguments.tokens)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
