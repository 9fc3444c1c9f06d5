"""Looking ahead: what fits now, when the rest could start, and what never can."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from domain.budgets import GLOBAL_DAY, Period, parse_budget_key, window_at
from domain.fitting import Fit, Room, fit_all
from domain.money import Millicredits

ZONE = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
TOMORROW = datetime(2026, 11, 24, 23, 0, tzinfo=UTC)
NEXT_MONTH = datetime(2026, 11, 30, 23, 0, tzinfo=UTC)
TENANT_MONTH = parse_budget_key("tenant:acme/month")


def day(amount: int, taken: int = 0, extra: int = 0, until: datetime | None = None) -> Room:
    return Room(GLOBAL_DAY, Millicredits(amount), Millicredits(taken), Millicredits(extra), until)


def month(amount: int, taken: int = 0) -> Room:
    return Room(TENANT_MONTH, Millicredits(amount), Millicredits(taken))


def fits(amounts: list[int], *rooms: Room) -> list[Fit]:
    return fit_all([Millicredits(amount) for amount in amounts], rooms, now=NOW, zone=ZONE)


def test_what_fits_starts_now() -> None:
    assert fits([4000], day(10_000, 6000)) == [Fit(True, NOW)]
    assert fits([10**12]) == [Fit(True, NOW)], "without a limit everything fits"


def test_what_does_not_fit_today_starts_tomorrow() -> None:
    [fit] = fits([4001], day(10_000, 6000))
    assert (fit.fits, fit.starts_at) == (False, TOMORROW)
    assert fit.reason == "it costs $0.0050, and the daily budget has $0.0050 left"


def test_each_takes_its_part_before_the_next() -> None:
    found = fits([4000, 4000, 4000, 4000, 2000], day(10_000, 3000))
    days = [None if fit.starts_at is None else (fit.starts_at - TOMORROW).days for fit in found]
    assert [fit.fits for fit in found] == [True, False, False, False, True]
    assert days == [-1, 0, 0, 1, -1], "what is small enough still fits today"


def test_what_costs_more_than_a_whole_window_never_starts() -> None:
    [fit] = fits([10_001], day(10_000))
    assert (fit.fits, fit.starts_at) == (False, None)
    assert fit.reason == "it costs $0.0125, more than the $0.0125 of a whole window of the daily budget"
    assert fits([1], day(0))[0].starts_at is None, "a limit of zero means nothing"
    assert fits([0], day(0))[0].fits


def test_every_budget_must_have_room() -> None:
    [fit] = fits([4000], day(10_000, 9000), month(20_000, 18_000))
    assert (fit.fits, fit.starts_at) == (False, NEXT_MONTH)
    assert "the daily budget has" in fit.reason


def test_a_temporary_increase_counts_while_it_lasts() -> None:
    until = NOW + timedelta(hours=1)
    assert fits([15_000], day(10_000, 0, 5000, until))[0].fits
    later = TOMORROW + timedelta(hours=1)
    assert fits([15_000], day(10_000, 1, 5000, later))[0].starts_at == TOMORROW
    assert fits([15_000], day(10_000, 1, 5000, until))[0].starts_at is None
    assert fits([15_000], day(10_000, 0, 5000, NOW))[0].starts_at is None, "it has ended"


def test_a_budget_lowered_below_what_is_spent_lets_nothing_new_start() -> None:
    [fit] = fits([1000], day(2000, 9000))
    assert (fit.fits, fit.starts_at) == (False, TOMORROW)
    assert fit.reason.endswith("the daily budget has $0.0000 left")


@given(
    st.lists(st.integers(0, 12_000), max_size=30),
    st.integers(0, 10_000),
    st.integers(0, 20_000),
    st.integers(10_000, 60_000),
)
def test_no_window_is_ever_promised_beyond_its_limit(
    amounts: list[int], limit: int, taken: int, month_limit: int
) -> None:
    rooms = [day(limit, taken), month(month_limit)]
    found = fits(amounts, *rooms)
    used: dict[tuple[str, str], int] = {}
    for amount, fit in zip(amounts, found, strict=True):
        assert (fit.starts_at is None) == (amount > limit), "never, only if it is beyond a whole window"
        assert fit.fits == (fit.starts_at == NOW) == (not fit.reason)
        if fit.starts_at is not None:
            for room, period in zip(rooms, (Period.DAY, Period.MONTH), strict=True):
                name = window_at(period, fit.starts_at, ZONE).name
                first = taken if fit.starts_at == NOW and period is Period.DAY else 0
                used[period, name] = used.get((period, name), first) + amount
                assert used[period, name] <= room.amount
