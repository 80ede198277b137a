"""Sans-I/O. What each call really was: asked, sent, seen, billed. The ground truth for tests."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import orjson

from server.embedded.openrouter import tokens
from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.openrouter.catalogue import STOPS_BILLING, Model
from server.embedded.openrouter.wire import Usage, number

State = Literal["open", "complete", "aborted", "failed"]
NOTHING = Usage(0, 0, 0, Decimal(0))


def fingerprint(key: str) -> str:
    """Twelve hexadecimal digits that stand for an API key: the beginning of its SHA-256."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:12]


@dataclass(slots=True, kw_only=True, eq=False)
class Call:
    """One request to `/chat/completions`. Times are epoch seconds; `None` where it never came to that."""

    number: int
    received_at: float
    model: str = ""
    models: tuple[str, ...] = ()
    served: Model | None = None
    served_as: str = ""
    provider: str = ""
    stream: bool = False
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    key_fingerprint: str = ""
    user: str | None = None
    session_id: str | None = None
    max_tokens: int | None = None
    generation_id: str | None = None
    behaviour: Behaviour = field(default_factory=Behaviour)
    status: int | None = None
    state: State = "open"
    broken: bool = False
    """The link was cut by the script; OpenRouter takes that for a reader that left."""
    deltas: tuple[str, ...] = ()
    thoughts: tuple[str, ...] = ()
    tokens_sent: int = 0
    thoughts_sent: int = 0
    bytes_sent: int = 0
    usage: Usage = NOTHING
    """The bill of the whole answer."""
    headers_at: float | None = None
    first_token_at: float | None = None
    last_token_at: float | None = None
    ended_at: float | None = None
    waiting_at: str | None = None
    """The gate it waits at."""
    finish_reason: str = "stop"
    generation_requests: int = 0

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages as they came; empty where the body was not one."""
        try:
            found = json.loads(self.body)["messages"]
        except (ValueError, KeyError, TypeError):
            return []
        return found if isinstance(found, list) else []

    @property
    def intended(self) -> str:
        """The text of the whole answer, had nothing broken it off."""
        return tokens.join(self.deltas)

    @property
    def sent(self) -> str:
        """The text of all events wholly handed to the kernel: the most a reader can have seen."""
        return tokens.join(self.deltas[: self.tokens_sent])

    @property
    def seen(self) -> str:
        """`sent` as a reader stores it, NUL and lone surrogates being U+FFFD."""
        return tokens.clean(self.sent)

    @property
    def bill(self) -> Usage | None:
        """What the call costs in the end; `None` while it is open."""
        if self.state == "open":
            return None
        if self.served is None or self.headers_at is None or (self.status or 0) >= 400:  # noqa: PLR2004
            return NOTHING
        if self.state == "complete":
            return self.usage
        if self.state == "failed" and not self.broken:
            partial = self._partial()
            free = Usage(
                partial.prompt_tokens, partial.completion_tokens, partial.reasoning_tokens, Decimal(0)
            )
            return partial if self.behaviour.bill_errors else free
        if self.provider not in STOPS_BILLING:
            return self.usage
        partial = self._partial()
        # zero completion insurance: nothing generated, nothing charged
        return partial if partial.completion_tokens else NOTHING

    def _partial(self) -> Usage:
        assert self.served is not None
        thought = tokens.count("".join(self.thoughts[: self.thoughts_sent]))
        said = tokens.count(self.sent) + thought
        return priced(self.served, self.usage.prompt_tokens, said, thought, byok=self.behaviour.byok)

    def generation(self) -> dict[str, Any]:
        """The call as `GET /generation` shows it."""
        bill = self.bill or NOTHING
        seconds = (self.ended_at or self.received_at) - self.received_at
        first = (self.first_token_at or self.ended_at or self.received_at) - self.received_at
        finished = self.state == "complete"
        tried = {"provider_name": self.provider, "status": self.status, "latency": round(first * 1000)}
        return {
            "id": self.generation_id,
            "total_cost": number(bill.cost),
            "usage": number(bill.cost),
            "upstream_inference_cost": None if bill.upstream_cost is None else number(bill.upstream_cost),
            "is_byok": self.behaviour.byok,
            "tokens_prompt": bill.prompt_tokens,
            "tokens_completion": bill.completion_tokens,
            "native_tokens_prompt": bill.prompt_tokens,
            "native_tokens_completion": bill.completion_tokens,
            "native_tokens_reasoning": bill.reasoning_tokens,
            "native_tokens_cached": 0,
            "finish_reason": self.finish_reason if finished else None,
            "native_finish_reason": self.finish_reason if finished else None,
            "cancelled": self.state == "aborted" or self.broken,
            "streamed": self.stream,
            "latency": round(first * 1000),
            "generation_time": round(seconds * 1000),
            "moderation_latency": None,
            "provider_name": self.provider,
            "provider_responses": [tried],
            "model": self.served_as,
            "router": None,
            "session_id": self.session_id,
            "external_user": self.user,
            "cache_discount": None,
            "created_at": datetime.fromtimestamp(self.received_at, UTC).isoformat(),
        }

    def as_json(self) -> dict[str, Any]:
        """The call as the control API shows it, for the standard library's JSON (lone surrogates survive)."""
        bill = self.bill
        return {
            "number": self.number,
            "name": self.behaviour.name,
            "model": self.model,
            "models": list(self.models),
            "served": self.served.slug if self.served else None,
            "served_as": self.served_as,
            "provider": self.provider,
            "stream": self.stream,
            "messages": self.messages,
            "headers": self.headers,
            "key_fingerprint": self.key_fingerprint,
            "user": self.user,
            "session_id": self.session_id,
            "max_tokens": self.max_tokens,
            "generation_id": self.generation_id,
            "status": self.status,
            "state": self.state,
            "broken": self.broken,
            "intended": self.intended,
            "sent": self.sent,
            "seen": self.seen,
            "tokens_sent": self.tokens_sent,
            "bytes_sent": self.bytes_sent,
            "bill": None if bill is None else bill_as_json(bill),
            "waiting_at": self.waiting_at,
            "generation_requests": self.generation_requests,
            "received_at": self.received_at,
            "headers_at": self.headers_at,
            "first_token_at": self.first_token_at,
            "last_token_at": self.last_token_at,
            "ended_at": self.ended_at,
        }


def bill_as_json(bill: Usage) -> dict[str, Any]:
    """A bill with its costs as plain decimal strings."""
    return {
        "prompt_tokens": bill.prompt_tokens,
        "completion_tokens": bill.completion_tokens,
        "reasoning_tokens": bill.reasoning_tokens,
        "cost": f"{bill.cost:.12f}",
        "upstream_cost": None if bill.upstream_cost is None else f"{bill.upstream_cost:.12f}",
    }


def priced(model: Model, prompt: int, completion: int, reasoning: int, *, byok: bool = False) -> Usage:
    """The bill of a call of `model` with so many tokens; reasoning is part of the completion."""
    cost = model.cost(prompt, completion)
    return Usage(prompt, completion, reasoning, Decimal(0) if byok else cost, cost if byok else None)


class Ledger:
    """The last calls, at most `keep` of them, and the generations they made."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._count = 0
        self._calls: deque[Call] = deque()
        self._generations: dict[str, Call] = {}

    def __iter__(self) -> Iterator[Call]:
        return iter(self._calls)

    @property
    def forgotten(self) -> int:
        """How many calls were dropped for newer ones."""
        return self._count - len(self._calls)

    def open(self, now: float, headers: dict[str, str], body: bytes) -> Call:
        """Note a new call; its key is kept as a fingerprint only."""
        self._count += 1
        kept = {name: value for name, value in headers.items() if name != "authorization"}
        call = Call(number=self._count, received_at=now, headers=kept, body=body)
        self._calls.append(call)
        if len(self._calls) > self._keep:
            self._generations.pop(self._calls.popleft().generation_id or "", None)
        return call

    def name(self, call: Call, generation_id: str) -> None:
        """Give `call` its generation id."""
        call.generation_id = generation_id
        self._generations[generation_id] = call

    def generation(self, generation_id: str, now: float) -> tuple[int, bytes]:
        """Status and body of `GET /generation`."""
        call = self._generations.get(generation_id)
        if call is None or call.ended_at is None or call.behaviour.generation_lost:
            return _absent(404, generation_id)
        call.generation_requests += 1
        statuses = call.behaviour.generation_statuses
        if call.generation_requests <= len(statuses):
            status = statuses[call.generation_requests - 1]
            if status != 200:  # noqa: PLR2004 - HTTP
                return _absent(status, generation_id)
        if now < call.ended_at + call.behaviour.generation_delay_ms / 1000:
            return _absent(404, generation_id)
        return 200, orjson.dumps({"data": call.generation()})

    def spent(self, key_fingerprint: str) -> Decimal:
        """What the calls of a key have cost so far, US dollars."""
        bills = [call.bill for call in self._calls if call.key_fingerprint == key_fingerprint]
        return sum((bill.cost for bill in bills if bill is not None), Decimal(0))

    def clear(self) -> None:
        """Forget everything, and count from 1 again."""
        self._calls.clear()
        self._generations.clear()
        self._count = 0


def _absent(status: int, generation_id: str) -> tuple[int, bytes]:
    message = f"Generation {generation_id} not found" if status == 404 else "Try again later"  # noqa: PLR2004
    return status, orjson.dumps({"error": {"code": status, "message": message}})
