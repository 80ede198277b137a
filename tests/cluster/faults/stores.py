"""What happens to Redis and PostgreSQL, and on the way to them."""

from __future__ import annotations

import asyncio

from tests.cluster.faults.fault import Heal, Scene
from tests.cluster.nodes import NodeProcess


async def kill_pubsub(scene: Scene) -> Heal:
    async def again_and_again() -> None:
        while True:
            await scene.cluster.redis.client_kill_filter(_type="pubsub")
            await asyncio.sleep(2.0 if scene.long else 0.25)

    killing = asyncio.create_task(again_and_again())

    async def stop() -> None:
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)

    return stop


async def freeze_redis(scene: Scene) -> Heal:
    await scene.cluster.services.valkey.pause()
    return scene.cluster.services.valkey.resume


async def crash_redis(scene: Scene) -> Heal:
    await scene.cluster.services.valkey.kill()
    return scene.cluster.services.valkey.start


async def lose_redis(scene: Scene) -> Heal:
    await scene.cluster.services.valkey.kill()
    return lambda: scene.cluster.services.valkey.start(lose_data=True)


async def lose_publishes(scene: Scene) -> Heal:
    scene.cluster.loss.lose(scene.rng.choice([1, 1, 2, 5]), b"chat:{")

    async def stop() -> None:
        scene.cluster.loss.lose(0, b"")

    return stop


def reset_redis(scene: Scene, node: NodeProcess) -> None:
    scene.cluster.of(node).redis.reset()


def isolate_from_redis(scene: Scene, node: NodeProcess) -> None:
    scene.cluster.of(node).redis.black_hole(also_new=True)


def refuse_redis(scene: Scene, node: NodeProcess) -> None:
    cable = scene.cluster.of(node).redis
    cable.refuse()
    cable.reset()


async def unplug_postgres(scene: Scene) -> Heal:
    scene.cluster.database_cable.unplug()
    return scene.cluster.heal


async def silence_postgres(scene: Scene) -> Heal:
    scene.cluster.database_cable.hold()
    return scene.cluster.heal


async def crash_postgres(scene: Scene) -> Heal:
    await scene.cluster.services.postgres.kill()
    return scene.cluster.services.postgres.start


async def cut_after_accept(scene: Scene) -> None:
    for _ in range(2):
        scene.cluster.database_cable.cut_after(scene.questions)


async def cut_after_end(scene: Scene) -> None:
    for _ in range(2):
        scene.cluster.database_cable.cut_after(scene.marker)
