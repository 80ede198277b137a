"""Sans-I/O. What is sent: the headers and the JSON of one call.

`stream_options` and `usage.include` are left out: OpenRouter always sends usage and calls both deprecated.
No `models` list either: a fallback inside one call works only before the first token and hides which
model failed, and falling back is the machine's work. `max_tokens` always bounds what a call can cost.
"""

from __future__ import annotations

import orjson

from server.generations.upstream import UpstreamRequest

Headers = list[tuple[bytes, bytes]]

_SESSION_CHARS = 256


def encode_body(request: UpstreamRequest) -> bytes:
    """The JSON of a call.

    Raises:
        ValueError: the messages hold something JSON cannot (lone surrogates, foreign types).
    """
    try:
        return orjson.dumps(
            {
                "model": request.model,
                "messages": request.messages,
                "stream": True,
                "max_tokens": request.max_tokens,
                "temperature": request.temperature,
                "user": request.user,
                "session_id": request.session[:_SESSION_CHARS],
            }
        )
    except orjson.JSONEncodeError as error:
        raise ValueError(f"messages that are no JSON: {error}") from error


def identity_headers(*, referer: str, title: str) -> Headers:
    """The headers by which OpenRouter knows the application, old and new name of the title.

    Raises:
        ValueError: a value cannot stand in a header.
    """
    named = ((b"HTTP-Referer", referer), (b"X-OpenRouter-Title", title), (b"X-Title", title))
    return [(name, header_value(value)) for name, value in named if value]


def header_value(value: str) -> bytes:
    """`value` as it goes on the wire; UTF-8, which OpenRouter takes in titles.

    Raises:
        ValueError: it holds a control character, which could begin another header.
    """
    if any(character < " " or character == "\x7f" for character in value):
        raise ValueError("a header value holds control characters")
    return value.encode("utf-8", "replace")
