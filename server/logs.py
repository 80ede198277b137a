"""Structured logs: one JSON object a line, with the correlation id of whatever it was written for.

Constant texts, facts as fields; never a message's text, never a token. `extra` becomes members.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import orjson
import structlog

_NOISY = ("aiormq", "aio_pika", "httpx", "httpcore", "asyncio", "sse_starlette")


def configure(*, level: str, form: str, file: str = "") -> None:
    """Send everything that is logged to standard error, or to `file`, as `json` or for a `console`."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer(serializer=_dumps)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler: logging.Handler = (
        logging.FileHandler(file, encoding="utf-8") if file else logging.StreamHandler(sys.stderr)
    )
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        # its lines say when it starts and ends, which this server says itself
        logger.setLevel(max(logging.WARNING, root.level))


def _dumps(value: Any, **_: Any) -> str:
    return orjson.dumps(value, default=str).decode()
