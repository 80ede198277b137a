"""From when on things are kept (retention.py)."""

from datetime import UTC, datetime

import pytest

from server.conversations.retention import keep_from

NOW = datetime(2026, 3, 18, 12, tzinfo=UTC)


def test_things_are_kept_for_so_many_days() -> None:
    assert keep_from(NOW, days=365) == datetime(2025, 3, 18, 12, tzinfo=UTC)
    assert keep_from(NOW, days=1) == datetime(2026, 3, 17, 12, tzinfo=UTC)


@pytest.mark.parametrize("days", [0, -1])
def test_less_than_a_day_would_remove_what_is_being_written(days: int) -> None:
    with pytest.raises(ValueError, match="one day"):
        keep_from(NOW, days=days)
