"""The circuit breaker's rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from domain.breaker import Breaker, BreakerState, SeenCall, trips

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
GOOD, BAD, SLOW = SeenCall(False, False), SeenCall(True, False), SeenCall(False, True)


@pytest.mark.parametrize(
    ("calls", "why"),
    [
        ([], None),
        ([BAD, BAD], None),
        ([BAD] * 3, "3 of the last 3 calls failed"),
        ([BAD] * 3 + [GOOD] * 3, "3 of the last 6 calls failed"),
        ([BAD] * 3 + [GOOD] * 4, None),
        ([SLOW] * 3 + [GOOD], "3 of the last 4 calls took too long"),
        ([SLOW, BAD, BAD], "2 of the last 3 calls failed and 1 took too long"),
        ([SeenCall(True, True)] * 3, "3 of the last 3 calls failed"),
    ],
)
def test_it_opens_on_a_share_of_bad_calls(calls: list[SeenCall], why: str | None) -> None:
    assert trips(calls) == why


def test_it_waits_longer_each_time_but_never_long() -> None:
    breaker, waits = Breaker(), []
    for _ in range(6):
        breaker = breaker.opened("3 of the last 3 calls failed", NOW)
        assert breaker.probe_at is not None
        waits.append((breaker.probe_at - NOW).total_seconds())
    assert waits == [2, 4, 8, 10, 10, 10]
    assert breaker.opened_at == NOW


def test_it_remembers_since_when_it_is_open() -> None:
    later = NOW + timedelta(seconds=5)
    breaker = Breaker().opened("down", NOW).opened("down", later)
    assert (breaker.opened_at, breaker.openings) == (NOW, 2)
    closed = breaker.closed(later)
    assert (closed.is_open, closed.recovered_at, closed.openings) == (False, later, 0)


def test_a_refused_key_stops_for_a_minute() -> None:
    breaker = Breaker().opened("401", NOW, refused_key="key")
    assert (breaker.refused_key, breaker.probe_at) == ("key", NOW + timedelta(seconds=60))
    assert breaker.opened("down", NOW).refused_key is None


def test_it_is_half_open_while_a_probe_is_under_way() -> None:
    assert Breaker().state(is_probed=False) is BreakerState.CLOSED
    assert Breaker().opened("down", NOW).state(is_probed=False) is BreakerState.OPEN
    assert Breaker().opened("down", NOW).state(is_probed=True) is BreakerState.HALF_OPEN
