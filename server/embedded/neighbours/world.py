"""Sans-I/O. What the neighbours know, and what they were asked."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

MAX_CALLS = 5000
_KEPT = ("results", "listed", "jobs", "profiles")


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it came, and the status it was answered with (0: not answered)."""

    service: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    status: int

    def as_json(self) -> dict[str, Any]:
        """For the control API."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class World:
    """Results, jobs and profiles by id, tokens by text, the calls so far.

    `results` holds what `GET /archive/results/{id}` answers as `data`, whatever its shape; `listed` what
    lists say of it besides (`status`, `assessment_name`). `tells_chatbot` is whether the notification
    service takes the chatbot's own stages, which the real one does not. `populated` is whether whoever has a
    token has an account: tokens of development are nobody's until then.
    """

    service_key: str
    jwt_secret: str = ""
    tells_chatbot: bool = False
    populated: bool = False
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    listed: dict[str, dict[str, str]] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    profiles: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    def note(self, call: Call) -> None:
        """Remember a call; the oldest are forgotten."""
        self.calls.append(call)
        del self.calls[:-MAX_CALLS]

    def dump(self) -> bytes:
        """What is known, without the calls."""
        return json.dumps({name: getattr(self, name) for name in _KEPT}, ensure_ascii=False).encode()

    def restore(self, dumped: bytes) -> None:
        """Know what was known.

        Raises:
            ValueError: it is not what `dump` makes.
        """
        held = json.loads(dumped)
        if not isinstance(held, dict) or not all(isinstance(held.get(name), dict) for name in _KEPT):
            raise ValueError("the file is not one of the neighbours' stand-in")
        for name in _KEPT:
            getattr(self, name).update(held[name])

    def clear(self) -> None:
        """As new."""
        self.tells_chatbot = False
        for each in (self.results, self.listed, self.jobs, self.profiles, self.calls):
            each.clear()
