"""Tokens: what is accepted, what is refused, what is read from them."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.conversations.principal import BadToken, ExpiredToken, Principal
from server.gateway.auth import Authenticator, canonical_uuid, mint
from tests.scripted.tokens import SECRET, token_for

USER = "51b4c9d2-6f0c-4f7e-9a59-0d4a3f1c7e06"
VERIFY = Authenticator(SECRET).verify


def test_a_token_of_the_house_is_one_of_its_user():
    now = time.time()

    principal = VERIFY(mint(SECRET, USER, now=now, seconds=60, tier="premium"))

    assert principal == Principal(USER, "premium", expires_at=int(now + 60), issued_at=int(now))


@pytest.mark.parametrize(
    ("claims", "tier"),
    [
        ({}, "free"),
        ({"tier": "premium"}, "premium"),
        ({"tier": "gold"}, "free"),
        ({"tier": ["premium"]}, "free"),
    ],
)
def test_a_tier_is_premium_or_free(claims: dict[str, Any], tier: str):
    assert VERIFY(token_for(USER, **claims)).tier == tier


@pytest.mark.parametrize("issued", [None, "yesterday", True])
def test_a_token_need_not_say_when_it_was_issued(issued: Any):
    assert VERIFY(token_for(USER, iat=issued)).issued_at in {None, 1.0}


@pytest.mark.parametrize("late", [0, 9])
def test_a_clock_may_be_ten_seconds_off(late: float):
    assert VERIFY(token_for(USER, ttl=-late)).user == USER


def test_a_token_that_is_over_is_told_from_a_bad_one():
    with pytest.raises(ExpiredToken):
        VERIFY(token_for(USER, ttl=-11))
    with pytest.raises(BadToken) as bad:
        VERIFY(token_for(USER, ttl=-11, secret="x" * 32))
    assert not isinstance(bad.value, ExpiredToken)


@pytest.mark.parametrize(
    "claims",
    [
        {"id": 5},
        {"id": [USER]},
        {"id": {"id": USER}},
        {"id": USER.replace("-", "")},
        {"id": f" {USER}"},
        {"id": f"{USER}\n"},
        {"exp": "never"},
        {"nbf": "x"},
        {"iss": ""},
        {"iss": ["atma-auth-service"]},
        {"aud": []},
        {"aud": {}},
        {"exp": 10**400},
        {"iat": 10**400},
    ],
)
def test_claims_that_are_none_are_refused(claims: dict[str, Any]):
    # signed beneath the library's own look at what it signs
    everything = json.dumps({"id": USER, "exp": time.time() + 60, **claims}).encode()

    with pytest.raises(BadToken):
        VERIFY(jwt.PyJWS().encode(everything, SECRET, "HS256"))


@given(st.text(max_size=200))
def test_nothing_else_is_a_token(text: str):
    with pytest.raises(BadToken):
        VERIFY(text)


@given(st.uuids())
def test_a_uuid_is_one_in_any_case_and_comes_out_in_lower_case(identity: Any):
    assert canonical_uuid(str(identity).upper()) == str(identity)


@given(st.one_of(st.text(max_size=40), st.integers(), st.none(), st.binary()))
def test_nothing_else_is_a_uuid(value: object):
    assert canonical_uuid(value) is None


@pytest.mark.parametrize(
    "text",
    [
        "51b4c9d26f0c4f7e9a590d4a3f1c7e06----",
        "{51b4c9d2-6f0c-4f7e-9a59-0d4a3f1c7e0}",
        "51b4c9d2-6f0c-4f7e-9a59-0d4a3f1c7e0\uff16",
        "urn:uuid:51b4c9d2-6f0c-4f7e-9a59-0d4a3f1c7e06",
        USER + "\n",
    ],
)
def test_almost_is_not(text: str):
    assert canonical_uuid(text) is None
