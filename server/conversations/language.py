"""The language of a text, by its small words: Indonesian or English.

Sans-I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal

Language = Literal["id", "en"]
LANGUAGES: Mapping[str, Language] = MappingProxyType({"id": "id", "en": "en"})

_CHARS = 4000
_WORD = re.compile(r"[a-z]+")
_INDONESIAN_WORDS = (
    "yang dan di untuk dengan dalam pada dari ini itu adalah kamu anda saya aku kita apa bagaimana mengapa "
    "kenapa siapa mana memiliki punya tidak bukan belum akan dapat bisa juga atau sebagai lebih serta secara "
    "sangat karier karir menjadi oleh bidang minat jurusan kuliah kerja pekerjaan cocok buat tolong "
    "jelaskan hasil tes karena saat agar para"
)
_ENGLISH_WORDS = (
    "the and of to you your my me i is are am was be in on for that this these it can could should would do "
    "does how what which who why when where with have has not will as an a from or about into work job "
    "career please explain people strong but by their or not it"
)
_INDONESIAN = frozenset(_INDONESIAN_WORDS.split())
_ENGLISH = frozenset(_ENGLISH_WORDS.split())


def language_of(texts: Iterable[str], *, otherwise: Language = "id") -> Language:
    """The language most of the small words are of; `otherwise` where they do not tell."""
    indonesian = english = chars = 0
    for text in texts:
        words = _WORD.findall(text[:_CHARS].lower())
        indonesian += sum(word in _INDONESIAN for word in words)
        english += sum(word in _ENGLISH for word in words)
        chars += len(text)
        if chars >= _CHARS:
            break
    if indonesian == english:
        return otherwise
    return "en" if english > indonesian else "id"


def known_language(context_data: Any) -> Language | None:
    """The language a conversation's `context_data` says its assessment is in; `None` if it does not."""
    named = context_data.get("assessment_language") if isinstance(context_data, Mapping) else None
    return LANGUAGES.get(named) if isinstance(named, str) else None
