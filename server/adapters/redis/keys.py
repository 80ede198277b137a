"""Names of keys and channels.

Sans-I/O. All keys of a user carry the hash tag `{user}`, so in a cluster they share a slot and one script
may touch them all.
"""

from __future__ import annotations

LEASES = "chat:leases"
LEASES_WATCH = "{chat:leases}:watch"
WAKE = "chat:wake"
NODE_PREFIX = "chat:node:"


def prefix(user: str) -> str:
    """What every key of the user begins with."""
    return f"chat:{{{user}}}:"


def channel(user: str) -> str:
    """The user's pub/sub channel."""
    return f"chat:{{{user}}}"


def head(user: str) -> str:
    """Hash: epoch, offset, the server's run id, bytes in the log, user."""
    return f"chat:{{{user}}}:head"


def log(user: str) -> str:
    """Stream of events; ids are `<offset>-0`."""
    return f"chat:{{{user}}}:log"


def active(user: str) -> str:
    """Set of generations that have not concluded."""
    return f"chat:{{{user}}}:active"


def sealed(user: str) -> str:
    """Set of generations that are sealed and not marked persisted."""
    return f"chat:{{{user}}}:sealed"


def generation(user: str, name: str) -> str:
    """Hash: the state of one generation."""
    return f"chat:{{{user}}}:gen:{name}"


def text(user: str, name: str) -> str:
    """String: the text of one generation, UTF-8."""
    return f"chat:{{{user}}}:text:{name}"


def idempotency(user: str, key: str) -> str:
    """String: the position of the event published with `key`."""
    return f"chat:{{{user}}}:key:{key}"


def finished(user: str, name: str) -> str:
    """String: the position of the generation's end; kept as long as the log's window."""
    return f"chat:{{{user}}}:end:{name}"


def places(user: str) -> str:
    """Hash: session to process."""
    return f"chat:{{{user}}}:places"


def revoked(user: str) -> str:
    """String: milliseconds since 1970 before which the user's tokens are refused."""
    return f"chat:{{{user}}}:revoked"


def limit(subject: str, window: str) -> str:
    """Hash: what a subject used of one rate limit, by slice of its window."""
    return f"chat:{{{subject}}}:limit:{window}"


def cached(user: str, name: str) -> str:
    """String: something of the user's that is kept for a while."""
    return f"chat:{{{user}}}:cache:{name}"


def write_mark(user: str) -> str:
    """String: the place in the database's log of the user's last write, kept for a minute."""
    return f"chat:{{{user}}}:wrote"


def ticket(digest: str) -> str:
    """String: what a ticket stands for. The name is a digest, so a dump of the store holds no ticket."""
    return f"chat:ticket:{digest}"


def process(name: str) -> str:
    """String: there while the process lives."""
    return f"chat:proc:{name}"


def node(owner: str) -> str:
    """The control channel of one process."""
    return f"{NODE_PREFIX}{owner}"
