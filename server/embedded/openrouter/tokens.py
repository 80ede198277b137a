"""Sans-I/O. Tokens of the simulated models: how text is cut into deltas, counted and written as JSON.

Counting is deterministic on purpose, so that a test can work out every bill: one token for each four
code points, rounded up. Deltas are cut at words, as real models seem to do; their number is not the
number of tokens, and no client may believe it is.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache

import orjson

_CHARACTERS_PER_TOKEN = 4
# Every character is a letter or other word character, a digit, an underscore, a space or none of these,
# so the pieces always add up to the text.
_PIECE = re.compile(r"\s*[^\W\d_]{1,8}|\s*\d{1,3}|\s*_+|\s*[^\w\s]{1,3}|\s+")
_PAIR = re.compile("([\ud800-\udbff])([\udc00-\udfff])")
_UNSAFE = re.compile("[\x00\ud800-\udfff]")


def count(text: str) -> int:
    """Number of tokens billed for `text`."""
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


@lru_cache(maxsize=512)
def split(text: str) -> tuple[str, ...]:
    """The deltas a model would stream `text` in; they join to `text`."""
    return tuple(_PIECE.findall(text))


def split_surrogates(tokens: tuple[str, ...]) -> tuple[str, ...]:
    """Cut every astral character over two deltas, as its two UTF-16 halves."""
    halves: list[str] = []
    for token in tokens:
        rest = ""
        for character in token:
            if ord(character) > 0xFFFF:  # noqa: PLR2004 - the end of the basic plane
                offset = ord(character) - 0x10000
                halves.append(rest + chr(0xD800 + (offset >> 10)))
                rest = chr(0xDC00 + (offset & 0x3FF))
            else:
                rest += character
        if rest:
            halves.append(rest)
    return tuple(halves)


def join(tokens: tuple[str, ...] | list[str]) -> str:
    """The text of `tokens`, with surrogate halves that met across deltas made one character."""
    return _PAIR.sub(_joined, "".join(tokens))


def clean(text: str) -> str:
    """`text` as a reader stores it: NUL and lone surrogates are U+FFFD, nothing else changes."""
    return _UNSAFE.sub("�", text)


def as_json(text: str) -> bytes:
    """`text` as a JSON string: raw UTF-8, as JavaScript writes it, but escapes for lone surrogates."""
    try:
        return orjson.dumps(text)
    except TypeError:
        return json.dumps(text).encode()


@lru_cache(maxsize=512)
def pieces(tokens: tuple[str, ...]) -> tuple[bytes, ...]:
    """Each of `tokens` as a JSON string; kept, since a load test says the same text many times."""
    return tuple(as_json(token) for token in tokens)


def _joined(pair: re.Match[str]) -> str:
    high, low = pair.groups()
    return chr(0x10000 + ((ord(high) - 0xD800) << 10) + (ord(low) - 0xDC00))
