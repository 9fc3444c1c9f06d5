"""Doing again what the local parser stood in for, or what ended without a result."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from peewee import fn

from domain.errors import OrderConflict
from domain.job_state import JobState, Provenance
from domain.settings import Mode
from models.attempts import attempt_under_way
from models.database import reading, transaction
from models.jobs import get_job, lock_document, record
from models.tables import Document, Job

_NEWEST: Final = (Job.created_at.desc(), Job.job_id.desc())
WITHOUT_RESULT: Final = (JobState.FAILED, JobState.REJECTED, JobState.CANCELLED)
"""How a job may end so that its document can be ordered again once more."""


def find_mocked(limit: int) -> Sequence[Job]:
    """Completed jobs whose result the local parser made, and which were not ordered again, oldest first."""
    later: Any = Job.alias()
    redone = later.select().where(later.redoes == Job.job_id, later.state.not_in(WITHOUT_RESULT))
    query = (
        Job.select(Job, Document)
        .join(Document)
        .where(
            Job.state == JobState.COMPLETED,
            Job.provenance == Provenance.MOCK,
            Document.deleted_at.is_null(),
            ~fn.EXISTS(redone),
        )
    )
    with reading():
        return list(query.order_by(Job.created_at, Job.job_id).limit(limit))


def open_redo(job: Job, *, who: str, now: datetime, due_at: datetime) -> UUID | None:
    """Order a job's document again, for real; None if it was ordered again already, or deleted.

    The earlier job stays as it is.
    """
    why = f"job {job.job_id} again, for real"
    with transaction():
        if lock_document(job.document_id).deleted_at is not None:
            return None
        return _order_again(job, Mode.REAL, who=who, why=why, now=now, due_at=due_at)


def open_retry(job: Job, *, who: str, now: datetime, due_at: datetime) -> Job:
    """Order a job's document again after it ended without a result; who asks twice gets the same new job.

    Whichever of its jobs is named: a document has one at a time.

    Raises:
        OrderConflict: it has not ended, has a result, its document was deleted, or its last attempt is still open at
            the provider: then what that costs is not known yet, and paying once more could be paying twice.
    """
    if job.state not in WITHOUT_RESULT:
        words = "has a result" if job.state == JobState.COMPLETED else f"is {job.state}, and goes on by itself"
        raise OrderConflict(f"the job {words}: there is nothing to retry", reason="nothing_to_retry")
    with transaction():
        if lock_document(job.document_id).deleted_at is not None:
            raise OrderConflict("the document was deleted", reason="document_deleted")
        last: Job = Job.select().where(Job.document == job.document_id).order_by(*_NEWEST).limit(1).get()
        if last.state not in WITHOUT_RESULT:
            return get_job(last.job_id)
        _check_ended(last)
        mode = None if job.mode is None else Mode(job.mode)
        job_id = _order_again(last, mode, who=who, why=f"job {last.job_id} again", now=now, due_at=due_at)
        assert job_id is not None, "nobody else orders it while its row is held"
        return get_job(job_id)


def _check_ended(job: Job) -> None:
    if attempt_under_way(job.job_id) is not None:
        raise OrderConflict(
            "the provider has not ended the job's last attempt yet: try again later, so that nothing is paid twice",
            reason="attempt_open",
        )


def _order_again(job: Job, mode: Mode | None, *, who: str, why: str, now: datetime, due_at: datetime) -> UUID | None:
    job_id = uuid4()
    with transaction():
        made = (
            Job.insert(
                job_id=job_id,
                document=job.document_id,
                tenant=job.tenant,
                state=JobState.RECEIVED,
                tier=job.tier,
                options=job.options,
                tags=job.tags,
                priority=job.priority,
                mode=mode,
                redoes=job.job_id,
                correlation_id=job.correlation_id,
                callback_url=job.callback_url,
                due_at=due_at,
                created_at=now,
                updated_at=now,
            )
            .on_conflict_ignore()
            .as_rowcount()
            .execute()
        )
        if made:
            record(job_id, None, JobState.RECEIVED, who=who, why=why, at=now)
    return job_id if made else None


def with_result(job: Job) -> Job:
    """The job, or the one that has done it again: its result is in the place of the earlier one."""
    is_replaced = job.provenance == Provenance.MOCK or job.state in WITHOUT_RESULT
    return (redone_by(job) or job) if is_replaced else job


def redone_by(job: Job) -> Job | None:
    """The last job that did a job's document again and completed, with its document; None if there is none."""
    with reading():
        found: Job | None = (
            Job.select(Job, Document)
            .join(Document)
            .where(
                Job.document == job.document_id,
                Job.redoes.is_null(False),
                Job.job_id != job.job_id,
                Job.state == JobState.COMPLETED,
            )
            .order_by(*_NEWEST)
            .limit(1)
            .get_or_none()
        )
    return found
