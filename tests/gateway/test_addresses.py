"""Where a request comes from: the last address that no trusted proxy has."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.gateway.addresses import UNKNOWN, Network, client_address, subject_of

PROXIES: tuple[Network, ...] = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        pytest.param("203.0.113.5", [], "203.0.113.5", id="no proxy"),
        pytest.param("203.0.113.5", ["192.0.2.1"], "203.0.113.5", id="nobody trusted says so"),
        pytest.param("10.0.0.1", ["192.0.2.1"], "192.0.2.1", id="one proxy"),
        pytest.param("10.0.0.1", ["192.0.2.1, 10.0.0.9"], "192.0.2.1", id="two proxies"),
        pytest.param("10.0.0.1", ["192.0.2.1", "10.0.0.9"], "192.0.2.1", id="two headers"),
        pytest.param("10.0.0.1", ["1.1.1.1, 192.0.2.1"], "192.0.2.1", id="an invention in front"),
        pytest.param("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3", id="all trusted: the first"),
        pytest.param("10.0.0.1", [], "10.0.0.1", id="a proxy that says nothing"),
        pytest.param("10.0.0.1", ["192.0.2.1, nonsense"], "10.0.0.1", id="nonsense ends it"),
        pytest.param("10.0.0.1", [""], "10.0.0.1", id="an empty header"),
        pytest.param("10.0.0.1", ["192.0.2.1:4711"], "192.0.2.1", id="with a port"),
        pytest.param("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1", id="IPv6 with a port"),
        pytest.param("fd00::1", ["2001:DB8:0::1"], "2001:db8::1", id="IPv6, canonical"),
        pytest.param("::ffff:10.0.0.1", ["192.0.2.1"], "192.0.2.1", id="IPv4 in IPv6"),
        pytest.param("fe80::1%eth0", [], "fe80::1", id="with a zone"),
        pytest.param(None, ["192.0.2.1"], UNKNOWN, id="a Unix socket"),
        pytest.param("testclient", [], UNKNOWN, id="a name"),
    ],
)
def test_the_address_is_the_last_one_that_no_trusted_proxy_has(
    peer: str | None, forwarded: list[str], address: str
):
    assert client_address(peer, forwarded, PROXIES) == address


@given(peer=st.ip_addresses(), forwarded=st.lists(st.text(max_size=40), max_size=4))
def test_whatever_an_untrusted_peer_sends_it_is_where_it_comes_from(
    peer: ipaddress.IPv4Address | ipaddress.IPv6Address, forwarded: list[str]
):
    mapped = getattr(peer, "ipv4_mapped", None) or peer

    assert client_address(str(peer), forwarded, ()) == str(mapped)


@given(invented=st.lists(st.ip_addresses(v=4), max_size=4), client=st.ip_addresses(v=4))
def test_nothing_a_client_puts_in_front_changes_who_it_is(
    invented: list[ipaddress.IPv4Address], client: ipaddress.IPv4Address
):
    header = ", ".join(map(str, [*invented, client]))

    if client not in PROXIES[0]:
        assert client_address("10.0.0.1", [header], PROXIES) == str(client)


@pytest.mark.parametrize(
    ("address", "subject"),
    [
        ("192.0.2.1", "ip:192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "ip:2001:db8:1:2::/64"),
        (UNKNOWN, "ip:unknown"),
    ],
)
def test_limits_count_an_address_and_of_ipv6_its_site(address: str, subject: str):
    assert subject_of(address) == subject
