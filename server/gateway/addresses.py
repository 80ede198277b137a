"""Where a request comes from: the peer's address, or what trusted proxies say of it.

Sans-I/O. `X-Forwarded-For` is read from its end, as each proxy writes behind what it was given: the last
address that no trusted proxy has is the client's. What stands before it is the client's own invention.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

UNKNOWN = "unknown"
"""Who has no address: a peer on a Unix socket."""

_SITE_BITS = 64


def client_address(peer: str | None, forwarded: Iterable[str], proxies: Sequence[Network]) -> str:
    """The client's address in canonical form.

    Args:
        peer: Who connected.
        forwarded: Every `X-Forwarded-For` of the request, in order.
        proxies: Whose word counts.
    """
    nearest = _parse(peer or "")
    if nearest is None:
        return UNKNOWN
    hops = [hop for header in forwarded for hop in header.split(",")]
    while hops and any(nearest in network for network in proxies):
        hop = _parse(hops.pop())
        if hop is None:
            break
        nearest = hop
    return str(nearest)


def subject_of(address: str) -> str:
    """Whom the limits count where nobody is signed in: an address, of IPv6 the site's /64."""
    parsed = _parse(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return f"ip:{ipaddress.ip_network((parsed, _SITE_BITS), strict=False).network_address}/{_SITE_BITS}"
    return f"ip:{address}"


def _parse(text: str) -> Address | None:
    """An address, without the port or the brackets proxies may put on; IPv4 in IPv6 is IPv4."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed
