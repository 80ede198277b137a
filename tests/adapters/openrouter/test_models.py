"""Sans-I/O. The listing informs and never forbids."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.adapters.openrouter.models import Catalogue, Model, parse_listing
from server.embedded.openrouter.catalogue import DEFAULT_MODELS


def listing(*entries: Any) -> bytes:
    return json.dumps({"data": entries}).encode()


def a_catalogue(*entries: Any) -> Catalogue:
    catalogue = Catalogue()
    models = parse_listing(listing(*entries))
    assert models is not None
    catalogue.update(models)
    return catalogue


FULL = {
    "id": "a/b",
    "canonical_slug": "a/b-20260101",
    "context_length": 8192,
    "architecture": {"input_modalities": ["text", "image"]},
    "pricing": {"prompt": "0.000001", "completion": "0"},
    "top_provider": {"context_length": 4096, "max_completion_tokens": 1000},
    "expiration_date": "2026-12-31T00:00:00Z",
}


def test_an_entry_says_context_images_price_and_retirement():
    catalogue = a_catalogue(FULL)

    expected = Model("a/b", 8192, 1000, takes_images=True, free=False, expires=date(2026, 12, 31))
    assert catalogue.find("a/b") == catalogue.find("a/b-20260101") == expected
    assert catalogue.context_length("a/b") == 8192
    assert catalogue.takes_images("a/b")
    assert not catalogue.is_free("a/b")


@pytest.mark.parametrize(
    ("entry", "free"),
    [
        ({"id": "a/b:free"}, True),
        ({"id": "openrouter/free"}, True),
        ({"id": "a/b", "pricing": {"prompt": "0", "completion": "0.0"}}, True),
        ({"id": "a/b", "pricing": {"prompt": 0, "completion": 0.0}}, True),
        ({"id": "a/b", "pricing": {"prompt": "0", "completion": "0.1"}}, False),
        ({"id": "openrouter/auto", "pricing": {"prompt": "-1", "completion": "-1"}}, False),
        ({"id": "a/b", "pricing": {"prompt": "free", "completion": "0"}}, False),
        ({"id": "a/b", "pricing": {"prompt": False, "completion": None}}, False),
        ({"id": "a/b", "pricing": None}, False),
    ],
)
def test_free_is_a_name_or_prices_of_zero(entry: Any, free: bool):
    assert a_catalogue(entry).is_free(entry["id"]) == free


def test_before_the_listing_came_nothing_is_forbidden_and_nothing_is_claimed():
    catalogue = Catalogue()

    assert not catalogue.fetched
    assert catalogue.is_known("a/b")
    assert catalogue.context_length("a/b") is None
    assert not catalogue.takes_images("a/b")
    assert catalogue.is_free("a/b:free")
    assert not catalogue.is_free("a/b")
    assert catalogue.problems(["a/b"]) == {}


@pytest.mark.parametrize(
    ("slug", "known"),
    [
        ("a/b", True),
        ("a/b:nitro", True),
        ("a/b:floor", True),
        ("a/b:free", False),
        ("a/c", False),
        ("a/c:nitro", False),
        ("openrouter/free", True),
        ("~a/c-latest", True),
    ],
)
def test_routing_variants_and_aliases_need_no_listing_of_their_own(slug: str, known: bool):
    assert a_catalogue(FULL).is_known(slug) == known


def test_missing_and_retiring_models_are_problems():
    catalogue = a_catalogue(FULL, {"id": "a/d"})

    assert catalogue.problems(["a/b", "a/c", "a/d", "openrouter/auto"]) == {
        "a/b": "will be retired on 2026-12-31",
        "a/c": "is not in OpenRouter's listing",
    }


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"data":{}}', b'{"data":[]}', b'{"data":[1,{"id":2}]}']
)
def test_what_is_no_listing_is_none(body: bytes):
    assert parse_listing(body) is None


@pytest.mark.parametrize("value", [None, "soon", 7, True, -1, [], {}, "2026-99-99"])
@pytest.mark.parametrize(
    "field", ["context_length", "expiration_date", "architecture", "pricing", "top_provider"]
)
def test_odd_fields_count_as_absent(field: str, value: Any):
    model = a_catalogue({"id": "a/b", field: value}).find("a/b")

    assert model is not None
    assert model.expires is None
    assert model.context_length in {None, 7}


def test_a_context_length_may_stand_with_the_provider_only():
    assert a_catalogue({"id": "a/b", "top_provider": {"context_length": 9}}).context_length("a/b") == 9


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "canonical_slug", "architecture", "input_modalities", "pricing", "prompt", "completion", "expiration_date"]), inner, max_size=4), max_leaves=10))  # fmt: skip
def test_no_listing_breaks_it(data: Any):
    models = parse_listing(json.dumps({"data": data}).encode())

    assert models is None or all(isinstance(model, Model) for model in models.values())


def test_the_simulated_listing_is_read_as_it_is_meant():
    models = parse_listing(listing(*(model.listing() for model in DEFAULT_MODELS)))
    assert models is not None

    for model in DEFAULT_MODELS:
        found = models[model.slug]
        assert (found.context_length, found.takes_images) == (
            model.context_length,
            "image" in model.input_modalities,
        )
        assert found.free == model.free
