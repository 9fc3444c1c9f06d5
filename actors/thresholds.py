"""Telling that budgets fill up and run out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from actors.services import Services, log
from domain.budgets import BudgetKey, Period, window_at
from domain.events import EventType
from domain.money import format_credits, to_credits, to_usd
from models.database import after_commit, transaction
from models.ledger import Refusal
from models.thresholds import Crossed, is_any_crossed, take_crossed, take_exhausted

LOOKED_BACK: Final = timedelta(minutes=10)


def tell_thresholds(services: Services) -> None:
    """Tell of every budget that has reached a threshold since the last look. The clock calls it.

    Raises:
        StoreUnavailable: the database is away.
    """
    now, zone = services.clock(), services.settings.budget_timezone
    # What was reached just before midnight is told just after it.
    moments = (now, now - LOOKED_BACK)
    names = sorted({window_at(period, moment, zone).name for period in Period for moment in moments})
    thresholds = services.settings.thresholds
    if not is_any_crossed(thresholds, names, now):
        return
    with transaction():
        for crossed in take_crossed(thresholds, names, now):
            _tell(services, crossed, now)


def tell_exhausted(services: Services, refusal: Refusal) -> None:
    """Tell that a document did not fit in a budget, once in each window. Call it in a transaction."""
    now = services.clock()
    if not take_exhausted(refusal, now):
        return
    amounts = {"limit": refusal.limit, "free": refusal.free}
    data = _data(services, refusal.key, refusal.window.name, amounts, now)
    services.events.tell(EventType.EXHAUSTED, str(refusal.key), data, now)
    said = {"budget": str(refusal.key), "window": refusal.window.name}
    after_commit(lambda: log.warning("the budget is exhausted: documents wait", **said))


def _tell(services: Services, crossed: Crossed, now: datetime) -> None:
    amounts = {"limit": crossed.limit, "spent": crossed.spent, "reserved": crossed.reserved}
    for percent in crossed.percents:
        data = {"percent": percent, **_data(services, crossed.key, crossed.window_name, amounts, now)}
        services.events.tell(EventType.THRESHOLD, str(crossed.key), data, now)
    said = {
        "budget": str(crossed.key),
        "window": crossed.window_name,
        "percent": crossed.percents[-1],
        **{f"{name}_credits": format_credits(amount) for name, amount in amounts.items()},
    }
    after_commit(lambda: log.warning("a budget has reached a threshold", **said))


def _data(
    services: Services, key: BudgetKey, window_name: str, amounts: Mapping[str, int], now: datetime
) -> dict[str, Any]:
    price = services.settings.prices_at(now).usd_per_credit
    data: dict[str, Any] = {"budget": str(key), "window": window_name}
    for name, amount in amounts.items():
        data |= {f"{name}_credits": float(to_credits(amount)), f"{name}_usd": float(to_usd(amount, price))}
    return data
