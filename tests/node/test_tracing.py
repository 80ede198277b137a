"""Spans in a collector: one trace from whoever asked to every attempt at a model (settings, `OTEL_…`)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from server.embedded.openrouter.behaviour import Behaviour, Failure
from server.embedded.services import EmbeddedServices
from server.tracing import Tracing
from tests.running import MODELS, new_uuid, of_type, running_node
from tests.scripted.waiting import eventually
from tests.services import Database


class Collector(ThreadingHTTPServer):
    """Takes what is sent, as it came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, str, dict[str, Any]]] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def spans(self) -> list[dict[str, Any]]:
        """All spans, each with its attributes as a plain mapping."""
        return [
            {**span, "attributes": plain(span["attributes"])}
            for _, _, body in list(self.requests)
            for resource in body["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, self.headers["Content-Type"], body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def plain(attributes: list[dict[str, Any]]) -> dict[str, str]:
    return {each["key"]: each["value"]["stringValue"] for each in attributes}


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()


def test_a_turn_is_one_trace_from_the_command_to_every_attempt(
    services: EmbeddedServices, database: Database
):
    async def go(collector: Collector) -> list[dict[str, Any]]:
        async with running_node(
            services, database, otel_exporter_otlp_endpoint=collector.endpoint
        ) as running:
            running.simulator.script(
                Behaviour(text="One two three four five.", fail=Failure(how="error", at=3)),
                Behaviour(text="One two three four five.", continuation="clean"),
            )
            client = await running.client()
            await client.send("message.send", content="secret words", client_message_id=new_uuid())
            await client.wait_for(of_type("generation.finished"))
            return await eventually(
                lambda: [span for span in collector.spans() if "chat" in span["name"]] and collector.spans()
            )

    with collecting() as collector:
        spans = asyncio.run(go(collector))

    by_name = {span["name"]: span for span in spans}
    asked, generation = by_name["command message.send"], by_name["generation"]
    attempts = [by_name[f"chat {model}"] for model in MODELS[:2]]
    turn = [asked, generation, *attempts]
    assert len({span["traceId"] for span in turn}) == 1
    assert len({span["spanId"] for span in turn}) == 4
    assert [(span["parentSpanId"], span["kind"]) for span in turn] == [
        ("", 2),
        (asked["spanId"], 1),
        (generation["spanId"], 3),
        (generation["spanId"], 3),
    ]
    assert [span["attributes"]["outcome"] for span in attempts][1] == "completed"
    assert [bool(span["status"]) for span in turn] == [False, False, True, False]
    for span in turn:
        assert len(bytes.fromhex(span["traceId"])) == 16
        assert len(bytes.fromhex(span["spanId"])) == 8
        assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
    assert int(attempts[0]["endTimeUnixNano"]) <= int(attempts[1]["endTimeUnixNano"])
    assert {(path, kind) for path, kind, _ in collector.requests} == {("/v1/traces", "application/json")}
    resource = plain(collector.requests[0][2]["resourceSpans"][0]["resource"]["attributes"])
    assert resource["service.name"] == "atma-chat"
    assert "secret words" not in json.dumps(collector.requests)


def test_a_request_is_a_trace_of_its_correlation_id_and_the_last_ones_are_sent_at_the_end(
    services: EmbeddedServices, database: Database
):
    async def go(collector: Collector) -> None:
        async with (
            running_node(services, database, otel_exporter_otlp_endpoint=collector.endpoint) as running,
            running.http(new_uuid(), **{"X-Request-ID": "0f0e0d0c-0b0a-4908-8706-050403020100"}) as api,
        ):
            assert (await api.get("/api/chat/conversations")).status_code == 200
            await api.get("/health/live")

    with collecting() as collector:
        asyncio.run(go(collector))

        (span,) = [each for each in collector.spans() if each["name"].startswith("GET")]
    assert span["name"] == "GET /conversations"
    assert (span["traceId"], span["kind"]) == ("0f0e0d0c0b0a49088706050403020100", 2)
    assert span["attributes"] == {"method": "GET", "route": "/conversations", "status": "200"}


def test_a_collector_that_is_away_costs_nothing_but_the_spans(services: EmbeddedServices, database: Database):
    async def go() -> None:
        async with running_node(
            services, database, otel_exporter_otlp_endpoint="http://127.0.0.1:9"
        ) as running:
            running.simulator.script(Behaviour(text="Hello."))
            client = await running.client()
            await client.send("message.send", content="Hi", client_message_id=new_uuid())

            assert (await client.wait_for(of_type("generation.finished")))["status"] == "completed"

    asyncio.run(go())


def test_an_endpoint_that_is_no_address_is_refused_at_the_start():
    with pytest.raises(ValueError, match="OTEL_EXPORTER_OTLP_ENDPOINT"):
        Tracing("http://a b:x", node="n", version="1", request_id=str, wall=float)
