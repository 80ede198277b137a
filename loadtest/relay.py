"""The yardstick: a bare relay, as good as one makes it in an afternoon, with no guarantee at all.

Starlette on uvicorn, httpx on the aiohttp transport to the upstream, one JSON frame per token to the socket.
It speaks just enough of the wire for the same clients to drive it. It stores nothing, knows no user, resumes
nothing, and its answers die with the socket.

    python -m loadtest.relay --port 9200 --upstream http://127.0.0.1:9100/api/v1
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import uvicorn
from httpx_aiohttp import AiohttpTransport
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

MODEL = "qwen/qwen3-235b-a22b-07-25:free"


async def health(_: Request) -> PlainTextResponse:
    """Alive."""
    return PlainTextResponse("ok")


async def chat(socket: WebSocket) -> None:
    """One client: a task per answer, which writes to the socket itself."""
    await socket.accept(subprotocol="atma.chat.v1")
    answers: set[asyncio.Task[None]] = set()

    async def send(frame: dict[str, Any]) -> None:
        await socket.send_text(orjson.dumps(frame).decode())

    try:
        while True:
            command = orjson.loads(await socket.receive_text())
            answer = {"re": command.get("id")}
            if command["type"] == "hello":
                await send(
                    {
                        "type": "welcome",
                        **answer,
                        "resume": "fresh",
                        "position": "0:0",
                        "session": "",
                        "user": "",
                    }
                )
                await send({"type": "synced", "position": "0:0"})
            elif command["type"] == "message.send":
                generation = str(uuid.uuid4())
                await send({"type": "ack", **answer, "generation": generation})
                task = asyncio.create_task(relay(socket, generation, command["content"]))
                answers.add(task)
                task.add_done_callback(answers.discard)
    except WebSocketDisconnect:
        pass
    finally:
        for task in answers:
            task.cancel()


async def relay(socket: WebSocket, generation: str, content: str) -> None:
    """Ask the upstream and pass every token on."""
    client: httpx.AsyncClient = socket.app.state.client
    body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": content}]}
    at, rest = 0, b""
    async with client.stream("POST", "/chat/completions", json=body) as response:
        async for piece in response.aiter_raw():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if not line.startswith(b"data: {"):
                    continue
                text = orjson.loads(line[6:])["choices"][0]["delta"].get("content")
                if text:
                    frame = {"type": "delta", "generation": generation, "attempt": 1, "at": at, "text": text}
                    await socket.send_text(orjson.dumps(frame).decode())
                    at += len(text)
    end = {"type": "generation.finished", "generation": generation, "status": "completed", "length": at}
    await socket.send_text(orjson.dumps(end).decode())


def application(upstream: str) -> Starlette:
    """The relay in front of this upstream."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        limits = httpx.Limits(max_connections=10_000, max_keepalive_connections=10_000)
        transport = AiohttpTransport(limits=limits)
        async with httpx.AsyncClient(
            base_url=upstream, transport=transport, timeout=httpx.Timeout(60), trust_env=False
        ) as client:
            app.state.client = client
            yield

    routes = [Route("/health/ready", health), WebSocketRoute("/api/chat/ws", chat)]
    return Starlette(routes=routes, lifespan=lifespan)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    arguments = parser.parse_args()
    uvicorn.run(
        application(arguments.upstream),
        host="127.0.0.1",
        port=arguments.port,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        log_level="warning",
        access_log=False,
        backlog=4096,
    )


if __name__ == "__main__":
    main()
