"""Sans-I/O. Text that every store and every client can hold.

Providers cut text between the two UTF-16 halves of a character, so that one delta ends with a lone high
surrogate and the next begins with the low one. Such halves are joined. A half without its other, and NUL
(which PostgreSQL refuses), become U+FFFD.
"""

from __future__ import annotations

REPLACEMENT = "\ufffd"


class TextRepair:
    """Repairs one growing text, delta by delta; a high surrogate at an end waits for what follows."""

    def __init__(self) -> None:
        self._high = ""

    def take(self, delta: str) -> str:
        """The repaired text of this delta; `""` while there is nothing to show of it yet."""
        if delta.isascii() and not self._high:
            return delta.replace("\0", REPLACEMENT) if "\0" in delta else delta
        if not delta:
            return ""
        text = self._high + delta
        self._high = ""
        if "\ud800" <= text[-1] <= "\udbff":
            self._high = text[-1]
            text = text[:-1]
        return repaired(text)

    def end(self) -> str:
        """What was still waiting, once nothing follows."""
        waiting, self._high = self._high, ""
        return REPLACEMENT if waiting else ""


def repaired(text: str) -> str:
    """`text` with its surrogate pairs joined, and lone ones and NUL replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        # "replace" would give "?" per lone half when encoding; decoding gives U+FFFD, and joins pairs
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\0", REPLACEMENT) if "\0" in text else text
