"""What a message may be.

Sans-I/O. Checks content as it came and never changes it: text is stored as sent. The rules are those of
`POST /conversations/{id}/messages`; they hold for the wire's `message.send` alike.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import unquote_to_bytes, urlsplit

from protocol.codes import ErrorCode
from protocol.frames import ContentType

MAX_IMAGE_BYTES = 180 * 1024
"""How long an image's data URL may be."""

MAX_FILE_BYTES = 64 * 1024
"""How long a file may be, decoded."""

MAX_URL_LENGTH = 2048

IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""What models that see images take."""

_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}\Z", re.ASCII)
_CHARSETS = {"", "utf-8", "utf8", "us-ascii"}
_MAX_NAME_LENGTH = 100


class ContentInvalid(Exception):  # noqa: N818 - a state of the content, named as one
    """The content of a message breaks a rule.

    Attributes:
        code: `bad_request`, `message_too_long` or `content_rejected`.
        field: the field the client should look at.
        message: a sentence for the client, without the content.
    """

    def __init__(self, code: ErrorCode, message: str, field: str = "content") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file's text, its media type and its name (empty if it has none)."""

    media_type: str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class _DataUrl:
    media_type: str
    parameters: dict[str, str]
    data: bytes


def check_content(content: str, content_type: ContentType, *, max_length: int) -> None:
    """Check a message's content.

    `max_length` bounds text, in code points after trimming; 0 is no limit.

    Raises:
        ContentInvalid: the content breaks a rule.
    """
    if "\x00" in content or any("\ud800" <= char <= "\udfff" for char in content):
        _refuse("content must not hold NUL or lone surrogates")
    match content_type:
        case "text":
            _check_text(content, max_length)
        case "image":
            _check_image(content)
        case "file":
            read_text_file(content)


def read_text_file(content: str) -> TextFile:
    """The text inside a `data:text/…` URL.

    Raises:
        ContentInvalid: it is none, is too long, or is not text.
    """
    if not content[:10].lower().startswith("data:text/"):
        _refuse("a file must be a data URL of a text type (data:text/...); other files are not supported")
    url = _parse_data_url(content, "a file")
    if len(url.data) > MAX_FILE_BYTES:
        _refuse(f"a file may be {MAX_FILE_BYTES} bytes long at most", ErrorCode.MESSAGE_TOO_LONG)
    if url.parameters.get("charset", "").lower() not in _CHARSETS:
        _refuse("a file's text must be UTF-8")
    try:
        text = url.data.decode("utf-8-sig")
    except UnicodeDecodeError:
        _refuse("a file's text must be UTF-8")
    if "\x00" in text:
        _refuse("a file must be text, and this one holds NUL")
    if not _visible(text):
        _refuse("the file is empty")
    return TextFile(url.media_type, _file_name(url.parameters), text)


def _check_text(content: str, max_length: int) -> None:
    if not _visible(content):
        _refuse("content must not be empty or only whitespace")
    length = len(content.strip())
    if max_length and length > max_length:
        _refuse(
            f"content is {length} characters long, at most {max_length} are allowed",
            ErrorCode.MESSAGE_TOO_LONG,
        )


def _check_image(content: str) -> None:
    if content[:5].lower() == "data:":
        if len(content) > MAX_IMAGE_BYTES:
            _refuse(
                f"an image's data URL may be {MAX_IMAGE_BYTES} bytes long at most", ErrorCode.MESSAGE_TOO_LONG
            )
        url = _parse_data_url(content, "an image")
        if url.media_type not in IMAGE_TYPES:
            _refuse("an image must be PNG, JPEG, GIF or WebP")
        if not url.data:
            _refuse("the image is empty")
        return
    if not _is_https_url(content):
        _refuse("an image must be an https URL or a data URL")


def _is_https_url(text: str) -> bool:
    if (
        len(text) > MAX_URL_LENGTH
        or not text.isascii()
        or any(char <= " " or char == "\x7f" for char in text)
    ):
        return False
    try:
        parts = urlsplit(text)
        _ = parts.port  # reading it checks it
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname) and parts.username is None


def _parse_data_url(content: str, what: str) -> _DataUrl:
    head, comma, body = content[5:].partition(",")
    if not comma:
        _refuse(f"{what}'s data URL has no data")
    first, *rest = head.split(";")
    media_type = first.strip().lower()
    if not _MEDIA_TYPE.match(media_type):
        _refuse(f"{what}'s data URL has no media type")
    is_base64 = bool(rest) and rest[-1].strip().lower() == "base64"
    parameters: dict[str, str] = {}
    for parameter in rest[:-1] if is_base64 else rest:
        name, _, value = parameter.partition("=")
        parameters[name.strip().lower()] = value.strip().strip('"')
    if not is_base64:
        return _DataUrl(media_type, parameters, unquote_to_bytes(body))
    try:
        return _DataUrl(media_type, parameters, base64.b64decode(unquote_to_bytes(body), validate=True))
    except (binascii.Error, ValueError):
        _refuse(f"{what}'s data URL is not valid base64")


def _file_name(parameters: dict[str, str]) -> str:
    """A name to show to a model: one line, without characters that could pass for something else."""
    given = unquote_to_bytes(parameters.get("name") or parameters.get("filename") or "")
    name = given.decode(errors="replace")
    return "".join(char for char in name if char.isprintable() and char not in '`"<>')[:_MAX_NAME_LENGTH]


def _visible(text: str) -> bool:
    """Whether anything of a text can be seen: not only whitespace, control and format characters."""
    return any(not char.isspace() and unicodedata.category(char) not in {"Cc", "Cf"} for char in text)


def _refuse(message: str, code: ErrorCode = ErrorCode.BAD_REQUEST) -> NoReturn:
    raise ContentInvalid(code, message)
