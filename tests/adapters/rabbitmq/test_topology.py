"""The names of things (topology.py)."""

import pytest

from server.adapters.rabbitmq.topology import Topology


def test_the_names_are_the_contracts():
    topology = Topology()
    assert (topology.exchange, topology.queue) == ("atma_events_exchange", "chatbot_analysis_events")
    assert (topology.dead_exchange, topology.dead_queue) == ("chatbot_dlx", "chatbot_analysis_events.dead")
    assert set(topology.routing_keys) == {
        "analysis.started",
        "analysis.completed",
        "analysis.failed",
        "analysis_complete",
        "assessment_complete",
    }


def test_a_retry_queue_is_named_by_its_delay():
    names = [Topology().retry_queue(seconds) for seconds in (1.0, 0.25, 60)]
    assert names == [f"chatbot_analysis_events.retry.{ms}" for ms in (1000, 250, 60000)]


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), 86401.0, float("inf")])
def test_a_delay_that_makes_no_sense_is_refused(seconds: float):
    with pytest.raises(ValueError, match="delays of retries"):
        Topology(retry_seconds=(1.0, seconds))
