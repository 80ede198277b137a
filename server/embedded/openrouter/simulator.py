"""The simulator: a listening OpenRouter that does what it is told and remembers what it did."""

from __future__ import annotations

import asyncio
import secrets
import string
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import orjson

from server.embedded.openrouter import http, standin
from server.embedded.openrouter.account import Account, FreeLimits, KeySettings, bearer
from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.openrouter.blackhole import BlackHole
from server.embedded.openrouter.catalogue import DEFAULT_MODELS, Model
from server.embedded.openrouter.chat import ChatDesk, StandIn
from server.embedded.openrouter.connection import Answer, Connection
from server.embedded.openrouter.control import control
from server.embedded.openrouter.errors import ErrorReply, build_error, plain_error
from server.embedded.openrouter.gates import Gates
from server.embedded.openrouter.http import Request
from server.embedded.openrouter.ledger import Call, Ledger, fingerprint
from server.embedded.openrouter.pacer import Pacer
from server.embedded.openrouter.script import Script, ScriptBook
from server.embedded.openrouter.steps import End, Raw, Step

_ALPHABET = string.ascii_letters + string.digits
_API = "/api/v1"


class Simulator:
    """A faithful OpenRouter on loopback, as an async context manager.

    Args:
        host: where to listen.
        port: 0 takes a free one.
        keys: the API keys that work.
        human_speed: whether unscripted answers come at a human's reading speed, or at once. Scripted ones
            always take exactly the time their script says.
        keep_calls: how many calls the ledger holds; older ones are forgotten, and counted.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        keys: tuple[str, ...] = ("sk-or-sim-1",),
        human_speed: bool = True,
        keep_calls: int = 5_000,
    ) -> None:
        if not keys:
            raise ValueError("at least one key is needed")
        self._host, self._port, self._keys = host, port, keys
        self.account = Account({})
        self.models: dict[str, Model] = {}
        self._scripts = ScriptBook()
        self._ledger = Ledger(keep_calls)
        self._gates = Gates()
        self._connections: set[Connection] = set()
        self._desk = ChatDesk(
            account=self.account,
            models=self.models,
            scripts=self._scripts,
            ledger=self._ledger,
            stand_in=StandIn(standin.StandInModel(human_speed=human_speed).answer),
            new_id=lambda: "".join(secrets.choice(_ALPHABET) for _ in range(20)),
        )
        self._server: asyncio.Server | None = None
        self._black_hole: BlackHole | None = None
        self.reset()

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            OSError: the address is taken.
        """
        loop = asyncio.get_running_loop()
        pacer = Pacer(loop)
        self._server = await loop.create_server(
            lambda: Connection(self._answer, pacer=pacer, gates=self._gates, registry=self._connections),
            self._host,
            self._port,
            backlog=2048,
        )
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening and drop all connections."""
        assert self._server is not None
        self._server.close()
        self._gates.clear()
        for connection in tuple(self._connections):
            connection.abort()
        await self._server.wait_closed()
        if self._black_hole is not None:
            self._black_hole.close()
            self._black_hole = None

    @property
    def origin(self) -> str:
        """Scheme, host and port; the control API is below it."""
        return f"http://{self._host}:{self._port}"

    @property
    def base_url(self) -> str:
        """What OPENROUTER_BASE_URL is set to."""
        return self.origin + _API

    @property
    def key(self) -> str:
        """The first key that works."""
        return self._keys[0]

    @property
    def unreachable_url(self) -> str:
        """A base URL to which connecting hangs."""
        if self._black_hole is None:
            self._black_hole = BlackHole(self._host)
        return f"http://{self._host}:{self._black_hole.port}{_API}"

    @property
    def forgotten(self) -> int:
        """How many calls the ledger dropped for newer ones."""
        return self._ledger.forgotten

    def script(
        self, *behaviours: Behaviour, model: str | None = None, match: str | None = None, repeat: bool = False
    ) -> None:
        """Script the next calls, of `model` and with `match` in their question where these are given."""
        self.add_script(Script(calls=behaviours, model=model, match=match, repeat=repeat))

    def add_script(self, script: Script) -> None:
        """Put a script behind the others."""
        self._scripts.add(script)

    def calls(self) -> list[Call]:
        """The calls so far, oldest first."""
        return list(self._ledger)

    def release(self, gate: str) -> int:
        """Let the calls at `gate` go on, and all that come to it later; how many were waiting."""
        return self._gates.release(gate)

    async def reached(self, gate: str) -> None:
        """Return once a call has come to `gate`."""
        await self._gates.reached(gate)

    def drop_connections(self) -> int:
        """Abort all connections on which a call is being answered, as a dying edge does; how many."""
        busy = [connection for connection in self._connections if connection.call is not None]
        for connection in busy:
            connection.abort()
        return len(busy)

    def reset(self) -> None:
        """As new: no scripts, calls, gates or limits, the default models, the keys of the beginning."""
        self._scripts.clear()
        self._ledger.clear()
        self._gates.clear()
        self.models.clear()
        self.models.update((model.slug, model) for model in DEFAULT_MODELS)
        self.account.reset({key: KeySettings() for key in self._keys}, FreeLimits())

    def _answer(self, request: Request) -> Answer:
        path = request.path
        if path.startswith("/control/"):
            return Answer(_at_once(control(self, request)))
        if request.method == "POST" and path == f"{_API}/chat/completions":
            call, steps, behaviour = self._desk.answer(request, time.time())
            return Answer(steps, call, behaviour.chunked, not behaviour.framing.plain)
        if request.method == "GET" and path == f"{_API}/models":
            return Answer(_at_once(_json({"data": [model.listing() for model in self.models.values()]})))
        if request.method == "GET" and path in {f"{_API}/key", f"{_API}/auth/key", f"{_API}/generation"}:
            return Answer(_at_once(self._guarded(request)))
        return Answer(_at_once(_error(plain_error(404, "Not Found"))))

    def _guarded(self, request: Request) -> bytes:
        """The endpoints that want a key."""
        authorization = request.headers.get("authorization")
        refused = self.account.refusal_of_key(authorization)
        # a key without credit may still ask what it has spent
        if refused is not None and refused != "insufficient_credits":
            return _error(build_error(refused, {}))
        if request.path.endswith("/key"):
            key = bearer(authorization or "")
            return _json({"data": self.account.show_key(key, self._ledger.spent(fingerprint(key)))})
        status, body = self._ledger.generation(request.query.get("id", ""), time.time())
        return http.response(status, body)


def _at_once(response: bytes) -> Iterator[Step]:
    return iter((Raw(response), End()))


def _json(value: object) -> bytes:
    return http.response(200, orjson.dumps(value))


def _error(error: ErrorReply) -> bytes:
    return http.response(error.status, error.body, error.headers)
