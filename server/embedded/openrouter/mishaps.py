"""Sans-I/O. What goes wrong inside a stream: odd things between the tokens, and the ways it breaks off."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from server.embedded.openrouter.behaviour import Behaviour, Failure, Insertion
from server.embedded.openrouter.steps import End, Hang, Step, Wait, Write
from server.embedded.openrouter.wire import COMMENT, DONE, Envelope

_WRITE_BYTES = 65_536
_MALFORMED = b'data: {"id":"gen-broken","choices":[{"delta":{"cont\n\n'
_NOT_SSE = b"<html><body>upstream connect error</body></html>\n\n"
_FIELDS = b"event: message\nid: 7\nretry: 1000\nweather: fine\nlonely\n"

_INSERTIONS: dict[str, Callable[[Insertion, Envelope], bytes]] = {
    "comment": lambda _, __: COMMENT,
    "empty": lambda _, envelope: envelope.content(b'""'),
    "null": lambda _, envelope: envelope.content(b"null"),
    "no_choices": lambda _, envelope: envelope.chunk([]),
    "huge": lambda part, envelope: envelope.chunk([], {"padding": "x" * part.size}),
    "malformed": lambda _, __: _MALFORMED,
    "unknown_fields": lambda _, envelope: _FIELDS + envelope.content(b'""'),
    "bom": lambda _, __: b"\xef\xbb\xbf",
    "raw": lambda part, _: part.raw.encode("utf-8", "surrogatepass"),
}


def insertion(part: Insertion, envelope: Envelope) -> Iterator[Step]:
    """Something else on the wire."""
    data = _INSERTIONS[part.what](part, envelope)
    for _ in range(part.count):
        yield Write(data)


def failure(fail: Failure, behaviour: Behaviour, envelope: Envelope) -> Iterator[Step]:
    """The end before the end; for some ways it lasts until the reader leaves."""
    match fail.how:
        case "reset" | "close":
            yield End(fail.how, "broken")
        case "eof":
            yield End("finish", "broken")
        case "stall":
            yield Hang()
        case "stall_comments":
            while True:
                yield Wait(behaviour.comment_every_ms / 1000)
                yield Write(COMMENT)
        case "malformed" | "not_sse":
            yield Write(_MALFORMED if fail.how == "malformed" else _NOT_SSE)
            yield End("finish", "broken")
        case "endless_line":
            yield Write(b'data: {"id":"')
            for start in range(0, fail.size, _WRITE_BYTES):
                yield Write(b"x" * min(_WRITE_BYTES, fail.size - start))
            yield Hang()
        case _:
            yield Write(error_chunk(fail, behaviour.provider, envelope))
            if fail.done:
                yield Write(DONE)
            yield End("finish", "failed")


def error_chunk(fail: Failure, provider: str, envelope: Envelope) -> bytes:
    """An in-band error in one of the six shapes that were seen or documented."""
    if fail.how == "error_choice_only":
        return envelope.finish("error", "MALFORMED_FUNCTION_CALL")
    if fail.how == "error_native_only":
        return envelope.finish("stop", "network_error")
    metadata = fail.metadata
    if metadata is None:
        metadata = {"error_type": fail.error_type, "provider_name": provider or None}
    error: dict[str, object] = {"code": fail.code, "message": fail.message, "metadata": metadata}
    if fail.how == "error_string_code":
        error["code"] = "server_error"
    if fail.how == "error_availability":
        del error["code"]
        error["http_status"] = fail.code
        error["availability"] = {"code": "temporarily_unavailable", "retryable": True, "retry_after": 2}
    return envelope.error(error, empty_choices=fail.how in {"error_empty_choices", "error_availability"})
