"""What an end teaches the house: how long a model takes, how long prompts are, what failed, what it cost."""

from __future__ import annotations

from server.generations.effects import End
from server.generations.house import House
from server.generations.order import GenerationOrder
from server.generations.sealed import SealedEnd


def learn(
    house: House, order: GenerationOrder, effect: End, end: SealedEnd, *, model: str, seconds: float
) -> None:
    """Note the end of an answer of `order`, whose last model was `model` and which took so long."""
    if effect.status == "completed":
        house.cooldowns.answered(model)
        house.took(model, seconds)
    for note in effect.notes:
        if note.usage is not None:
            house.learn(note.model, note.prompt_tokens_estimate, note.usage.prompt_tokens)
    for bill in end.bills:
        labels = {
            "model": bill.model,
            "outcome": bill.failure or end.status,
            "free": str(bill.is_free_model),
            "tier": order.plan.tier,
        }
        house.observe("attempt", labels, bill.processing_time_ms / 1000)
        house.observe("tokens", {"model": bill.model, "type": "prompt"}, bill.prompt_tokens)
        house.observe("tokens", {"model": bill.model, "type": "completion"}, bill.completion_tokens)
    house.observe("end", {"status": end.status}, seconds)
