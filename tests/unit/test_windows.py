"""Days and months of a budget, where clocks are set forward and back, and where midnight is skipped or comes twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.budgets import Period, window_at

ZONES = ["UTC", "Europe/Berlin", "Africa/Cairo", "America/Havana", "America/Sao_Paulo", "Pacific/Apia", "Asia/Kolkata"]
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("zone", "moment", "name", "hours"),
    [
        ("Europe/Berlin", "2026-11-25T12:00", "2026-11-25", 24),
        ("Europe/Berlin", "2026-03-29T12:00", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25T12:00", "2026-10-25", 25),
        # Midnight is skipped: the day begins at one.
        ("Africa/Cairo", "2026-04-24T12:00", "2026-04-24", 23),
        ("America/Sao_Paulo", "2018-11-04T12:00", "2018-11-04", 23),
        # Midnight comes twice: the first begins the day, and the hour before the second is the new day's.
        ("America/Havana", "2026-11-01T12:00", "2026-11-01", 25),
        # A day that never was.
        ("Pacific/Apia", "2011-12-29T12:00", "2011-12-29", 24),
        ("Pacific/Apia", "2011-12-31T12:00", "2011-12-31", 24),
    ],
)
def test_a_day_is_as_long_as_it_is(zone: str, moment: str, name: str, hours: int) -> None:
    at = datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    window = window_at(Period.DAY, at, ZoneInfo(zone))
    assert (window.name, window.ends_at - window.starts_at) == (name, hours * HOUR)


@given(
    zone=st.sampled_from(ZONES).map(ZoneInfo),
    moment=st.integers(1_100_000_000, 2_050_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    period=st.sampled_from(Period),
)
def test_windows_follow_each_other_without_a_gap(zone: ZoneInfo, moment: datetime, period: Period) -> None:
    window = window_at(period, moment, zone)
    assert window.starts_at <= moment < window.ends_at
    assert window_at(period, window.starts_at, zone) == window
    following = window_at(period, window.ends_at, zone)
    assert following.starts_at == window.ends_at
    assert following.name > window.name
    assert window_at(period, window.ends_at - timedelta(microseconds=1), zone) == window
