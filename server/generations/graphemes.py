"""Where a character ends, as a reader sees it: no cut inside a grapheme cluster.

Sans-I/O. The part of Unicode's UAX 29 that matters for a cut: combining marks and joiners, emoji sequences,
skin tones and tags, flags, Hangul, Indic conjuncts, CR LF. It needs no tables but the standard library's.
"""

from __future__ import annotations

import unicodedata

_JOINER = "\u200d"
_FLAGS = range(0x1F1E6, 0x1F200)
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_TAGS = range(0xE0020, 0xE0080)
_JAMO = range(0x1100, 0x1200)
_JAMO_LATER = range(0x1160, 0x1200)
_SYLLABLES = range(0xAC00, 0xD7A4)
_VIRAMA = 9  # the combining class of the marks that tie two consonants together
_FIRST_PICTURE = 0x203C
_LONGEST_FLAGS = 64  # an even number: so many flag letters are looked at to find out which two are a pair


def joined(before: str, after: str) -> bool:
    """Whether a cut between two texts would split a cluster."""
    if not before or not after:
        return False
    last, following = before[-1], after[0]
    code = ord(following)
    if following.isascii():
        return last == "\r" and following == "\n"
    if _extends(following, code):
        return last not in "\r\n"
    if last == _JOINER:
        return code >= _FIRST_PICTURE
    if code in _FLAGS:
        return _flags_at_end(before) % 2 == 1
    if unicodedata.combining(last) == _VIRAMA:
        return unicodedata.category(following) == "Lo"
    return code in _JAMO_LATER and (ord(last) in _JAMO or ord(last) in _SYLLABLES)


def cluster_start(text: str, following: str) -> int:
    """Where the cluster begins in `text` that goes on into `following`; the length where none does."""
    at = len(text)
    if not joined(text, following):
        return at
    at -= 1
    while at > 0 and joined(text[max(0, at - _LONGEST_FLAGS) : at], text[at]):
        at -= 1
    return at


def _extends(character: str, code: int) -> bool:
    return (
        character in {_JOINER, "\u200c"}
        or code in _SKIN_TONES
        or code in _TAGS
        or unicodedata.category(character) in {"Mn", "Me", "Mc"}
    )


def _flags_at_end(text: str) -> int:
    count = 0
    while count < len(text) and ord(text[-1 - count]) in _FLAGS:
        count += 1
    return count
