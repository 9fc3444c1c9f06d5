"""The ledger recomputed: every balance from its entries, every hold from its attempt. What `parsegate doctor` runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from models.database import database, reading

_CHECKS: Final[tuple[tuple[str, str], ...]] = (
    (
        "the balances of {0} in {1} are not the sum of its entries",
        """
        SELECT w.budget, w.window_name FROM budget_window w
        LEFT JOIN ledger_entry e ON e.budget = w.budget AND e.window_name = w.window_name
        GROUP BY w.budget, w.window_name, w.reserved, w.spent
        HAVING coalesce(sum(e.reserved_change), 0) <> w.reserved OR coalesce(sum(e.spent_change), 0) <> w.spent
        """,
    ),
    (
        "entry {0} closes a reservation of another attempt, budget or amount",
        """
        SELECT c.entry_id, c.attempt_id FROM ledger_entry c JOIN ledger_entry r ON r.entry_id = c.closes
        WHERE r.kind <> 'reserve' OR r.attempt_id <> c.attempt_id OR r.budget <> c.budget
            OR r.window_name <> c.window_name OR r.amount <> -c.reserved_change
        """,
    ),
    (
        "attempt {0} was settled and still holds a reservation in {1}",
        """
        SELECT r.attempt_id, r.budget FROM ledger_entry r JOIN attempt a ON a.attempt_id = r.attempt_id
        LEFT JOIN ledger_entry c ON c.closes = r.entry_id
        WHERE r.kind = 'reserve' AND c.entry_id IS NULL AND a.settled_at IS NOT NULL
        """,
    ),
    (
        "attempt {0} is {1} at the provider and holds no reservation",
        """
        SELECT a.attempt_id, a.state FROM attempt a
        WHERE a.provenance = 'real' AND a.settled_at IS NULL AND a.submitted_at IS NOT NULL
            AND EXISTS (SELECT 1 FROM ledger_entry e WHERE e.attempt_id = a.attempt_id)
            AND NOT EXISTS (
                SELECT 1 FROM ledger_entry r LEFT JOIN ledger_entry c ON c.closes = r.entry_id
                WHERE r.attempt_id = a.attempt_id AND r.kind = 'reserve' AND c.entry_id IS NULL)
        """,
    ),
    (
        "job {0} cost {1} millicredits, which is not the sum of its attempts",
        """
        SELECT j.job_id, j.cost FROM job j LEFT JOIN attempt a ON a.job_id = j.job_id
        GROUP BY j.job_id, j.cost HAVING coalesce(sum(a.billed), 0) <> j.cost
        """,
    ),
)


def find_faults() -> list[str]:
    """What does not add up, a sentence each; empty if everything does. The schema states the rest of the rules.

    Raises:
        StoreUnavailable: the database is away.
    """
    with reading():
        return [words.format(*row) for words, query in _CHECKS for row in _rows(query)]


def _rows(query: str) -> Iterator[Any]:
    yield from database.execute_sql(query).fetchall()
