"""Sans-I/O. The stand-in's answers: a Markdown page for each language, cut into sections.

`<!-- name: words -->` begins the section `name`; it answers a question in which the regular expression
`words` finds something at the beginning of a word, and the first such section of the page is taken.
Sections `careers X` are tables that the section `careers` is filled with. Sections without words are only
reached by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

Language = Literal["en", "id"]

_PAGES = Path(__file__).with_name("pages")
_SECTION = re.compile(r"^<!-- (.+) -->\n", re.MULTILINE)
_TABLE = "careers "
_TABLES_AT_ONCE = 2
_INDONESIAN = re.compile(
    r"\b(saya|aku|kamu|anda|apa|apakah|bagaimana|gimana|yang|untuk|adalah|dan|tidak|nggak|karier|karir|"
    r"jurusan|halo|hai|selamat|terima kasih|makasih|bakat|minat|kuliah|cocok|tolong|jelaskan|buatkan|belajar|"
    r"siapa|mengapa|kenapa|dengan|bisa|ingin|mau|pekerjaan|kerja|lanjutkan|teruskan|tabel|wawancara|lelucon|"
    r"namaku|kode|bahasa|aksara|rencana|kekuatan)\b",
    re.IGNORECASE,
)
_ENGLISH = re.compile(
    r"\b(the|what|which|who|how|why|is|are|do|does|my|me|you|your|i|can|could|please|for|and|a|an|of|to|in|"
    r"with|tell|show|give|make|about|hello|thanks|continue)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Section:
    """One answer, and the words that call for it."""

    name: str
    words: re.Pattern[str] | None
    text: str

    def answers(self, question: str) -> bool:
        """Whether `question` has its words."""
        return self.words is not None and self.words.search(question) is not None


@dataclass(frozen=True, slots=True)
class Page:
    """The answers of one language, in the order of the page."""

    language: Language
    sections: dict[str, Section]

    def __getitem__(self, name: str) -> str:
        return self.sections[name].text

    def pick(self, question: str) -> str:
        """The name of the section that answers `question`."""
        sections = (s for s in self.sections.values() if not s.name.startswith(_TABLE))
        return next((section.name for section in sections if section.answers(question)), "default")

    def careers(self, question: str) -> str:
        """One table of careers for the subjects that `question` names, or a general one."""
        tables = [s.text for s in self.sections.values() if s.name.startswith(_TABLE) and s.answers(question)]
        if not tables:
            return self["careers any"]
        rows = [row for table in tables[1:_TABLES_AT_ONCE] for row in table.splitlines()[2:]]
        return "\n".join([tables[0], *rows])


@cache
def page(language: Language) -> Page:
    """All answers of a language."""
    parts = _SECTION.split((_PAGES / f"{language}.md").read_text(encoding="utf-8"))
    sections: dict[str, Section] = {}
    for heading, text in zip(parts[1::2], parts[2::2], strict=True):
        name, _, words = heading.partition(": ")
        pattern = re.compile(rf"\b(?:{words})", re.IGNORECASE) if words else None
        sections[name] = Section(name, pattern, text.strip())
    return Page(language, sections)


def language_of(text: str) -> Language:
    """The language somebody writes in, by its most frequent words; English where it is a tie."""
    return "id" if len(_INDONESIAN.findall(text)) > len(_ENGLISH.findall(text)) else "en"
