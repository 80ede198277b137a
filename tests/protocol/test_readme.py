"""The README is the wire for client writers: it is complete, and its two clients work."""

import asyncio
import json
import re
import shutil
import subprocess
import textwrap
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from websockets.asyncio.server import ServerConnection, serve

from protocol import frames
from protocol.codec import COMMAND_TYPES, SERVER_TYPES, decode_command
from protocol.codes import CloseCode, ErrorCode

README = (Path(__file__).parents[2] / "protocol" / "README.md").read_text()
QUOTED = set(re.findall(r"`([^`\n]+)`", README))


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def wire_names(struct: Any) -> set[str]:
    """The names of a struct's fields on the wire."""
    return set(struct.__struct_encode_fields__)


@pytest.mark.parametrize("kind", sorted(COMMAND_TYPES | SERVER_TYPES))
def test_every_type_is_described(kind: str):
    assert kind in QUOTED


@pytest.mark.parametrize(
    "struct",
    [
        *(COMMAND_TYPES | SERVER_TYPES).values(),
        frames.TextCursor,
        frames.ResumePoint,
        frames.ClientInfo,
        frames.Limits,
        frames.Conversation,
        frames.ConversationRef,
        frames.Message,
        frames.Usage,
        frames.Segment,
        frames.Failure,
        frames.Action,
        frames.NotificationBody,
    ],
)
def test_every_field_is_described(struct: Any):
    assert wire_names(struct) <= QUOTED


@pytest.mark.parametrize(
    "values",
    [
        frames.Fallback,
        frames.Resume,
        frames.Phase,
        frames.EndStatus,
        frames.SwitchCause,
        frames.SwitchMode,
        frames.Stage,
        frames.ContentType,
        frames.SenderType,
        frames.UsageState,
        ErrorCode,
    ],
)
def test_every_value_is_described(values: Any):
    assert {str(value) for value in (get_args(values) or values)} <= QUOTED


def test_every_close_code_has_a_row():
    rows = {
        int(code) for row in re.findall(r"^\| ([\d, ]+) \|", README, re.MULTILINE) for code in row.split(",")
    }
    assert rows == {int(code) for code in CloseCode}


def test_every_type_mentioned_exists():
    mentioned = {name for name in QUOTED if re.fullmatch(r"[a-z]+\.[a-z]+", name)} - {
        "client.py",
        "welcome.position",
    }
    assert {name for name in mentioned if not name.startswith(("delta.", "vectors"))} <= set(
        COMMAND_TYPES | SERVER_TYPES
    )


def test_links_inside_the_repository_lead_somewhere():
    root = Path(__file__).parents[2] / "protocol"
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (root / link).exists(), link
    headings = {
        re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-")
        for line in re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= headings


# --- the clients, against a scripted server that is cut in the middle --------------------------

GENERATION = "0198c1f2-7a1e-7c3a-9f00-000000000004"
SESSION = "0198c1f2-7a1e-7c3a-9f00-00000000000b"
DRAIN_MS = 60
BEAT_MS = 40
ANSWER = "Hi 👩‍🚀, all of it!"


class Script:
    """Four connections: drained at once, silent, cut in mid-answer, resumed with the end.

    It keeps every command it got, and when each connection came.
    """

    def __init__(self) -> None:
        self.connections: list[list[dict[str, Any]]] = []
        self.times: list[float] = []

    async def __call__(self, socket: ServerConnection) -> None:
        got: list[dict[str, Any]] = []
        self.connections.append(got)
        self.times.append(time.monotonic())
        assert socket.subprotocol == "atma.chat.v1"
        number = len(self.connections)
        await self.expect(socket, got, "hello")
        if number == 1:
            await self.say(socket, "drain", reconnect_in_ms=DRAIN_MS)
            await socket.close(1012)
            return
        position = "e:2" if number == 4 else "e:0"
        await self.say(
            socket,
            "welcome",
            re=None,
            session=SESSION,
            resume={2: "fresh", 3: "live", 4: "replay"}[number],
            position=position,
            heartbeat_ms=BEAT_MS if number == 2 else 25_000,
        )
        if number == 2:
            await self.expect(socket, got, "message.send")
            await socket.wait_closed()  # not a word more
            return
        if number == 4:
            await self.say(
                socket, "usage.settled", position="e:2", generation="0198c1f2-7a1e-7c3a-9f00-0000000000ff"
            )
            await self.say(socket, "generation.state", generation=GENERATION, attempt=2, length=len(ANSWER))
            await self.say(socket, "delta", generation=GENERATION, attempt=2, at=6, text=ANSWER[6:])
        await self.say(socket, "synced", position=position)
        send = await self.expect(socket, got, "message.send")
        if number == 3:  # the answer to the command is lost in the cut, so it is sent again
            await self.say(socket, "generation.started", position="e:1", generation=GENERATION)
            await self.say(socket, "delta", generation=GENERATION, attempt=1, at=0, text=ANSWER[:4])
            await self.say(
                socket, "delta", generation=GENERATION, attempt=1, at=0, text="thinking", kind="reasoning"
            )
            await self.say(
                socket, "delta", generation=GENERATION, attempt=1, at=4, text=ANSWER[4:6] + " wrong"
            )
            await self.say(socket, "confetti")
            # All of it is read, since a WebSocket may drop what it had not yet given out when it is cut.
            await (await socket.ping())
            socket.transport.close()  # a cut without a close frame
            return
        await self.say(socket, "ack", re=send["id"], generation=GENERATION, duplicate=True)
        await self.say(socket, "delta", generation=GENERATION, attempt=1, at=0, text="too old")
        await self.say(socket, "generation.finished", position="e:3", generation=GENERATION)
        await socket.wait_closed()

    async def expect(self, socket: ServerConnection, got: list[dict[str, Any]], kind: str) -> dict[str, Any]:
        raw = await socket.recv()
        decode_command(raw)
        command: dict[str, Any] = json.loads(raw)
        got.append(command)
        assert command["type"] == kind
        return command

    async def say(self, socket: ServerConnection, kind: str, /, **fields: Any) -> None:
        """Send the golden vector of a type with some fields changed; `None` leaves one out."""
        path = Path(__file__).parents[2] / "protocol" / "vectors" / f"{kind}.json"
        frame: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"type": kind}
        if kind == "delta":
            del frame["kind"]
        if kind == "ack":
            del frame["position"], frame["token_expires_at"]
        if kind == "generation.finished":
            frame["message"]["content"] = ANSWER
        frame |= fields
        await socket.send(json.dumps({name: value for name, value in frame.items() if value is not None}))


async def against_the_script(client: Callable[[str], Awaitable[list[str]]]) -> None:
    """Run a client; it returns every text it showed, and at last the answer."""
    script = Script()
    async with serve(script, "127.0.0.1", 0, subprotocols=["atma.chat.v1"]) as server:  # type: ignore[list-item]
        port = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(60):
            shown = await client(f"ws://127.0.0.1:{port}/api/chat/ws")
    assert shown == [ANSWER[:4], ANSWER[:6] + " wrong", ANSWER, ANSWER]
    first, *others = script.connections
    assert [command["type"] for command in first] == ["hello"]
    assert [[command["type"] for command in each] for each in others] == [["hello", "message.send"]] * 3
    assert others[0][1] == others[1][1] == others[2][1]
    assert script.times[1] - script.times[0] >= DRAIN_MS / 1000
    assert script.times[2] - script.times[1] >= 2 * BEAT_MS / 1000
    assert others[1][0]["resume"]["position"] == "e:0"
    resume = others[2][0]["resume"]
    assert resume["session"] == SESSION
    assert resume["position"] == "e:1"
    assert resume["texts"] == {GENERATION: {"attempt": 1, "at": 12}}


def test_the_python_client_works():
    namespace: dict[str, Any] = {}
    exec(compile(blocks("python")[0], "README.md", "exec"), namespace)

    async def client(url: str) -> list[str]:
        shown: list[str] = []
        message = await namespace["ask"](url, "token", "Hi", on_text=shown.append)
        return [*shown, message["content"]]

    asyncio.run(against_the_script(client))


def _node() -> list[str] | None:
    """The command for a Node with a global WebSocket, if there is one."""
    node = shutil.which("node")
    for options in ([], ["--experimental-websocket"]) if node else ():
        probe = [str(node), *options, "-e", "process.exit(typeof WebSocket === 'function' ? 0 : 1)"]
        if subprocess.run(probe, capture_output=True, check=False, timeout=30).returncode == 0:
            return probe[:-2]
    return None


def test_the_javascript_client_works():
    node = _node()
    if node is None:
        pytest.skip("the JavaScript client of protocol/README.md needs Node 20 or newer, with a WebSocket")
    body = blocks("javascript")[0] + textwrap.dedent("""
        const shown = [];
        const chat = openChat(process.argv[1], async () => "token", {
          text: (_, text) => shown.push(text),
          frame: (frame) => {
            if (frame.type !== "generation.finished") return;
            shown.push(frame.message.content);
            console.log(JSON.stringify(shown));
            chat.close();
            setTimeout(() => process.exit(0), 50);
          },
        });
        const key = crypto.randomUUID();
        await chat.command({ type: "message.send", content: "Hi", client_message_id: key });
    """)

    async def client(url: str) -> list[str]:
        process = await asyncio.create_subprocess_exec(
            *node, "--input-type=module", "-e", body, url, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, err.decode()
        shown: list[str] = json.loads(out)
        return shown

    asyncio.run(against_the_script(client))
