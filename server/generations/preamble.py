"""What a model says before it goes on: "Sure, continuing from where I left off:".

Sans-I/O. A preamble is recognised only at the very beginning of a continuation, only as a line of its own or
up to a colon, and only if it speaks of going on: a greeting alone is no preamble. English and Indonesian.
Sentences that merely contain such words ("Continuing education matters.") must refer to the interruption,
or stand bare, to count. When in doubt it is text.
"""

from __future__ import annotations

import re

MOST_CHARS = 160
"""No preamble is longer."""

_GREETING = (
    r"(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|alright|all right|right|great|understood|"
    r"got it|yes|no problem|sorry|apologies|my apologies|i apologi[sz]e|"
    r"baik(?:lah)?|oke|tentu(?: saja)?|siap|ya|(?:mohon )?maaf|terima kasih)"
)
_GOING_ON = (
    r"(?:(?:i(?:['’]ll| will|['’]m| am)|let me|let['’]s|we(?:['’]ll| will))(?: just| now)? )?"
    r"(?:continu(?:e|es|ed|ing)|resum(?:e|ed|ing)|pick(?:ing)?(?: it)? up|carry(?:ing)? on|"
    r"keep(?:ing)? going|go(?:ing)? on|proceed(?:ing)?)"
)
_THE_REST = (
    r"(?:(?:here|this|below)(?:['’]s| is| are)? (?:the |my |your )?"
    r"(?:rest|remainder|continuation|remaining (?:part|text|portion|answer|reply|response)s?)|continuation|"
    r"(?:the )?(?:rest|remainder) of (?:the|my|your|this) (?:answer|reply|response|text)(?=[^\n]{0,20}:))"
)
_LANJUT = (
    r"(?:(?:saya|aku|kita|mari(?: kita)?)(?: akan)? )?(?:me)?lanjut(?:kan|an)?(?:nya)?"
    r"|(?:saya |kita )?(?:akan )?(?:me)?neruskan|(?:saya |kita |mari )?teruskan"
)
_SISANYA = (
    r"(?:berikut(?:lah)?|ini)(?: ini)?(?: adalah)? "
    r"(?:ke)?(?:lanjutan|sisa|bagian (?:selanjutnya|berikutnya))(?:nya)?"
)
_CORE = rf"(?:{_GOING_ON}|{_THE_REST}|{_LANJUT}|{_SISANYA})"
_REFERS = (
    r"left off|cut off|stopped|interrupted|my (?:answer|reply|response)|here (?:is|are) the|here['’]s the|"
    r"terputus|terhenti|terpotong|sisanya|berikut|kelanjutan\w*|lanjutan\w*"
)
_REFERS_LOOSELY = (
    r"previous|earlier|above|the (?:answer|reply|response|rest|remainder|continuation)|"
    r"from (?:here|there|where)|sebelumnya|tadi|jawaban(?:nya)?"
)
_STRONG = re.compile(rf"\b(?:{_REFERS})\b", re.IGNORECASE)
_LOOSE = re.compile(rf"\b(?:{_REFERS}|{_REFERS_LOOSELY})\b", re.IGNORECASE)
_OPEN = r"(?:\.{3}|…)?[\s*_(\[>\"'“]*"
_GREETS = rf"{_GREETING}(?: [^.,!:\n]{{0,40}})?[,.!…—–-]*\s+"
_EXCUSE = r"[^.!:\n]{1,60}[.!…]+\s+"
_OPENED = re.compile(r"[.…\s*_(\[>\"'“]*")
_GREETED = re.compile(rf"{_OPEN}{_GREETS}", re.IGNORECASE)
_EXCUSING = re.compile(rf"{_OPEN}{_GREETS}[^.!:\n]{{0,60}}(?:[.!…]+\s*)?", re.IGNORECASE)
_EXCUSED = re.compile(rf"{_OPEN}{_GREETS}{_EXCUSE}", re.IGNORECASE)
_LINE = re.compile(
    rf"{_OPEN}(?P<greeting>{_GREETS}(?P<excuse>{_EXCUSE})?)?"
    rf"(?P<core>{_CORE})\b(?P<tail>[^:\n]{{0,100}}?)"
    rf"(?P<end>[.…!)\]*_]*:[*_)\]\"]*(?=\s)|[.…!)\]*_]*[ \t]*(?=\n))",
    re.IGNORECASE,
)
_GAP = re.compile(r"[ \t]*\n\n?|[ \t]?")
_BEGINNINGS = (
    "sure", "certainly", "of course", "absolutely", "ok", "alright", "all right", "right", "great",
    "understood", "got it", "yes", "no problem", "sorry", "apologies", "my apologies", "i apologi", "i'll",
    "i’ll", "i will", "i'm", "i’m", "i am", "let me", "let's", "let’s", "we'll", "we’ll", "we will",
    "continu", "resum", "pick", "carry", "keep", "go", "proceed", "here", "this", "below", "the re",
    "rest of", "remainder of", "baik", "tentu", "siap", "ya", "maaf", "mohon", "terima", "saya", "aku",
    "kita", "mari", "akan", "lanjut", "melanjut", "menerus", "nerus", "terus", "berikut", "ini",
)  # fmt: skip


def preamble_length(text: str, *, final: bool) -> int | None:
    """How many characters of a continuation are its preamble, the gap after it included; 0: none.

    `None`: it may be one and has not ended yet; never with `final`, when nothing more is waited for.
    """
    # a stand-in for what will follow the last colon, where nothing more will come
    match = _LINE.match(f"{text}\n" if final else text)
    if match is not None and match.end() <= MOST_CHARS and _convinces(match):
        gap = _GAP.match(text, match.end("end"))
        assert gap is not None  # it matches nothing, too
        return gap.end()
    return None if not final and len(text) <= MOST_CHARS and _may_become(text) else 0


def _convinces(match: re.Match[str]) -> bool:
    colon, greeted = ":" in match["end"], match["greeting"] is not None
    if not match["excuse"] and ((colon and greeted) or not match["tail"].strip(" .…!*_)")):
        return True
    refers = _LOOSE if colon or greeted else _STRONG
    return refers.search((match["excuse"] or "") + match["core"] + match["tail"]) is not None


def _may_become(text: str) -> bool:
    """Whether a text that is no preamble yet may be one when more of it comes."""
    if _EXCUSING.fullmatch(text):
        return True
    begun = (pattern.match(text) for pattern in (_OPENED, _GREETED, _EXCUSED))
    return any(match is not None and _may_begin(text[match.end() :].lower()) for match in begun)


def _may_begin(line: str) -> bool:
    return "\n" not in line and any(line.startswith(word) or word.startswith(line) for word in _BEGINNINGS)
