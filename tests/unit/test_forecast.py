"""The forecast: sensible with little data, between the day's and the week's pace, never below what is spent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.budgets import Period, window_at
from domain.forecast import Forecast, forecast

ZONE = ZoneInfo("UTC")
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
spending = st.integers(0, 10**12)


def expect(
    today: int, past: list[int], *, at: datetime = NOON, limit: int | None = None, month: int | None = None
) -> Forecast:
    """For the day, or, with what it has cost so far, for the month."""
    day = window_at(Period.DAY, at, ZONE)
    window = day if month is None else window_at(Period.MONTH, at, ZONE)
    committed = today if month is None else month
    return forecast(committed, today, past, day=day, window=window, now=at, limit=limit)


def test_nothing_spent_is_nothing_expected() -> None:
    assert expect(0, []) == Forecast(0, 0, 0, 0)  # type: ignore[arg-type]
    assert expect(0, [0] * 7) == Forecast(0, 0, 0, 0)  # type: ignore[arg-type]


def test_without_past_days_today_goes_on_and_is_doubted() -> None:
    found = expect(6000, [])
    assert (found.expected, found.low, found.past_days) == (12_000, 6000, 0)
    assert found.high > 2 * found.expected


def test_a_steady_week_is_trusted() -> None:
    found = expect(6000, [12_000] * 7)
    assert (found.expected, found.past_days) == (12_000, 7)
    assert 10_500 < found.low < found.expected < found.high < 13_500


def test_early_in_the_day_the_week_speaks_and_late_the_day() -> None:
    dawn, dusk = NOON - timedelta(hours=11, minutes=50), NOON + timedelta(hours=11)
    week = [10_000] * 7
    assert 9_000 < expect(0, week, at=dawn).expected < 11_000
    assert 20_000 < expect(20_000, week, at=dusk).expected < 21_500


def test_the_first_minutes_of_all_are_not_multiplied_by_a_thousand() -> None:
    """One document of 3 credits a minute after the first midnight does not make 4,320 a day."""
    found = expect(3000, [], at=NOON.replace(hour=0, minute=1))
    assert found.expected <= 25 * 3000
    assert found.low == 3000


def test_days_before_the_first_document_are_no_data() -> None:
    assert expect(0, [0, 0, 0, 0, 0, 8000, 12_000]).past_days == 2
    assert expect(0, [8000, 0, 0, 0, 0, 0, 12_000]).past_days == 7


def test_uneven_days_are_less_sure() -> None:
    even, uneven = expect(5000, [10_000] * 7), expect(5000, [0, 20_000, 1000, 19_000, 5000, 15_000, 10_000])
    assert uneven.high - uneven.low > 3 * (even.high - even.low)


def test_a_month_goes_on_at_the_weeks_pace() -> None:
    found = expect(5000, [10_000] * 7, month=230_000)
    assert found.expected == pytest.approx(230_000 + 5000 + 6 * 10_000, rel=0.01)
    assert found.low >= 230_000


def test_when_the_limit_is_met() -> None:
    week = [12_000] * 7
    assert expect(6000, week, limit=12_001).reaches_limit_at is None
    assert expect(6000, week, limit=9000).reaches_limit_at == NOON + timedelta(hours=6)
    assert expect(6000, week, limit=5000).reaches_limit_at == NOON, "it is met already"
    assert expect(0, [], limit=5000).reaches_limit_at is None
    month = expect(6000, week, month=200_000, limit=200_000 + 6000 + 18_000)
    assert month.reaches_limit_at == datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


@given(
    spending,
    st.lists(spending, max_size=10),
    st.integers(0, 24 * 3600 - 1),
    st.none() | st.integers(0, 10**13),
    st.none() | spending,
)
def test_it_is_always_in_order_and_never_below_what_is_spent(
    today: int, past: list[int], second: int, limit: int | None, before_today: int | None
) -> None:
    at = NOON.replace(hour=0) + timedelta(seconds=second)
    month = None if before_today is None else before_today + today
    found = expect(today, past, at=at, limit=limit, month=month)
    committed = today if month is None else month
    assert committed - 1 <= found.low <= found.expected <= found.high
    assert 0 <= found.past_days <= 7
    if found.reaches_limit_at is not None:
        window = window_at(Period.DAY if month is None else Period.MONTH, at, ZONE)
        assert at <= found.reaches_limit_at <= window.ends_at


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=7), st.integers(0, 24 * 3600 - 1))
def test_more_spent_today_is_more_expected(past: list[int], second: int) -> None:
    at = NOON.replace(hour=0) + timedelta(seconds=second)
    assert expect(1000, past, at=at).expected <= expect(100_000, past, at=at).expected


def test_a_clock_that_jumps_back_before_midnight_is_the_days_beginning() -> None:
    day = window_at(Period.DAY, NOON, ZONE)
    before = day.starts_at - timedelta(hours=1)
    found = forecast(1000, 1000, [], day=day, window=day, now=before)
    assert found.low == 1000
