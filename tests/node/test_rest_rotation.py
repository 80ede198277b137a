"""Content keys change while users talk: nothing is unreadable at any time, nothing is left under the old one."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from server.conversations.cipher import UNAVAILABLE
from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.services import EmbeddedServices
from tests.running import RunningNode, new_uuid, running_node
from tests.scripted.waiting import eventually
from tests.services import Database

BASE = "/api/chat"
OLD, NEW = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
SEALED = {"conversations": ("title_key", "context_key"), "messages": ("content_key",)}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


async def rotate_keys(database: Database, directory: Path) -> str:
    """`rotate-keys`, as an operator runs it; what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "server",
        "rotate-keys",
        cwd=directory,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parent.parent.parent),
            "DATABASE_URL": database.app_url,
            "CONTENT_ENCRYPTION_KEYS": f"{NEW},{OLD}",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return out.decode()


async def talk(api: httpx.AsyncClient, place: str, said: list[str], *, stop: asyncio.Event) -> None:
    """Say something, read all that was said, again and again; each time it is all there."""
    while not stop.is_set():
        content = f"question {new_uuid()}"
        sent = await api.post(f"{BASE}/conversations/{place}/messages", json={"content": content})
        assert sent.status_code == 200, sent.text
        said += [content, "An answer that is a secret."]
        page = (await api.get(f"{BASE}/conversations/{place}/messages?limit=200")).json()
        assert [each["content"] for each in page["messages"]] == said[-200:]
        shown = (await api.get(f"{BASE}/conversations/{place}")).json()["conversation"]
        assert (shown["title"], shown["context_data"]) == ("A title", {"a": "secret"})


@contextlib.asynccontextmanager
async def talking(
    node: RunningNode, places: dict[str, str], said: dict[str, list[str]]
) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Users who talk on a node meanwhile, each in their place."""
    stop = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        talks = []
        for user, place in places.items():
            api = await stack.enter_async_context(node.http(user))
            talks.append(asyncio.create_task(talk(api, place, said[place], stop=stop)))
        try:
            yield talks
        finally:
            stop.set()
            await asyncio.gather(*talks)


async def grown(said: dict[str, list[str]]) -> None:
    """Wait until every one has said two things more: the second has begun after this was asked."""
    held = {place: len(texts) for place, texts in said.items()}
    await eventually(
        lambda: all(len(said[place]) >= held[place] + 4 for place in held), 60.0, what="all go on"
    )


async def sealed_under(node: RunningNode) -> set[str]:
    """The ids of the keys in use."""
    async with node.admin() as connection:
        found: set[str] = set()
        for table, columns in SEALED.items():
            for column in columns:
                rows = await connection.fetch(f"SELECT DISTINCT {column} FROM chat.{table}")
                found |= {row[column] for row in rows}
        return found - {None}


def test_keys_rotate_under_load_and_nothing_is_unreadable(
    services: EmbeddedServices, database: Database, tmp_path: Path
):
    async def go() -> None:
        users = [new_uuid() for _ in range(3)]
        places: dict[str, str] = {}
        async with running_node(services, database, content_encryption_keys=f"{OLD},{NEW}") as before:
            before.simulator.script(Behaviour(text="An answer that is a secret."), repeat=True)
            for user in users:
                async with before.http(user) as api:
                    made = await api.post(
                        f"{BASE}/conversations", json={"title": "A title", "context_data": {"a": "secret"}}
                    )
                    places[user] = str(made.json()["id"])
            said: dict[str, list[str]] = {place: [] for place in places.values()}
            async with talking(before, places, said):
                await grown(said)
            old = await sealed_under(before)

            # every node has the new key in front now, and everybody goes on
            async with (
                running_node(
                    services, database, simulator=before.simulator, content_encryption_keys=f"{NEW},{OLD}"
                ) as after,
                talking(after, places, said) as talks,
            ):
                await grown(said)
                assert len(await sealed_under(after)) == 2
                assert "rows are sealed with the newest key now" in await rotate_keys(database, tmp_path)
                await grown(said)
                assert not any(talk.done() for talk in talks)
            await before.settled()

        async with running_node(services, database, content_encryption_keys=NEW) as only:
            new = await sealed_under(only)
            assert (len(old), len(new), old & new) == (1, 1, set())
            for user, place in places.items():
                async with only.http(user) as api:
                    listed = (await api.get(f"{BASE}/conversations")).json()["conversations"]
                    assert [(row["id"], row["title"]) for row in listed] == [(place, "A title")]
                    assert listed[0]["context_data"] == {"a": "secret"}
                    page = (await api.get(f"{BASE}/conversations/{place}/messages?limit=200")).json()
                    assert [each["content"] for each in page["messages"]] == said[place][-200:]
                    assert UNAVAILABLE not in str(page)

    asyncio.run(go())
