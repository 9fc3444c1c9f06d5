"""Budgets as they are set, changed while running, and shown. A change is in force with its commit, everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog
from peewee import Select, Value, fn

from domain.budgets import GLOBAL_DAY, BudgetKey, Scope, Window, parse_budget_key, window_at
from domain.clock import format_utc
from domain.errors import NotFound, OrderRefused
from domain.money import ZERO, Millicredits, from_usd, to_credits
from models.changes import What, record_change
from models.database import reading, transaction
from models.ledger import open_window, post_alone
from models.tables import Attempt, Budget, BudgetWindow, Document, Job, LedgerEntry

SETTING: Final = "setting"
"""Who sets what the settings say."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Balance:
    """A budget's current window.

    Args:
        amount: the limit of each window, in millicredits; None is unlimited.
        usd: the limit as it was written, if that was in dollars.
        extra: granted on top now; 0 once its time has passed.
        reserved: held for what is under way.
        spent: settled.
        changed_by: who set the limit.
    """

    key: BudgetKey
    window: Window
    amount: Millicredits | None
    usd: Decimal | None
    extra: Millicredits
    extra_until: datetime | None
    reserved: Millicredits
    spent: Millicredits
    changed_by: str
    changed_at: datetime

    @property
    def limit(self) -> Millicredits | None:
        """The limit in force now, in millicredits; None is unlimited."""
        return None if self.amount is None else Millicredits(self.amount + self.extra)

    @property
    def free(self) -> Millicredits | None:
        """What can still be reserved, never below 0; None is unlimited."""
        return None if self.limit is None else Millicredits(max(0, self.limit - self.reserved - self.spent))


def configure_daily(
    amount: Millicredits | None, configured: str, *, now: datetime, zone: ZoneInfo, usd: Decimal | None = None
) -> None:
    """Take the global daily limit from the settings, unless it was changed while running and the setting was not.

    Args:
        configured: the setting as it was written.
        usd: see `set_budget`.
    """
    with transaction():
        row = Budget.get_or_none(Budget.budget == str(GLOBAL_DAY))
        if row is None or row.configured != configured:
            if row is not None and row.changed_by != SETTING:
                words = "the changed setting replaces a daily budget that was set while running"
                log.warning(words, set_by=row.changed_by, at=str(row.changed_at), setting=configured)
            set_budget(GLOBAL_DAY, amount, who=SETTING, now=now, zone=zone, usd=usd)
            Budget.update(configured=configured).where(Budget.budget == str(GLOBAL_DAY)).execute()


def set_budget(
    key: BudgetKey,
    amount: Millicredits | None,
    *,
    who: str,
    now: datetime,
    zone: ZoneInfo,
    usd: Decimal | None = None,
) -> None:
    """Set a budget's limit, from now on and in the window that is open.

    A new budget starts with what its documents have spent and hold in its window already. A limit below that is
    allowed: then nothing new starts.

    Args:
        usd: the dollars of which `amount` was made: another price of a credit makes another amount of them (`reprice`).
    """
    said = None if usd is None else f"{usd:f}"
    window = window_at(key.period, now, zone)
    with transaction():
        if not _is_set(key):
            # What its documents hold is counted while nobody holds or closes anything.
            post_alone()
        earlier = Budget.get_or_none(Budget.budget == str(key))
        was = None if earlier is None else _limit_words(earlier.amount, earlier.usd)
        record_change(What.BUDGET_LIMIT, str(key), who=who, now=now, before=was, after=_limit_words(amount, said))
        if earlier is not None:
            Budget.update(usd=said).where(Budget.budget == str(key)).execute()
            _change(key, window, now, who, amount=amount)
            return
        Budget.insert(budget=str(key), amount=amount, usd=said, changed_at=now, changed_by=who).execute()
        open_window(str(key), window.name)
        _take_over(key, window, now)


def _limit_words(amount: int | None, usd: str | None) -> dict[str, Any]:
    """A limit for the audit log."""
    return {"credits": None if amount is None else float(to_credits(amount)), "usd": usd}


def reprice(usd_per_credit: Decimal, *, now: datetime, zone: ZoneInfo) -> bool:
    """Let limits that were written in dollars be as many credits as those buy now; true if any has changed.

    A window that is open already gets no more by that: what was spent in it was bought at the old price.

    Args:
        usd_per_credit: dollars, the price in force at `now`.
    """
    with reading():
        written = list(Budget.select().where(Budget.usd.is_null(False)))
    changed = False
    for row in written:
        amount = from_usd(Decimal(row.usd or 0), usd_per_credit)
        if amount == row.amount:
            continue
        key = parse_budget_key(row.budget)
        still = (Budget.budget == row.budget) & (Budget.usd == row.usd) & (Budget.amount == row.amount)
        with transaction():
            # Unless somebody has set another limit meanwhile.
            if Budget.update(amount=amount).where(still).execute():
                BudgetWindow.update(amount=amount).where(
                    BudgetWindow.budget == row.budget,
                    BudgetWindow.window_name >= window_at(key.period, now, zone).name,
                    BudgetWindow.amount > amount,
                ).execute()
                changed = True
    return changed


def grant_extra(
    key: BudgetKey, extra: Millicredits, until: datetime, *, who: str, now: datetime, zone: ZoneInfo
) -> None:
    """Raise a budget's limit by `extra` until a moment; it replaces an earlier increase, and 0 takes it back.

    Raises:
        NotFound: the budget is not set.
        OrderRefused: the moment has passed.
    """
    if until <= now:
        raise OrderRefused(f"the increase ends at {until:%Y-%m-%d %H:%M} UTC, which has passed")
    with transaction():
        if Budget.get_or_none(Budget.budget == str(key)) is None:
            raise NotFound(f"{key.words} is not set")
        after = {"credits": float(to_credits(extra)), "until": format_utc(until)}
        record_change(What.BUDGET_INCREASE, str(key), who=who, now=now, after=after)
        _change(key, window_at(key.period, now, zone), now, who, extra=extra, extra_until=until)


def balances(now: datetime, zone: ZoneInfo) -> Sequence[Balance]:
    """Every budget with its current window, the global ones first."""
    with reading():
        found = [_balance(row, now, zone) for row in Budget.select().order_by(Budget.budget)]
    return sorted(found, key=lambda balance: (balance.key.scope is not Scope.GLOBAL, str(balance.key)))


def balances_of(keys: Sequence[BudgetKey], now: datetime, zone: ZoneInfo) -> Sequence[Balance]:
    """Those of `keys` that are set, with their current windows."""
    with reading():
        found = Budget.select().where(Budget.budget.in_([str(key) for key in keys])).order_by(Budget.budget)
        return [_balance(row, now, zone) for row in found]


def balance(key: BudgetKey, now: datetime, zone: ZoneInfo) -> Balance:
    """One budget with its current window.

    Raises:
        NotFound: it is not set.
    """
    with reading():
        row = Budget.get_or_none(Budget.budget == str(key))
        if row is None:
            raise NotFound(f"{key.words} is not set")
        return _balance(row, now, zone)


def _change(key: BudgetKey, window: Window, now: datetime, who: str, **changes: Any) -> None:
    with transaction():
        # First the budget, then its window: `open_window` takes them in this order too.
        Budget.update(**changes, changed_at=now, changed_by=who).where(Budget.budget == str(key)).execute()
        open_window(str(key), window.name)
        # A later window is there if the clock has jumped back; what has passed keeps the limit that it had.
        BudgetWindow.update(**changes, exhausted_at=None).where(
            BudgetWindow.budget == str(key), BudgetWindow.window_name >= window.name
        ).execute()


def _is_set(key: BudgetKey) -> bool:
    return bool(Budget.select().where(Budget.budget == str(key)).exists())


def _take_over(key: BudgetKey, window: Window, now: datetime) -> None:
    """Enter into a new budget what its documents hold and have spent in the window that is open, whatever its limit."""
    whose: Any = True
    if key.scope is Scope.TENANT:
        whose = Job.tenant == key.subject
    elif key.scope is Scope.USER:
        whose = Document.user_id == UUID(key.subject)
    # An attempt holds the same in each of its budgets.
    closing = LedgerEntry.alias("closing")
    is_closed = fn.EXISTS(closing.select(Value(1)).where(closing.closes == LedgerEntry.entry_id))
    holds = LedgerEntry.select(LedgerEntry.attempt, fn.MAX(LedgerEntry.amount).alias("amount")).join(Attempt)
    holds = holds.where(LedgerEntry.kind == "reserve", Attempt.settled_at.is_null(), ~is_closed)
    holds = holds.group_by(LedgerEntry.attempt)
    bills = Attempt.select(Attempt.attempt_id, Attempt.billed.alias("amount"))
    bills = bills.where(Attempt.settled_at >= window.starts_at, Attempt.billed > 0)
    held, settled = (query.switch(Attempt).join(Job).join(Document).where(whose) for query in (holds, bills))
    for kind, taken in (("reserve", held), ("adjust", settled)):
        _enter_all(key, window, taken.alias("taken"), kind, now)


def _enter_all(key: BudgetKey, window: Window, taken: Any, kind: str, now: datetime) -> None:
    """Post an amount for each attempt of `taken` to a window, as held (``reserve``) or as spent (``adjust``)."""
    place = (BudgetWindow.budget == str(key)) & (BudgetWindow.window_name == window.name)
    before: BudgetWindow = BudgetWindow.get(place)
    is_held, amount = kind == "reserve", taken.c.amount
    so_far = fn.SUM(amount).over(order_by=[taken.c.attempt_id])
    columns: dict[Any, Any] = {
        LedgerEntry.attempt: taken.c.attempt_id,
        LedgerEntry.budget: Value(str(key)),
        LedgerEntry.window_name: Value(window.name),
        LedgerEntry.kind: Value(kind),
        LedgerEntry.amount: amount,
        LedgerEntry.reserved_change: amount if is_held else Value(0),
        LedgerEntry.spent_change: Value(0) if is_held else amount,
        LedgerEntry.reserved_after: so_far if is_held else Value(before.reserved),
        LedgerEntry.spent_after: Value(before.spent) if is_held else so_far,
        LedgerEntry.carried: Value(is_held),
        LedgerEntry.drift: Value(False),
        LedgerEntry.at: Value(LedgerEntry.at.db_value(now)),
        LedgerEntry.why: Value(f"{'held' if is_held else 'settled'} before this budget was set"),
    }
    rows = Select([taken], list(columns.values())).order_by(taken.c.attempt_id)
    LedgerEntry.insert_from(rows, list(columns)).execute()
    change = LedgerEntry.reserved_change if is_held else LedgerEntry.spent_change
    total = LedgerEntry.select(fn.COALESCE(fn.SUM(change), 0)).where(
        LedgerEntry.budget == str(key), LedgerEntry.window_name == window.name
    )
    BudgetWindow.update({BudgetWindow.reserved if is_held else BudgetWindow.spent: total}).where(place).execute()


def _balance(row: Budget, now: datetime, zone: ZoneInfo) -> Balance:
    key = parse_budget_key(row.budget)
    window = window_at(key.period, now, zone)
    state = BudgetWindow.get_or_none(BudgetWindow.budget == row.budget, BudgetWindow.window_name == window.name)
    granted = row.extra_until is not None and row.extra_until > now
    amount = row.amount if state is None else state.amount
    return Balance(
        key=key,
        window=window,
        amount=None if amount is None else Millicredits(amount),
        usd=None if row.usd is None else Decimal(row.usd),
        extra=Millicredits(row.extra) if granted else ZERO,
        extra_until=row.extra_until if granted else None,
        reserved=Millicredits(state.reserved) if state is not None else ZERO,
        spent=Millicredits(state.spent) if state is not None else ZERO,
        changed_by=row.changed_by,
        changed_at=row.changed_at,
    )
