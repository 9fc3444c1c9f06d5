"""The ledger: what is held and spent in each budget, and why. Append-only; integer millicredits.

A reservation is settled or released exactly once. Balances change only together with the entry that explains them, in
one transaction, and the limit is part of the UPDATE that reserves: two processes can't both take the last credit.

Locks are taken in one order everywhere, so that nobody waits in a circle: job, attempt, then windows by name. Beside
them stands one that all who post share, and who sets a new budget has alone, before it locks anything: that one counts
what its documents hold, so nobody may be about to hold or close something without knowing of the new budget.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from peewee import Case, Value

from domain.budgets import BudgetKey, Window, parse_budget_key, window_at
from domain.errors import Misconfigured, ParsegateError
from domain.money import Millicredits, from_usd
from models.database import database, is_postgres, reading, transaction
from models.prepared import Prepared
from models.tables import Budget, BudgetWindow, LedgerEntry

CLOSING: Final = ("settle", "release")
_POSTING: Final = 0x6C656467
"""The PostgreSQL advisory lock of all who post (an arbitrary constant)."""


class ClosedAttempt(ParsegateError):
    """The attempt's reservation was settled or released before; a retry needs a new attempt."""

    reason = "closed_attempt"


@dataclass(frozen=True)
class Refusal:
    """A budget that has no room.

    Args:
        limit: of the whole window, in millicredits, with what was granted on top.
        free: what is left of it, never below 0.
        window: when it is; from its end on there is room again.
    """

    key: BudgetKey
    limit: Millicredits
    free: Millicredits
    window: Window


@dataclass(frozen=True, kw_only=True)
class _Posting:
    """A change of one window's balances, as the entry that explains it says it."""

    attempt: UUID
    budget: str
    window_name: str
    kind: str
    amount: int
    reserved_change: int = 0
    spent_change: int = 0
    closes: int | None = None
    follows: int | None = None
    carried: bool = False
    drift: bool = False


def post_alone() -> None:
    """Until the open transaction ends nobody else posts, and all who did have ended. Call it before anything is locked.

    Those who post lock no row in a way that its foreign keys mind, so the holder of this waits for none of them.
    """
    if is_postgres():
        database.execute_sql("SELECT pg_advisory_xact_lock(%s)", (_POSTING,))


def _post_with_others() -> None:
    if is_postgres():
        database.execute_sql("SELECT pg_advisory_xact_lock_shared(%s)", (_POSTING,))


def reserve(
    attempt_id: UUID,
    amount: Millicredits,
    keys: Sequence[BudgetKey],
    *,
    now: datetime,
    zone: ZoneInfo,
    why: str,
    usd_per_credit: Decimal | None = None,
) -> Refusal | None:
    """Hold `amount` in the current window of every budget of `keys` that is set, or in none.

    Call it in a transaction that is rolled back if it answers a refusal: what was held before that was met goes too.
    Repeating it changes nothing.

    Args:
        usd_per_credit: see `open_window`.

    Raises:
        ClosedAttempt: the attempt was settled or released before.
        Misconfigured: no budget at all is set, so nothing may be spent.
    """
    _post_with_others()
    known = entries(attempt_id)
    if any(entry.kind in CLOSING for entry in known) and not _open_holds(known):
        raise ClosedAttempt(f"attempt {attempt_id} was settled or released, and holds nothing any more")
    if known:
        return None
    in_force = budgets_in_force(keys)
    if not in_force:
        raise Misconfigured("no budget is set: set PARSEGATE_DAILY_BUDGET_USD to dollars a day, or 'unlimited'")
    for key in in_force:
        refusal = _hold(attempt_id, amount, key, now=now, zone=zone, why=why, usd_per_credit=usd_per_credit)
        if refusal is not None:
            return refusal
    return None


def settle(attempt_id: UUID, billed: Millicredits, *, now: datetime, why: str) -> bool:
    """Close every reservation of an attempt at what was billed; False if it holds nothing (any more).

    More than was reserved is marked as a drift. Call it in the transaction that settles the attempt.
    """
    _post_with_others()
    holds = _open_holds(entries(attempt_id))
    for hold in holds:
        posting = _closing(hold, "settle", billed, spent_change=billed, drift=billed > hold.amount)
        _post(posting, now=now, why=why)
    return bool(holds)


def release(attempt_id: UUID, *, now: datetime, why: str) -> bool:
    """Give back every reservation of an attempt: it is proved that nothing was billed. False if it holds nothing.

    Call it in the transaction that closes the attempt.
    """
    _post_with_others()
    holds = _open_holds(entries(attempt_id))
    for hold in holds:
        _post(_closing(hold, "release", hold.amount), now=now, why=why)
    return bool(holds)


def adjust(attempt_id: UUID, change: int, *, now: datetime, why: str) -> None:
    """Correct what a settled attempt has spent, up or down, in the windows where that stands.

    In a budget that was set later it stands as an adjustment (`models.budgets`).
    """
    _post_with_others()
    places = {(entry.budget, entry.window_name) for entry in entries(attempt_id) if entry.kind in {"settle", "adjust"}}
    for budget, window_name in sorted(places):
        posting = _Posting(
            attempt=attempt_id,
            budget=budget,
            window_name=window_name,
            kind="adjust",
            amount=change,
            spent_change=change,
        )
        _post(posting, now=now, why=why)


def move(
    attempt_id: UUID,
    amount: Millicredits,
    *,
    now: datetime,
    zone: ZoneInfo,
    usd_per_credit: Decimal | None = None,
) -> Refusal | None:
    """Move holds that were taken in a window that has ended to the current one, and let each be `amount`.

    Call it in a transaction that is rolled back if it answers a refusal.

    Args:
        amount: what is held from now on, in millicredits: the price may have changed with the window.
        usd_per_credit: see `open_window`.
    """
    _post_with_others()
    why = "moved to the window in which it is sent"
    for hold in _open_holds(entries(attempt_id)):
        key = parse_budget_key(hold.budget)
        if window_at(key.period, now, zone).name == hold.window_name and hold.amount == amount:
            continue
        freed = _post(_closing(hold, "release", hold.amount), now=now, why=why)
        refusal = _hold(
            attempt_id, amount, key, now=now, zone=zone, why=why, usd_per_credit=usd_per_credit, follows=freed
        )
        if refusal is not None:
            return refusal
    return None


def is_held(attempt_id: UUID) -> bool:
    """True while an attempt has a reservation that is neither settled nor released."""
    return bool(_open_holds(entries(attempt_id)))


_OF_ATTEMPT: Final[Prepared[LedgerEntry]] = Prepared(
    lambda attempt_id: LedgerEntry.select().where(LedgerEntry.attempt == attempt_id).order_by(LedgerEntry.entry_id),
    LedgerEntry.attempt,
)


def entries(attempt_id: UUID) -> Sequence[LedgerEntry]:
    """An attempt's entries, oldest first."""
    with reading():
        return _OF_ATTEMPT.rows(attempt_id)


def budgets_in_force(keys: Sequence[BudgetKey]) -> Sequence[BudgetKey]:
    """Those of `keys` that are set, in the order in which they are locked."""
    names = {str(key): key for key in keys}
    with reading():
        found = [row.budget for row in Budget.select(Budget.budget).where(Budget.budget.in_(list(names)))]
    return [names[name] for name in sorted(found)]


def limit_at(now: datetime) -> Any:
    """The limit of a `BudgetWindow` row at a moment, as SQL: NULL is unlimited."""
    return BudgetWindow.amount + Case(None, [(BudgetWindow.extra_until > now, BudgetWindow.extra)], Value(0))


def open_window(budget: str, window_name: str, usd_per_credit: Decimal | None = None) -> None:
    """Make a budget's window, with the budget's limit, unless it is there.

    The budget's row is locked against a change of the limit at the same moment, which would miss the new window.

    Args:
        usd_per_credit: the window's price, in dollars: a limit that was written in dollars is what they buy of it.
            None: the limit as it stands.
    """
    if BudgetWindow.select().where(_is_window(budget, window_name)).exists():
        return
    with transaction():
        query = Budget.select().where(Budget.budget == budget)
        row = (query.for_update() if is_postgres() else query).get()
        amount = row.amount
        if row.usd is not None and usd_per_credit is not None:
            amount = from_usd(Decimal(row.usd), usd_per_credit)
        BudgetWindow.insert(
            budget=budget, window_name=window_name, amount=amount, extra=row.extra, extra_until=row.extra_until
        ).on_conflict_ignore().execute()


def _hold(
    attempt_id: UUID,
    amount: Millicredits,
    key: BudgetKey,
    *,
    now: datetime,
    zone: ZoneInfo,
    why: str,
    usd_per_credit: Decimal | None,
    follows: int | None = None,
) -> Refusal | None:
    window = window_at(key.period, now, zone)
    open_window(str(key), window.name, usd_per_credit)
    posting = _Posting(
        attempt=attempt_id,
        budget=str(key),
        window_name=window.name,
        kind="reserve",
        amount=amount,
        reserved_change=amount,
        follows=follows,
    )
    limit = limit_at(now)
    fits = limit.is_null() | (BudgetWindow.spent + BudgetWindow.reserved + amount <= limit)
    if _post(posting, fits, limit, now=now, why=why) is not None:
        return None
    row: Any = (
        BudgetWindow.select(BudgetWindow.reserved, BudgetWindow.spent, limit.alias("limit_then"))
        .where(_is_window(str(key), window.name))
        .dicts()
        .get()
    )
    free = row["limit_then"] - row["reserved"] - row["spent"]
    return Refusal(key, Millicredits(row["limit_then"]), Millicredits(max(0, free)), window)


def _closing(hold: LedgerEntry, kind: str, amount: int, *, spent_change: int = 0, drift: bool = False) -> _Posting:
    return _Posting(
        attempt=hold.attempt_id,
        budget=hold.budget,
        window_name=hold.window_name,
        kind=kind,
        amount=amount,
        reserved_change=-hold.amount,
        spent_change=spent_change,
        closes=hold.entry_id,
        drift=drift,
    )


def _open_holds(known: Sequence[LedgerEntry]) -> list[LedgerEntry]:
    closed = {entry.closes for entry in known}
    still_open = [entry for entry in known if entry.kind == "reserve" and entry.entry_id not in closed]
    return sorted(still_open, key=lambda entry: str(entry.budget))


def _is_window(budget: str, window_name: str) -> Any:
    return (BudgetWindow.budget == budget) & (BudgetWindow.window_name == window_name)


def _post(posting: _Posting, condition: Any = None, limit: Any = None, *, now: datetime, why: str) -> int | None:
    """Change a window's balances, if `condition` holds, and add the entry; answers its id, or None."""
    place = _is_window(posting.budget, posting.window_name)
    balances: list[Mapping[str, Any]] = list(
        BudgetWindow.update(
            reserved=BudgetWindow.reserved + posting.reserved_change, spent=BudgetWindow.spent + posting.spent_change
        )
        .where(place if condition is None else place & condition)
        .returning(
            BudgetWindow.reserved.alias("reserved_after"),
            BudgetWindow.spent.alias("spent_after"),
            (Value(None) if limit is None else limit).alias("limit_then"),
        )
        .dicts()
        .execute()
    )
    if not balances:
        return None
    entry: LedgerEntry = LedgerEntry.create(**asdict(posting), **balances[0], at=now, why=why[:500])
    return int(entry.entry_id)
