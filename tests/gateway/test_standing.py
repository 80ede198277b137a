"""What is told of several limits: the one nearest to its end."""

from __future__ import annotations

import pytest

from server.conversations.standing import Standing, nearest, note, noting
from server.gateway.door import limit_headers


def window(name: str, limit: int, left: int, reset_ms: int = 1000, retry_ms: int = 0) -> Standing:
    return Standing(name, limit, 60, left, reset_ms, retry_ms)


@pytest.mark.parametrize(
    ("standings", "told"),
    [
        pytest.param([], None, id="none"),
        pytest.param([window("a", 100, 50), window("b", 20, 19)], "b", id="the fewest left"),
        pytest.param([window("a", 100, 5), window("b", 20, 19)], "a", id="not the smallest limit"),
        pytest.param([window("a", 9, 5, 10), window("b", 9, 5, 20)], "b", id="alike: the slower"),
        pytest.param([window("a", 9, 0, 10), window("b", 9, 0, 20, 20)], "b", id="the one that refused"),
        pytest.param(
            [window("a", 9, 0, 10, 10), window("b", 9, 0, 20, 20)], "b", id="both refused: the later"
        ),
        pytest.param([window("a", 0, 0), window("b", 9, 8)], "b", id="one is off"),
        pytest.param([window("a", 0, 0, 0)], "a", id="all are off"),
    ],
)
def test_the_window_nearest_to_its_end_is_told(standings: list[Standing], told: str | None):
    found = nearest(standings)

    assert (found.name if found else None) == told


def test_headers_say_limit_rest_and_seconds():
    assert limit_headers([Standing("messages", 200, 3600, 7, 41_001)]) == {
        "RateLimit-Limit": "200",
        "RateLimit-Remaining": "7",
        "RateLimit-Reset": "42",
        "RateLimit-Policy": '200;w=3600;comment="messages"',
    }
    assert limit_headers([]) == {}


def test_what_was_given_back_is_told_instead_of_what_was_taken():
    with noting() as noted:
        note([window("a", 9, 3), window("b", 5, 1)])
        note([window("b", 5, 2)])
    note([window("a", 9, 0)])

    assert {name: each.remaining for name, each in noted.items()} == {"a": 3, "b": 2}
