"""What an endpoint is: one definition, of which routing, checking and the OpenAPI document are made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from server.conversations.audit import Caller
from server.conversations.principal import Principal
from server.gateway.front import Front

Who = Literal["anyone", "user", "internal", "user_or_internal"]
"""Whom an endpoint lets in. `internal` is another service, by its key."""


class Nothing(msgspec.Struct, frozen=True):
    """No body, or no query."""


BodyT = TypeVar("BodyT", bound=msgspec.Struct)
QueryT = TypeVar("QueryT", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: a user, another service, perhaps both; `address` is where from.

    `token` is the bearer token, where there is one: only a user's own opens a profile elsewhere.
    """

    address: str
    user: Principal | None = None
    internal: bool = False
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Asked(Generic[BodyT, QueryT]):
    """A request that was let in and found sound.

    `caller` is who asks, for the audit log. `ids` are the path's, canonical UUIDs by their names.
    """

    request: Request
    asker: Asker
    caller: Caller
    body: BodyT
    query: QueryT
    ids: Mapping[str, str]

    @property
    def principal(self) -> Principal:
        """The user who asks; endpoints for `user` always have one."""
        assert self.asker.user is not None
        return self.asker.user

    @property
    def request_id(self) -> str:
        """The correlation id."""
        return str(self.request.scope["request_id"])


Handler = Callable[[Front, Asked[BodyT, QueryT]], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer an endpoint may give. `body` is a type for msgspec, `None` where there is none."""

    description: str
    body: Any = None
    media_type: str = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Generic[BodyT, QueryT]):
    """One method of one path.

    Args:
        method: GET, POST, PUT or DELETE.
        path: Below the prefix; `{name}` is a UUID, given to the handler in `ids`.
        handler: Answers it.
        summary: One line for the documents.
        tag: The part of the API it belongs to.
        answers: By status, without the refusals.
        who: Whom it lets in.
        ticket: Whether `?ticket=` may stand for a bearer token.
        body: The JSON body's struct.
        body_optional: Whether an empty body is one of defaults.
        query: The query's struct; each field is an `int`, a `bool`, or a string, or `None`.
        refusals: Statuses of refusals that are this endpoint's own; the usual ones are known.
        headers: Request headers that mean something here, and what.
        limited: Whether it counts in the limit on requests.
        streams: Whether an answer may be an event stream.
    """

    method: str
    path: str
    handler: Handler[BodyT, QueryT]
    summary: str
    tag: str
    answers: Mapping[int, Answer | tuple[Answer, ...]]
    who: Who = "user"
    ticket: bool = False
    body: type[BodyT] | None = None
    body_optional: bool = False
    query: type[QueryT] | None = None
    refusals: tuple[int, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    limited: bool = True
    streams: bool = False

    @property
    def id_names(self) -> tuple[str, ...]:
        """The names in the path, in order."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))
