"""Reservations a second: fresh attempts against budgets that all of them share, so that all want the same rows.

    .venv/bin/python -m tests.with_servers .venv/bin/python -m bench.reservations

Each reservation is a transaction of its own, as in production: committed, flushed to the disk, and explained by its
entry in the ledger. The rounds of the settings are interleaved, so that what else the machine does hits all alike; the
median counts. At the end the balances must be what was reserved.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from domain.budgets import GLOBAL_DAY, BudgetKey, parse_budget_key
from domain.job_state import AttemptState, Provenance
from domain.money import Millicredits
from models import jobs
from models.budgets import balance, set_budget
from models.database import close_connection, transaction
from models.ledger import reserve
from models.tables import Attempt
from tests.state import KINDS, an_order, state_of

ZONE: Final = ZoneInfo("UTC")
ONE: Final = Millicredits(1)
BUDGETS: Final[dict[int, Sequence[BudgetKey]]] = {
    1: [GLOBAL_DAY],
    2: [GLOBAL_DAY, parse_budget_key("tenant:default/day")],
}
BATCH: Final = 500


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Reservations a second.")
    parser.add_argument("--count", type=int, default=2000, help="reservations a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--databases", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 8])
    said = parser.parse_args()
    print("| database | budgets | threads | reservations/s | p50 ms | p99 ms | our CPU ms |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for kind in said.databases:
        for number, keys in BUDGETS.items():
            for threads, found in measure(kind, keys, said.threads, said.count, said.rounds).items():
                cells = f"{found.rate:,.0f} | {found.p50_ms:.1f} | {found.p99_ms:.1f} | {found.cpu_ms:.2f}"
                print(f"| {kind} | {number} | {threads} | {cells} |", flush=True)


@dataclass(frozen=True)
class Figures:
    """Reservations a second; and one reservation's time, and this process's own work for it, in milliseconds."""

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float


def measure(
    kind: str, keys: Sequence[BudgetKey], thread_counts: Sequence[int], count: int, rounds: int
) -> dict[int, Figures]:
    """The figures by threads.

    Args:
        count: reservations a round.
    """
    with tempfile.TemporaryDirectory(prefix="parsegate-bench-") as folder, state_of(kind, Path(folder)):
        now = datetime.now(UTC)
        for key in keys:
            set_budget(key, Millicredits(10**12), who="bench", now=now, zone=ZONE)
        found: dict[int, list[Race]] = {threads: [] for threads in thread_counts}
        for _ in range(rounds):
            for threads in thread_counts:
                found[threads].append(race(threads, attempts(count, now), lambda one: _reserve(one, keys)))
        wanted = count * rounds * len(thread_counts)
        for key in keys:
            held = balance(key, now, ZONE).reserved
            if held != wanted:
                sys.exit(f"{key}: {held} are held, {wanted} were reserved")
    return {threads: _figures(races) for threads, races in found.items()}


def _figures(races: Sequence[Race]) -> Figures:
    each = sorted(taken for race in races for taken in race.each_ms)
    return Figures(
        rate=median(len(race.each_ms) / race.seconds for race in races),
        p50_ms=each[len(each) // 2],
        p99_ms=each[len(each) * 99 // 100],
        cpu_ms=median(race.cpu_seconds * 1000 / len(race.each_ms) for race in races),
    )


def attempts(count: int, now: datetime) -> list[UUID]:
    """New attempts that hold nothing."""
    ids = [uuid4() for _ in range(count)]
    with transaction():
        job = jobs.accept_order(an_order(), who="bench", now=now, due_at=now).job
        rows = [
            {
                "attempt_id": attempt_id,
                "job": job.job_id,
                "number": number + 1,
                # Ended attempts: a job has one under way at most, and the ledger does not ask.
                "state": AttemptState.NEVER_MADE,
                "provenance": Provenance.REAL,
                "estimate": ONE,
                "created_at": now,
            }
            for number, attempt_id in enumerate(ids)
        ]
        for first in range(0, count, BATCH):
            Attempt.insert_many(rows[first : first + BATCH]).execute()
    return ids


@dataclass(frozen=True)
class Race:
    """One round: its time, this process's own work, and the time of each."""

    seconds: float
    cpu_seconds: float
    each_ms: Sequence[float]


def race(threads: int, ids: Sequence[UUID], work: Callable[[UUID], None]) -> Race:
    """Do the work for all of them in so many threads, which start together."""
    barrier = threading.Barrier(threads + 1)

    def run(mine: Sequence[UUID]) -> list[float]:
        with transaction():
            pass  # connects
        barrier.wait()
        each = []
        for one in mine:
            began = time.perf_counter()
            work(one)
            each.append((time.perf_counter() - began) * 1000)
        close_connection()
        return each

    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(run, ids[number::threads]) for number in range(threads)]
        barrier.wait()
        began, worked = time.perf_counter(), time.process_time()
        each_ms = [taken for future in running for taken in future.result()]
        return Race(time.perf_counter() - began, time.process_time() - worked, each_ms)


def _reserve(attempt_id: UUID, keys: Sequence[BudgetKey]) -> None:
    now = datetime.now(UTC)
    with transaction():
        refused = reserve(attempt_id, ONE, keys, now=now, zone=ZONE, why="bench")
    if refused is not None:
        sys.exit(f"{refused.key} refused")


if __name__ == "__main__":
    main()
