"""A server that says what a test tells it to, with the real page: for what a real server does seldom.

The page comes from the gateway's own routes, so it runs under the policy it runs under in service. Every
frame a script sends, and every command the page sends, is held to the protocol's codec.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from protocol.codec import decode_command, decode_server_frame
from server.gateway.pages import page_routes
from server.gateway.wire import EXTENSION, Wire

WAIT_SECONDS = 15.0
_VECTORS = Path(__file__).parents[2] / "protocol" / "vectors"
_LOCAL = ("127.0.0.1", 0)

Frame = dict[str, Any]


def ident(number: int) -> str:
    """The id with this number: ids with greater numbers are younger."""
    return f"0198c1f2-7a1e-7c3a-9f00-{number:012d}"


def frame(kind: str, /, **fields: Any) -> Frame:
    """The golden vector of a type with some fields changed; `ack` and `error` without the optional ones."""
    body: Frame = json.loads((_VECTORS / f"{kind}.json").read_text())
    if kind == "delta":
        del body["kind"]
    if kind in {"ack", "error"}:
        body = {
            name: value for name, value in body.items() if name in {"type", "code", "message", "retryable"}
        }
    return body | fields


def message(number: int, content: str, *, sender: str = "assistant", parent: int | None = None) -> Frame:
    """A message as REST and events show it."""
    return {
        "id": ident(number),
        "sender_type": sender,
        "content": content,
        "content_type": "text",
        "parent_message_id": None if parent is None else ident(parent),
        "created_at": f"2026-03-01T08:{number // 60:02d}:{number % 60:02d}.000Z",
        "metadata": {"model": "qwen/qwen3:free", "status": "completed"} if sender == "assistant" else {},
    }


def conversation(number: int, title: str) -> Frame:
    """A conversation as REST and events show it."""
    return {
        "id": ident(number),
        "title": title,
        "context_type": "general",
        "status": "active",
        "created_at": "2026-03-01T08:00:00.000Z",
        "updated_at": "2026-03-01T08:00:00.000Z",
    }


class Line:
    """One WebSocket connection of the page, from the server's side."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._commands: asyncio.Queue[Frame] = asyncio.Queue()
        self.gone = asyncio.Event()
        self.close_code: int | None = None

    async def serve(self) -> None:
        """Read until the page, or the script, ends it."""
        try:
            while True:
                raw = await self._websocket.receive_text()
                decode_command(raw)
                self._commands.put_nowait(json.loads(raw))
        except (WebSocketDisconnect, RuntimeError) as ended:
            self.close_code = getattr(ended, "code", None)
        finally:
            self.gone.set()

    async def expect(self, kind: str) -> Frame:
        """The page's next command, which must be of this type."""
        async with asyncio.timeout(WAIT_SECONDS):
            command = await self._commands.get()
        assert command["type"] == kind, command
        return command

    def unread(self) -> list[Frame]:
        """Commands that came and were not expected yet."""
        return list(self._commands._queue)  # type: ignore[attr-defined]

    async def say(self, kind: str, /, **fields: Any) -> None:
        """Send a frame: the golden vector with some fields changed."""
        body = json.dumps(frame(kind, **fields), ensure_ascii=False)
        decode_server_frame(body)
        await self._websocket.send_text(body)

    async def welcome(self, resume: str = "fresh", position: str = "e:0", **fields: Any) -> Frame:
        """Take the `hello` and answer it; returns the `hello`."""
        hello = await self.expect("hello")
        await self.say(
            "welcome", re=hello["id"], resume=resume, position=position, session=ident(900_001), **fields
        )
        return hello

    async def admit(self, resume: str = "fresh", position: str = "e:0", **fields: Any) -> Frame:
        """`welcome`, with nothing to catch up with."""
        hello = await self.welcome(resume, position, **fields)
        await self.say("synced", position=position)
        return hello

    async def close(self, code: int) -> None:
        """Close it with a code."""
        await self._websocket.close(code)
        await self.wait_gone()

    def cut(self) -> None:
        """Cut it without a close frame."""
        wire: Wire = self._websocket.scope["extensions"][EXTENSION]
        wire.transport.abort()

    async def wait_gone(self) -> None:
        """Wait until it has ended."""
        async with asyncio.timeout(WAIT_SECONDS):
            await self.gone.wait()


@dataclass
class ScriptedServer:
    """What a test says to the page, and what the page asked.

    `messages` and `conversations` are what REST answers. `asked` holds the paths of REST requests.
    `problems` holds, by path, the status REST answers as long as it is there. `languages` are those of the
    assessments asked for, `of_assessments` the conversation of each that has one.
    """

    address: str = ""
    user: str = field(default_factory=lambda: str(uuid.uuid4()))
    conversations: list[Frame] = field(default_factory=list)
    messages: dict[str, list[Frame]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    problems: dict[str, int] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)
    renewals: list[str | None] = field(default_factory=list)
    languages: list[str] = field(default_factory=list)
    of_assessments: dict[str, Frame] = field(default_factory=dict)
    token_status: int = 201
    token_seconds: float = 3600
    _lines: asyncio.Queue[Line] = field(default_factory=asyncio.Queue)
    _all: list[Line] = field(default_factory=list)

    async def line(self) -> Line:
        """The page's next connection."""
        async with asyncio.timeout(WAIT_SECONDS):
            return await self._lines.get()

    @property
    def connections(self) -> int:
        """How many connections there have been."""
        return len(self._all)

    # --- the doors ----------------------------------------------------------------------------

    def app(self) -> Starlette:
        """The application."""
        return Starlette(
            routes=[
                *page_routes(),
                Route("/demo/token", self._token, methods=["POST"]),
                Route("/demo/assessments", self._assess, methods=["POST"]),
                WebSocketRoute("/api/chat/ws", self._socket),
                Route("/api/chat/conversations", self._index),
                Route("/api/chat/conversations/{id}", self._show),
                Route("/api/chat/conversations/{id}/messages", self._messages),
                Route("/api/chat/assessment/{id}/conversation", self._of_assessment),
                Route("/api/chat/assessment/{id}/initialize", self._initialize, methods=["POST"]),
            ]
        )

    async def _token(self, request: Request) -> Response:
        self.renewals.append(request.headers.get("authorization"))
        if self.token_status != 201:
            return JSONResponse({}, self.token_status)
        self.tokens.append(f"token-{len(self.tokens) + 1}")
        body = {"token": self.tokens[-1], "user": self.user, "expires_in": self.token_seconds}
        return JSONResponse(body, 201)

    async def _assess(self, request: Request) -> Response:
        problem = self._problem(request)
        if problem is not None:
            return problem
        self.languages.append(request.query_params["language"])
        return JSONResponse({"assessment_id": ident(800_000 + len(self.languages))}, 202)

    async def _of_assessment(self, request: Request) -> Response:
        problem = self._problem(request)
        if problem is not None:
            return problem
        held = self.of_assessments.get(request.path_params["id"])
        return JSONResponse({"exists": held is not None, "conversation": held, "messages": []})

    async def _initialize(self, request: Request) -> Response:
        return self._problem(request) or JSONResponse({"success": True, "message": "It is there."})

    async def _socket(self, websocket: WebSocket) -> None:
        assert websocket.scope["subprotocols"] == ["atma.chat.v1"]
        await websocket.accept("atma.chat.v1")
        line = Line(websocket)
        self._all.append(line)
        self._lines.put_nowait(line)
        await line.serve()

    def _problem(self, request: Request) -> Response | None:
        path = request.url.path.removeprefix("/api/chat")
        self.asked.append(path)
        if not request.headers.get("authorization", "").startswith("Bearer token-"):
            return JSONResponse({"detail": "A valid token is needed."}, 401)
        if path in self.problems:
            return JSONResponse({"detail": "The service cannot do this right now."}, self.problems[path])
        return None

    async def _index(self, request: Request) -> Response:
        problem = self._problem(request)
        if problem is not None:
            return problem
        offset, limit = int(request.query_params["offset"]), int(request.query_params["limit"])
        page = self.conversations[offset : offset + limit]
        more = offset + limit < len(self.conversations)
        pagination = {"limit": limit, "offset": offset, "has_next": more}
        return JSONResponse(
            {"conversations": page, "total": len(self.conversations), "pagination": pagination}
        )

    async def _show(self, request: Request) -> Response:
        problem = self._problem(request)
        if problem is not None:
            return problem
        for each in self.conversations:
            if each["id"] == request.path_params["id"]:
                return JSONResponse({"conversation": each, "messages": []})
        return JSONResponse({"detail": "There is no such conversation."}, 404)

    async def _messages(self, request: Request) -> Response:
        problem = self._problem(request)
        if problem is not None:
            return problem
        held = self.messages.get(request.path_params["id"])
        if held is None:
            return JSONResponse({"detail": "There is no such conversation."}, 404)
        before = request.query_params.get("before_id")
        older = [each for each in held if before is None or each["id"] < before]
        page = older[-int(request.query_params["limit"]) :]
        more = len(older) > len(page)
        return JSONResponse({"messages": page, "pagination": {"has_more": more}})


@contextlib.asynccontextmanager
async def scripted_server(**fields: Any) -> AsyncIterator[ScriptedServer]:
    """A scripted server on a free port."""
    scripted = ScriptedServer(**fields)
    config = uvicorn.Config(
        scripted.app(),
        ws=Wire,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    with socket.create_server(_LOCAL) as listening:
        scripted.address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield scripted
        finally:
            server.should_exit = True
            await serving
