"""What a client holds between two connections: the rule of the protocol, in a few lines.

Sans-I/O. Written a second time here on purpose: the clients of the tests must not share a mistake with the
code they test.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.scripted.recording import Frame


@dataclass
class HeldText:
    """A generation's text, and the attempt that last changed it."""

    text: str = ""
    attempt: int = 1


@dataclass
class Held:
    """A client's cursors, its texts and the ends it saw."""

    session: str | None = None
    position: str | None = None
    texts: dict[str, HeldText] = field(default_factory=dict)
    finished: dict[str, Frame] = field(default_factory=dict)

    def take(self, frame: Frame) -> None:
        """Apply one frame."""
        kind = frame.get("type")
        if kind == "welcome":
            self.session = frame["session"]
            # with `replay` the events up to its position are still to come
            if frame["resume"] != "replay":
                self.position = frame["position"]
        elif kind == "delta":
            if frame.get("kind") == "reasoning" or frame["generation"] in self.finished:
                return
            held = self.texts.setdefault(frame["generation"], HeldText(attempt=frame["attempt"]))
            if frame["attempt"] >= held.attempt:
                held.text = held.text[: frame["at"]] + frame["text"]
                held.attempt = frame["attempt"]
        elif kind == "reset" or (kind not in {"synced", "ack"} and "position" in frame):
            self.position = frame["position"]
            if kind == "generation.finished":
                self.finished[frame["generation"]] = frame
                self.texts.pop(frame["generation"], None)

    def resume(self) -> dict[str, Any]:
        """What `hello` presents; empty where nothing is held."""
        if self.position is None:
            return {}
        texts = {g: {"attempt": held.attempt, "at": len(held.text)} for g, held in self.texts.items()}
        return {"session": self.session, "position": self.position, "texts": texts}
