"""What is to be expected of the budgets: each window's spending at its end, and who waits already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from domain.budgets import BudgetKey
from domain.forecast import WEEK, Forecast, forecast
from models.budgets import Balance
from models.database import reading
from models.tables import Job
from models.usage import days_until, spent_by_day


def forecasts(balances: Sequence[Balance], now: datetime, zone: ZoneInfo) -> Mapping[BudgetKey, Forecast]:
    """The forecast for the current window of each budget, from what was settled in the last eight days.

    Raises:
        StoreUnavailable: the database is away.
    """
    days = days_until(now, WEEK + 1, zone)
    spent = {scope: spent_by_day(days, scope) for scope in {balance.key.scope for balance in balances}}
    found = {}
    for balance in balances:
        *past, today = spent[balance.key.scope].get(balance.key.subject, [0] * len(days))
        found[balance.key] = forecast(
            balance.spent + balance.reserved,
            today + balance.reserved,
            past,
            day=days[-1],
            window=balance.window,
            now=now,
            limit=balance.limit,
        )
    return found


def count_waiting() -> int:
    """How many documents wait to be admitted: a new one comes after those of its priority.

    Raises:
        StoreUnavailable: the database is away.
    """
    with reading():
        return Job.select().where(Job.turn.is_null(False)).count()
