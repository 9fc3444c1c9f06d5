"""The one clock: whatever is not finished says in `due_at` when it must be looked at again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from peewee import Model

from models.database import is_postgres, transaction
from models.tables import Attempt, Delivery, Document, Job


@dataclass(frozen=True)
class Due:
    """What a sweep claimed.

    Args:
        jobs: (job id, state, whether its bytes are in our store).
        settlements: ids of jobs with an attempt whose cost is not known.
        deliveries: ids of deliveries.
    """

    jobs: Sequence[tuple[UUID, str, bool]]
    settlements: Sequence[UUID]
    deliveries: Sequence[UUID]

    def __len__(self) -> int:
        return len(self.jobs) + len(self.settlements) + len(self.deliveries)


def claim_due(now: datetime, until: datetime, limit: int) -> Due:
    """Claim at most `limit` of each kind that are due at `now`, oldest first; they are due again at `until`.

    Several clocks may claim at once: on PostgreSQL each takes what the others have not locked.

    Raises:
        StoreUnavailable: the database is away.
    """
    with transaction():
        job_ids = _claim(Job, Job.job_id, Job.due_at, now, until, limit)
        attempt_ids = _claim(Attempt, Attempt.attempt_id, Attempt.due_at, now, until, limit)
        deliveries = _claim(Delivery, Delivery.delivery_id, Delivery.due_at, now, until, limit)
        jobs = _states(job_ids)
        settlements = [row.job_id for row in Attempt.select(Attempt.job).where(Attempt.attempt_id.in_(attempt_ids))]
    return Due(jobs, settlements, deliveries)


def _claim(table: type[Model], key: Any, due_at: Any, now: datetime, until: datetime, limit: int) -> list[UUID]:
    due = table.select(key).where(due_at <= now).order_by(due_at).limit(limit)
    if is_postgres():
        due = due.for_update(skip_locked=True)
    ids = [getattr(row, key.name) for row in due]
    if ids:
        table.update({due_at: until}).where(key.in_(ids)).execute()
    return ids


def _states(job_ids: Sequence[UUID]) -> list[tuple[UUID, str, bool]]:
    rows: Any = Job.select(Job.job_id, Job.state, Document.raw_sha256).join(Document).where(Job.job_id.in_(job_ids))
    return [(job_id, state, raw_sha256 is not None) for job_id, state, raw_sha256 in rows.tuples()]


def wake(job_id: UUID, now: datetime) -> bool:
    """Make an unfinished job due now; False if there is none."""
    with transaction():
        woken = Job.update(due_at=now).where(Job.job_id == job_id, Job.due_at.is_null(False)).execute()
    return bool(woken)


def wake_all(now: datetime) -> int:
    """Make every unfinished job due now: for the start of a process that is the only one."""
    with transaction():
        woken: int = Job.update(due_at=now).where(Job.due_at.is_null(False)).execute()
    return woken
