"""What a reader saw stand still: the silences in growing texts, out of recordings.

Sans-I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.scripted.recording import Recording


@dataclass(frozen=True, slots=True)
class Pause:
    """A text that did not grow from `begin` to `end`, seconds on the recording's clock.

    `connections` says how often the reader connected meanwhile, `announced` when it heard of another attempt,
    the first of them if there were several.
    """

    begin: float
    end: float
    connections: int = 0
    announced: float | None = None

    @property
    def seconds(self) -> float:
        return self.end - self.begin


@dataclass(slots=True)
class _Growing:
    length: int = 0
    at: float | None = None
    connection: int = 0
    announced: float | None = None


def pauses(recording: Recording) -> Iterator[Pause]:
    """Every silence between two growths of a text; its end counts as one."""
    texts: dict[str, _Growing] = {}
    for connection, frame, at in recording.heard:
        if frame.get("kind") == "reasoning" or "generation" not in frame:
            continue
        text = texts.setdefault(frame["generation"], _Growing())
        if frame["type"] == "generation.switched":
            text.announced = text.announced or at
            continue
        length = frame["at"] + len(frame["text"]) if frame["type"] == "delta" else 0
        ended = frame["type"] == "generation.finished"
        if length <= text.length and not ended:
            continue  # shown already, or no text
        if text.at is not None:
            yield Pause(text.at, at, connection - text.connection, text.announced)
        text.length, text.at, text.connection, text.announced = length, at, connection, None
        if ended:
            del texts[frame["generation"]]


def longest_within(found: Iterable[Pause], windows: Sequence[tuple[float, float]]) -> list[Pause | None]:
    """Of each window of time the longest pause that touches it."""
    longest: list[Pause | None] = [None] * len(windows)
    for pause in found:
        for index, (begin, end) in enumerate(windows):
            best = longest[index]
            touches = pause.begin < end and pause.end > begin
            if touches and (best is None or pause.seconds > best.seconds):
                longest[index] = pause
    return longest


def percentile(values: Sequence[float], part: float) -> float:
    """The value that so many percent do not exceed; of no values 0."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part / 100))] if ordered else 0.0


def spread(values: Sequence[float]) -> str:
    """Seconds as they are told: how many, the middle, the 99th percentile and the longest."""
    p50, p99, longest = percentile(values, 50), percentile(values, 99), percentile(values, 100)
    return f"{len(values)} of p50 {p50:.2f} s, p99 {p99:.2f} s, at most {longest:.2f} s"
