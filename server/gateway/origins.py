"""Which web pages may open a socket or read an answer: exact origins, never patterns.

Sans-I/O. A page's own origin is always allowed; `null` never is. No `Origin` at all means no browser.
"""

from __future__ import annotations


def is_allowed(origin: str | None, host: str | None, allowed: frozenset[str]) -> bool:
    """Whether a request with this `Origin` and `Host` may go on."""
    if origin is None:
        return True
    lowered = origin.lower()
    if lowered in allowed:
        return True
    # behind a proxy that ends TLS only the host is telling
    return host is not None and lowered in {f"http://{host.lower()}", f"https://{host.lower()}"}
