"""The AsyncAPI 3 document of the wire, made of the frames' own schemas.

Sans-I/O.
"""

from __future__ import annotations

from typing import Any

from protocol import schema
from protocol.codec import COMMAND_TYPES, SERVER_TYPES
from protocol.codes import CLOSE_RULES, RETRYABLE, ErrorCode

_DESCRIPTION = """\
One frame model, two bindings: a WebSocket carries frames both ways; server-sent events carry the same server
frames, and commands go by REST (`/api/chat/docs`).

A client applies a delta by one rule: `text = text[:at] + delta.text`; `at` counts Unicode code points. Events
carry a `position`; presenting the last one on any node resumes without loss. Unknown types and fields are
ignored."""
_STREAMED = tuple(kind for kind in SERVER_TYPES if kind not in {"ack", "pong"})


def document(version: str) -> dict[str, Any]:
    """The whole document."""
    (_, _), named = schema.components(ref_template="#/components/schemas/{name}")
    frames = {**COMMAND_TYPES, **SERVER_TYPES}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "ATMA chat: the wire", "version": version, "description": _DESCRIPTION},
        "defaultContentType": "application/json",
        "channels": {
            "socket": {
                "address": "/api/chat/ws",
                "title": "WebSocket",
                "description": "Subprotocol `atma.chat.v1`. Text frames, one JSON object each; the first is "
                "`hello`. Also under `/api/chatbot/ws` and `/ws`.",
                "messages": {kind: _message(kind) for kind in frames},
                "bindings": {"ws": {"method": "GET"}},
            },
            "events": {
                "address": "/api/chat/events",
                "title": "Server-sent events",
                "description": "`event` is the frame's type, `data` the frame; events, `welcome` and "
                "`synced` have their position as `id`. A bearer token, or `?ticket=` from `POST /tickets`.",
                "messages": {kind: _message(kind) for kind in _STREAMED},
                "bindings": {"http": {}},
            },
        },
        "operations": {
            "command": _operation("receive", "socket", COMMAND_TYPES, "A client sends a command."),
            "frame": _operation("send", "socket", SERVER_TYPES, "The server answers, and tells."),
            "event": _operation("send", "events", _STREAMED, "The server tells."),
        },
        "components": {
            "messages": {
                kind: {
                    "name": kind,
                    "title": kind,
                    "summary": named[frame.__name__].get("description", ""),
                    "payload": {"$ref": f"#/components/schemas/{frame.__name__}"},
                }
                for kind, frame in frames.items()
            },
            "schemas": dict(sorted(named.items())),
        },
        "x-error-codes": {str(code): {"retryable": code in RETRYABLE} for code in ErrorCode},
        "x-close-codes": {
            str(int(code)): {"meaning": rule.meaning, "advice": str(rule.advice)}
            for code, rule in CLOSE_RULES.items()
        },
    }


def _message(kind: str) -> dict[str, str]:
    return {"$ref": f"#/components/messages/{kind}"}


def _operation(action: str, channel: str, kinds: Any, summary: str) -> dict[str, Any]:
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{kind}"} for kind in kinds],
    }
