"""What will have been spent by the end of a window, from the day's and the week's pace, and how sure that is.

The method, in days and millicredits:

- Past days are the last complete ones, seven at most, from the first on which anything was spent: an installation's
  days before its first document are no data.
- Today's pace is ``(today + mean(past) / 4) / (elapsed + 1/4)``: the week's mean counts as much as a quarter of a day
  of today's own. In the morning the week speaks, in the evening the day. Without past days it is today's spending by
  the elapsed part of the day, an hour at least.
- The rest of today goes on at today's pace; each later day of the window (a month's) at the mean of the past days and
  of today as it is expected to end.
- A day's deviation is that of the past days; with fewer than two of them, as large as a day itself; and never less
  than a tenth of a day. Over the ``L`` days to come and ``n`` days observed (with today's elapsed part) the deviation
  is ``day * sqrt(L + L * L / n)``: chance in the days to come, and doubt about the pace.
- `low` and `high` are 1.28 deviations away, so that about 80 of 100 windows end between them; what is spent or held
  already is never taken back.

A budget's limit plays no part in it: the forecast says what will be wanted, and `reaches_limit_at` when it is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import dropwhile
from math import sqrt
from statistics import fmean, stdev
from typing import Final

from domain.budgets import Window
from domain.money import Millicredits

WEEK: Final = 7
PRIOR_DAYS: Final = 0.25
"""How much of a day the week's pace counts for in today's."""
LEAST_ELAPSED: Final = 1 / 24
LEAST_DEVIATION: Final = 0.1
EIGHTY_PERCENT: Final = 1.2816
"""Deviations within which a normally distributed value is in 80 of 100 cases."""
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class Forecast:
    """What a window is expected to have cost at its end, in millicredits.

    Args:
        low, high: the end is between them in about 80 of 100 cases.
        past_days: complete days that it rests on, 0 to 7.
        reaches_limit_at: when the expected spending meets the limit; None if it does not within the window.
    """

    expected: Millicredits
    low: Millicredits
    high: Millicredits
    past_days: int
    reaches_limit_at: datetime | None = None


@dataclass(frozen=True)
class _Pace:
    """Millicredits a day: for the rest of today, for a later day, and how much a day deviates."""

    today: float
    later: float
    deviation: float


def forecast(
    committed: int,
    today: int,
    past: Sequence[int],
    *,
    day: Window,
    window: Window,
    now: datetime,
    limit: int | None = None,
) -> Forecast:
    """The forecast for a window; the module says how.

    Args:
        committed: spent and held in the window so far.
        today: spent and held since the day began.
        past: spent on each of the days before today, oldest first.
        day: the day that `now` lies in.
        window: the day itself, or the month around it.
        limit: of the window; None is unlimited.
    """
    known = list(dropwhile(lambda spent: not spent, past))[-WEEK:]
    elapsed = min(max((now - day.starts_at) / (day.ends_at - day.starts_at), 0.0), 1.0)
    later_days = max(0, round((window.ends_at - day.ends_at) / _DAY))
    pace = _pace(today, known, elapsed)
    rest = pace.today * (1 - elapsed) + pace.later * later_days
    ahead, seen = 1 - elapsed + later_days, max(len(known) + elapsed, LEAST_ELAPSED)
    spread = EIGHTY_PERCENT * pace.deviation * sqrt(ahead + ahead * ahead / seen)
    return Forecast(
        expected=_millicredits(committed + rest),
        low=_millicredits(committed + max(0.0, rest - spread)),
        high=_millicredits(committed + rest + spread),
        past_days=len(known),
        reaches_limit_at=None if limit is None else _meets(limit - committed, pace, day, window, now),
    )


def _pace(today: int, past: Sequence[int], elapsed: float) -> _Pace:
    if past:
        mean = fmean(past)
        now = (today + mean * PRIOR_DAYS) / (elapsed + PRIOR_DAYS)
    else:
        now = today / max(elapsed, LEAST_ELAPSED)
    later = fmean([*past, today + now * (1 - elapsed)])
    deviation = stdev(past) if len(past) > 1 else later
    return _Pace(now, later, max(deviation, LEAST_DEVIATION * later))


def _meets(free: int, pace: _Pace, day: Window, window: Window, now: datetime) -> datetime | None:
    """When spending at this pace has used up what is free."""
    if free <= 0:
        return now
    left_today = pace.today * ((day.ends_at - now) / (day.ends_at - day.starts_at))
    if free < left_today:
        return now + (day.ends_at - day.starts_at) * (free / pace.today)
    days = (free - left_today) / pace.later if pace.later else float("inf")
    return day.ends_at + _DAY * days if days < (window.ends_at - day.ends_at) / _DAY else None


def _millicredits(amount: float) -> Millicredits:
    return Millicredits(round(amount))
