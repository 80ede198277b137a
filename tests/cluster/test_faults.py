"""Every fault of the table, at random moments, on one node and two, over both doors: nothing is lost, nothing is
shown twice (I1 to I5, I7).

FAULT_SEEDS=20 pytest -s tests/cluster/test_faults.py

By default the seed chooses of four faults one that strikes one node, and one that strikes two; with more
seeds every fault strikes both, with each.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
import zlib

import pytest

from tests.cluster.faults import FAULTS, Fault
from tests.cluster.faulty import faulty_cluster
from tests.cluster.follower import Door
from tests.cluster.striking import Outcome, Strikes, table

SEEDS = int(os.environ.get("FAULT_SEEDS", "1"))
ONLY = os.environ.get("FAULTS", "")
DOORS: tuple[Door, ...] = ("ws", "sse", "ws", "sse")


def of(seed: str, nodes: int) -> list[Fault]:
    """The faults this many nodes are struck with."""
    chosen = [fault for fault in FAULTS if re.search(ONLY, fault.name)]
    if SEEDS > 1 or ONLY:
        return chosen
    turn = zlib.crc32(seed.encode())
    return [fault for number, fault in enumerate(chosen) if (number + turn) % 4 == nodes]


async def strike_all(seed: str, nodes: int) -> tuple[list[Outcome], list[str]]:
    async with faulty_cluster(count=nodes) as cluster:
        strikes = Strikes(cluster, seed)
        for fault in of(seed, nodes):
            began = time.monotonic()
            outcome = await strikes.strike(fault, DOORS)
            print(f"{time.monotonic() - began:.1f} s {outcome.what}: {outcome.violations or outcome.statuses}", flush=True)  # noqa: T201  # fmt: skip
        violations = [violation for outcome in strikes.outcomes for violation in outcome.violations]
        violations += await strikes.settle()
        return strikes.outcomes, violations


@pytest.mark.timeout(180 + SEEDS * 300)
@pytest.mark.parametrize("nodes", [1, 2])
def test_whatever_fails_nothing_is_lost_and_nothing_is_shown_twice(seed: int, nodes: int):
    outcomes, violations = [], []
    for number in range(SEEDS):
        struck, found = asyncio.run(strike_all(f"{seed}+{number}", nodes))
        outcomes += struck
        violations += found
        print(table(outcomes))  # noqa: T201 - what was injected so far
    assert violations == [], "\n".join(violations)
