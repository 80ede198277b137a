"""Sans-I/O. A behaviour played out: from the answer's deltas to the lazy sequence of steps of one call."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from server.embedded.openrouter import framing, mishaps, tokens
from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.openrouter.steps import End, Gate, Hang, Head, Raw, Step, Wait, Write
from server.embedded.openrouter.wire import COMMENT, DONE, Envelope, Usage

_NATIVE = {"stop": "stop", "length": "max_tokens", "content_filter": "SAFETY", "tool_calls": "tool_use"}


@dataclass(slots=True)
class Reply:
    """All that one call will send, were nobody to leave."""

    behaviour: Behaviour
    head: bytes
    envelope: Envelope
    deltas: tuple[str, ...]
    thoughts: tuple[str, ...]
    usage: Usage
    finish_reason: str
    seed: int = 0

    @property
    def native(self) -> str:
        """The provider's own word for the finish reason."""
        return self.behaviour.native_finish_reason or _NATIVE[self.finish_reason]


def opening(behaviour: Behaviour) -> Iterator[Step]:
    """What happens before any response; may be all that happens."""
    if behaviour.gate_before_headers:
        yield Gate(behaviour.gate_before_headers)
    if behaviour.headers_ms:
        yield Wait(behaviour.headers_ms / 1000)
    match behaviour.before_headers:
        case "hang":
            yield Hang()
        case "reset":
            yield End("reset", "broken")
        case "close":
            yield End("close", "broken")
        case "garbage":
            yield Raw(b"\x16\x03\x01\x02\x00this is not HTTP\r\n\r\n")
            yield End("close", "broken")
        case None:
            return


def refusal(behaviour: Behaviour, response: bytes) -> Iterator[Step]:
    """An HTTP error, `response`, in the manner of `behaviour`."""
    yield from opening(behaviour)
    yield Raw(response)
    yield End("finish", "failed")


def whole(reply: Reply, response: bytes, *, failed: bool) -> Iterator[Step]:
    """A call that did not ask to stream: the time it takes, then `response`."""
    behaviour = reply.behaviour
    yield from opening(behaviour)
    seconds = (behaviour.first_token_ms + behaviour.interval_ms * len(reply.deltas)) / 1000
    if seconds:
        yield Wait(seconds)
    if failed:
        yield Raw(response)
        yield End("finish", "failed")
    else:
        yield Raw(response, len(reply.deltas), len(reply.thoughts))
        yield End()


def streamed(reply: Reply) -> Iterator[Step]:
    """A streamed call, from before its headers to its end."""
    behaviour = reply.behaviour
    yield from opening(behaviour)
    yield Head(reply.head, behaviour.chunked)
    body: Iterator[Step] = _Body(reply).steps()
    written, fail = behaviour.framing, behaviour.fail
    if not written.plain:
        body = framing.spelt(body, written)
    if fail is not None and fail.at_byte is not None:
        body = framing.broken_at_byte(body, fail.at_byte, fail.how)
    if not written.plain:
        body = framing.cut(body, written)
    yield from body


class _Body:
    """The event stream of one reply."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self._pace = reply.behaviour.interval_ms / 1000

    def steps(self) -> Iterator[Step]:
        yield from self._beginning()
        for step in self._answer():
            yield step
            if isinstance(step, End):
                return
        yield from self._finish()

    def _beginning(self) -> Iterator[Step]:
        """Comments, the wait for the first token, the reasoning."""
        behaviour, envelope = self.reply.behaviour, self.reply.envelope
        for _ in range(behaviour.comments_first):
            yield Write(COMMENT)
        yield from self._quiet(behaviour.first_token_ms, comments=behaviour.comments != "none")
        first_empty = behaviour.empty_first_chunk
        if first_empty or (first_empty is None and behaviour.layout == "2025"):
            yield Write(envelope.content(b'""'))
        for index, thought in enumerate(tokens.pieces(self.reply.thoughts)):
            yield Write(envelope.reasoning(thought), self._pace if index else 0.0, thoughts=1)

    def _answer(self) -> Iterator[Step]:
        """The tokens, and what happens between them."""
        reply, behaviour, envelope = self.reply, self.reply.behaviour, self.reply.envelope
        special = self._special
        merged = len(reply.deltas) - 1 if behaviour.usage == "with_content" else -1
        chatty = behaviour.comments == "always" and behaviour.interval_ms > behaviour.comment_every_ms
        for index, piece in enumerate(tokens.pieces(reply.deltas)):
            if index in special:
                yield from self._at(index)
            after = self._after(index)
            if chatty:
                yield from self._quiet(after * 1000, comments=True)
                after = 0.0
            if index == merged:
                data = envelope.finish(None, None, reply.usage, piece)
            else:
                data = envelope.content(piece)
            yield Write(data, after, tokens=1)
        yield from self._at(len(reply.deltas))

    @cached_property
    def _special(self) -> frozenset[int]:
        """The token indexes before which something else happens."""
        behaviour = self.reply.behaviour
        places = [*(part.at for part in behaviour.insert), *(pause.at for pause in behaviour.pauses)]
        if behaviour.gate:
            places.append(behaviour.gate_at)
        if behaviour.fail is not None and behaviour.fail.at_byte is None:
            places.append(behaviour.fail.at)
        return frozenset(min(place, len(self.reply.deltas)) for place in places)

    def _at(self, index: int) -> Iterator[Step]:
        """What happens before token `index`: insertions, pauses, the gate, the failure."""
        behaviour, last = self.reply.behaviour, len(self.reply.deltas)
        for insertion in behaviour.insert:
            if min(insertion.at, last) == index:
                yield from mishaps.insertion(insertion, self.reply.envelope)
        for pause in behaviour.pauses:
            if min(pause.at, last) == index:
                yield from self._quiet(pause.ms, comments=behaviour.comments == "always")
        if behaviour.gate and min(behaviour.gate_at, last) == index:
            yield Gate(behaviour.gate)
        fail = behaviour.fail
        if fail is not None and fail.at_byte is None and min(fail.at, last) == index:
            yield from mishaps.failure(fail, behaviour, self.reply.envelope)

    def _after(self, index: int) -> float:
        """Seconds before token `index`; the first has been waited for already."""
        if not self._pace or (index == 0 and not self.reply.thoughts):
            return 0.0
        behaviour, seconds = self.reply.behaviour, self._pace
        if behaviour.jitter:
            chance = zlib.crc32(index.to_bytes(4, "big"), self.reply.seed) / 0xFFFFFFFF
            seconds *= 1 + behaviour.jitter * (2 * chance - 1)
        if behaviour.rhythm == "human" and index:
            before = self.reply.deltas[index - 1]
            if "\n\n" in self.reply.deltas[index] or before.rstrip().endswith((".", "!", "?", ":")):
                seconds *= 4
        return seconds

    def _quiet(self, ms: float, *, comments: bool) -> Iterator[Step]:
        """Silence, or comments at their interval."""
        every = self.reply.behaviour.comment_every_ms
        while comments and ms > every:
            yield Wait(every / 1000)
            yield Write(COMMENT)
            ms -= every
        if ms > 0:
            yield Wait(ms / 1000)

    def _finish(self) -> Iterator[Step]:
        reply, behaviour, envelope = self.reply, self.reply.behaviour, self.reply.envelope
        reason, native = reply.finish_reason, reply.native
        merged = behaviour.usage == "with_finish" or (behaviour.usage == "with_content" and not reply.deltas)
        for _ in range(2 if behaviour.duplicate_finish else 1):
            yield Write(envelope.finish(reason, native, reply.usage if merged else None))
        if behaviour.usage == "no_choices":
            yield Write(envelope.usage(reply.usage))
        elif behaviour.usage == "empty_choice":
            repeat = behaviour.usage_finish or ("null" if behaviour.layout == "2025" else "repeat")
            yield Write(
                envelope.finish(reason, native, reply.usage)
                if repeat == "repeat"
                else envelope.finish(None, None, reply.usage)
            )
        if behaviour.done:
            yield Write(DONE)
        yield End()
