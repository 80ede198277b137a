"""Turns: send, regenerate, stop.

A send is checked, its place in the limits is reserved, it is made durable, and only then is a model asked.
The order matters: a refusal after the reservation gives it back, so a refused message uses nothing up, and
what was acked is answered even if this node dies on the next line (the custodian finds the row).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from protocol.codec import encode
from protocol.codes import ErrorCode
from protocol.frames import (
    ContentType,
    ConversationCreated,
    ConversationUpdated,
    Fallback,
    MessageCreated,
)
from server.channels.broker import BrokerUnavailable
from server.conversations.arrears import Arrears
from server.conversations.audit import BY_USER, Caller
from server.conversations.models import Catalogue, ModelChains, asks_much, choose
from server.conversations.principal import Principal
from server.conversations.prompts import Prompts
from server.conversations.refusal import Refusal, refusal_for, unavailable
from server.conversations.screening import ContentFilter, refuse_blocked, screen
from server.conversations.store import (
    Accepted,
    ConversationStore,
    GenerationRow,
    NotFound,
    RegenerateOrder,
    SendOrder,
    StoreRefused,
    StoreUnavailable,
)
from server.conversations.titles import DEFAULT_TITLE, title_for
from server.conversations.tokens import estimate_content
from server.conversations.validate import ContentInvalid, check_content, read_text_file
from server.conversations.wire import conversation_body, message_body
from server.generations.effects import Plan
from server.generations.order import GenerationOrder, encode_plan
from server.generations.runner import Generations
from server.generations.store import GenerationStore

log = logging.getLogger(__name__)

_UNBEGUN_SECONDS = 10.0
"""How long a stop waits for what is accepted to begin: longer than the custodian takes to find it."""
_KNOWN_SECONDS = 1.0
"""How long a stop waits for the database to say whose it is; the store that takes it knows that too."""
_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class TurnLimits:
    """Bounds of a turn. 0 switches a count off."""

    max_message_length: int
    max_generations: int
    max_tokens: int
    temperature: float
    content_filter: ContentFilter = "flag"


@dataclass(frozen=True, slots=True)
class SendRequest:
    """What a user wants to say. `conversation` absent: a new one."""

    content: str
    client_message_id: str
    conversation: str | None = None
    parent_message_id: str | None = None
    content_type: ContentType = "text"
    model: str | None = None
    fallback: Fallback = "continue"


@dataclass(frozen=True, slots=True)
class RegenerateRequest:
    """An answer to give again. `conversation`, where given, must be the message's."""

    message: str
    client_message_id: str
    conversation: str | None = None


class Reservation(Protocol):
    """A place in the limits, taken."""

    async def release(self) -> None:
        """Give it back. Never raises."""
        ...


class Quota(Protocol):
    """The limits on messages, counted over all nodes and doors."""

    async def reserve_message(
        self, user: str, *, free_model: bool, new_conversation: bool = False
    ) -> Reservation:
        """Reserve a message in every window it counts in, at once.

        Raises:
            Refusal: rate_limited, with `retry_after_ms`.
            BrokerUnavailable
        """
        ...


class Turns:
    """The use cases of a turn."""

    def __init__(
        self,
        store: ConversationStore,
        generations: Generations,
        generation_store: GenerationStore,
        prompts: Prompts,
        chains: ModelChains,
        catalogue: Catalogue,
        quota: Quota,
        limits: TurnLimits,
        arrears: Arrears,
    ) -> None:
        self._store = store
        self._generations = generations
        self._generation_store = generation_store
        self._prompts = prompts
        self._chains = chains
        self._catalogue = catalogue
        self._quota = quota
        self._limits = limits
        self._arrears = arrears
        self.draining = False

    async def send(
        self, principal: Principal, request: SendRequest, *, request_id: str, caller: Caller = BY_USER
    ) -> Accepted:
        """Accept a message and begin to answer it.

        Raises:
            Refusal
        """
        limits = self._limits
        try:
            check_content(request.content, request.content_type, max_length=limits.max_message_length)
        except ContentInvalid as invalid:
            raise Refusal(invalid.code, invalid.message, field=invalid.field) from invalid
        screening = screen(request.content, request.content_type, limits.content_filter)
        refuse_blocked(screening)
        plan = self._plan(
            principal,
            request.model,
            request.fallback,
            with_image=request.content_type == "image",
            is_complex=await self._is_complex(principal, request),
        )
        order = SendOrder(
            user_id=principal.user,
            conversation_id=request.conversation,
            client_message_id=request.client_message_id,
            content=request.content,
            content_type=request.content_type,
            parent_message_id=request.parent_message_id,
            token_count=_token_count(request),
            title=title_for(request.content, request.content_type),
            default_title=DEFAULT_TITLE,
            plan=_plan_json(plan),
            request={
                "command": "send",
                "conversation": request.conversation,
                "parent": request.parent_message_id,
                "content_type": request.content_type,
            },
            max_generations=limits.max_generations,
            history_tokens=self._prompts.history_tokens,
            caller=caller,
        )
        accepted = await self._accept(principal, order, plan)
        if accepted.duplicate:
            _check_repeat(accepted, order.request, content=request.content)
        else:
            if screening.rules:
                facts = {"message_id": accepted.message.id, "rules": screening.rules}
                log.warning("a message looks like an order to the model", extra=facts)
            self._begin(accepted, plan, _told(accepted), request_id)
        return accepted

    async def regenerate(
        self, principal: Principal, request: RegenerateRequest, *, request_id: str, caller: Caller = BY_USER
    ) -> Accepted:
        """Answer a question again.

        Raises:
            Refusal
        """
        # who asks for another answer was not content with a simple one
        plan = self._plan(principal, None, "continue", with_image=False, is_complex=True)
        order = RegenerateOrder(
            user_id=principal.user,
            message_id=request.message,
            conversation_id=request.conversation,
            client_message_id=request.client_message_id,
            plan=_plan_json(plan),
            request={"command": "regenerate", "message": request.message},
            max_generations=self._limits.max_generations,
            history_tokens=self._prompts.history_tokens,
            caller=caller,
        )
        accepted = await self._accept(principal, order, plan)
        if accepted.duplicate:
            _check_repeat(accepted, order.request, content=None)
        else:
            self._begin(accepted, plan, (), request_id)
        return accepted

    async def stop(self, principal: Principal, generation: str) -> None:
        """Ask a generation to stop, on whichever node it runs; asking one that has ended is fine.

        Raises:
            Refusal
        """
        waited, pause = 0.0, _FIRST_PAUSE
        try:
            async with asyncio.timeout(_KNOWN_SECONDS):
                # one of a deleted conversation is not found, whatever the store still holds of it
                await self._store.generation(principal.user, generation)
        except (StoreUnavailable, TimeoutError):
            pass  # a stop does not need the database
        except StoreRefused as error:
            raise refusal_for(error) from error
        try:
            while await self._generation_store.request_stop(principal.user, generation) is None:
                row = await self._store.generation(principal.user, generation)
                if row.status != "accepted":
                    return
                # not begun yet, so there is no place for the intent; nobody is told that it is stored
                if waited > _UNBEGUN_SECONDS:
                    raise unavailable()
                await asyncio.sleep(pause)
                waited, pause = waited + pause, min(pause * 2, _LONGEST_PAUSE)
        except BrokerUnavailable as error:
            raise unavailable() from error
        except (StoreRefused, StoreUnavailable) as error:
            raise refusal_for(error) from error

    async def catch_up(self, user: str) -> None:
        """See that the database holds every end the user was told.

        Raises:
            Refusal: it cannot be asked now.
        """
        if not await self._arrears.settle(user):
            raise unavailable()

    def resume(self, accepted: Accepted, plan: Plan, *, request_id: str) -> None:
        """Begin what was accepted by a node that died before it began it."""
        told = () if accepted.generation.request.get("command") == "regenerate" else _told(accepted)
        self._begin(accepted, plan, told, request_id)

    def resume_orphan(self, row: GenerationRow, plan: Plan) -> None:
        """Begin what lost its conversation before it began: it finds that out, and ends."""
        self._generations.begin(
            GenerationOrder(
                user=row.user_id,
                generation=row.id,
                conversation=row.conversation_id,
                message=row.message_id,
                reply_to=row.reply_to,
                plan=plan,
                events=(),
                prompt=None,
                request_id=row.id,
            )
        )

    # --- parts ------------------------------------------------------------------------------

    async def _is_complex(self, principal: Principal, request: SendRequest) -> bool:
        """Whether the turn is complex; the conversation is only read where that decides something.

        Raises:
            Refusal
        """
        if request.model is not None or not self._chains.depends_on_complexity(principal.tier):
            return True
        context_type = "general"
        if request.conversation is not None:
            try:
                conversation = await self._store.conversation(principal.user, request.conversation)
            except (StoreRefused, StoreUnavailable) as error:
                raise refusal_for(error) from error
            context_type = conversation.context_type
        return asks_much(request.content, request.content_type, context_type)

    def _plan(
        self,
        principal: Principal,
        wanted: str | None,
        fallback: Fallback,
        *,
        with_image: bool,
        is_complex: bool,
    ) -> Plan:
        if self.draining:
            raise Refusal(ErrorCode.DRAINING, "This node is going away; connect again.", retry_after_ms=250)
        chain = choose(
            self._chains,
            self._catalogue,
            tier=principal.tier,
            wanted=wanted,
            with_image=with_image,
            is_complex=is_complex,
        )
        return Plan(
            chain=chain,
            free=frozenset(model for model in chain if self._catalogue.is_free(model)),
            fallback=fallback,
            max_tokens=self._limits.max_tokens,
            temperature=self._limits.temperature,
            tier=principal.tier,
        )

    async def _accept(self, principal: Principal, order: SendOrder | RegenerateOrder, plan: Plan) -> Accepted:
        await self.catch_up(principal.user)
        new = isinstance(order, SendOrder) and order.conversation_id is None
        reservation = await self._reserve(principal, order.client_message_id, plan, new_conversation=new)
        if isinstance(reservation, Accepted):
            return reservation
        kept = False
        try:
            if isinstance(order, SendOrder):
                accepted = await self._store.accept(order)
            else:
                accepted = await self._store.accept_again(order)
            kept = not accepted.duplicate
        except (StoreRefused, StoreUnavailable) as error:
            if isinstance(error, NotFound) and error.what == "parent" and isinstance(order, RegenerateOrder):
                raise Refusal(
                    ErrorCode.BAD_REQUEST,
                    "This message answers no question, so it cannot be answered again.",
                    field="message",
                ) from error
            raise refusal_for(error) from error
        finally:
            if not kept:
                await reservation.release()
        return accepted

    async def _reserve(
        self, principal: Principal, client_message_id: str, plan: Plan, *, new_conversation: bool
    ) -> Reservation | Accepted:
        """A reservation; or, where the limit is used up, the earlier acceptance of the same message."""
        try:
            return await self._quota.reserve_message(
                principal.user,
                free_model=self._generations.first_model(plan) in plan.free,
                new_conversation=new_conversation,
            )
        except BrokerUnavailable as error:
            raise unavailable() from error
        except Refusal:
            try:
                known = await self._store.by_client_message_id(principal.user, client_message_id)
            except StoreUnavailable as error:
                raise unavailable() from error
            if known is None:
                raise
            return known

    def _begin(
        self, accepted: Accepted, plan: Plan, events: tuple[tuple[str, bytes], ...], request_id: str
    ) -> None:
        self._generations.begin(
            GenerationOrder(
                user=accepted.generation.user_id,
                generation=accepted.generation.id,
                conversation=accepted.conversation.id,
                message=accepted.generation.message_id,
                reply_to=accepted.generation.reply_to,
                plan=plan,
                events=events,
                prompt=self._prompts.of(accepted.conversation, accepted.history)
                if accepted.history
                else None,
                request_id=request_id,
            )
        )


def _token_count(request: SendRequest) -> int:
    content = request.content
    if request.content_type == "file":
        content = read_text_file(content).text
    return estimate_content(content, request.content_type)


def _plan_json(plan: Plan) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(encode_plan(plan))
    return decoded


def _told(accepted: Accepted) -> tuple[tuple[str, bytes], ...]:
    """The events that tell an accepted message, in order."""
    events: list[tuple[str, bytes]] = []
    conversation = conversation_body(accepted.conversation)
    if accepted.created:
        events.append(("conversation.created", encode(ConversationCreated(conversation=conversation))))
    elif accepted.retitled:
        events.append(("conversation.updated", encode(ConversationUpdated(conversation=conversation))))
    created = MessageCreated(
        conversation=accepted.conversation.id,
        message=message_body(accepted.message),
        client_message_id=accepted.generation.client_message_id,
    )
    events.append(("message.created", encode(created)))
    return tuple(events)


def _check_repeat(accepted: Accepted, request: dict[str, Any], *, content: str | None) -> None:
    """A `client_message_id` means one thing for ever."""
    same = accepted.generation.request == request and (content is None or accepted.message.content == content)
    if not same:
        raise Refusal(
            ErrorCode.IDEMPOTENCY_CONFLICT,
            "This client_message_id was used for something else.",
            field="client_message_id",
        )
