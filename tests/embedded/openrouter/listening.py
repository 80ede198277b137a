"""An HTTP client that keeps every byte and every cut: what the simulator really wrote.

It knows nothing of the simulator's own code, so that it is a second opinion of the wire.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.openrouter.ledger import Call
from server.embedded.openrouter.simulator import Simulator
from tests.scripted.waiting import eventually

KEY = "sk-or-sim-1"
MODEL = "openai/gpt-4o-mini"
QUESTION = "Which job suits me?"
_LINE_END = re.compile(rb"\r\n|\r|\n")

T = TypeVar("T")


@dataclass
class Heard:
    """A response: `writes` are its HTTP chunks, so one for each write of the server where it is chunked."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    writes: list[bytes] = field(default_factory=list)
    end: Literal["open", "whole", "closed", "reset", "left"] = "open"

    @property
    def body(self) -> bytes:
        return b"".join(self.writes)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[bytes]:
        return _LINE_END.split(self.body)

    @property
    def data(self) -> list[bytes]:
        """The data of every event, also of a last one that lacks only line ends."""
        lines = [line[5:].removeprefix(b" ") for line in self.lines if line.startswith(b"data:")]
        return lines if not lines or _whole(lines[-1]) else lines[:-1]

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """The JSON of every event but the last one, `[DONE]`."""
        return [json.loads(data) for data in self.data if data != b"[DONE]"]

    @property
    def done(self) -> bool:
        return self.data[-1:] == [b"[DONE]"]

    @property
    def comments(self) -> list[bytes]:
        return [line for line in self.lines if line.startswith(b":")]

    @property
    def deltas(self) -> list[dict[str, Any]]:
        return [choice["delta"] for chunk in self.chunks for choice in chunk["choices"]]

    @property
    def text(self) -> str:
        """The answer; surrogate halves that met are one character."""
        halves = "".join(delta.get("content") or "" for delta in self.deltas)
        return halves.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")

    @property
    def finishes(self) -> list[str]:
        """Every finish reason that is none of null."""
        reasons = [choice["finish_reason"] for chunk in self.chunks for choice in chunk["choices"]]
        return [reason for reason in reasons if reason is not None]


def _whole(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return data == b"[DONE]"
    return True


Until = Callable[[Heard], bool]


async def exchange(
    url: str,
    *,
    method: str = "POST",
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    until: Until | None = None,
    into: Heard | None = None,
) -> Heard:
    """One request on a connection of its own, read to its end, or `until` it has heard enough and leaves.

    `into` can be looked at meanwhile.
    """
    heard = Heard() if into is None else into
    async for _ in hearing(url, method=method, body=body, headers=headers, heard=heard):
        if until is not None and until(heard):
            heard.end = "left"
            break
    return heard


async def pipelined(url: str, bodies: list[dict[str, Any]]) -> list[Heard]:
    """Several requests at once on one connection, and their answers."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    heard = [Heard() for _ in bodies]
    try:
        for body in bodies:
            writer.write(request("POST", url, json.dumps(body).encode()))
        for each in heard:
            each.writes = [write async for write in _response(reader, each)]
            each.end = "whole"
    finally:
        writer.close()
    return heard


async def hearing(
    url: str, *, method: str, body: bytes, headers: dict[str, str] | None, heard: Heard
) -> AsyncIterator[None]:
    """The same, piece by piece; closing it closes the connection."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(request(method, url, body, headers))
        async for write in _response(reader, heard):
            heard.writes.append(write)
            yield
        heard.end = "whole"
    except asyncio.IncompleteReadError as cut:
        heard.writes.append(cut.partial)
        heard.end = "closed"
    except ConnectionError:
        heard.end = "reset"
    finally:
        writer.close()


def request(method: str, url: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """A request; with the key that works, unless there are other headers."""
    address = urlsplit(url)
    given = {"Authorization": f"Bearer {KEY}"} if headers is None else headers
    fields = {"Host": address.netloc, "Content-Length": str(len(body)), **given}
    target = address.path + (f"?{address.query}" if address.query else "")
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body


async def _response(reader: asyncio.StreamReader, heard: Heard) -> AsyncIterator[bytes]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    heard.status = int(first.split(" ")[1])
    heard.headers = {
        name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)
    }
    if heard.headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readuntil(b"\r\n"), 16):
            yield await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    elif "content-length" in heard.headers:
        yield await reader.readexactly(int(heard.headers["content-length"]))
    else:
        while data := await reader.read(65_536):
            yield data


def a_body(**changes: Any) -> dict[str, Any]:
    """What a chat server asks."""
    asked = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], "stream": True}
    return {**asked, **changes}


async def ask(
    simulator: Simulator,
    *,
    until: Until | None = None,
    into: Heard | None = None,
    key: str = KEY,
    headers: dict[str, str] | None = None,
    **body: Any,
) -> Heard:
    """A chat request."""
    return await exchange(
        f"{simulator.base_url}/chat/completions",
        body=json.dumps(a_body(**body)).encode(),
        headers={"Authorization": f"Bearer {key}", **(headers or {})},
        until=until,
        into=into,
    )


async def get(simulator: Simulator, path: str, *, key: str = KEY) -> Heard:
    """Another endpoint of the API."""
    return await exchange(
        simulator.base_url + path, method="GET", headers={"Authorization": f"Bearer {key}"} if key else {}
    )


def with_simulator(act: Callable[[Simulator], Awaitable[T]], **options: Any) -> T:
    async def run() -> T:
        async with asyncio.timeout(60), Simulator(**{"human_speed": False, **options}) as simulator:
            return await act(simulator)

    return asyncio.run(run())


async def heard_of(simulator: Simulator, behaviour: Behaviour, **request: Any) -> tuple[Heard, Call]:
    """What one scripted call is heard as, and what the ledger says of it once it is over."""
    simulator.script(behaviour)
    heard = await ask(simulator, **request)
    call = simulator.calls()[-1]
    await eventually(lambda: call.state != "open", what="the end of the call")
    return heard, call


def hear(behaviour: Behaviour, **request: Any) -> tuple[Heard, Call]:
    """The same, with a simulator of its own."""
    return with_simulator(lambda simulator: heard_of(simulator, behaviour, **request))
