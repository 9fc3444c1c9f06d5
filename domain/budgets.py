"""Budgets: whose they are, how long their windows last, and which of them an attempt must fit into.

Budgets stack. An attempt is held in every one that applies to it, or in none. A day or month begins at local midnight
of `PARSEGATE_BUDGET_TIMEZONE`; with daylight saving a day has 23, 24 or 25 hours, and windows always tile time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from domain.errors import OrderRefused
from domain.money import MILLI, USD_PER_CREDIT, Millicredits, from_usd

MOST_USD: Final = Decimal(1_000_000)
MOST_CREDITS: Final = MOST_USD * 800


class Scope(StrEnum):
    """Whose spending a budget limits."""

    GLOBAL = "global"
    TENANT = "tenant"
    USER = "user"


class Period(StrEnum):
    """How long a window of a budget lasts."""

    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, order=True)
class BudgetKey:
    """One budget. As text: ``global/day``, ``tenant:acme/month``, ``user:<uuid>/day``.

    Args:
        subject: the tenant's name or the user's UUID; empty for the global budget.
    """

    scope: Scope
    period: Period
    subject: str = ""

    def __str__(self) -> str:
        whose = f"{self.scope.value}:{self.subject}" if self.subject else self.scope.value
        return f"{whose}/{self.period.value}"

    @property
    def words(self) -> str:
        """For people: ``the daily budget of tenant acme``."""
        adjective = "daily" if self.period is Period.DAY else "monthly"
        if self.scope is Scope.GLOBAL:
            return f"the {adjective} budget"
        return f"the {adjective} budget of {self.scope.value} {self.subject}"


GLOBAL_DAY: Final = BudgetKey(Scope.GLOBAL, Period.DAY)


def parse_budget_key(text: str) -> BudgetKey:
    """The budget that a text names; without a period, its daily one.

    Raises:
        OrderRefused: malformed.
    """
    whose, _, period = text.rpartition("/") if text.endswith(("/day", "/month")) else (text, "", Period.DAY.value)
    scope, _, subject = whose.partition(":")
    known = scope in {item.value for item in Scope}
    if not known or (scope == Scope.GLOBAL) == bool(subject) or len(subject) > 255:
        raise OrderRefused(
            f"budget {text[:80]!r} is malformed: write global, tenant:NAME or user:UUID, then /day or /month"
        )
    if scope == Scope.USER:
        try:
            subject = str(UUID(subject))
        except ValueError:
            raise OrderRefused(f"budget {text[:80]!r} is malformed: {subject[:40]!r} is not a UUID") from None
    return BudgetKey(Scope(scope), Period(period), subject)


def applicable(tenant: str, user_id: UUID) -> Sequence[BudgetKey]:
    """Every budget that may limit an attempt, whether it is set or not, in the order in which they are locked."""
    whose = ((Scope.GLOBAL, ""), (Scope.TENANT, tenant), (Scope.USER, str(user_id)))
    keys = [BudgetKey(scope, period, subject) for scope, subject in whose for period in Period]
    return sorted(keys, key=str)


@dataclass(frozen=True)
class Window:
    """One day or month of a budget: its local name (``2026-11-24``, ``2026-11``) and when it is, aware UTC."""

    name: str
    starts_at: datetime
    ends_at: datetime


def window_at(period: Period, moment: datetime, zone: ZoneInfo) -> Window:
    """The window of a period that `moment` lies in: ``starts_at <= moment < ends_at``."""
    first = _first_day(period, moment.astimezone(zone).date())
    # Where clocks go back over midnight the local date goes back too; windows don't.
    while moment < _midnight(first, zone):
        first = _first_day(period, first - timedelta(days=1))
    while moment >= _midnight(_next(period, first), zone):
        first = _next(period, first)
    name = f"{first:%Y-%m-%d}" if period is Period.DAY else f"{first:%Y-%m}"
    return Window(name, _midnight(first, zone), _midnight(_next(period, first), zone))


def parse_limit(text: str, usd_per_credit: Decimal = USD_PER_CREDIT) -> Millicredits | None:
    """A limit as a person writes it: ``12.50`` or ``12.50usd`` dollars, ``8000credits``, or ``unlimited`` (None).

    Raises:
        OrderRefused: not a number, negative, not finite, or over a million dollars.
    """
    said = text.strip().lower()
    if said == "unlimited":
        return None
    number, unit = (
        (said.removesuffix("credits"), "credits") if said.endswith("credits") else (said.removesuffix("usd"), "")
    )
    try:
        amount = Decimal(number.strip().removeprefix("$"))
    except ArithmeticError:
        raise OrderRefused(
            f"{text[:40]!r} is not a limit: write dollars (12.50), credits (8000credits) or unlimited"
        ) from None
    if not amount.is_finite() or amount < 0 or amount > (MOST_CREDITS if unit else MOST_USD):
        raise OrderRefused(f"{text[:40]!r} is not a limit: it must be from 0 to {MOST_USD:,} dollars")
    return Millicredits(int(amount * MILLI)) if unit else from_usd(amount, usd_per_credit)


def _first_day(period: Period, day: date) -> date:
    return day if period is Period.DAY else day.replace(day=1)


def _next(period: Period, first: date) -> date:
    if period is Period.DAY:
        return first + timedelta(days=1)
    return (first + timedelta(days=32)).replace(day=1)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    # A midnight that clocks skip is the moment of the skip; of one that comes twice, the first counts (PEP 495).
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
