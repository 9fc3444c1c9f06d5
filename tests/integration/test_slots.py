"""The calls that a window counts, as they are read from the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from domain.pace import Route
from models.database import transaction
from models.service_tables import Slot
from models.slots import StoredCalls, most_went_through
from tests.state import KINDS, state_of

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
WINDOW = timedelta(seconds=10)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def ended(start: float, end: float, outcome: str = "ok") -> None:
    Slot.create(
        route=Route.CREATE,
        holder=uuid4(),
        at=after(start),
        used_at=after(start),
        done_at=after(end),
        outcome=outcome,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_each_rank_of_those_ahead_and_of_those_that_ended_is_told(kind: str, tmp_path: Path) -> None:
    with state_of(kind, tmp_path), transaction():
        for second in range(5):
            Slot.create(route=Route.CREATE, holder=uuid4(), at=after(second))
            ended(second - 20, second - 19)
        calls = StoredCalls(Route.CREATE, NOW)
        assert calls.ahead == 5
        assert [calls.promised(rank) for rank in range(1, 6)] == [after(second) for second in (4, 3, 2, 1, 0)]
        assert [calls.ended(rank) for rank in range(1, 7)] == [*(after(second) for second in range(-15, -20, -1)), None]


@pytest.mark.parametrize("kind", KINDS)
def test_the_most_that_went_through_is_a_whole_window_that_ended_not_long_ago(kind: str, tmp_path: Path) -> None:
    with state_of(kind, tmp_path), transaction():
        assert most_went_through(Route.CREATE, WINDOW, NOW) == 0
        for number in range(20):
            ended(-40 - number / 10, -39)
        assert most_went_through(Route.CREATE, WINDOW, NOW) == 0, "long ago"
        for start in (-11.0, -9.5, -9.0, -5.0):
            ended(start, start + 0.2)
        ended(-4.0, -0.1, "busy")
        assert most_went_through(Route.CREATE, WINDOW, NOW) == 0, "nothing ended just now"
        ended(-1.5, -1.4)
        ended(-1.2, -0.9)
        assert most_went_through(Route.CREATE, WINDOW, NOW) == 5, "all that lie inside of ten seconds"
