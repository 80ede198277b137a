"""What the store is given of a generation that begins."""

from __future__ import annotations

from protocol.codec import encode
from protocol.frames import GenerationStarted
from server.generations.house import House
from server.generations.order import GenerationOrder, encode_plan
from server.generations.store import GenerationStart


def start_of(order: GenerationOrder, house: House, *, model: str, estimate_ms: int) -> GenerationStart:
    """Its state and its first events; `model` is asked first, and usually takes `estimate_ms`."""
    is_free = model in order.plan.free
    started = GenerationStarted(
        generation=order.generation,
        conversation=order.conversation,
        message=order.message,
        reply_to=order.reply_to,
        model=model,
        attempt=1,
        estimated_response_ms=estimate_ms,
        is_free_model=is_free,
    )
    return GenerationStart(
        user=order.user,
        generation=order.generation,
        conversation=order.conversation,
        message=order.message,
        reply_to=order.reply_to,
        model=model,
        is_free_model=is_free,
        estimated_response_ms=estimate_ms,
        owner=house.owner,
        plan=encode_plan(order.plan),
        events=(*order.events, ("generation.started", encode(started))),
        deadline_ms=int(house.limits.generation_seconds * 1000),
    )
