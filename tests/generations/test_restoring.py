"""A generation's state, made again from what its owner knows (restoring.py)."""

from protocol.codes import ErrorCode
from server.generations.attempts import decode_note
from server.generations.effects import End, PromptBuilt
from server.generations.order import decode_plan
from server.generations.restoring import running_state, sealed_state
from server.generations.sealed import decode_end
from server.generations.store import GenerationRecord
from server.generations.upstream import Failed, FailureKind, Opened, Text
from tests.generations.driving import Driving
from tests.generations.notes import CHAIN, a_note, a_plan
from tests.generations.test_record import an_end, an_order

HALF = "You like finding things out, and you finish"


def running(driving: Driving, text: str, attempt: int = 1) -> GenerationRecord:
    return running_state(
        an_order(),
        driving.machine,
        owner="o",
        attempt=attempt,
        text=text,
        stop=True,
        started_ms=5,
        estimated_response_ms=6,
        deadline_ms=7,
    )


def test_a_running_generation_is_written_again_as_its_owner_knows_it():
    driving = Driving()
    driving.begin()
    driving.hear(PromptBuilt(9), Opened("gen-1", "k"), Text(HALF), Failed(FailureKind.TRUNCATED))
    driving.hear(Opened("gen-2", "k"), Text(" what you begin" * 20))
    record = running(driving, driving.machine.text, attempt=2)
    assert (record.user, record.generation, record.conversation) == ("u", "g", "c")
    assert (record.message, record.reply_to) == ("m", "q")
    assert (record.owner, record.attempt, record.status, record.stop) == ("o", 2, "running", True)
    assert (record.started_ms, record.estimated_response_ms, record.deadline_ms) == (5, 6, 7)
    assert (record.model, record.is_free_model) == (CHAIN[1], True)
    assert (record.text, record.length) == (driving.machine.text, len(driving.machine.text))
    assert (record.begins, record.text_attempt) == (((1, 0), (2, len(HALF))), 2)
    assert tuple(decode_note(note) for note in record.notes) == driving.machine.notes
    assert decode_plan(record.plan) == a_plan()
    assert (record.record, record.persisted, record.losses) == (b"", False, 0)


def test_a_generation_that_has_said_nothing_has_no_attempt_that_changed_the_text():
    driving = Driving()
    driving.begin()
    record = running(driving, "")
    assert (record.begins, record.text_attempt, record.length) == ((), 0, 0)


def test_a_successor_goes_on_from_what_was_written_again():
    driving = Driving()
    driving.begin()
    driving.hear(PromptBuilt(9), Opened("gen-1", "k"), Text(HALF))
    record = running(driving, driving.machine.text)
    successor = Driving.resumed(
        record.text,
        attempt=record.attempt,
        notes=[decode_note(note) for note in record.notes],
        begins=record.begins,
    )
    successor.begin()
    assert successor.machine.begins == driving.machine.begins
    assert successor.machine.notes[0].generation_id == "gen-1"


def test_a_sealed_generation_is_written_again_from_its_record():
    notes = (a_note(1, CHAIN[0], to=3), a_note(2, CHAIN[2], start=3, to=4))
    end = an_end(*notes, text="Hey!")
    record = sealed_state(end, owner="o")
    assert (record.owner, record.attempt, record.status, record.persisted) == ("o", 2, "sealed", False)
    assert (record.text, record.length, record.begins, record.text_attempt) == (
        "Hey!",
        4,
        ((1, 0), (2, 3)),
        2,
    )
    assert (record.model, record.is_free_model) == (CHAIN[2], False)
    assert decode_end(record.record) == end
    assert record.deadline_ms == end.finished_ms
    assert record.started_ms == end.finished_ms - 1234


def test_a_sealed_end_without_text_or_attempts_is_written_again_too():
    end = an_end(end=End("failed", None, ErrorCode.ALL_MODELS_FAILED, ()))
    record = sealed_state(end, owner="o")
    assert (record.attempt, record.text, record.begins, record.text_attempt) == (1, "", (), 0)
