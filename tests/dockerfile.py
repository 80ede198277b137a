"""The Dockerfile and .dockerignore, read as far as the tests need it."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
_TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their arguments, lines joined."""
    joined = re.sub(r"\\\n\s*", "", _TEXT)
    lines = [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def last_stage() -> list[tuple[str, str]]:
    """The instructions of the image that is kept."""
    found = instructions()
    start = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    return found[start:]


def one(name: str) -> str:
    """The argument of an instruction the final image has once."""
    (argument,) = [argument for found, argument in last_stage() if found == name]
    return argument


def image_environment() -> dict[str, str]:
    """The environment the image sets."""
    return dict(
        re.findall(r"([A-Z_]+)=(\S+)", " ".join(each for name, each in last_stage() if name == "ENV"))
    )


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path out; the last pattern that matches it, or a folder above it, says."""
    verdict = False
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    above = [str(each) for each in [Path(path), *Path(path).parents][:-1]]
    for line in lines:
        pattern = line.removeprefix("!")
        if line.startswith("#") or not pattern:
            continue
        names = [pattern] if not pattern.startswith("**/") else [pattern[3:], pattern.replace("**", "*", 1)]
        if any(fnmatch.fnmatch(each, name) and _as_deep(each, name) for each in above for name in names):
            verdict = not line.startswith("!")
    return verdict


def _as_deep(path: str, pattern: str) -> bool:
    return pattern.startswith("*/") or path.count("/") == pattern.count("/")
