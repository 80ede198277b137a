"""From `analysis.completed` to a waiting adviser, through every fault on the way (REST contract, "Broker")."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from server.adapters.rabbitmq.consumer import ConsumerLimits, RabbitConsumer
from server.adapters.rabbitmq.topology import Topology
from server.assembly_assessments import FlowLimits
from server.assessments.events import AnalysisEvent
from server.assessments.flow import AssessmentFlow
from server.assessments.store import AssessmentOrder
from server.conversations.audit import BY_HOUSE
from server.conversations.welcome import LAST_RESORT
from server.embedded.neighbours import worker
from server.embedded.neighbours.faults import Fault, FaultKind, Service
from server.embedded.neighbours.samples import Sample
from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.services import EmbeddedServices
from server.generations.effects import Plan
from server.generations.order import encode_plan
from server.notifications.stages import notice
from tests.node.flow import PATIENT, QUICK, a_flow, is_stage, ready, stages, welcomed
from tests.node.rest import AS_SERVICE
from tests.rabbitmq import RabbitMQ, running_rabbitmq
from tests.running import MODELS, RunningNode, new_uuid, of_type
from tests.scripted.waiting import eventually
from tests.services import Database

pytestmark = pytest.mark.timeout(300)  # a broker starts in it

WELCOME = "Halo! Hasilmu sudah ada, dan menarik sekali."
STAGES = ("analysis_started", "analysis_complete", "chatbot_ready")


def test_five_events_at_two_nodes_make_one_conversation_one_welcome_and_each_stage_once(
    services: EmbeddedServices, database: Database, rabbitmq_url: str, capsys: pytest.CaptureFixture[str]
):
    async def go() -> float:
        async with a_flow(services, database, rabbitmq_url) as flow:
            one, other = await flow.node(), await flow.node()
            await asyncio.gather(flow.listening(one), flow.listening(other))
            flow.simulator.script(Behaviour(text=WELCOME))
            client = await one.client()
            user = client.recording.user
            elsewhere = await other.client(user)
            result = flow.neighbours.add_result(user)
            done = flow.completed(user, result)
            async with flow.heard("chatbot.ready") as heard:
                published = time.monotonic()
                await flow.publish(flow.started(user, result), *[done] * 5)
                finished = await welcomed(client, result)
                took = time.monotonic() - published
                await welcomed(elsewhere, result)
                await flow.let_go(handled=6)
                await one.settled()

                assert finished["status"] == "completed"
                assert finished["message"]["content"] == WELCOME
                assert finished["message"]["parent_message_id"] is None
                metadata = finished["message"]["metadata"]
                assert (metadata["type"], metadata.get("static")) == ("assessment_welcome", None)
                assert len(metadata["suggested_questions"]) == 3
                assert (
                    metadata["insights"][0] == "Minat terkuatmu adalah Investigatif (92) dan Artistik (78)."
                )
                (started,) = client.recording.of_type("generation.started")
                assert started["reply_to"] is None
                for each in (client, elsewhere):
                    assert stages(each) == dict.fromkeys(((stage, result) for stage in STAGES), 1)
                    order = [
                        frame["type"]
                        for frame in each.recording.of_type(
                            "conversation.created", "generation.started", "generation.finished"
                        )
                    ]
                    assert order == ["conversation.created", "generation.started", "generation.finished"]

                (conversation,) = await flow.conversations(user)
                assert await flow.welcomes(user) == 1
                assert len(flow.simulator.calls()) == 1
                assert await eventually(lambda: flow.linked(result) == conversation, PATIENT)
                message = await eventually(lambda: heard.get(fail=False), PATIENT, what="it is published")
                assert message is not None
                await message.ack()
                event = json.loads(message.body)
                assert (event["eventType"], event["userId"]) == ("chatbot.ready", user)
                assert (event["conversationId"], event["assessmentId"]) == (conversation, result)
                assert await heard.get(fail=False) is None
            await one.assert_holds(client)
            await other.assert_holds(elsewhere)
            return took

    took = asyncio.run(go())
    with capsys.disabled():
        print(f"\nfrom analysis.completed to chatbot_ready: {took * 1000:.0f} ms")  # noqa: T201 - a measurement


def test_whatever_goes_wrong_with_one_result_the_others_get_their_adviser(
    services: EmbeddedServices, database: Database, rabbitmq_url: str
):
    """Poison, somebody else's result, an archive that answers nonsense: aside, each with its reason."""

    async def go() -> None:
        async with a_flow(services, database, rabbitmq_url) as flow:
            limits = replace(QUICK, not_there_seconds=0.5)
            node = await flow.node(limits=limits)
            await flow.listening(node)
            user, somebody = new_uuid(), new_uuid()
            theirs = flow.neighbours.add_result(somebody)
            nonsense = flow.neighbours.add_result(user, raw={"id": new_uuid(), "user_id": user})
            never = new_uuid()
            bad = {
                "malformed: ": worker.WorkerMessage("analysis.completed", b'{"userId": 7}', "poison", 1),
                "the result belongs to somebody else": flow.completed(user, theirs),
                "the archive's answer cannot be used: ": flow.completed(user, nonsense),
                "given up after ": flow.completed(user, never),
            }
            client = await node.client()
            good = flow.neighbours.add_result(client.recording.user)
            await flow.publish(*bad.values(), flow.completed(client.recording.user, good))
            await welcomed(client, good)

            reasons = [(await flow.dead())[0] for _ in bad]
            for beginning in bad:
                assert [reason.startswith(beginning) for reason in reasons].count(True) == 1, reasons
            assert await flow.conversations(user) == await flow.conversations(somebody) == []
            assert len(await flow.conversations(client.recording.user)) == 1

    asyncio.run(go())


def test_a_result_that_is_late_in_the_archive_is_waited_for_at_the_usual_pace(
    services: EmbeddedServices, database: Database, rabbitmq_url: str
):
    async def go() -> None:
        async with a_flow(
            services, database, rabbitmq_url, consumer_retry_seconds=(1.0, 5.0, 15.0, 60.0)
        ) as flow:
            node = await flow.node(limits=FlowLimits())
            await flow.listening(node)
            client = await node.client()
            user = client.recording.user
            result = flow.neighbours.add_result(user)
            flow.neighbours.fault(Fault(service=Service.ARCHIVE, kind=FaultKind.NOT_FOUND, times=1))
            await flow.publish(flow.completed(user, result))
            await welcomed(client, result)
            assert stages(client) == {("analysis_complete", result): 1, ("chatbot_ready", result): 1}
            await flow.let_go(retried=1, handled=1)

    asyncio.run(go())


def test_an_archive_that_is_away_is_asked_again_and_told_of_the_conversation_when_it_is_back(
    services: EmbeddedServices, database: Database, rabbitmq_url: str
):
    async def go() -> None:
        async with a_flow(services, database, rabbitmq_url, consumer_max_attempts=50) as flow:
            node = await flow.node()
            await flow.listening(node)
            client = await node.client()
            user = client.recording.user
            result = flow.neighbours.add_result(user)
            flow.neighbours.fault(Fault(service=Service.ARCHIVE, kind=FaultKind.DOWN))
            await flow.publish(flow.completed(user, result))
            assert node.node.consumer is not None
            outcomes = node.node.consumer.outcomes
            assert await eventually(lambda: outcomes["retried"] >= 2, PATIENT)
            assert await flow.conversations(user) == []

            # reading works again, writing does not: that keeps nobody from their adviser
            flow.neighbours.mend()
            flow.neighbours.fault(Fault(service=Service.ARCHIVE, kind=FaultKind.ERROR, times=3, path=result))
            flow.neighbours.world.calls.clear()
            await welcomed(client, result)
            (conversation,) = await flow.conversations(user)
            flow.neighbours.mend()
            assert await eventually(lambda: flow.linked(result) == conversation, PATIENT)

    asyncio.run(go())


def test_where_every_model_fails_the_house_welcomes_itself_and_the_failures_are_billed(
    services: EmbeddedServices, database: Database, rabbitmq_url: str
):
    async def go() -> None:
        async with a_flow(services, database, rabbitmq_url, max_attempts=2) as flow:
            node = await flow.node()
            await flow.listening(node)
            flow.simulator.script(Behaviour(error="overloaded"), repeat=True)
            client = await node.client()
            user = client.recording.user
            result = flow.neighbours.add_result(user, sample=Sample(language="en"))
            await flow.publish(flow.completed(user, result))
            finished = await welcomed(client, result)

            message = finished["message"]
            assert (finished["status"], finished["error"]) == ("completed", None)
            assert message["metadata"]["static"] is True
            assert message["metadata"]["type"] == "assessment_welcome"
            assert message["content"].startswith("Hello! Your assessment is done")
            for noted in message["metadata"]["insights"] + message["metadata"]["suggested_questions"]:
                assert noted in message["content"]
            assert client.text(finished["generation"]) == message["content"]
            assert [each["model"] for each in finished["segments"]][-1] == "atma/prepared-welcome"
            assert len(finished["segments"]) == 3
            await node.assert_holds(client)

    asyncio.run(go())


def test_a_model_that_breaks_off_for_good_gives_way_to_the_whole_prepared_welcome(
    services: EmbeddedServices, database: Database
):
    async def go() -> None:
        async with a_flow(services, database) as flow:
            node = await flow.node()
            half = Behaviour(text="Halo! Hasilmu menunjukkan bahwa", finish_reason="content_filter")
            flow.simulator.script(half, Behaviour(status=402), repeat=True)
            client = await node.client()
            user = client.recording.user
            result = flow.neighbours.add_result(user)
            async with node.http(user) as api:
                answer = await api.post("/api/chat/conversations/from-assessment", json={})
            assert answer.status_code == 201
            message = answer.json()["initial_message"]
            finished = await welcomed(client, result)
            assert message["content"] == finished["message"]["content"] == client.text(finished["generation"])
            await node.assert_holds(client)

    asyncio.run(go())


class Dying:
    """Handles an event as the flow does, and never returns: who is killed between effect and ack."""

    def __init__(self, flow: AssessmentFlow) -> None:
        self.done = asyncio.Event()
        self._flow = flow

    async def handle(self, event: AnalysisEvent) -> None:
        await self._flow.handle(event)
        self.done.set()
        await asyncio.Event().wait()


def flow_of(node: RunningNode) -> AssessmentFlow:
    """The flow of a node that does not listen itself."""
    desk = node.node.front.assessments
    return AssessmentFlow(
        desk.store,
        desk.advisers,
        desk.results,
        desk.profiles,
        None,
        wall=desk.wall,
        kick=node.node.front.kick_outbox,
    )


def test_a_node_that_dies_between_the_effect_and_the_ack_leaves_one_of_everything(
    services: EmbeddedServices, database: Database, rabbitmq_url: str
):
    async def go() -> None:
        async with a_flow(services, database, rabbitmq_url, lease_seconds=1.0) as flow:
            heir = await flow.node()
            await flow.listening(heir)
            assert heir.node.consumer is not None
            await heir.node.consumer.aclose()
            client = await heir.client()
            user = client.recording.user
            result = flow.neighbours.add_result(user)
            gate = f"gate-{user}"
            flow.simulator.script(
                Behaviour(tokens=("Halo! ", "Selamat ", "datang."), gate=gate, gate_at=1),
                Behaviour(text="Halo lagi!"),
            )
            async with contextlib.AsyncExitStack() as life:
                dying = await flow.node(life, rabbitmq_url=None)
                handler = Dying(flow_of(dying))
                consumer = RabbitConsumer(
                    flow.rabbitmq_url,
                    handler=handler,
                    topology=Topology(flow.exchange, flow.queue, (0.2, 0.5)),
                    limits=ConsumerLimits(drain=0.0),
                )
                consumer.start()
                await flow.publish(flow.completed(user, result))
                async with asyncio.timeout(PATIENT):
                    await handler.done.wait()
                await client.wait_for(of_type("delta"), PATIENT)
                await consumer.aclose()
            flow.nodes.remove(dying)
            second = await flow.node()
            await flow.listening(second)
            finished = await welcomed(client, result)
            await second_settled(second)

            assert finished["status"] == "completed"
            assert (
                "Halo! " in finished["message"]["content"] or finished["message"]["content"] == "Halo lagi!"
            )
            assert [f["cause"] for f in client.recording.of_type("generation.switched")] == ["node_lost"]
            assert len(await flow.conversations(user)) == await flow.welcomes(user) == 1
            assert stages(client) == {("analysis_complete", result): 1, ("chatbot_ready", result): 1}
            await heir.assert_holds(client)

    async def second_settled(node: RunningNode) -> None:
        assert node.node.consumer is not None
        outcomes = node.node.consumer.outcomes
        assert await eventually(lambda: outcomes["handled"] == 1, PATIENT)

    asyncio.run(go())


def test_a_welcome_that_was_accepted_and_never_begun_is_begun_by_whoever_is_alive(
    services: EmbeddedServices, database: Database
):
    async def go() -> None:
        async with a_flow(services, database) as flow:
            node = await flow.node()
            client = await node.client()
            user = client.recording.user
            result = flow.neighbours.add_result(user)
            flow.simulator.script(Behaviour(text=WELCOME))
            desk = node.node.front.assessments
            known = await desk.results.of(user, result)
            plan = Plan(
                chain=MODELS,
                free=frozenset(MODELS),
                fallback="continue",
                max_tokens=100,
                temperature=0.7,
                last_resort=LAST_RESORT,
            )
            # as far as a node came that died on the next line
            await desk.store.begin(
                AssessmentOrder(
                    user_id=user,
                    result_id=result,
                    title="Hasil",
                    context_data=known.context_data,
                    metadata={},
                    ready=notice("chatbot_ready", user=user, assessment=result, at=datetime.now(UTC)),
                    plan=json.loads(encode_plan(plan)),
                    request={"command": "welcome"},
                    again=False,
                    caller=BY_HOUSE,
                )
            )
            finished = await welcomed(client, result)
            assert finished["message"]["content"] == WELCOME
            kinds = [
                frame["type"]
                for frame in client.recording.of_type("conversation.created", "generation.started")
            ]
            assert kinds == ["conversation.created", "generation.started"]
            await node.assert_holds(client)

    asyncio.run(go())


def test_what_its_user_deleted_or_had_erased_no_event_brings_back(
    services: EmbeddedServices, database: Database, rabbitmq_url: str
):
    async def go() -> None:
        async with a_flow(services, database, rabbitmq_url) as flow:
            node = await flow.node()
            await flow.listening(node)
            client = await node.client()
            user, erased = client.recording.user, new_uuid()
            result, theirs = flow.neighbours.add_result(user), flow.neighbours.add_result(erased)
            await flow.publish(flow.completed(user, result))
            await welcomed(client, result)
            (conversation,) = await flow.conversations(user)
            async with node.http(user) as api:
                assert (await api.delete(f"/conversations/{conversation}")).status_code == 204
            async with node.http(**AS_SERVICE) as house:
                assert (await house.delete(f"/internal/users/{erased}")).status_code == 200
            assert await eventually(lambda: flow.linked(result) is None, PATIENT, what="it is unlinked")

            await flow.publish(flow.completed(user, result), flow.completed(erased, theirs))
            await flow.let_go(handled=3)
            assert await flow.conversations(user) == [conversation]
            assert await flow.conversations(erased) == []
            async with node.http(user) as api:
                found = await api.get(f"/assessment/{result}/conversation")
                assert found.json() == {"exists": False}
            assert stages(client)["chatbot_ready", result] == 1

    asyncio.run(go())


def test_a_broker_that_goes_away_and_comes_back_holds_nobody_up_for_good(
    services: EmbeddedServices, database: Database
):
    async def go(rabbitmq: RabbitMQ) -> None:
        async with a_flow(services, database, rabbitmq.url) as flow:
            node = await flow.node()
            await flow.listening(node)
            client = await node.client()
            user = client.recording.user
            first, second = flow.neighbours.add_result(user), flow.neighbours.add_result(user)
            gate = f"gate-{user}"
            flow.simulator.script(Behaviour(tokens=("Halo ", "semua."), gate=gate, gate_at=1))
            await flow.publish(flow.completed(user, first))
            await client.wait_for(of_type("delta"), PATIENT)
            assert await eventually(lambda: rabbitmq.would_keep(flow.queue), PATIENT)
            await rabbitmq.stop()
            try:
                flow.simulator.release(gate)
                await welcomed(client, first)
                async with node.http(user) as api:
                    health = await api.get("/health")
                    assert health.json()["dependencies"]["rabbitmq"]["status"] == "unhealthy"
                    assert (await api.get("/health/ready")).status_code == 200
                    by_hand = await api.post("/conversations/from-assessment", json={"assessment_id": second})
                    assert by_hand.status_code == 201
            finally:
                await rabbitmq.start()
            await flow.listening(node)
            third = flow.neighbours.add_result(user)
            await flow.publish(flow.completed(user, second), flow.completed(user, third))
            await client.wait_for(ready(third), PATIENT)
            # what was begun by hand meanwhile is not begun again
            assert len(await flow.conversations(user)) == 3
            assert stages(client)["chatbot_ready", second] == 1

    with running_rabbitmq() as broker:
        asyncio.run(go(broker))


def test_an_event_that_names_a_job_alone_finds_its_result_and_a_failed_one_is_told(
    services: EmbeddedServices, database: Database, rabbitmq_url: str
):
    async def go() -> None:
        async with a_flow(services, database, rabbitmq_url) as flow:
            node = await flow.node()
            await flow.listening(node)
            client = await node.client()
            user = client.recording.user
            result = flow.neighbours.add_result(user)
            job = flow.neighbours.add_job(user, result=result)
            event = json.dumps({"user_id": user, "job_id": job}).encode()
            lost = new_uuid()
            await flow.publish(
                worker.WorkerMessage("analysis_complete", event, "by-job", 1),
                worker.failed(user=user, job=lost, error="out of memory", iso="2026-03-01T08:30:00Z", ms=3),
            )
            await welcomed(client, result)
            await client.wait_for(lambda frame: is_stage(frame, "analysis_failed", lost), PATIENT)
            assert stages(client)["analysis_complete", result] == 1
            assert "out of memory" not in json.dumps([each.frame for each in client.recording.heard])

    asyncio.run(go())


def test_the_notification_service_hears_of_the_waiting_adviser_however_often_it_fails_at_first(
    services: EmbeddedServices, database: Database
):
    async def go() -> None:
        async with a_flow(services, database) as flow:
            flow.neighbours.world.tells_chatbot = True
            flow.neighbours.fault(Fault(service=Service.NOTIFICATION, kind=FaultKind.ERROR, times=1))
            node = await flow.node()
            user = new_uuid()
            result = flow.neighbours.add_result(user)
            async with node.http(user) as api:
                begun = await api.post("/conversations/from-assessment", json={"auto_start_message": False})
            assert begun.status_code == 201

            def told() -> list[int]:
                return [call.status for call in flow.neighbours.calls(Service.NOTIFICATION)]

            assert await eventually(lambda: told() == [500, 200], PATIENT)
            last = flow.neighbours.calls(Service.NOTIFICATION)[-1]
            assert (last.path, last.body["userId"], last.body["assessmentId"]) == (
                "/notifications/chatbot-ready",
                user,
                result,
            )

    asyncio.run(go())
