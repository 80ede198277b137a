"""Which models a turn may ask: by tier, by wish, by what the upstream lists, by what they take."""

from __future__ import annotations

from collections.abc import Container

import pytest

from protocol.codes import ErrorCode
from server.conversations.models import COMPLEX_CHARS, ModelChains, asks_much, choose
from server.conversations.refusal import Refusal

FREE = ("a/one:free", "b/two:free")
PREMIUM = ("c/three", "d/four")
EMERGENCY = ("e/five",)
CHAINS = ModelChains(free=FREE, premium=PREMIUM, emergency=EMERGENCY)


class Listed:
    """A listing that knows these models, and that these see images."""

    def __init__(self, known: Container[str] | None = None, seeing: Container[str] = ()) -> None:
        self._known = known
        self._seeing = seeing

    def is_known(self, model: str) -> bool:
        return self._known is None or model in self._known

    def is_free(self, model: str) -> bool:
        return model in FREE

    def takes_images(self, model: str) -> bool:
        return model in self._seeing


ANYTHING = Listed()


def chosen(
    tier: str = "free",
    wanted: str | None = None,
    *,
    chains: ModelChains = CHAINS,
    listed: Listed = ANYTHING,
    with_image: bool = False,
) -> tuple[str, ...]:
    return choose(chains, listed, tier=tier, wanted=wanted, with_image=with_image)


@pytest.mark.parametrize(
    ("tier", "chain"),
    [
        ("free", (*FREE, *EMERGENCY)),
        ("premium", (*PREMIUM, *FREE, *EMERGENCY)),
        ("something else", (*FREE, *EMERGENCY)),
    ],
)
def test_the_tier_of_the_token_decides_the_chain(tier: str, chain: tuple[str, ...]):
    assert chosen(tier) == chain


@pytest.mark.parametrize(
    ("tier", "is_complex", "chain"),
    [
        ("premium", True, (*PREMIUM, *FREE, *EMERGENCY)),
        ("premium", False, (*FREE, *PREMIUM, *EMERGENCY)),
        ("free", True, (*FREE, *EMERGENCY)),
        ("free", False, (*FREE, *EMERGENCY)),
    ],
)
def test_premium_models_kept_for_complex_turns_come_second_in_simple_ones(
    tier: str, is_complex: bool, chain: tuple[str, ...]
):
    chains = ModelChains(free=FREE, premium=PREMIUM, emergency=EMERGENCY, premium_for="complex")
    found = choose(chains, ANYTHING, tier=tier, wanted=None, with_image=False, is_complex=is_complex)
    assert found == chain
    assert chains.depends_on_complexity(tier) == (tier == "premium")


def test_premium_models_for_all_come_first_in_simple_turns_too():
    found = choose(CHAINS, ANYTHING, tier="premium", wanted=None, with_image=False, is_complex=False)
    assert found == (*PREMIUM, *FREE, *EMERGENCY)


@pytest.mark.parametrize(
    ("content", "content_type", "context_type", "much"),
    [
        ("Hi!", "text", "general", False),
        ("Hi!", "text", "career_guidance", False),
        ("x" * (COMPLEX_CHARS - 1), "text", "general", False),
        ("x" * COMPLEX_CHARS, "text", "general", True),
        ("Hi!", "text", "assessment", True),
        ("{}", "file", "general", True),
        ("{}", "image", "general", True),
    ],
)
def test_a_turn_asks_much_by_its_subject_its_kind_and_its_length(
    content: str, content_type: str, context_type: str, much: bool
):
    assert asks_much(content, content_type, context_type) is much


def test_without_paid_models_nobody_who_does_not_pay_is_answered_by_one():
    chains = ModelChains(free=FREE, premium=PREMIUM, emergency=())
    assert chosen(chains=chains) == FREE


def test_a_model_that_is_configured_twice_is_asked_once():
    chains = ModelChains(free=FREE, premium=(FREE[1], *PREMIUM), emergency=PREMIUM[:1])
    assert chosen("premium", chains=chains) == (FREE[1], *PREMIUM, FREE[0])


@pytest.mark.parametrize("wanted", [*FREE, *EMERGENCY])
def test_the_wanted_model_comes_first_and_the_others_stay_in_order(wanted: str):
    assert chosen(wanted=wanted) == (wanted, *(model for model in (*FREE, *EMERGENCY) if model != wanted))


@pytest.mark.parametrize(("tier", "wanted"), [("free", PREMIUM[0]), ("premium", "f/six"), ("free", "")])
def test_a_model_of_no_chain_of_the_tier_is_refused_and_those_are_named(tier: str, wanted: str):
    with pytest.raises(Refusal) as refused:
        chosen(tier, wanted)
    assert (refused.value.code, refused.value.field) == (ErrorCode.BAD_REQUEST, "model")
    assert all(model in refused.value.message for model in CHAINS.for_tier(tier))


def test_what_the_upstream_does_not_list_is_passed_over():
    assert chosen(listed=Listed(known=FREE[1:])) == FREE[1:]


def test_where_it_lists_none_of_them_all_are_asked():
    assert chosen(listed=Listed(known=())) == (*FREE, *EMERGENCY)


def test_an_image_goes_to_models_that_see_and_falls_back_to_no_other():
    seeing = Listed(seeing={FREE[1], *EMERGENCY})
    assert chosen(listed=seeing, with_image=True) == (FREE[1], *EMERGENCY)
    assert chosen(wanted=EMERGENCY[0], listed=seeing, with_image=True) == (*EMERGENCY, FREE[1])


@pytest.mark.parametrize("wanted", [None, FREE[0]])
def test_an_image_that_nobody_or_not_the_wanted_model_sees_is_refused(wanted: str | None):
    seeing = Listed(seeing={FREE[1]} if wanted else ())
    with pytest.raises(Refusal) as refused:
        chosen(wanted=wanted, listed=seeing, with_image=True)
    assert (refused.value.code, refused.value.field) == (ErrorCode.BAD_REQUEST, "content_type")
