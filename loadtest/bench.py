"""What a token costs, how late it is and how soon an answer begins, beside a bare relay in the same run.

    python -m loadtest.bench --streams 300 --rate 20 --tokens 200

Starts the upstream, the relay and the server itself, drives them in turn, and prints figures and ratios.
`loadtest/README.md` says what each figure means.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import uvloop

from loadtest import processes
from loadtest.figures import median, percentile, table
from loadtest.processes import Target
from loadtest.sessions import SessionFigures, measure_sessions
from loadtest.sessions import report as session_report
from loadtest.streams import StreamFigures, measure_direct, measure_streams


def main() -> int:
    """Measure and print; 1 if a stream went wrong anywhere."""
    arguments = _arguments()
    processes.raise_file_limit()
    settings = dict(setting.split("=", 1) for setting in arguments.set)
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(processes.load_upstream(arguments.rate))
        targets = []
        if arguments.only in {None, "relay"}:
            targets.append(stack.enter_context(processes.relay(upstream)))
        if arguments.only in {None, "server"}:
            targets.append(stack.enter_context(processes.chat_server(upstream, settings)))
        idle, runs = uvloop.run(_measure(targets, upstream, arguments))
    print(
        f"{arguments.streams} streams x {arguments.rate:g} tokens/s x {arguments.tokens} tokens, "
        f"{arguments.rounds} rounds, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n"
    )
    print(stream_report(runs))
    if idle:
        print("\n" + session_report(idle))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(as_json(runs, idle), indent=2) + "\n")
    wrong = [why for run in runs for why in run.wrong]
    for why in sorted(set(wrong)):
        print(f"wrong, {wrong.count(why)} x: {why}", file=sys.stderr)
    return 1 if wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=300, help="at once, each of a user of its own")
    parser.add_argument("--rate", type=float, default=20, help="tokens per second and stream")
    parser.add_argument("--tokens", type=int, default=200, help="length of an answer")
    parser.add_argument("--rounds", type=int, default=2, help="of every target, in turn; the median is shown")
    parser.add_argument("--idle", type=int, default=0, help="also measure so many idle sessions")
    parser.add_argument("--idle-seconds", type=float, default=30)
    parser.add_argument("--only", choices=["relay", "server"])
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the server"
    )
    parser.add_argument("--json", type=Path, help="write the figures there too")
    return parser.parse_args()


async def _measure(
    targets: list[Target], upstream: str, arguments: argparse.Namespace
) -> tuple[list[SessionFigures], list[StreamFigures]]:
    idle: list[SessionFigures] = []
    if arguments.idle:
        # first, while the processes are fresh: memory that streams leave behind is not a session's
        size = {"sessions": arguments.idle, "seconds": arguments.idle_seconds}
        idle = [await measure_sessions(target, **size) for target in targets]
    size = {"streams": arguments.streams, "tokens": arguments.tokens}
    runs = [await measure_direct(upstream, **size)]
    for target in targets:
        # warm: connections to the upstream, caches and first imports are no token's cost
        await measure_streams(target, upstream, streams=min(20, arguments.streams), tokens=20)
    for _ in range(arguments.rounds):
        for target in targets:
            runs.append(await measure_streams(target, upstream, **size))
            await asyncio.sleep(1)
    return idle, runs


def summary(runs: list[StreamFigures]) -> dict[str, float]:
    """The medians over the rounds of one target. CPU in µs per token, times in ms."""

    def over(figure: Any) -> float:
        return median([figure(run) for run in runs])

    return {
        "cpu": over(StreamFigures.cpu_us_per_token),
        "steady": over(StreamFigures.steady_us_per_token),
        "below": over(lambda r: r.below_cpu * 1e6 / max(r.tokens, 1)),
        "core": over(lambda r: r.all_cpu / r.wall * 100),
        "tokens_per_second": over(lambda r: r.tokens / r.wall),
        "tokens_per_delta": over(lambda r: r.tokens / max(r.deltas, 1)),
        **{
            f"{name}_p{share}": over(
                lambda r, n=name, s=share: percentile(getattr(r, f"{n}_us"), s / 100) / 1e3
            )
            for name in ("first", "late", "accept")
            for share in (50, 99)
        },
    }


COLUMNS = {
    "cpu": "CPU µs/token",
    "steady": "steady",
    "below": "beside",
    "core": "% of a core",
    "tokens_per_second": "tokens/s",
    "tokens_per_delta": "tokens/delta",
    "first_p50": "first p50 ms",
    "first_p99": "p99",
    "late_p50": "delta p50 ms",
    "late_p99": "p99 ",
    "accept_p50": "accept p50 ms",
    "accept_p99": "p99  ",
}
RATIOS = (
    "cpu",
    "steady",
    "core",
    "late_p50",
    "late_p99",
    "first_p50",
    "first_p99",
    "accept_p50",
    "accept_p99",
)


def stream_report(runs: list[StreamFigures]) -> str:
    """A line per target, and the server's as a multiple of the relay's."""
    names = list(dict.fromkeys(run.name for run in runs))
    sums = {name: summary([run for run in runs if run.name == name]) for name in names}
    rows = [[name, *(_shown(name, column, sums[name][column]) for column in COLUMNS)] for name in names]
    if {"relay", "server"} <= sums.keys():
        ratios = {
            c: sums["server"][c] / sums["relay"][c] if sums["relay"][c] else float("nan") for c in RATIOS
        }
        rows.append(["server/relay", *(f"{ratios[c]:.2f} x" if c in ratios else "" for c in COLUMNS)])
    return table(["", *COLUMNS.values()], rows)


def _shown(name: str, column: str, value: float) -> str:
    # nothing stands between in the direct run, so there is no process whose CPU would count
    if name == "direct" and column in {"cpu", "steady", "below", "core"}:
        return "-"
    return f"{value:.2f}" if column.endswith(("p50", "p99", "delta")) else f"{value:.1f}"


def as_json(runs: list[StreamFigures], idle: list[SessionFigures]) -> dict[str, Any]:
    """Every run's figures, for whoever wants to keep them."""
    return {
        "streams": [{"name": run.name, **summary([run]), "wrong": len(run.wrong)} for run in runs],
        "idle": [vars(figures) for figures in idle],
    }


if __name__ == "__main__":
    sys.exit(main())
