"""Clients that are cut at random moments and come back: the exact text, every event once (I1, I2, I3)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from server.embedded.openrouter.behaviour import Behaviour, Failure
from server.embedded.services import EmbeddedServices
from tests.running import RunningNode, new_uuid, of_type, running_node
from tests.scripted.listening import ConnectionEndedError
from tests.scripted.sse_client import SseClient
from tests.scripted.websocket_client import RecordingClient
from tests.services import Database

CUTS = 1_000
USERS = 20
LONGEST_LIFE = 0.03
"""Seconds a connection lives at most: several tokens, or none."""


def answer(rng: random.Random) -> str:
    """A long answer in which every place is different, with characters of every width."""
    words = ("karier", "naïve", "職業", "👩🏽‍🚀", "skills", "—", "\n\n- ", "**bold**", "ß")
    return "".join(f"{number} {rng.choice(words)} " for number in range(80))


def script(running: RunningNode, text: str) -> None:
    """Answers of a second or two; some break off in the middle and are continued by the next model."""
    slow = Behaviour(text=text, interval_ms=5.0)
    breaking = msgspec.structs.replace(slow, fail=Failure(how="error", at=80))
    # half as much may say too little to be known again: two digits and a bullet
    continuing = msgspec.structs.replace(slow, continuation="overlap:24")
    running.simulator.script(slow, breaking, continuing, repeat=True)


async def cut_and_come_back(
    client: RecordingClient | SseClient,
    connect: Callable[[], Awaitable[object]],
    done: Callable[[], bool],
    rng: random.Random,
) -> int:
    """Connect and cut until it is done; how often it was cut."""
    cuts = 0
    while not done():
        try:
            await connect()
        except ConnectionEndedError:
            continue
        await asyncio.sleep(rng.random() * LONGEST_LIFE)
        if done():
            break
        await client.cut()
        cuts += 1
    return cuts


def test_a_socket_cut_at_a_thousand_random_moments_misses_nothing(
    services: EmbeddedServices, database: Database, seed: int
):
    async def one(running: RunningNode, text: str, rng: random.Random, share: int) -> RecordingClient:
        client = await running.client()
        cuts = 0
        while cuts < share:
            ack = await client.send("message.send", content="Tell me more", client_message_id=new_uuid())
            generation = ack["generation"]
            cuts += await cut_and_come_back(
                client,
                lambda: client.connect(running.ws_url, until="welcome"),
                partial(client.held.finished.__contains__, generation),
                rng,
            )
            await client.connect(running.ws_url)
            assert client.text(generation) == text
        return client

    async def go() -> None:
        async with running_node(services, database) as running:
            text = answer(random.Random(seed))
            script(running, text)
            rngs = [random.Random(seed + number) for number in range(USERS)]
            clients = await asyncio.gather(*(one(running, text, rng, CUTS // USERS) for rng in rngs))
            intended = {g: text for client in clients for g in client.held.finished}
            await running.assert_holds(*clients, intended=intended)

    asyncio.run(go())


def test_an_event_stream_cut_at_a_thousand_random_moments_misses_nothing(
    services: EmbeddedServices, database: Database, seed: int
):
    async def one(running: RunningNode, text: str, rng: random.Random, share: int) -> SseClient:
        client = running.sse()
        created = await client.rest("POST", "/api/chat/conversations", {})
        path = f"/api/chat/conversations/{created.json()['id']}/messages"
        cuts = 0
        await client.connect()
        while cuts < share:
            body = {"content": "Tell me more", "client_message_id": new_uuid()}
            accepted = await client.rest("POST", path, body, Prefer="respond-async")
            assert accepted.status_code == 202, accepted.text
            generation = accepted.json()["generation"]
            cuts += await cut_and_come_back(
                client,
                lambda: client.connect(until="welcome"),
                partial(client.held.finished.__contains__, generation),
                rng,
            )
            assert client.text(generation) == text
        return client

    async def go() -> None:
        async with running_node(services, database) as running:
            text = answer(random.Random(seed))
            script(running, text)
            rngs = [random.Random(seed + number) for number in range(USERS)]
            clients = await asyncio.gather(*(one(running, text, rng, CUTS // USERS) for rng in rngs))
            intended = {g: text for client in clients for g in client.held.finished}
            await running.assert_holds(*clients, intended=intended)

    asyncio.run(go())


def test_two_tabs_with_one_cursor_both_hear_everything(services: EmbeddedServices, database: Database):
    async def go() -> None:
        async with running_node(services, database) as running:
            running.simulator.script(Behaviour(text="One two three four five.", gate="go", gate_at=2))
            first = await running.client()
            ack = await first.send("message.send", content="Count", client_message_id=new_uuid())
            await running.simulator.reached("go")
            user = first.recording.user
            second, third = [await running.client(user, connect=False) for _ in range(2)]
            for tab in (second, third):
                await tab.connect(running.ws_url, resume={"position": first.held.position})

            running.simulator.release("go")
            for tab in (first, second, third):
                finished = await tab.wait_for(of_type("generation.finished", generation=ack["generation"]))
                assert finished["message"]["content"] == "One two three four five."
            await running.assert_holds(first, second, third)

    asyncio.run(go())
