"""URLs: what each form says, and what is refused without telling the password."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.adapters.redis import address
from server.adapters.redis.connection import Connections

SECRET = "s3cret-w0rd"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://", {"host": "localhost", "port": 6379, "db": 0, "password": "", "tls": None}),
        ("redis://cache", {"host": "cache", "port": 6379}),
        ("redis://cache:7000/3", {"host": "cache", "port": 7000, "db": 3}),
        ("redis://cache/?db=4", {"db": 4}),
        ("redis://:p%40ss%2Fword@cache", {"username": "", "password": "p@ss/word"}),
        ("redis://al%3Aice:pw@cache", {"username": "al:ice", "password": "pw"}),
        ("redis://[::1]:7000", {"host": "::1", "port": 7000}),
        ("unix:///run/redis.sock", {"path": "/run/redis.sock", "db": 0}),
        ("unix://:pw@/run/a%20b.sock?db=2", {"path": "/run/a b.sock", "db": 2, "password": "pw"}),
        ("redis+sentinel://one/main", {"db": 0, "tls": None}),
        ("redis+sentinel://u:p%2Fw@one,two:1/main?db=5", {"username": "u", "password": "p/w", "db": 5}),
        ("redis+cluster://:pw@one:7000", {"host": "one", "port": 7000, "password": "pw", "db": 0}),
    ],
)
def test_a_url_says_where_a_server_is_and_how_to_be_let_in(url: str, says: dict[str, object]) -> None:
    endpoint = address.read(url).endpoint
    assert {name: getattr(endpoint, name) for name in says} == says


@pytest.mark.parametrize(
    ("url", "sentinels", "service"),
    [
        ("redis+sentinel://one/main", (("one", 26379),), "main"),
        (
            "redis+sentinel://:pw@one:1,two,10.0.0.3:3/m%20n",
            (("one", 1), ("two", 26379), ("10.0.0.3", 3)),
            "m n",
        ),
        ("redis+sentinel://[::1],[fe80::2]:5/main", (("::1", 26379), ("fe80::2", 5)), "main"),
        ("redis://one", (), ""),
    ],
)
def test_a_sentinel_url_says_whom_to_ask_for_what(
    url: str, sentinels: tuple[tuple[str, int], ...], service: str
) -> None:
    said = address.read(url)
    assert (said.sentinels, said.service, said.cluster) == (sentinels, service, False)


@pytest.mark.parametrize(
    ("url", "verifies"),
    [
        ("rediss://cache", True),
        ("rediss://cache?ssl_cert_reqs=none", False),
        ("redis+sentinel://one/main?tls=true", True),
        ("redis+cluster://one?tls=1&ssl_cert_reqs=none", False),
    ],
)
def test_tls_verifies_the_server_unless_the_url_says_otherwise(url: str, verifies: bool) -> None:
    context = address.read(url).endpoint.tls
    assert context is not None
    assert (context.verify_mode is ssl.CERT_REQUIRED, context.check_hostname) == (verifies, verifies)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://cache",
        "cache:6379",
        "REDISS",
        "redis+unix:///a",
        f"redis://:{SECRET}@cache/main",
        f"redis://:{SECRET}@cache/1/2",
        f"redis://:{SECRET}@cache:port",
        f"redis://:a:{SECRET}/b@cache",
        f"redis://:{SECRET}@cache:70000",
        f"redis://:{SECRET}@cache?db=main",
        f"redis://:{SECRET}@cache?unknown=1",
        f"redis://:{SECRET}@[::1",
        f"rediss://:{SECRET}@cache?ssl_cert_reqs=perhaps",
        f"rediss://:{SECRET}@cache?ssl_ca_certs=/nowhere/at/all.pem",
        "unix://",
        f"unix://:{SECRET}@/",
        f"redis+sentinel://:{SECRET}@one",
        f"redis+sentinel://:{SECRET}@/main",
        f"redis+sentinel://:{SECRET}@one,/main",
        f"redis+sentinel://:{SECRET}@one:x/main",
        f"redis+sentinel://:{SECRET}@one:0/main",
        f"redis+sentinel://:{SECRET}@one:70000/main",
        f"redis+sentinel://:{SECRET}@one/main/1",
        f"redis+sentinel://:{SECRET}@one/main?db=x",
        f"redis+sentinel://:{SECRET}@one/main?tls=perhaps",
        f"redis+sentinel://:{SECRET}@one/main?unknown=1",
        f"redis+cluster://:{SECRET}@",
        f"redis+cluster://:{SECRET}@one/1",
        f"redis+cluster://:{SECRET}@one?db=1",
        f"redis+cluster://:{SECRET}@one?tls=perhaps",
    ],
)
def test_a_url_of_no_known_form_is_refused_without_telling_the_password(url: str) -> None:
    """At the start, not at the first call; what is logged holds no secret (quality.md §3)."""
    with pytest.raises(ValueError, match="URL") as refused:
        Connections(url)
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None or SECRET not in str(refused.value.__cause__)


@given(st.text(max_size=60) | st.text(max_size=40).map(lambda text: "redis+sentinel://" + text))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        said = address.read(text)
    except ValueError:
        return
    assert said.plain
