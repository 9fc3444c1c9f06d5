"""The one clock: whatever is not finished says in `due_at` when it must be looked at again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from peewee import Model

from domain.job_state import AttemptState, JobState
from models.database import is_postgres, reading, transaction
from models.service_tables import Setting
from models.tables import Attempt, Delivery, Document, Drift, Erasure, Job

_WAITS: Final[Any] = Job.turn.is_null(False)
"""A job that waits to be admitted."""
_WAITS_NOT: Final[Any] = Job.turn.is_null()
_NUDGED: Final = "waiting_nudged"
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Due:
    """What a sweep claimed.

    Args:
        jobs: (job id, state, whether its bytes are where the next step needs them: in our store, or, if it is
            reserved, at the provider).
        settlements: ids of jobs with an attempt whose cost is not known, or not explained.
        deliveries: ids of deliveries.
        erasures: ids of documents that were deleted, and of which something is left.
    """

    jobs: Sequence[tuple[UUID, str, bool]]
    settlements: Sequence[UUID]
    deliveries: Sequence[UUID]
    erasures: Sequence[UUID]

    def __len__(self) -> int:
        return len(self.jobs) + len(self.settlements) + len(self.deliveries) + len(self.erasures)


def claim_due(now: datetime, until: datetime, limit: int, *, ahead: timedelta = timedelta()) -> Due:
    """Claim at most `limit` of each kind that are due at `now`, oldest first; they are due again at `until`.

    Those that wait to be admitted are not among them (`claim_waiting`). Jobs that are about to be sent are claimed
    `ahead` of their time: their slot is waited for by who handles them.

    Several clocks may claim at once: on PostgreSQL each takes what the others have not locked.

    Raises:
        StoreUnavailable: the database is away.
    """
    with transaction():
        sooner = (Job.due_at <= now) | (Job.state == JobState.RESERVED)
        job_ids = _claim(Job, Job.job_id, Job.due_at, now + ahead, until, limit, sooner, _WAITS_NOT)
        attempt_ids = _claim(Attempt, Attempt.attempt_id, Attempt.due_at, now, until, limit)
        drift_ids = _claim(Drift, Drift.drift_id, Drift.due_at, now, until, limit)
        deliveries = _claim(Delivery, Delivery.delivery_id, Delivery.due_at, now, until, limit)
        erasures = _claim(Erasure, Erasure.document, Erasure.due_at, now, until, limit)
        jobs = _states(job_ids)
        doubted = Drift.select(Drift.attempt).where(Drift.drift_id.in_(drift_ids))
        unsettled = Attempt.attempt_id.in_(attempt_ids) | Attempt.attempt_id.in_(doubted)
        settlements = [row.job_id for row in Attempt.select(Attempt.job).where(unsettled).distinct()]
    return Due(jobs, settlements, deliveries, erasures)


def claim_waiting(now: datetime, until: datetime, limit: int) -> Sequence[UUID]:
    """Claim at most `limit` of those that wait to be admitted and are to be looked at again; see `claim_due`.

    Raises:
        StoreUnavailable: the database is away.
    """
    with transaction():
        return _claim(Job, Job.job_id, Job.due_at, now, until, limit, _WAITS)


def claim_waiting_nudge(now: datetime, lease: timedelta) -> bool:
    """True if `claim_waiting` would find somebody, and nobody was nudged about that before who may still come.

    Only one clock is told so, and while no worker takes the nudge, only once in a lease.

    Raises:
        StoreUnavailable: the database is away.
    """
    with reading():
        if not Job.select().where(_WAITS, Job.due_at <= now).limit(1).exists():
            return False
    with transaction():
        Setting.insert(name=_NUDGED, value={}, changed_at=_NEVER, changed_by="clock").on_conflict_ignore().execute()
        mine = Setting.update(changed_at=now).where(
            Setting.name == _NUDGED, (Setting.changed_at <= now - lease) | (Setting.changed_at > now)
        )
        return bool(mine.execute())


def waiting_nudge_came(now: datetime) -> None:
    """The nudge was taken: the next one may be sent.

    Raises:
        StoreUnavailable: the database is away.
    """
    with transaction():
        Setting.update(changed_at=_NEVER).where(Setting.name == _NUDGED, Setting.changed_at <= now).execute()


def _claim(
    table: type[Model], key: Any, due_at: Any, now: datetime, until: datetime, limit: int, *only: Any
) -> list[Any]:
    due: Any = table.select(key).where(due_at <= now, *only).order_by(due_at).limit(limit)
    if is_postgres():
        due = due.for_update(skip_locked=True)
    ids = [row[0] for row in due.tuples()]
    if ids:
        table.update({due_at: until}).where(key.in_(ids)).execute()
    return ids


def _states(job_ids: Sequence[UUID]) -> list[tuple[UUID, str, bool]]:
    rows: Any = Job.select(Job.job_id, Job.state, Document.raw_sha256).join(Document).where(Job.job_id.in_(job_ids))
    uploaded = {row.job_id for row in Attempt.select(Attempt.job).where(_is_uploaded(job_ids))}
    return [
        (job_id, state, job_id in uploaded if state == JobState.RESERVED else raw_sha256 is not None)
        for job_id, state, raw_sha256 in rows.tuples()
    ]


def _is_uploaded(job_ids: Sequence[UUID]) -> Any:
    return Attempt.job.in_(job_ids) & (Attempt.state == AttemptState.OPEN) & Attempt.file_id.is_null(False)


def next_due() -> datetime | None:
    """When something is due next that `claim_due` claims; None if nothing is.

    Raises:
        StoreUnavailable: the database is away.
    """
    queries = [
        (Job.select(Job.due_at).where(_WAITS_NOT), Job.due_at),
        *((table.select(table.due_at), table.due_at) for table in (Attempt, Drift, Delivery, Erasure)),
    ]
    with reading():
        found: list[Any] = [
            query.where(due_at.is_null(False)).order_by(due_at).limit(1).get_or_none() for query, due_at in queries
        ]
    return min((row.due_at for row in found if row is not None), default=None)


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
