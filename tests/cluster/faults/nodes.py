"""What happens to the node that writes, and between nodes and everything."""

from __future__ import annotations

import asyncio

from tests.cluster.faults.fault import Heal, Scene


async def terminate_the_writer(scene: Scene) -> Heal:
    node = await scene.writer()
    ended = asyncio.create_task(node.drain())

    async def replace() -> None:
        code = await ended
        if code != 0:
            scene.followers[0].wrong.append(
                f"a drained node ended with {code}: {node.log.read_text()[-2000:]}"
            )
        await scene.cluster.replace(node)

    return replace


async def kill_the_writer(scene: Scene) -> Heal:
    node = await scene.writer()
    node.kill()
    await node.process.wait()

    async def replace() -> None:
        await scene.cluster.replace(node)

    return replace


async def freeze_the_writer(scene: Scene) -> Heal:
    node = await scene.writer()
    node.freeze()

    async def thaw() -> None:
        node.thaw()

    return thaw


async def slow_everything(scene: Scene) -> Heal:
    for cable in (*scene.cluster.to_needed(), *scene.cluster.to_clients()):
        cable.latency, cable.jitter = scene.rng.uniform(0.0, 0.03), scene.rng.uniform(0.0, 0.05)
    return scene.cluster.heal


async def narrow_everything(scene: Scene) -> Heal:
    for cable in (*scene.cluster.to_needed(), *scene.cluster.to_clients()):
        cable.bandwidth = scene.rng.uniform(50_000, 400_000)
    return scene.cluster.heal
