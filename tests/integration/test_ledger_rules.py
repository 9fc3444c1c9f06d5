"""The ledger's rules as the database itself states them, and what the doctor finds where they were broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from peewee import DatabaseError, IntegrityError

from domain.budgets import GLOBAL_DAY, parse_budget_key
from domain.job_state import AttemptState, Provenance
from domain.money import Millicredits
from models import attempts, audit, jobs, ledger
from models.budgets import balance, set_budget
from models.database import close_connection, database, transaction
from models.tables import Attempt, BudgetWindow, Job, LedgerEntry
from tests.state import KINDS, an_order, state_of

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ZONE = ZoneInfo("UTC")
THREE = [parse_budget_key(name) for name in ("global/day", "global/month", "tenant:default/day")]


@pytest.fixture(params=KINDS)
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with state_of(request.param, tmp_path):
        set_budget(GLOBAL_DAY, Millicredits(100_000), who="test", now=NOW, zone=ZONE)
        yield request.param


def an_attempt(estimate: int = 3000) -> Attempt:
    job = jobs.accept_order(an_order(), who="test", now=NOW, due_at=NOW).job
    attempt = attempts.open_attempt(job, provenance=Provenance.REAL, estimate=Millicredits(estimate), now=NOW)
    assert attempt is not None
    return attempt


def held(attempt: Attempt, amount: int = 3000) -> LedgerEntry:
    with transaction():
        refused = ledger.reserve(attempt.attempt_id, Millicredits(amount), [GLOBAL_DAY], now=NOW, zone=ZONE, why="test")
    assert refused is None
    entry: LedgerEntry = LedgerEntry.get(LedgerEntry.attempt == attempt.attempt_id)
    return entry


def entry_of(attempt: Attempt, **said: Any) -> None:
    """Write an entry past the code."""
    values: dict[str, Any] = {
        "attempt": attempt.attempt_id,
        "budget": "global/day",
        "window_name": "2026-11-24",
        "kind": "reserve",
        "amount": 1000,
        "reserved_change": 1000,
        "spent_change": 0,
        "reserved_after": 1000,
        "spent_after": 0,
        "limit_then": 100_000,
        "at": NOW,
        "why": "forged",
    }
    with transaction():
        LedgerEntry.create(**values | said)


@pytest.mark.parametrize(
    "forged",
    [
        {"reserved_after": 100_001},
        {"amount": -1, "reserved_change": -1},
        {"reserved_after": -1},
        {"spent_after": -1},
        {"kind": "gift"},
        {"spent_change": 1},
        {"reserved_change": 999},
        {"carried": True, "kind": "adjust", "reserved_change": 0, "spent_change": 1000},
        {"kind": "settle", "reserved_change": -1000, "spent_change": 1000},
        {"kind": "release", "reserved_change": -1000},
        {"budget": "global/year"},
        {"window_name": "2026-11-25"},
    ],
    ids=str,
)
def test_an_entry_that_can_t_be_is_refused(state: str, forged: dict[str, Any]) -> None:
    held(an_attempt())
    with pytest.raises(IntegrityError):
        entry_of(an_attempt(), **forged)


def test_a_reservation_is_opened_once_and_closed_once(state: str) -> None:
    attempt = an_attempt()
    hold = held(attempt)
    with pytest.raises(IntegrityError):
        entry_of(attempt)
    assert ledger.settle(attempt.attempt_id, Millicredits(3000), now=NOW, why="test")
    assert not ledger.settle(attempt.attempt_id, Millicredits(3000), now=NOW, why="test")
    assert not ledger.release(attempt.attempt_id, now=NOW, why="test")
    with pytest.raises(IntegrityError):
        entry_of(attempt, kind="settle", amount=3000, reserved_change=-3000, spent_change=3000, closes=hold.entry_id)


def test_more_than_was_held_is_settled_only_as_a_drift(state: str) -> None:
    attempt = an_attempt()
    hold = held(attempt)
    said = {"kind": "settle", "amount": 4000, "reserved_change": -3000, "spent_change": 4000, "closes": hold.entry_id}
    with pytest.raises(IntegrityError):
        entry_of(attempt, **said)
    entry_of(attempt, **said, drift=True)


@pytest.mark.parametrize("change", ["UPDATE ledger_entry SET amount = amount", "DELETE FROM ledger_entry"])
def test_the_ledger_is_append_only(state: str, change: str) -> None:
    held(an_attempt())
    with pytest.raises(DatabaseError, match="append-only"), transaction():
        database.execute_sql(change)


def test_the_doctor_finds_each_fault(state: str) -> None:
    attempt, other = an_attempt(), an_attempt()
    held(attempt)
    hold = held(other)
    assert audit.find_faults() == []
    BudgetWindow.update(reserved=BudgetWindow.reserved + 1).execute()
    assert found() == ["the balances of global/day in 2026-11-24 are not the sum of its entries"]
    BudgetWindow.update(reserved=BudgetWindow.reserved - 1).execute()
    Attempt.update(settled_at=NOW, billed=0).where(Attempt.attempt_id == attempt.attempt_id).execute()
    assert found() == [f"attempt {attempt.attempt_id} was settled and still holds a reservation in global/day"]
    Attempt.update(settled_at=None, billed=None).where(Attempt.attempt_id == attempt.attempt_id).execute()
    Job.update(cost=7).where(Job.job_id == attempt.job_id).execute()
    assert found() == [f"job {attempt.job_id} cost 7 millicredits, which is not the sum of its attempts"]
    Job.update(cost=0).execute()
    ledger.release(attempt.attempt_id, now=NOW, why="test")
    Attempt.update(submitted_at=NOW, state=AttemptState.SUBMITTING).where(
        Attempt.attempt_id == attempt.attempt_id
    ).execute()
    assert found() == [f"attempt {attempt.attempt_id} is submitting at the provider and holds no reservation"]
    Attempt.update(submitted_at=None, state=AttemptState.OPEN).execute()
    third = an_attempt()
    entry_of(third, kind="release", amount=3000, reserved_change=-3000, closes=hold.entry_id)
    BudgetWindow.update(reserved=BudgetWindow.reserved - 3000).execute()
    closing = LedgerEntry.get(LedgerEntry.attempt == third.attempt_id)
    assert found() == [f"entry {closing.entry_id} closes a reservation of another attempt, budget or amount"]


def found() -> list[str]:
    """What the doctor says; SQLite has ids without hyphens."""
    return [" ".join(_id(word) for word in fault.split()) for fault in audit.find_faults()]


def _id(word: str) -> str:
    try:
        return str(UUID(word))
    except ValueError:
        return word


@pytest.mark.timeout(300)
def test_sixteen_threads_race_for_a_tenth(state: str) -> None:
    """1,000 attempts, three budgets of which one has room for 100, and settlements in between: never one too many."""
    for key in THREE[1:]:
        set_budget(key, Millicredits(2_000), who="test", now=NOW, zone=ZONE)
    set_budget(GLOBAL_DAY, Millicredits(100), who="test", now=NOW, zone=ZONE)
    ids = [an_attempt(1).attempt_id for _ in range(1000)]

    def take(attempt_id: UUID) -> bool:
        try:
            with transaction():
                if ledger.reserve(attempt_id, Millicredits(1), THREE[::-1], now=NOW, zone=ZONE, why="race"):
                    raise _NoRoom
            if attempt_id.int % 2:
                with transaction():
                    ledger.settle(attempt_id, Millicredits(1), now=NOW, why="race")
        except _NoRoom:
            return False
        return True

    def work(part: list[UUID]) -> int:
        try:
            return sum(take(attempt_id) for attempt_id in part)
        finally:
            close_connection()

    with ThreadPoolExecutor(16) as pool:
        accepted = sum(pool.map(work, [ids[number::16] for number in range(16)]))
    assert accepted == 100
    for key in THREE:
        found = balance(key, NOW, ZONE)
        assert found.reserved + found.spent == 100
    assert not [fault for fault in audit.find_faults() if "balances" in fault]


class _NoRoom(Exception):
    """A budget refused."""


def test_a_budget_that_is_set_meanwhile_counts_what_is_being_held_and_closed(state: str) -> None:
    """On PostgreSQL nobody waits for a row: who sets it waits for those who post, and they for it."""
    settling, held_before = an_attempt(), an_attempt(2000)
    for attempt in (settling, held_before):
        held(attempt, attempt.estimate)
    holding = an_attempt(5000)
    with ThreadPoolExecutor(1) as pool:
        with transaction():
            attempts.settle(attempts.get_attempt(settling.attempt_id), Millicredits(1000), now=NOW, why="billed")
            ledger.reserve(holding.attempt_id, Millicredits(5000), THREE, now=NOW, zone=ZONE, why="test")
            setting = pool.submit(closing_after(set_tenants_budget))
            until_it_waits(setting, state)
        setting.result()
    assert_tenants_balance(reserved=7000, spent=1000)


def test_who_posts_while_a_budget_is_set_knows_of_it(state: str) -> None:
    """Also where the attempt's row is locked already, as when a job that was deferred after all is sent again."""
    closing, holding = an_attempt(), an_attempt(5000)
    held(closing)

    def close_and_hold() -> None:
        with transaction():
            attempts.settle(attempts.get_attempt(closing.attempt_id), Millicredits(1000), now=NOW, why="billed")
            attempts.set_attempt(holding, due_at=NOW)
            ledger.reserve(holding.attempt_id, Millicredits(5000), THREE, now=NOW, zone=ZONE, why="test")

    with ThreadPoolExecutor(1) as pool:
        with transaction():
            set_tenants_budget()
            posting = pool.submit(closing_after(close_and_hold))
            until_it_waits(posting, state)
        posting.result()
    assert_tenants_balance(reserved=5000, spent=1000)


def test_a_new_budget_does_not_take_over_what_was_released(state: str) -> None:
    """A document that the local parser stands in for: its hold was given back, and its attempt is not settled yet."""
    attempt = an_attempt()
    held(attempt)
    with transaction():
        ledger.release(attempt.attempt_id, now=NOW, why="parsed here")
    set_tenants_budget()
    assert_tenants_balance(reserved=0, spent=0)


def set_tenants_budget() -> None:
    set_budget(THREE[2], Millicredits(50_000), who="test", now=NOW, zone=ZONE)


def closing_after(work: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        try:
            work()
        finally:
            close_connection()

    return run


def until_it_waits(other: Future[None], kind: str) -> None:
    """Until the other thread waits for a lock of ours, or is done. SQLite has one writer, which it waits for anyhow."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
    while kind == "postgresql" and not other.done() and database.execute_sql(waiting).fetchone()[0] == 0:
        pass


def assert_tenants_balance(*, reserved: int, spent: int) -> None:
    now = balance(THREE[2], NOW, ZONE)
    assert (now.reserved, now.spent) == (reserved, spent)
    assert audit.find_faults() == []
