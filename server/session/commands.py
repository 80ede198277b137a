"""What each command does: one short function each, found by the command's type.

A command is answered by one `ack` or `error`. `hello` is the session's own.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import structlog

from protocol.codes import ErrorCode
from protocol.frames import (
    Ack,
    Auth,
    Command,
    GenerationStop,
    MessageRegenerate,
    MessageSend,
    Ping,
    Pong,
    Sync,
    type_of,
)
from protocol.position import Position
from server.channels.broker import BrokerUnavailable
from server.conversations.principal import BadToken, ExpiredToken, Principal
from server.conversations.refusal import Refusal, unavailable
from server.conversations.store import StoreUnavailable
from server.conversations.turns import RegenerateRequest, SendRequest
from server.session.machine import error_frame, token_time
from server.session.outlet import TransportClosed

if TYPE_CHECKING:
    from server.session.session import Session

log = logging.getLogger(__name__)

INTERNAL = "Something went wrong here."
REVOKED = "The token was revoked."
_AT_ONCE_MS = 50


async def execute(session: Session, command: Command) -> None:
    """Carry out a command and answer it, whatever happens.

    Raises:
        TransportClosed: there is nobody to answer.
    """
    desk = session.desk
    with structlog.contextvars.bound_contextvars(request_id=desk.new_id()):
        began, refusal = desk.now(), None
        try:
            await COMMANDS[type(command)](session, command)
        except TransportClosed:
            raise
        except Refusal as error:
            refusal = error
        except (BrokerUnavailable, StoreUnavailable):
            refusal = unavailable()
        except Exception:
            log.exception("a command failed", extra={"session": session.id})
            refusal = Refusal(ErrorCode.INTERNAL, INTERNAL)
        labels = {"type": type_of(command), "outcome": refusal.code.value if refusal else "ok"}
        desk.observe("command", labels, desk.now() - began)
    if refusal is None:
        return
    await session.outlet.tell(
        error_frame(refusal.code, refusal.message, re=command.id, retry_after_ms=refusal.retry_after_ms)
    )
    if refusal.code is ErrorCode.DRAINING:
        # who has something to say does not wait for their turn to move
        session.drain(_AT_ONCE_MS, "restart")


def waits(command: Command) -> bool:
    """Whether a command waits for the database, so that others must not wait for it."""
    return isinstance(command, MessageSend | MessageRegenerate | GenerationStop)


async def _auth(session: Session, command: Auth) -> None:
    try:
        principal = session.desk.verify(command.token)
        await session.desk.confirm(command.token, principal)
    except ExpiredToken as error:
        raise Refusal(ErrorCode.TOKEN_EXPIRED, "The token has expired.") from error
    except BadToken as error:
        raise Refusal(ErrorCode.UNAUTHENTICATED, "The token is not valid.") from error
    if principal.user != _asking(session).user:
        raise Refusal(ErrorCode.FORBIDDEN, "The token is another user's.")
    if await session.desk.is_revoked(principal):
        raise Refusal(ErrorCode.FORBIDDEN, REVOKED)
    session.extend(principal)
    await session.outlet.tell(Ack(re=command.id, token_expires_at=token_time(principal.expires_at)))


async def _send(session: Session, command: MessageSend) -> None:
    request = SendRequest(
        content=command.content,
        client_message_id=command.client_message_id,
        conversation=command.conversation,
        parent_message_id=command.parent_message_id,
        content_type=command.content_type,
        model=command.model,
        fallback=command.fallback,
    )
    accepted = await session.desk.turns.send(
        _asking(session), request, request_id=_request_id(), caller=session.caller
    )
    await session.outlet.tell(
        Ack(
            re=command.id,
            conversation=accepted.conversation.id,
            message=accepted.message.id,
            generation=accepted.generation.id,
            duplicate=accepted.duplicate,
        )
    )


async def _regenerate(session: Session, command: MessageRegenerate) -> None:
    request = RegenerateRequest(message=command.message, client_message_id=command.client_message_id)
    accepted = await session.desk.turns.regenerate(
        _asking(session), request, request_id=_request_id(), caller=session.caller
    )
    await session.outlet.tell(
        Ack(re=command.id, generation=accepted.generation.id, duplicate=accepted.duplicate)
    )


async def _stop(session: Session, command: GenerationStop) -> None:
    await session.desk.turns.stop(_asking(session), command.generation)
    await session.outlet.tell(Ack(re=command.id, generation=command.generation))


async def _sync(session: Session, command: Sync) -> None:
    assert session.pump is not None
    position = Position(session.pump.cursors.epoch, session.pump.cursors.offset)
    await session.outlet.tell(Ack(re=command.id, position=str(position)))
    session.pump.request_sync(command.texts)


async def _ping(session: Session, command: Ping) -> None:
    await session.outlet.tell(Pong(re=command.id))


def _asking(session: Session) -> Principal:
    assert session.principal is not None
    return session.principal


def _request_id() -> str:
    return str(structlog.contextvars.get_contextvars()["request_id"])


COMMANDS: dict[type[Command], Callable[[Session, Any], Awaitable[None]]] = {
    Auth: _auth,
    MessageSend: _send,
    MessageRegenerate: _regenerate,
    GenerationStop: _stop,
    Sync: _sync,
    Ping: _ping,
}
