"""Sans-I/O. The answer of `GET /generation` to a bill.

404 means "not yet": the statistics of an interrupted stream can be minutes late. What keeps us from
asking (a key, a limit, an outage) may pass; only an id the upstream calls invalid never will.
"""

from __future__ import annotations

from decimal import Decimal

from server.adapters.openrouter.chunks import money, parse_json, token_count
from server.generations.upstream import Settlement, SettlementUnavailable

_OK = 200
_NOT_FOUND = 404
_INVALID = frozenset({400, 410, 422})


def settlement_of(status: int, body: bytes) -> Settlement | None:
    """The bill in the answer, or `None` while there is none yet.

    Token counts are the native ones, which are what is billed. With the account's own provider key the
    provider's charge is added to OpenRouter's.

    Raises:
        SettlementUnavailable: the upstream could not be asked now, or (`final`) will never know.
    """
    if status == _NOT_FOUND:
        return None
    if status != _OK:
        raise SettlementUnavailable(f"GET /generation answered {status}", final=status in _INVALID)
    document = parse_json(body)
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, dict):
        raise SettlementUnavailable("GET /generation answered something else", final=False)
    cost = money(data.get("total_cost"))
    if cost is None:
        return None
    if data.get("is_byok") is True:
        cost += money(data.get("upstream_inference_cost")) or Decimal(0)
    model = data.get("model")
    return Settlement(
        prompt_tokens=_first_count(data.get("native_tokens_prompt"), data.get("tokens_prompt")),
        completion_tokens=_first_count(data.get("native_tokens_completion"), data.get("tokens_completion")),
        cost=cost,
        served_model=model if isinstance(model, str) and model else None,
        cancelled=data.get("cancelled") is True,
    )


def _first_count(*values: object) -> int:
    counts = (token_count(value) for value in values)
    return next((count for count in counts if count is not None), 0)
