"""Sans-I/O. The body of a 200 to facts: the part of the adapter that cannot fail.

Rule 1. Any bytes, in any pieces, end in exactly one `Done` or `Failed`; after it nothing comes.
Rule 2. The pieces do not matter: neighbouring texts of one read are one fact, and that is all that differs.
Rule 3. `choices` may be empty or absent, `usage` may stand on any chunk, `finish_reason` may come twice and
        is not the end: the end is `[DONE]`, an error, or the end of the body.
Rule 4. An error is one wherever it stands: top level, in the choice, as `finish_reason: "error"`, or only in
        `native_finish_reason`. What else the chunk holds is taken first.
Rule 5. An end of the body without a finish is a failure, however cleanly the connection closed.
Rule 6. A body that begins with `{` is one JSON document, and one with `<` is a proxy's page, whatever its
        content type says.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

from server.adapters.openrouter.chunks import Choice, Chunk, Delta, Usage, decode_chunk, money, token_count
from server.adapters.openrouter.classify import classify_error
from server.adapters.openrouter.sse import LINE_LIMIT_BYTES, EventDecoder
from server.adapters.openrouter.surrogates import TextRepair, repaired
from server.generations.upstream import (
    Done,
    Failed,
    FailureKind,
    Finish,
    Progress,
    Reasoning,
    Served,
    Text,
    UpstreamFact,
    UsageReported,
)

Reason = Literal["stop", "length", "tool_calls", "content_filter"]

_REASONS: dict[str, Reason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "function_call": "tool_calls",
    "max_tokens": "length",
}
_NATIVE_ERRORS = frozenset({"error", "network_error", "malformed_function_call"})
_NATIVE_FILTERS = frozenset({"safety", "prohibited_content", "blocklist", "spii", "recitation", "refusal"})
_LEADING = b"\xef\xbb\xbf \t\r\n"
_DONE = b"[DONE]"


class Reply:
    """One body being read. `ended` once its `Done` or `Failed` has been given."""

    def __init__(self, *, limit_bytes: int = LINE_LIMIT_BYTES) -> None:
        self.ended = False
        self._limit_bytes = limit_bytes
        self._events = EventDecoder(limit_bytes=limit_bytes)
        self._document: list[bytes] | None = None  # parts of a body that is one JSON document
        self._document_bytes = 0
        self._begun = False
        self._recognised = False  # an event or comment came
        self._answered = False  # some visible text came
        self._text = TextRepair()
        self._reasoning = TextRepair()
        self._plain_reasoning = False  # `reasoning` is used, so `reasoning_details` only mirrors it
        self._served: Served | None = None
        self._finish: Finish | None = None
        self._usage: UsageReported | None = None

    def feed(self, read: bytes, now: float) -> list[UpstreamFact]:
        """The facts in one read, possibly none. `now` is Unix time, for rate-limit hints."""
        facts: list[UpstreamFact] = []
        if self.ended:
            return facts
        if not self._begun:
            read = read.lstrip(_LEADING)
            if not read:
                return facts
            self._begun = True
            if read[:1] == b"<":
                self._fail(facts, FailureKind.MALFORMED, "a page instead of an event stream")
                return facts
            if read[:1] == b"{":
                self._document = []
        if self._document is not None:
            self._collect(read, facts)
            return facts
        self._take_events(self._events.feed(read), facts, now)
        if self._events.overflowed and not self.ended:
            self._fail(facts, FailureKind.MALFORMED, f"a line or event of over {self._limit_bytes} bytes")
        return facts

    def end(self, now: float, *, broken: str = "") -> list[UpstreamFact]:
        """The body is over: its last facts. `broken` says how the connection failed, if it did."""
        facts: list[UpstreamFact] = []
        if self.ended:
            return facts
        if self._document is not None:
            self._take_document(b"".join(self._document), facts, now, broken)
        else:
            self._take_leftover(self._events.leftover().strip(), facts, now)
        if not self.ended:
            if self._finish is not None:
                self._conclude(facts)
            elif self._begun and not self._recognised and not broken:
                self._fail(facts, FailureKind.MALFORMED, "a body without any event")
            else:
                self._fail(facts, FailureKind.TRUNCATED, broken or "the body ended without a finish")
        return facts

    def _collect(self, read: bytes, facts: list[UpstreamFact]) -> None:
        assert self._document is not None
        self._document.append(read)
        self._document_bytes += len(read)
        if self._document_bytes > self._limit_bytes:
            self._fail(facts, FailureKind.MALFORMED, f"a document of over {self._limit_bytes} bytes")

    def _take_events(self, events: list[bytes | None], facts: list[UpstreamFact], now: float) -> None:
        if events:
            self._recognised = True
        for event in events:
            if event is None:
                if not (facts and type(facts[-1]) is Progress):
                    facts.append(Progress())
            elif event:
                self._take_event(event, facts, now)
                if self.ended:
                    return

    def _take_event(self, event: bytes, facts: list[UpstreamFact], now: float) -> None:
        if event.startswith(_DONE):
            self._conclude(facts)
            return
        chunk = decode_chunk(event)
        if chunk is None:
            self._fail(facts, FailureKind.MALFORMED, "an event that is no JSON object")
            return
        self._take_chunk(chunk, facts, now)

    def _take_leftover(self, event: bytes, facts: list[UpstreamFact], now: float) -> None:
        if event.startswith(_DONE):
            self._conclude(facts)
        elif event and (chunk := decode_chunk(event)) is not None:
            self._recognised = True
            self._take_chunk(chunk, facts, now)

    def _take_document(self, document: bytes, facts: list[UpstreamFact], now: float, broken: str) -> None:
        chunk = decode_chunk(document)
        if chunk is None:
            if broken:
                self._fail(facts, FailureKind.TRUNCATED, broken)
            else:
                self._fail(facts, FailureKind.MALFORMED, "a document that is no JSON object")
            return
        self._take_chunk(chunk, facts, now)
        if self.ended:
            return
        if chunk.choices:
            self._conclude(facts)
        else:
            self._fail(facts, FailureKind.MALFORMED, "a document that is no completion")

    def _take_chunk(self, chunk: Chunk, facts: list[UpstreamFact], now: float) -> None:
        served = self._served
        if chunk.model and (
            served is None or served.model != chunk.model or (chunk.id and chunk.id != served.generation_id)
        ):
            self._note_served(chunk, facts)
        error: Mapping[str, Any] | str | None = _error_of(chunk)
        failed: Failed | None = None
        for choice in chunk.choices or ():
            if choice.index == 0:
                failed = self._take_choice(choice, facts, now)
                break
        if chunk.usage is not None:
            self._take_usage(chunk.usage, facts)
        if error is not None:
            failed = classify_error(error, now)
        if failed is not None:
            self._close(facts, failed)

    def _take_choice(self, choice: Choice, facts: list[UpstreamFact], now: float) -> Failed | None:
        delta = choice.delta or choice.message
        if delta is not None:
            self._take_delta(delta, facts)
        elif choice.text:
            self._say(choice.text, facts)
        if choice.error is not None and choice.error != "":
            return classify_error(choice.error, now)
        reason, native = choice.finish_reason, choice.native_finish_reason
        if not reason and not native:
            return None
        named = (native or "").lower()
        if reason == "error" or named in _NATIVE_ERRORS:
            kind = FailureKind.CONTENT_FILTERED if named in _NATIVE_FILTERS else FailureKind.UPSTREAM_ERROR
            return Failed(kind, detail=f"finish_reason {reason}, native {native}"[:200])
        if reason:
            finish = Finish(_REASONS.get(reason, "stop"), repaired(native) if native else None)
            if finish != self._finish:
                self._finish = finish
                facts.append(finish)
        return None

    def _take_delta(self, delta: Delta, facts: list[UpstreamFact]) -> None:
        reasoning = delta.reasoning or delta.reasoning_content
        if reasoning:
            self._plain_reasoning = True
        elif delta.reasoning_details and not self._plain_reasoning:
            reasoning = "".join(detail.text or detail.summary or "" for detail in delta.reasoning_details)
        if reasoning and (thought := self._reasoning.take(reasoning)):
            last = facts[-1] if facts else None
            if type(last) is Reasoning:
                last.text += thought
            else:
                facts.append(Reasoning(thought))
        if delta.content:
            self._say(delta.content, facts)

    def _say(self, content: str, facts: list[UpstreamFact]) -> None:
        text = self._text.take(content)
        if not text:
            return
        self._answered = True
        last = facts[-1] if facts else None
        if type(last) is Text:
            last.text += text
        else:
            facts.append(Text(text))

    def _note_served(self, chunk: Chunk, facts: list[UpstreamFact]) -> None:
        identity = chunk.id or (self._served.generation_id if self._served is not None else None)
        self._served = Served(chunk.model or "", identity)
        facts.append(
            Served(repaired(self._served.model), repaired(identity) if identity is not None else None)
        )

    def _take_usage(self, usage: Usage, facts: list[UpstreamFact]) -> None:
        reported = bill(usage)
        if reported is not None and reported != self._usage:
            self._usage = reported
            facts.append(reported)

    def _conclude(self, facts: list[UpstreamFact]) -> None:
        self._flush(facts)
        if self._answered:
            self._close(facts, Done())
        elif self._finish is not None and self._finish.reason == "content_filter":
            self._fail(facts, FailureKind.CONTENT_FILTERED, "filtered before any text")
        else:
            self._fail(facts, FailureKind.EMPTY, f"finished ({self._finish}) without any text")

    def _fail(self, facts: list[UpstreamFact], kind: FailureKind, detail: str) -> None:
        self._close(facts, Failed(kind, detail=detail))

    def _close(self, facts: list[UpstreamFact], end: Done | Failed) -> None:
        if isinstance(end, Failed):
            self._text.end()  # its other half was cut off; whoever goes on says all of it
        self._flush(facts)
        facts.append(end)
        self.ended = True

    def _flush(self, facts: list[UpstreamFact]) -> None:
        if thought := self._reasoning.end():
            facts.append(Reasoning(thought))
        if text := self._text.end():
            self._answered = True
            facts.append(Text(text))


def bill(usage: Usage) -> UsageReported | None:
    """The bill in a `usage` object, or `None` while it lacks tokens or a cost: then it is settled later.

    With the account's own provider key, `cost` is only OpenRouter's fee and the provider's charge comes on
    top of it.
    """
    prompt, completion = token_count(usage.prompt_tokens), token_count(usage.completion_tokens)
    cost = money(usage.cost)
    if prompt is None or completion is None or cost is None:
        return None
    if usage.is_byok and usage.cost_details is not None:
        cost += money(usage.cost_details.upstream_inference_cost) or Decimal(0)
    details = usage.completion_tokens_details
    return UsageReported(
        prompt_tokens=prompt,
        completion_tokens=completion,
        reasoning_tokens=(token_count(details.reasoning_tokens) or 0) if details is not None else 0,
        cost=cost,
    )


def _error_of(chunk: Chunk) -> Mapping[str, Any] | str | None:
    if chunk.error is not None and chunk.error != "":
        return chunk.error
    if chunk.object == "error":
        return {"message": chunk.message or ""}
    return None
