"""The ledger against a model of itself: random histories on both databases, every invariant after every step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Final
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from domain.budgets import GLOBAL_DAY, BudgetKey, Period, Scope, applicable, window_at
from domain.job_state import AttemptState, Provenance
from domain.money import Millicredits, from_usd, to_usd
from models import attempts, audit, budgets, jobs, ledger
from models.database import database, transaction
from models.ledger import Refusal
from models.tables import TABLES, Attempt, BudgetWindow, LedgerEntry
from tests.state import KINDS, an_order, state_of

ZONE: Final = ZoneInfo("Europe/Berlin")
START: Final = datetime(2026, 10, 24, 20, 0, tzinfo=UTC)
"""Shortly before the end of daylight saving, so that a day of 25 hours is among those that are lived through."""
TENANTS: Final = ("acme", "globex")
USERS: Final = (UUID(int=1), UUID(int=2))
EXAMPLES: Final = {"sqlite": 110, "postgresql": 40}
STEPS: Final = 50
PRICES: Final = (Decimal("0.00125"), Decimal("0.000625"), Decimal("0.0025"))
"""Dollars for a credit; halves and doubles, so that no limit is rounded."""
LEAST_SHARE: Final = 0.6
"""Of the most steps that there can be, so many are made: hypothesis ends some histories early."""

amounts = st.integers(0, 40).map(lambda number: Millicredits(number * 1000))
limits = st.one_of(st.none(), st.integers(0, 120).map(lambda number: Millicredits(number * 1000)))


class _RolledBack(Exception):
    pass


@dataclass
class Held:
    """What the model knows of one attempt."""

    amount: int
    windows: dict[str, str] = field(default_factory=dict)
    settled: bool = False
    assumed: bool = False


@dataclass(frozen=True)
class Limit:
    """A limit, the dollars of which it was made, and what is granted on top until a moment."""

    amount: int | None
    usd: Decimal | None = None
    extra: int = 0
    until: datetime = START

    def at(self, now: datetime) -> int | None:
        return None if self.amount is None else self.amount + (self.extra if self.until > now else 0)


class Ledger(RuleBasedStateMachine):
    """Balances as a person would keep them with pencil and paper, beside the real ones."""

    empty: ClassVar[Callable[[], None]]
    judged: ClassVar[int]

    @initialize(limit=limits)
    def begin(self, limit: Millicredits | None) -> None:
        type(self).empty()
        self.now = START
        self.price = PRICES[0]
        self.limits: dict[str, Limit] = {}
        self.opened: dict[tuple[str, str], Limit] = {}
        self.reserved: dict[tuple[str, str], int] = {}
        self.spent: dict[tuple[str, str], int] = {}
        self.held: dict[UUID, Held] = {}
        budgets.configure_daily(limit, str(limit), now=self.now, zone=ZONE)
        self.change(str(GLOBAL_DAY), amount=limit)

    def change(self, budget: str, **changes: Any) -> None:
        """A limit holds for the window that is open and those after it; what has passed keeps its own."""
        self.limits[budget] = replace(self.limits.get(budget, Limit(None)), **changes)
        self.open(budget)
        for place, limit in self.opened.items():
            if place[0] == budget and place[1] >= self.window_of(budget):
                self.opened[place] = replace(limit, **changes)

    def open(self, budget: str) -> tuple[str, str]:
        place = budget, self.window_of(budget)
        self.opened.setdefault(place, self.limits[budget])
        return place

    def window_of(self, budget: str) -> str:
        return window_at(Period(budget.rpartition("/")[2]), self.now, ZONE).name

    def all_fit(self, concerned: Iterable[str], amount: int) -> bool:
        """Whether every budget has room; windows that a refused reservation opened are gone with it."""
        known = dict(self.opened)
        fit = all(self.fits(budget, amount) for budget in concerned)
        self.opened = self.opened if fit else known
        return fit

    def fits(self, budget: str, amount: int) -> bool:
        place = self.open(budget)
        limit = self.opened[place].at(self.now)
        return limit is None or self.reserved.get(place, 0) + self.spent.get(place, 0) + amount <= limit

    @rule(tenant=st.sampled_from(TENANTS), user=st.sampled_from(USERS), amount=amounts)
    def reserve(self, tenant: str, user: UUID, amount: Millicredits) -> None:
        job = jobs.accept_order(an_order(tenant=tenant, user_id=user), who="t", now=self.now, due_at=self.now).job
        keys = applicable(tenant, user)
        concerned = [str(key) for key in keys if str(key) in self.limits]
        refusal, attempt_id = _reserve(job, amount, keys, self.now)
        assert (refusal is None) == self.all_fit(concerned, amount)
        if refusal is not None:
            assert not self.all_fit([str(refusal.key)], amount)
            assert refusal.window.starts_at <= self.now < refusal.window.ends_at
            return
        held = self.held[attempt_id] = Held(amount)
        for budget in concerned:
            place = budget, self.window_of(budget)
            held.windows[budget] = place[1]
            self.reserved[place] = self.reserved.get(place, 0) + amount

    def some_held(self, data: st.DataObject) -> tuple[Attempt, Held]:
        open_ids = [attempt_id for attempt_id, held in self.held.items() if not held.settled]
        attempt_id = data.draw(st.sampled_from(open_ids))
        return attempts.get_attempt(attempt_id), self.held[attempt_id]

    def has_open(self) -> bool:
        return any(not held.settled for held in getattr(self, "held", {}).values())

    @precondition(has_open)
    @rule(data=st.data(), billed=amounts, twice=st.booleans(), assumed=st.booleans())
    def settle(self, data: st.DataObject, billed: Millicredits, twice: bool, assumed: bool) -> None:
        attempt, held = self.some_held(data)
        held.assumed = assumed
        assert attempts.settle(attempt, billed, now=self.now, why="billed", assumed=assumed)
        assert not (twice and attempts.settle(attempt, billed, now=self.now, why="billed again"))
        for place in held.windows.items():
            self.reserved[place] -= held.amount
            self.spent[place] = self.spent.get(place, 0) + billed
        held.settled = True

    def has_assumed(self) -> bool:
        return any(held.assumed for held in getattr(self, "held", {}).values())

    @precondition(has_assumed)
    @rule(data=st.data(), billed=amounts, twice=st.booleans())
    def correct(self, data: st.DataObject, billed: Millicredits, twice: bool) -> None:
        """What was assumed is known after all: in each window in which it stands."""
        known = [attempt_id for attempt_id, held in self.held.items() if held.assumed]
        attempt = attempts.get_attempt(data.draw(st.sampled_from(known)))
        held, change = self.held[attempt.attempt_id], billed - (attempt.billed or 0)
        assert attempts.correct(attempt, billed, now=self.now, why="told late")
        again = attempts.get_attempt(attempt.attempt_id)
        assert not (twice and attempts.correct(again, Millicredits(7), now=self.now, why="told again"))
        for place in held.windows.items():
            self.spent[place] += change
        held.assumed = False

    @precondition(has_open)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        attempt, held = self.some_held(data)
        assert attempts.never_made(attempt, AttemptState.OPEN, why="nothing was made", now=self.now)
        assert not attempts.settle(attempt, Millicredits(1), now=self.now, why="too late")
        for place in held.windows.items():
            self.reserved[place] -= held.amount
        held.settled = True

    @precondition(has_open)
    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        """The hold moves to the window in which it is sent, or is refused there and stays where it was."""
        attempt, held = self.some_held(data)
        late = {budget for budget, window in held.windows.items() if window != self.window_of(budget)}
        may = self.all_fit(late, held.amount)
        assert (_move(attempt.attempt_id, held.amount, self.now) is None) == may
        for budget in late if may else ():
            self.reserved[budget, held.windows[budget]] -= held.amount
            held.windows[budget] = self.window_of(budget)
            place = budget, held.windows[budget]
            self.reserved[place] = self.reserved.get(place, 0) + held.amount

    @rule(
        tenant=st.sampled_from(TENANTS),
        user=st.sampled_from(USERS),
        which=st.integers(0, 5),
        limit=limits,
        in_dollars=st.booleans(),
    )
    def set_limit(self, tenant: str, user: UUID, which: int, limit: Millicredits | None, in_dollars: bool) -> None:
        key = applicable(tenant, user)[which]
        is_new = str(key) not in self.limits
        usd = to_usd(limit, self.price) if in_dollars and limit is not None else None
        budgets.set_budget(key, limit, who="t", now=self.now, zone=ZONE, usd=usd)
        self.change(str(key), amount=limit)
        self.limits[str(key)] = replace(self.limits[str(key)], usd=usd)
        if is_new:
            self.take_over(key)

    def take_over(self, key: BudgetKey) -> None:
        window = window_at(key.period, self.now, ZONE)
        place = str(key), window.name
        for attempt in attempts.find_attempts(Attempt.attempt_id.in_(list(self.held))):
            job, held = jobs.get_job(attempt.job_id), self.held[attempt.attempt_id]
            whose = {Scope.GLOBAL: "", Scope.TENANT: job.tenant, Scope.USER: str(job.document.user_id)}[key.scope]
            if whose != key.subject:
                continue
            if not held.settled:
                held.windows[place[0]] = place[1]
                self.reserved[place] = self.reserved.get(place, 0) + held.amount
            elif attempt.settled_at is not None and attempt.settled_at >= window.starts_at and attempt.billed:
                held.windows[place[0]] = place[1]
                self.spent[place] = self.spent.get(place, 0) + (attempt.billed or 0)

    @rule(price=st.sampled_from(PRICES))
    def reprice(self, price: Decimal) -> None:
        """Dollars buy another number of credits from now on; a window that is open only ever loses some."""
        self.price, changed = price, False
        for budget, limit in self.limits.items():
            amount = limit.amount if limit.usd is None else from_usd(limit.usd, price)
            if amount is None or amount == limit.amount:
                continue
            changed = True
            self.limits[budget] = replace(limit, amount=amount)
            for place, opened in self.opened.items():
                if place[0] == budget and place[1] >= self.window_of(budget) and (opened.amount or 0) > amount:
                    self.opened[place] = replace(opened, amount=amount)
        assert budgets.reprice(price, now=self.now, zone=ZONE) == changed

    @rule(extra=amounts, hours=st.integers(1, 40))
    def grant(self, extra: Millicredits, hours: int) -> None:
        until = self.now + timedelta(hours=hours)
        budgets.grant_extra(GLOBAL_DAY, extra, until, who="t", now=self.now, zone=ZONE)
        self.change(str(GLOBAL_DAY), extra=extra, until=until)

    @rule(hours=st.sampled_from([1, 3, 9, 24, 24 * 8, -2, -24]))
    def pass_time(self, hours: int) -> None:
        """Time may also jump back, as a host's clock can."""
        self.now += timedelta(hours=hours)

    @invariant()
    def a_step_was_judged(self) -> None:
        type(self).judged += 1

    @invariant()
    def balances_are_those_of_the_model(self) -> None:
        for row in BudgetWindow.select():
            place = row.budget, row.window_name
            assert (row.reserved, row.spent) == (self.reserved.get(place, 0), self.spent.get(place, 0)), place

    @invariant()
    def everything_adds_up(self) -> None:
        assert audit.find_faults() == []
        for entry in LedgerEntry.select().where(LedgerEntry.kind == "reserve", ~LedgerEntry.carried):
            assert entry.limit_then is None or entry.reserved_after + entry.spent_after <= entry.limit_then


def _reserve(job: Any, amount: Millicredits, keys: Any, now: datetime) -> tuple[Refusal | None, UUID]:
    """As admission does it: the attempt and its reservation, or neither."""
    refusal: Refusal | None = None
    attempt_id = uuid4()
    try:
        with transaction():
            attempt = attempts.open_attempt(job, provenance=Provenance.REAL, estimate=amount, now=now)
            assert attempt is not None
            attempt_id = attempt.attempt_id
            refusal = ledger.reserve(attempt_id, amount, keys, now=now, zone=ZONE, why="t")
            if refusal is not None:
                raise _RolledBack
    except _RolledBack:
        assert not LedgerEntry.select().where(LedgerEntry.attempt == attempt_id).exists()
    else:
        assert ledger.reserve(attempt_id, amount, keys, now=now, zone=ZONE, why="again") is None
    return refusal, attempt_id


def _move(attempt_id: UUID, amount: int, now: datetime) -> Refusal | None:
    refusal: Refusal | None = None
    try:
        with transaction():
            refusal = ledger.move(attempt_id, Millicredits(amount), now=now, zone=ZONE)
            if refusal is not None:
                raise _RolledBack
    except _RolledBack:
        pass
    return refusal


@contextmanager
def emptied(kind: str, folder: Path) -> Iterator[Callable[[], None]]:
    """A migrated database, and how to empty it: what is append-only can't be deleted row by row."""
    with state_of(kind, folder) as url:
        names = ", ".join(f'"{table._meta.table_name}"' for table in TABLES)

        def truncate() -> None:
            database.execute_sql(f"TRUNCATE {names} CASCADE")

        def restore() -> None:
            database.close()
            for path in (folder / "state.db-wal", folder / "state.db-shm"):
                path.unlink(missing_ok=True)
            (folder / "state.db").write_bytes(template)
            database.connect()
            # Nothing here survives a power cut: the books are judged, not the disk.
            database.execute_sql("PRAGMA synchronous = off")

        if kind == "sqlite":
            database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            template = Path(url.removeprefix("sqlite:///")).read_bytes()
        yield restore if kind == "sqlite" else truncate


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
def test_the_ledger_keeps_its_books(kind: str, tmp_path: Path) -> None:
    with emptied(kind, tmp_path) as begin_anew:

        class Machine(Ledger):
            empty = staticmethod(begin_anew)
            judged = 0

        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=EXAMPLES[kind],
                stateful_step_count=STEPS,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        assert Machine.judged >= EXAMPLES[kind] * STEPS * LEAST_SHARE
