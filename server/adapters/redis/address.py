"""What a Redis URL says.

* `redis://`, `rediss://` and `unix://` name a server
* `redis+sentinel://host:port,host2:port/name` a primary that sentinels watch; user and password are the
  primary's, and so are `?db=1` and `?tls=true`
* `redis+cluster://host:port` any server of a cluster, `?tls=true` if they want it

What the library takes in the query of a URL (`ssl_ca_certs` and so on) it takes here.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from redis.asyncio.connection import Connection, SSLConnection, parse_url
from redis.exceptions import RedisError

_FORMS = "a Redis URL begins with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"
_SENTINEL_FORM = "a sentinel URL is redis+sentinel://host:port,host2:port/name"
_SENTINEL_PORT = 26379
_SENTINEL = re.compile(
    r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[^\[\]:@]+))(?::(?P<port>\d{1,5}))?", re.ASCII
)
_DATABASE = re.compile(r"/?(\d{0,9})", re.ASCII)
_YES, _NO = ("1", "true"), ("", "0", "false")
_MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server is and how to be let in. `path` is a Unix socket, used instead of host and port."""

    host: str
    port: int
    path: str = ""
    username: str = ""
    password: str = ""
    db: int = 0
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """A URL, read.

    `plain` is the URL as the library takes it, `options` what it reads there. Where sentinels watch,
    `service` is the name of what they watch, and host and port are theirs to say.
    """

    plain: str
    endpoint: Endpoint
    options: dict[str, Any]
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""
    cluster: bool = False


def read(url: str) -> Address:
    """What `url` says.

    Raises:
        ValueError: it has none of the forms above. No message holds a password.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(_FORMS) from None
    if parts.scheme == "redis+sentinel":
        return _watched(parts)
    if parts.scheme == "redis+cluster":
        return _cluster(parts)
    if parts.scheme == "unix":
        if not parts.path.strip("/"):
            raise ValueError("a unix:// URL names a socket, as in unix:///run/redis.sock")
    elif parts.scheme not in {"redis", "rediss"}:
        raise ValueError(_FORMS)
    elif not _DATABASE.fullmatch(parts.path):
        raise ValueError("the path of a Redis URL is the number of a database")
    options = _options(url)
    return Address(url, _endpoint(options), options)


def _watched(parts: SplitResult) -> Address:
    credentials, _, hosts = parts.netloc.rpartition("@")
    service = unquote(parts.path.removeprefix("/"))
    if not service or "/" in service:
        raise ValueError(_SENTINEL_FORM)
    sentinels = tuple(_sentinel(each) for each in hosts.split(","))
    query, tls = _query(parts)
    db = query.pop("db", "")
    if not _DATABASE.fullmatch(db):
        raise ValueError("db in a Redis URL is the number of a database")
    plain = _plain(tls, f"{credentials}@primary" if credentials else "primary", f"/{db}", query)
    options = _options(plain)
    return Address(plain, _endpoint(options), options, sentinels, service)


def _cluster(parts: SplitResult) -> Address:
    if not parts.netloc.rpartition("@")[2]:
        raise ValueError("a cluster URL is redis+cluster://host:port")
    if parts.path not in {"", "/", "/0"} or "db=" in parts.query:
        raise ValueError("a cluster has one database: its URL names none")
    query, tls = _query(parts)
    plain = _plain(tls, parts.netloc, "", query)
    options = _options(plain)
    return Address(plain, _endpoint(options), options, cluster=True)


def _query(parts: SplitResult) -> tuple[dict[str, str], bool]:
    query = dict(parse_qsl(parts.query))
    tls = query.pop("tls", "").lower()
    if tls not in (*_YES, *_NO):
        raise ValueError("tls in a Redis URL is true or false")
    return query, tls in _YES


def _plain(tls: bool, place: str, path: str, query: dict[str, str]) -> str:  # noqa: FBT001 - one caller away
    return f"{'rediss' if tls else 'redis'}://{place}{path}{'?' if query else ''}{urlencode(query)}"


def _sentinel(text: str) -> tuple[str, int]:
    found = _SENTINEL.fullmatch(text)
    port = int(found["port"] or _SENTINEL_PORT) if found else 0
    if found is None or not 0 < port <= _MAX_PORT:
        raise ValueError(_SENTINEL_FORM)
    return found["six"] or found["host"], port


def _options(url: str) -> dict[str, Any]:
    """The library's options; a connection is made of them, and not connected, to see whether it can be."""
    try:
        options: dict[str, Any] = dict(parse_url(url))
    except ValueError:
        # Its message may hold a piece of the password, taken for a port.
        raise ValueError("a Redis URL cannot be read: see port, options and percent-encoding") from None
    connection = {**options}
    kind = connection.pop("connection_class", Connection)
    try:
        kind(**connection)
    except (TypeError, ValueError, RedisError) as error:
        raise ValueError(f"a Redis URL has an option that cannot be used: {error}") from None
    return options


def _endpoint(options: dict[str, Any]) -> Endpoint:
    tls = None
    if options.get("connection_class") is SSLConnection:
        # The library reads the TLS options of a URL; its context is used as it is.
        secure = {name: value for name, value in options.items() if name.startswith("ssl_")}
        try:
            tls = SSLConnection(**secure).ssl_context.get()
        except (OSError, RedisError) as error:
            raise ValueError(f"TLS cannot be had as a Redis URL says: {error}") from error
    return Endpoint(
        host=options.get("host", "localhost"),
        port=options.get("port", 6379),
        path=options.get("path", ""),
        username=options.get("username", ""),
        password=options.get("password", ""),
        db=options.get("db", 0),
        tls=tls,
    )
