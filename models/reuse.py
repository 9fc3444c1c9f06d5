"""The same work ordered again: it waits for the order that does it, and gets a copy of the result."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from domain.job_state import JobState, Provenance
from models.database import is_postgres, reading
from models.jobs import WAITING
from models.prepared import Prepared
from models.tables import Document, Job

LEADING: Final = (
    JobState.RESERVED,
    JobState.SUBMITTING,
    JobState.IN_DOUBT,
    JobState.PARSING,
    JobState.INGESTING,
)
"""States in which a job does its work; once it leaves them, its twins are due (`models.jobs.step`)."""


_RESULT: Final[Prepared[Job]] = Prepared(
    lambda work_key, job_id, since: (
        Job.select(Job, Document)
        .join(Document)
        .where(
            Job.work_key == work_key,
            Job.job_id != job_id,
            Job.state == JobState.COMPLETED,
            Job.provenance.in_([Provenance.REAL, Provenance.CACHED]),
            # A copy is as old as what it is a copy of.
            Job.reused_from.is_null(),
            Job.finished_at >= since,
            Document.deleted_at.is_null(),
        )
        .order_by(Job.finished_at.desc())
        .limit(1)
    ),
    Job.work_key,
    Job.job_id,
    Job.finished_at,
)


def _leader(work_key: Any, job_id: Any, since: Any) -> Any:
    query: Any = Job.select(Job.job_id).where(
        Job.work_key == work_key, Job.job_id != job_id, Job.updated_at >= since, Job.state.in_(LEADING)
    )
    return query.limit(1).for_update("FOR SHARE") if is_postgres() else query.limit(1)


_LEADER: Final[Prepared[Job]] = Prepared(_leader, Job.work_key, Job.job_id, Job.updated_at)


def find_result(job: Job, since: datetime) -> Job | None:
    """The latest job, finished since a moment, whose result is the same work's and came from the provider; or None."""
    if job.work_key is None:
        return None
    with reading():
        return _RESULT.first(job.work_key, job.job_id, since)


def leader_of(job: Job, since: datetime) -> UUID | None:
    """The job that does the same work now; None if nobody does. Call it in the admission step.

    On PostgreSQL it can't end before the transaction does: then it finds whom it must wake.

    Args:
        since: who has not come on since then is no leader: it may never end.
    """
    if job.work_key is None:
        return None
    with reading():
        found = _LEADER.first(job.work_key, job.job_id, since)
    return None if found is None else found.job_id


def wait_for_twin(job: Job, leader_id: UUID, due_at: datetime) -> None:
    """Take a waiting job out of the queue until its twin has ended. Call it in the admission step."""
    Job.update(
        turn=None,
        twin_of=leader_id,
        due_at=due_at,
        message=f"waits for job {leader_id}, which parses the same document with the same options",
    ).where(Job.job_id == job.job_id, Job.state.in_(WAITING)).execute()


def forget(job_id: UUID | None) -> None:
    """A job's result is not used again. Call it in a transaction."""
    if job_id is not None:
        Job.update(work_key=None).where(Job.job_id == job_id).execute()
