"""What was acked is answered, and what was shown is kept, whatever becomes of the database meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from server.conversations.store import Accepted, RegenerateOrder, SendOrder
from server.embedded.openrouter.behaviour import Behaviour, Failure
from server.embedded.services import EmbeddedServices
from server.generations.effects import Plan
from server.generations.order import encode_plan
from tests import services as real
from tests.node.turns import Turn, ask
from tests.running import MODELS, RunningNode, new_uuid, of_type, running_node
from tests.scripted.database_cable import DatabaseCable
from tests.scripted.recording import Frame
from tests.scripted.waiting import eventually
from tests.scripted.websocket_client import RecordingClient
from tests.services import Database

WORDS = tuple(f"{number} 職業, " for number in range(60))
TEXT = "".join(WORDS)
HELD = Behaviour(tokens=WORDS, gate="held", gate_at=20)

PLAN = Plan(
    chain=MODELS, free=frozenset(MODELS), fallback="continue", max_tokens=1000, temperature=0.7, tier="free"
)


async def kept(running: RunningNode, generation: str) -> list[str]:
    """The statuses of the generation's rows."""
    return [row["status"] for row in (await running.rows())["generations"] if row["id"] == generation]


async def shown(turn: Turn, words: int = 20) -> None:
    await turn.shown(len("".join(WORDS[:words])))


# --- the database is away at the end ------------------------------------------------------------


@pytest.mark.parametrize("away", ["unplugged", "silent"])
def test_an_end_that_the_database_does_not_take_is_told_and_written_when_it_is_back(
    services: EmbeddedServices, database: Database, away: str
):
    async def go() -> None:
        async with (
            DatabaseCable(database.app_url) as cable,
            running_node(services, database, database_url=cable.url) as running,
        ):
            client = await running.client()
            whole = await ask(running, client, HELD, name="whole")
            stopped = await ask(running, client, HELD, name="stopped")
            broken = await ask(
                running, client, Behaviour(tokens=WORDS, gate="held", gate_at=20, fail=Failure(how="error", at=30)),
                name="broken", fallback="off",
            )  # fmt: skip
            turns = (whole, stopped, broken)
            for turn in turns:
                await shown(turn)
            cable.unplug() if away == "unplugged" else cable.hold()
            await client.send("generation.stop", generation=stopped.generation)
            running.simulator.release("held")

            ends = [await turn.finished() for turn in turns]
            assert [(end["status"], end["persisted"]) for end in ends] == [
                ("completed", False),
                ("cancelled", False),
                ("failed", False),
            ]
            assert ends[0]["message"]["content"] == TEXT
            assert ends[2]["message"]["content"] == "".join(WORDS[:30])
            assert [await kept(running, turn.generation) for turn in turns] == [["accepted"]] * 3
            refused = await client.send("message.send", content="And now?", client_message_id=new_uuid())
            assert (refused["type"], refused["code"], refused["retryable"]) == ("error", "unavailable", True)

            cable.plug() if away == "unplugged" else cable.let_go()

            # the row is written, and the end is told no second time
            await running.assert_holds(client, intended={turn.generation: TEXT for turn in turns})
            for turn in turns:
                assert len(turn.of_type("generation.finished")) == 1

    asyncio.run(go())


def test_an_end_outlives_a_database_that_stops_and_a_node_that_leaves_before_it_is_back():
    async def go() -> None:
        async with real.own_services() as services:
            await real.make_template(services)
            database = await real.copy_template(services)
            async with running_node(services, database, lease_seconds=1) as running:
                client = await running.client()
                turn = await ask(running, client, HELD)
                await shown(turn)
                await services.postgres.stop()
                running.simulator.release("held")
                finished = await turn.finished()
                assert (finished["status"], finished["persisted"]) == ("completed", False)

            await services.postgres.start()
            async with running_node(
                services, database, lease_seconds=1, simulator=running.simulator
            ) as next_node:
                await eventually(lambda: written(next_node, turn), what="the end is written")
                await next_node.assert_holds(client, intended={turn.generation: TEXT})

    async def written(running: RunningNode, turn: Turn) -> bool:
        return await kept(running, turn.generation) == ["completed"]

    asyncio.run(go())


def test_the_next_question_is_asked_with_the_answer_that_was_not_written_yet(
    services: EmbeddedServices, database: Database
):
    async def go() -> None:
        async with (
            DatabaseCable(database.app_url) as cable,
            running_node(services, database, database_url=cable.url) as running,
        ):
            client = await running.client()
            first = await ask(running, client, HELD, name="first")
            await shown(first)
            cable.unplug()
            running.simulator.release("held")
            assert (await first.finished())["persisted"] is False

            cable.plug()
            second = await ask(
                running, client, Behaviour(text="Yes."), name="second", conversation=first.ack["conversation"]
            )

            await second.finished()
            assert [m["content"] for m in second.calls[0].messages if m["role"] == "assistant"] == [TEXT]
            await running.assert_holds(client, intended={first.generation: TEXT, second.generation: "Yes."})

    asyncio.run(go())


def test_an_end_that_the_database_refuses_is_told_and_written_once_it_is_put_right(
    services: EmbeddedServices, database: Database
):
    refuse = """
        CREATE FUNCTION chat.refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'no answers today'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE OF finished ON chat.generations
            FOR EACH ROW EXECUTE FUNCTION chat.refuse();
    """

    async def go() -> None:
        async with running_node(services, database) as running, running.admin() as admin:
            client = await running.client()
            turn = await ask(running, client, HELD)
            await shown(turn)
            await admin.execute(refuse)
            running.simulator.release("held")

            finished = await turn.finished()
            assert (finished["status"], finished["persisted"]) == ("completed", False)
            assert await kept(running, turn.generation) == ["accepted"]
            await admin.execute("DROP TRIGGER refuse ON chat.generations")
            await running.assert_holds(client, intended={turn.generation: TEXT})

    asyncio.run(go())


def test_a_successor_waits_for_the_database_that_holds_the_question(
    services: EmbeddedServices, database: Database
):
    """It says so, and no clock runs against a model that cannot be asked yet."""
    clocks: dict[str, Any] = {"interim_after_seconds": 0.3, "interim_every_seconds": 0.3}

    async def go() -> None:
        async with (
            DatabaseCable(database.app_url) as cable,
            running_node(services, database) as leaving,
            running_node(
                services,
                database,
                simulator=leaving.simulator,
                database_url=cable.url,
                first_token_timeout_seconds=1.0,
                **clocks,
            ) as staying,
        ):
            asker = await leaving.client()
            watcher = await staying.client(asker.recording.user)
            turn = await ask(leaving, asker, HELD, Behaviour(text=TEXT))
            await shown(turn)
            cable.unplug()

            await leaving.node.drain(0)

            recovering = of_type("interim", generation=turn.generation, phase="recovering")
            await watcher.wait_for(lambda _: sum(map(recovering, watcher.recording.of_type("interim"))) >= 5)
            cable.plug()
            finished = await watcher.wait_for(of_type("generation.finished", generation=turn.generation))
            assert finished["status"] == "completed"
            (switched,) = watcher.recording.of_type("generation.switched")
            assert (switched["cause"], switched["keep"]) == ("node_drained", len("".join(WORDS[:20])))
            await staying.assert_holds(watcher, intended={turn.generation: TEXT})

    asyncio.run(go())


# --- the connection is cut at a statement -------------------------------------------------------


@pytest.mark.parametrize(("cut", "kept_already"), [("cut_before", False), ("cut_after", True)])
def test_a_message_whose_ack_was_lost_is_sent_again_and_is_one_message(
    services: EmbeddedServices, database: Database, cut: str, kept_already: bool
):
    """Cut after COMMIT nothing tells the node that the message is kept; the same id sent again does."""

    async def go() -> None:
        async with (
            DatabaseCable(database.app_url) as cable,
            running_node(services, database, database_url=cable.url) as running,
        ):
            client = await running.client()
            running.simulator.script(Behaviour(text=TEXT), match="Is this kept?")
            # so that the statement is known to the connections and only its values are sent
            await (await ask(running, client, Behaviour(text="Yes."), name="before")).finished()
            getattr(cable, cut)("Is this kept?")
            command: dict[str, Any] = {"content": "Is this kept?", "client_message_id": new_uuid()}

            first = await client.send("message.send", **command)
            again = await client.send("message.send", **command)

            assert cable.to_cut == 0
            if first["type"] == "error":
                assert (first["code"], first["retryable"]) == ("unavailable", True)
                assert (again["type"], again["duplicate"]) == ("ack", kept_already)
            else:
                assert again["duplicate"] is True
                assert again["generation"] == first["generation"]
            finished = await client.wait_for(of_type("generation.finished", generation=again["generation"]))
            assert finished["message"]["content"] == TEXT
            told = [
                f
                for f in client.recording.of_type("message.created")
                if f["message"]["id"] == again["message"]
            ]
            assert len(told) == 1
            await running.assert_holds(client, intended={again["generation"]: TEXT})

    asyncio.run(go())


@pytest.mark.parametrize("cut", ["cut_before", "cut_after"])
def test_an_end_whose_confirmation_was_lost_is_written_once(
    services: EmbeddedServices, database: Database, cut: str
):
    async def go() -> None:
        async with (
            DatabaseCable(database.app_url) as cable,
            running_node(services, database, database_url=cable.url) as running,
        ):
            client = await running.client()
            turn = await ask(running, client, HELD)
            await shown(turn)
            getattr(cable, cut)(WORDS[-1])
            running.simulator.release("held")

            finished = await turn.finished()
            assert (finished["status"], finished["persisted"]) == ("completed", True)
            assert cable.to_cut == 0
            await running.assert_holds(client, intended={turn.generation: TEXT})

    asyncio.run(go())


# --- accepted, and never begun ------------------------------------------------------------------


def send_order(client: RecordingClient, content: str, key: str) -> SendOrder:
    return SendOrder(
        user_id=client.recording.user,
        conversation_id=None,
        client_message_id=key,
        content=content,
        content_type="text",
        parent_message_id=None,
        token_count=5,
        title="A question",
        default_title="New Conversation",
        plan=msgspec.json.decode(encode_plan(PLAN)),
        request={"command": "send", "conversation": None, "parent": None, "content_type": "text"},
        max_generations=0,
        history_tokens=1000,
    )


def regenerate_order(client: RecordingClient, message: str, key: str) -> RegenerateOrder:
    return RegenerateOrder(
        user_id=client.recording.user,
        message_id=message,
        conversation_id=None,
        client_message_id=key,
        plan=msgspec.json.decode(encode_plan(PLAN)),
        request={"command": "regenerate", "message": message},
        max_generations=0,
        history_tokens=1000,
    )


def told(client: RecordingClient, accepted: Accepted) -> list[str]:
    """The types of the events that tell an accepted turn, as they came."""
    generation, conversation = accepted.generation.id, accepted.conversation.id

    def of_it(frame: Frame) -> bool:
        place = frame.get("conversation")
        return (
            frame.get("generation") == generation
            or (place["id"] if isinstance(place, dict) else place) == conversation
        )

    return [f["type"] for f in client.recording.of_type(
        "conversation.created", "conversation.updated", "message.created", "generation.started", "generation.finished"
    ) if of_it(f)]  # fmt: skip


def test_what_was_accepted_and_never_begun_is_begun_by_whoever_is_there(
    services: EmbeddedServices, database: Database
):
    """As if the node that accepted it had died on the next line; two others find it, one answers."""

    async def go() -> None:
        async with (
            running_node(services, database) as running,
            running_node(services, database, simulator=running.simulator) as other,
        ):
            client, elsewhere = await running.client(), await other.client()
            store = running.node.front.store
            answered = await ask(running, client, Behaviour(text="First."), name="answered")
            await answered.finished()
            running.simulator.script(Behaviour(text=TEXT), match="Anybody?", repeat=True)
            running.simulator.script(HELD, match="Stop this", repeat=True)
            running.simulator.script(Behaviour(text="Second."), match=answered.label, repeat=True)

            key = new_uuid()
            sent = await store.accept(send_order(client, "Anybody?", key))
            regenerated = await store.accept_again(
                regenerate_order(client, answered.ack["message"], new_uuid())
            )
            unwanted = await store.accept(send_order(elsewhere, "Stop this", new_uuid()))
            # its ack comes once there is somebody to stop
            ack = await elsewhere.send("generation.stop", generation=unwanted.generation.id)

            for who, accepted, status in (
                (client, sent, "completed"),
                (client, regenerated, "completed"),
                (elsewhere, unwanted, "cancelled"),
            ):
                end = await who.wait_for(of_type("generation.finished", generation=accepted.generation.id))
                assert end["status"] == status
            assert ack["type"] == "ack"
            assert client.text(sent.generation.id) == TEXT
            assert told(client, sent) == [
                "conversation.created",
                "message.created",
                "generation.started",
                "generation.finished",
            ]
            assert told(client, regenerated)[-2:] == ["generation.started", "generation.finished"]
            assert told(client, regenerated).count("message.created") == 1
            calls = [call for call in running.simulator.calls() if call.messages[-1]["content"] == "Anybody?"]
            assert len(calls) == 1

            # the client that never got its ack sends it again
            again = await client.send("message.send", content="Anybody?", client_message_id=key)
            assert (again["type"], again["duplicate"]) == ("ack", True)
            assert again["generation"] == sent.generation.id
            intended = {sent.generation.id: TEXT, regenerated.generation.id: "Second."}
            await running.assert_holds(client, elsewhere, intended=intended)

    asyncio.run(go())
