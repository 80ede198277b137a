from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.position import Position
from server.channels.broker import Snapshot
from server.session.resume import Continuation, continue_from

HEAD = Position("k3f9a1", 44)


@pytest.mark.parametrize(
    ("presented", "resume", "held"),
    [
        pytest.param(None, "fresh", 44, id="no position"),
        pytest.param("k3f9a1:44", "live", 44, id="at the head"),
        pytest.param("k3f9a1:41", "replay", 41, id="behind"),
        pytest.param("k3f9a1:9", "replay", 9, id="the oldest entry is the next"),
        pytest.param("k3f9a1:8", "reset", 44, id="one entry too old"),
        pytest.param("k3f9a1:0", "reset", 44, id="much too old"),
        pytest.param("k3f9a1:45", "reset", 44, id="from the future"),
        pytest.param("another:44", "reset", 44, id="another epoch"),
        pytest.param("", "reset", 44, id="empty"),
        pytest.param("k3f9a1:-1", "reset", 44, id="not a position"),
        pytest.param("k3f9a1:44\n", "reset", 44, id="nearly a position"),
        pytest.param("k3f9a1:٤٤", "reset", 44, id="digits of another script"),
    ],
)
def test_where_a_client_goes_on(presented: str | None, resume: str, held: int) -> None:
    assert continue_from(presented, Snapshot(HEAD, 10)) == Continuation(resume, Position("k3f9a1", held))  # type: ignore[arg-type]


def test_an_expired_log_is_no_loss_for_a_client_at_the_head_and_one_for_everybody_else() -> None:
    assert continue_from("k3f9a1:44", Snapshot(HEAD, None)).resume == "live"
    assert continue_from("k3f9a1:43", Snapshot(HEAD, None)).resume == "reset"


@given(st.integers(0, 60), st.integers(0, 50), st.integers(1, 60))
def test_a_client_is_reset_exactly_where_an_event_would_be_missing(at: int, head: int, oldest: int) -> None:
    kept = set(range(oldest, head + 1))
    snapshot = Snapshot(Position("e", head), min(kept) if kept else None)
    missed = set(range(at + 1, head + 1))

    where = continue_from(f"e:{at}", snapshot)

    assert (where.resume == "reset") == (at > head or not missed <= kept)
    assert where.held == (("e", head) if where.resume == "reset" else ("e", at))
