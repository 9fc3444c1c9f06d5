"""What the database says of the whole installation, in numbers: for `/metrics`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from peewee import fn

from domain.breaker import BreakerState
from domain.budgets import BudgetKey, Period, Scope
from models.breakers import view_breakers
from models.budgets import Balance, balances_of
from models.database import reading
from models.tables import Drift, Job


@dataclass(frozen=True)
class Gauges:
    """A moment of the installation.

    Args:
        unfinished: jobs by state.
        drifts: bills that are not what was priced and not explained, by kind.
        budgets: everybody's; no tenant's name and no user's id is told.
        endpoints: of the provider, the state of the breaker.
    """

    unfinished: Mapping[str, int]
    drifts: Mapping[str, int]
    budgets: list[Balance]
    endpoints: Mapping[str, BreakerState]


def read_gauges(now: datetime, zone: ZoneInfo) -> Gauges:
    """The present moment.

    Raises:
        StoreUnavailable: the database is away.
    """
    with reading():
        return Gauges(
            _counts(Job.select(Job.state, fn.COUNT(Job.job_id)).where(Job.due_at.is_null(False)).group_by(Job.state)),
            _counts(
                Drift.select(Drift.kind, fn.COUNT(Drift.drift_id))
                .where(Drift.explained_at.is_null())
                .group_by(Drift.kind)
            ),
            list(balances_of([BudgetKey(Scope.GLOBAL, period) for period in Period], now, zone)),
            {view.route.value: view.state for view in view_breakers(now)},
        )


def _counts(query: Any) -> dict[str, int]:
    return {str(name): int(count) for name, count in query.tuples()}
