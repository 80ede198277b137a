"""Short answers one after the other: what a turn costs apart from its tokens, beside a bare relay.

python -m loadtest.turns --users 20 --turns 50
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from dataclasses import dataclass

import uvloop

from loadtest import processes
from loadtest.clients import Session, close_sessions, open_sessions
from loadtest.figures import table
from loadtest.processes import Target, cpu_seconds, cpu_seconds_below

_TOKENS = 2
_RATE = 1000.0


@dataclass(frozen=True)
class TurnFigures:
    """CPU of the process, and of what it embeds, for a turn; in microseconds."""

    name: str
    cpu_us: float
    below_us: float


async def measure_turns(target: Target, *, users: int, turns: int) -> TurnFigures:
    """So many users ask so often, each waiting for the end of an answer before the next question."""
    sessions = await open_sessions(target, users)
    await asyncio.gather(*(_converse(session, 2) for session in sessions))
    cpu, below = cpu_seconds(target.pid), cpu_seconds_below(target.pid)
    await asyncio.gather(*(_converse(session, turns) for session in sessions))
    cost = 1e6 / users / turns
    figures = TurnFigures(
        target.name,
        (cpu_seconds(target.pid) - cpu) * cost,
        (cpu_seconds_below(target.pid) - below) * cost,
    )
    wrong = [session.wrong for session in sessions if session.wrong]
    close_sessions(sessions)
    if wrong:
        raise RuntimeError(f"{len(wrong)} of {users} users of {target.name} were not served: {wrong[0]}")
    return figures


async def _converse(session: Session, turns: int) -> None:
    for _ in range(turns):
        session.ask(_TOKENS)
        await session.done
        session.again()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=20, help="at once, each at a socket of its own")
    parser.add_argument("--turns", type=int, default=50, help="of every user")
    parser.add_argument("--only", choices=["relay", "server"])
    arguments = parser.parse_args()
    size = {"users": arguments.users, "turns": arguments.turns}
    rows = []
    with processes.load_upstream(_RATE) as upstream:
        if arguments.only != "server":
            with processes.relay(upstream) as target:
                rows.append(uvloop.run(measure_turns(target, **size)))
        if arguments.only != "relay":
            with processes.chat_server(upstream, {}) as target:
                rows.append(uvloop.run(measure_turns(target, **size)))
    print(f"{size['users']} users x {size['turns']} turns, load average {os.getloadavg()[0]:.1f}\n")
    print(
        table(
            ["", "CPU µs/turn", "beside"],
            [[row.name, f"{row.cpu_us:.0f}", f"{row.below_us:.0f}"] for row in rows],
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
