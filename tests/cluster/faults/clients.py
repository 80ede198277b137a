"""What happens between nodes and clients, and what clients do."""

from __future__ import annotations

import asyncio

from tests.cluster.faults.fault import Heal, Scene
from tests.cluster.follower import Answer, Follower
from tests.running import INTERNAL_KEY


async def cut_clients(scene: Scene) -> None:
    for _ in range(scene.rng.randint(1, 5)):
        for cable in scene.cluster.to_clients():
            cable.reset()
        await asyncio.sleep(scene.rng.uniform(0.02, 0.15))


async def cut_at_a_byte(scene: Scene) -> None:
    for cable in scene.cluster.to_clients():
        for _ in range(scene.rng.randint(1, 3)):
            carried = max((link.far.carried for link in cable.links), default=0)
            cable.cut_at(carried + scene.rng.randint(0, 1500))
            await asyncio.sleep(scene.rng.uniform(0.05, 0.2))


async def half_open(scene: Scene) -> None:
    for cable in scene.cluster.to_clients():
        cable.black_hole()


async def stop_reading(scene: Scene) -> Heal:
    for cable in scene.cluster.to_clients():
        cable.pause()

    async def read_again() -> None:
        for cable in scene.cluster.to_clients():
            cable.resume()

    return read_again


async def change_nodes(scene: Scene) -> None:
    for _ in range(scene.rng.randint(2, 6)):
        for follower in scene.followers:
            follower.cut(move=True)
        await asyncio.sleep(scene.rng.uniform(0.0, 0.1))


async def open_second_tabs(scene: Scene) -> None:
    """With the cursor the first one holds; texts it holds none of, so it presents none.

    What had ended before that cursor is not told again.
    """
    for follower in scene.followers:
        position = follower.client.held.position
        over = any(follower.has_ended(answer) for answer in follower.answers)
        tab = Follower(
            scene.cluster, follower.door, scene.rng, user=follower.user, name=f"{follower.name} tab"
        )
        tab.client.held.position = position
        if hasattr(tab.client, "last_event_id"):
            tab.client.last_event_id = position
        tab.answers = [] if over else follower.answers
        scene.more.append(tab)
        await tab.start()


async def forge_positions(scene: Scene) -> None:
    strangers = [follower.client.held.position for follower in scene.followers]
    for number, follower in enumerate(scene.followers):
        position = follower.client.held.position or "none:0"
        epoch, _, offset = position.rpartition(":")
        foreign = strangers[number - 1] if len(strangers) > 1 else None
        follower.forged = {
            "position": scene.rng.choice(
                [f"zzzzzz:{offset}", f"{epoch}:{int(offset) + 1000}", foreign or "x:1", "nonsense"]
            ),
            "texts": {
                answer.generation: {"attempt": 1, "at": 7}
                for other in scene.followers
                if other is not follower
                for answer in other.answers
                if answer.generation
            },
        }
        follower.cut()
    for number, follower in enumerate(scene.followers):
        for answer in scene.followers[number - 1].answers if len(scene.followers) > 1 else ():
            if answer.generation:
                await refuses_to_stop(follower, answer)


async def refuses_to_stop(follower: Follower, answer: Answer) -> None:
    response = await follower.cluster.http.post(
        f"{follower.cluster.nodes[0].base}/api/chat/generations/{answer.generation}/stop",
        headers={"Authorization": f"Bearer {follower.client.token}"},
    )
    if response.status_code != 404:
        follower.wrong.append(f"another's generation could be stopped: {response.status_code}")


async def let_tokens_end(scene: Scene) -> None:
    for follower in scene.followers:
        follower.token_seconds = 1.0
        follower.renew()
        follower.cut()


async def revoke_tokens(scene: Scene) -> None:
    for follower in scene.followers:
        await scene.cluster.http.post(
            f"{scene.rng.choice(scene.cluster.nodes).base}/api/chat/internal/users/{follower.user}/revoke",
            headers={"X-Internal-Service": "true", "X-Service-Key": INTERNAL_KEY},
        )


async def cut_when_idle(scene: Scene) -> Heal:
    for cable in scene.cluster.to_clients():
        cable.idle_seconds = scene.rng.uniform(0.1, 0.5)

    async def stop() -> None:
        for cable in scene.cluster.to_clients():
            cable.idle_seconds = None

    return stop
