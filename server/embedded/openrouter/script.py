"""Sans-I/O. Scripts: which calls get which behaviours, in which order."""

from __future__ import annotations

from typing import Any

import msgspec

from server.embedded.openrouter.behaviour import Behaviour


class Script(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Behaviours for the calls that come: each call takes the next; `repeat` keeps the last one for ever.

    `model` and `match` (a part of the question, the last user message that is no request to go on) say
    which calls are meant.
    """

    calls: tuple[Behaviour, ...]
    model: str | None = None
    match: str | None = None
    repeat: bool = False

    def __post_init__(self) -> None:
        if not self.calls:
            raise ValueError("`calls` holds at least one behaviour")


class ScriptError(ValueError):
    """A script is not one; the text says where and why."""


def parse_script(value: Any) -> Script:
    """The script that decoded JSON describes.

    Raises:
        ScriptError: a field is unknown, missing or wrong.
    """
    try:
        return msgspec.convert(value, Script)
    except msgspec.ValidationError as error:
        raise ScriptError(str(error)) from error


class ScriptBook:
    """The scripts in force, in the order they came.

    A script whose behaviours are used up is passed over; what a repeating one keeps is used only when no
    other script has a behaviour for the call.
    """

    def __init__(self) -> None:
        self._scripts: list[tuple[Script, list[Behaviour]]] = []

    def add(self, script: Script) -> None:
        """Put `script` behind the others."""
        self._scripts.append((script, list(reversed(script.calls))))

    def clear(self) -> None:
        """Forget all scripts."""
        self._scripts.clear()

    def take(self, model: str, questions: tuple[str, ...]) -> Behaviour | None:
        """The behaviour for a call of `model` with one of `questions`, used up; `None`: not scripted."""
        meant = [
            (script, left)
            for script, left in self._scripts
            if script.model in {None, model}
            and (script.match is None or any(script.match in question for question in questions))
        ]
        for script, left in meant:
            if left:
                behaviour = left.pop()
                if not left and not script.repeat:
                    self._scripts = [entry for entry in self._scripts if entry[1] is not left]
                return behaviour
        return next((script.calls[-1] for script, _ in meant if script.repeat), None)
