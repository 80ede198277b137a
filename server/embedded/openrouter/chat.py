"""Sans-I/O. `POST /chat/completions`: from a request to a call in the ledger and the steps that answer it.

The order of checks is OpenRouter's as far as it shows: key, body, then for each model in turn whether it
exists, the free limits, what the key can pay, how the model takes a partial answer, and the script. A
model that refuses hands over to the next of `models`; one that has answered 200 never does.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from server.embedded.openrouter import continuation, http, stream, tokens
from server.embedded.openrouter.account import Account, bearer
from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.openrouter.catalogue import Model, route
from server.embedded.openrouter.continuation import Question
from server.embedded.openrouter.errors import ErrorReply, build_error, plain_error
from server.embedded.openrouter.http import Request
from server.embedded.openrouter.ledger import Call, Ledger, fingerprint, priced
from server.embedded.openrouter.script import ScriptBook
from server.embedded.openrouter.steps import Step
from server.embedded.openrouter.stream import Reply
from server.embedded.openrouter.wire import Envelope, completion

_OK = 200
_DEFAULT_MAX_TOKENS = 1000
_EDGE = {"Server": "cloudflare", "CF-RAY": "0123456789abcdef-CGK"}


class _Body(msgspec.Struct):
    """What is read of a request; OpenRouter ignores what it does not know, and so does this."""

    messages: list[dict[str, Any]]
    model: str = "openrouter/auto"
    models: list[str] = []
    stream: bool = False
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    user: str | None = None
    session_id: str | None = None

    @property
    def limit(self) -> int | None:
        """The most completion tokens wanted."""
        return self.max_completion_tokens or self.max_tokens


@dataclass(frozen=True, slots=True)
class StandIn:
    """What an unscripted call does: the behaviour that answers these messages."""

    answer: Callable[[list[dict[str, Any]], Question], Behaviour]


@dataclass(slots=True)
class ChatDesk:
    """Answers chat requests. `new_id` makes the random part of generation ids."""

    account: Account
    models: dict[str, Model]
    scripts: ScriptBook
    ledger: Ledger
    stand_in: StandIn
    new_id: Callable[[], str]

    def answer(self, request: Request, now: float) -> tuple[Call, Iterator[Step], Behaviour]:
        """The call that `request` is, the steps that answer it, and the behaviour they follow."""
        call = self.ledger.open(now, request.headers, request.body)
        authorization = request.headers.get("authorization")
        if authorization and authorization.lower().startswith("bearer "):
            call.key_fingerprint = fingerprint(bearer(authorization))
        refused = self.account.refusal_of_key(authorization)
        if refused is not None:
            return self._refuse(call, Behaviour(), build_error(refused, {}))
        body = _read(request)
        if isinstance(body, ErrorReply):
            return self._refuse(call, Behaviour(), body)
        call.model, call.models, call.stream = body.model, tuple(body.models), body.stream
        call.user, call.max_tokens = body.user, body.limit
        call.session_id = body.session_id or request.headers.get("x-session-id")
        key = bearer(authorization or "")
        question = continuation.find_question(body.messages)
        candidates = list(dict.fromkeys([body.model, *body.models]))
        for index, slug in enumerate(candidates):
            found = self._try_model(slug, body, question, key, now)
            if isinstance(found, tuple):
                behaviour, error = found
                if index == len(candidates) - 1:
                    return self._refuse(call, behaviour, error)
                continue
            served, behaviour = found.model, found.behaviour
            return call, self._serve(call, body, question, served, behaviour, now), behaviour
        raise AssertionError("a request has at least one model")

    def _try_model(
        self, slug: str, body: _Body, question: Question, key: str, now: float
    ) -> _Chosen | tuple[Behaviour, ErrorReply]:
        """The model and behaviour that serve `slug`, or how it refuses."""
        values: dict[str, object] = {"model": slug, "provider": "OpenRouter", "reset": 0, "affordable": 0}
        asked = self.models.get(slug)
        if asked is None:
            return Behaviour(), build_error("invalid_model", values)
        model = route(self.models, asked, question.text)
        values |= {"provider": model.provider, "tokens": body.limit or _DEFAULT_MAX_TOKENS}
        if model.free:
            limited = self.account.count_free(now)
            if limited is not None:
                error, ends = limited
                return Behaviour(), build_error(error, values | {"reset": round(ends * 1000)})
        affordable = self.account.affordable(key, model)
        if affordable is not None and affordable < (body.limit or _DEFAULT_MAX_TOKENS):
            return Behaviour(), build_error("cannot_afford", values | {"affordable": affordable})
        if question.prefill and model.prefill == "reject":
            return Behaviour(), build_error("prefill_rejected", values)
        if question.prefill and model.tokenizer == "Claude" and (question.partial or "")[-1:].isspace():
            return Behaviour(), build_error("trailing_whitespace", values)
        asked_last = continuation.asked_last(body.messages)
        behaviour = self.scripts.take(slug, (question.text, asked_last))
        if behaviour is None:
            behaviour = self.stand_in.answer(body.messages, question)
        if behaviour.refuses:
            return behaviour, _scripted_error(behaviour, values | {"reset": round((now + 60) * 1000)})
        return _Chosen(model, behaviour)

    def _refuse(
        self, call: Call, behaviour: Behaviour, error: ErrorReply
    ) -> tuple[Call, Iterator[Step], Behaviour]:
        call.behaviour = behaviour
        headers = {**_EDGE, **error.headers, **behaviour.headers}
        steps = stream.refusal(behaviour, http.response(error.status, error.body, headers))
        return call, steps, behaviour

    def _serve(
        self, call: Call, body: _Body, question: Question, model: Model, behaviour: Behaviour, now: float
    ) -> Iterator[Step]:
        deltas, finish = _deltas(behaviour, question, model, body)
        thoughts = tokens.split(behaviour.reasoning)
        prompt = sum(tokens.count(continuation.content_text(message)) for message in body.messages)
        thought = tokens.count(behaviour.reasoning)
        said = tokens.count(tokens.join(deltas)) + thought
        usage = priced(model, prompt, said, thought, byok=behaviour.byok)
        provider = behaviour.provider or model.provider
        generation = f"gen-{int(now)}-{self.new_id()}"
        self.ledger.name(call, generation)
        call.behaviour, call.served, call.provider = behaviour, model, provider
        call.served_as = behaviour.served_model or ((behaviour.dated_model and model.dated) or model.slug)
        call.deltas, call.thoughts, call.usage, call.finish_reason = deltas, thoughts, usage, finish
        envelope = Envelope(
            generation=generation,
            created=int(now),
            model=call.served_as,
            provider=provider,
            layout=behaviour.layout,
        )
        headers = dict(_EDGE)
        if behaviour.generation_header:
            headers["X-Generation-Id"] = generation
        if body.stream:
            headers |= {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", **behaviour.headers}
            head = http.stream_head(headers, chunked=behaviour.chunked)
            reply = Reply(
                behaviour, head, envelope, deltas, thoughts, usage, finish, zlib.crc32(generation.encode())
            )
            return stream.streamed(reply)
        reply = Reply(behaviour, b"", envelope, deltas, thoughts, usage, finish)
        if behaviour.fail is not None:
            error = plain_error(behaviour.fail.code, behaviour.fail.message, behaviour.fail.metadata or {})
            response = http.response(error.status, error.body, {**headers, **behaviour.headers})
            return stream.whole(reply, response, failed=True)
        whole = completion(
            generation=generation,
            created=int(now),
            model=call.served_as,
            provider=provider,
            text_json=tokens.as_json(tokens.join(deltas)),
            reasoning_json=tokens.as_json(behaviour.reasoning) if behaviour.reasoning else b"null",
            finish_reason=finish,
            native=reply.native,
            usage=None if behaviour.usage == "none" else usage,
        )
        return stream.whole(reply, http.response(_OK, whole, {**headers, **behaviour.headers}), failed=False)


@dataclass(frozen=True, slots=True)
class _Chosen:
    model: Model
    behaviour: Behaviour


def _read(request: Request) -> _Body | ErrorReply:
    try:
        # the standard library reads lone surrogates, which a prompt may hold
        body = msgspec.convert(json.loads(request.body), _Body)
    except (ValueError, RecursionError) as error:
        return build_error("bad_request", {}, message=f"Invalid request: {error}")
    if not body.messages:
        return build_error("bad_request", {}, message="Input required: specify `messages`")
    return body


def _scripted_error(behaviour: Behaviour, values: Mapping[str, object]) -> ErrorReply:
    if behaviour.error is not None:
        return build_error(behaviour.error, values, message=behaviour.message, metadata=behaviour.metadata)
    assert behaviour.status is not None
    return plain_error(behaviour.status, behaviour.message or "Provider returned error", behaviour.metadata)


def _deltas(
    behaviour: Behaviour, question: Question, model: Model, body: _Body
) -> tuple[tuple[str, ...], str]:
    """The answer's deltas and its finish reason."""
    deltas = behaviour.tokens if behaviour.tokens is not None else tokens.split(behaviour.text or "")
    text = tokens.join(deltas)
    if behaviour.continuation != "verbatim" and continuation.continues(text, question.partial):
        # a model without prefill takes the partial answer for a finished turn and starts anew
        how = "restart" if question.prefill and model.prefill == "ignore" else behaviour.continuation
        deltas = tokens.split(continuation.continued(text, question.partial or "", how))
    if behaviour.split_surrogates:
        deltas = tokens.split_surrogates(deltas)
    limit = body.limit
    if behaviour.obey_max_tokens and limit is not None and tokens.count(tokens.join(deltas)) > limit:
        return tokens.split(tokens.join(deltas)[: limit * 4]), "length"
    return deltas, behaviour.finish_reason
