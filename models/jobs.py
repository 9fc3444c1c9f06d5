"""Jobs: every change is a compare-and-set on the state, recorded with who, when and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from domain.errors import NotFound, OrderConflict, ParsegateError
from domain.job_state import FINAL, JobState, may_step
from domain.orders import Order, raw_path
from models.database import is_postgres, reading, transaction
from models.prepared import Prepared
from models.tables import Document, History, Job

WAITING: Final = frozenset({JobState.RECEIVED, JobState.DEFERRED})
"""States in which a job may have a turn in the queue for admission."""


@dataclass(frozen=True)
class Content:
    """A document's bytes, once they are in our store."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Accepted:
    """An order's job, and whether this order made it."""

    job: Job
    created: bool


def accept_order(
    order: Order,
    *,
    who: str,
    now: datetime,
    due_at: datetime,
    content: Content | None = None,
    user_metadata: Mapping[str, str] | None = None,
    batch_id: UUID | None = None,
) -> Accepted:
    """Make an order's document and job, or find them if it was ordered before.

    Args:
        order: checked for its form only; the job fails later if it can't be priced.
        who: who orders, for the history.
        content: the bytes' hash and size if they are in our store already; otherwise `order.source` is to be fetched.
        user_metadata: what the sender wrote on the job.
        batch_id: the batch that it is ordered in.

    Raises:
        OrderConflict: the same `document_id` was used with another order, or was deleted.
        StoreUnavailable: the database is away.
    """
    fingerprint = order.fingerprint(content.sha256 if content else None)
    with transaction():
        made = (
            Document.insert(
                document_id=order.document_id,
                user_id=order.user_id,
                tenant=order.tenant,
                order_sha256=fingerprint,
                source=order.source,
                filename=order.display_name,
                raw_path=raw_path(order.user_id, order.document_id, order.display_name),
                raw_sha256=content.sha256 if content else None,
                raw_bytes=content.size if content else None,
                created_at=now,
            )
            .on_conflict_ignore()
            .as_rowcount()
            .execute()
        )
        if not made:
            return Accepted(_ordered_before(order, fingerprint), created=False)
        return Accepted(_open_job(order, who, now, due_at, user_metadata, batch_id), created=True)


def _ordered_before(order: Order, fingerprint: str) -> Job:
    document = Document.get_by_id(order.document_id)
    if document.deleted_at is not None:
        raise OrderConflict(f"document {order.document_id} was deleted and can't be ordered again")
    if document.order_sha256 != fingerprint:
        raise OrderConflict(
            f"document {order.document_id} was ordered before with another order: use another document_id"
        )
    job: Job = Job.select().where(Job.document == order.document_id).order_by(Job.created_at.desc()).get()
    return job


def _open_job(
    order: Order,
    who: str,
    now: datetime,
    due_at: datetime,
    user_metadata: Mapping[str, str] | None,
    batch_id: UUID | None,
) -> Job:
    job: Job = Job.create(
        job_id=uuid4(),
        document=order.document_id,
        tenant=order.tenant,
        state=JobState.RECEIVED,
        tier=order.tier,
        options=order.options,
        tags=list(order.tags),
        priority=order.priority,
        mode=order.mode,
        correlation_id=order.correlation_id or uuid4(),
        callback_url=order.callback_url,
        user_metadata=None if user_metadata is None else dict(user_metadata),
        batch_id=batch_id,
        due_at=due_at,
        created_at=now,
        updated_at=now,
    )
    record(job.job_id, None, JobState.RECEIVED, who=who, why="ordered", at=now)
    return job


_BY_ID: Final[Prepared[Job]] = Prepared(
    lambda job_id: Job.select(Job, Document).join(Document).where(Job.job_id == job_id), Job.job_id
)
_LOCK: Final[Prepared[Job]] = Prepared(
    lambda job_id: Job.select(Job.job_id).where(Job.job_id == job_id).for_update(), Job.job_id
)


def find_job(job_id: UUID) -> Job | None:
    """The job with its document, or None."""
    with reading():
        return _BY_ID.first(job_id)


def get_job(job_id: UUID) -> Job:
    """The job with its document.

    Raises:
        NotFound: there is no such job.
    """
    job = find_job(job_id)
    if job is None:
        raise NotFound(f"there is no job {job_id}")
    return job


def lock_document(document_id: UUID) -> Document:
    """A document, whose jobs nobody adds to before the transaction ends. Taken before the lock of any of its jobs."""
    query = Document.select().where(Document.document_id == document_id)
    document: Document = (query.for_update() if is_postgres() else query).get()
    return document


@contextmanager
def owning(job_id: UUID) -> Iterator[Job]:
    """A transaction that holds the job's row: all that belongs to the job is changed under this lock, and after it.

    Locks are taken in one order (job, attempt, windows), so that nobody waits in a circle.

    Raises:
        NotFound: there is no such job.
    """
    with transaction():
        if is_postgres():
            _LOCK.rows(job_id)
        yield get_job(job_id)


def record_content(job: Job, content: Content, *, due_at: datetime) -> None:
    """The document's bytes are in our store now."""
    with transaction():
        Document.update(raw_sha256=content.sha256, raw_bytes=content.size).where(
            Document.document_id == job.document_id, Document.raw_sha256.is_null()
        ).execute()
        Job.update(due_at=due_at, tries=0, message=None).where(
            Job.job_id == job.job_id, Job.state == JobState.RECEIVED
        ).execute()


def step(
    job_id: UUID,
    before: JobState,
    after: JobState,
    *,
    who: str,
    why: str,
    now: datetime,
    due_at: datetime | None,
    **changes: Any,
) -> bool:
    """Take a job from `before` to `after`, if it is still there. Call it inside a transaction with what belongs to it.

    Args:
        due_at: when the job must be looked at again; None if and only if `after` is final.
        changes: other columns to set.

    Returns:
        False if somebody else was faster: then nothing was changed, and the caller has nothing more to do.
    """
    if not may_step(before, after):
        raise ValueError(f"a job can't go from {before} to {after}")
    if (due_at is None) != (after in FINAL):
        raise ValueError(f"{after} and due_at={due_at} don't go together")
    finished = now if after in FINAL else None
    if after not in WAITING:
        changes |= {"turn": None, "waits_for": None, "twin_of": None}
    with transaction():
        moved = (
            Job.update(state=after, due_at=due_at, updated_at=now, finished_at=finished, tries=0, **changes)
            .where(Job.job_id == job_id, Job.state == before)
            .execute()
        )
        if moved:
            record(job_id, before, after, who=who, why=why, at=now)
            if after in FINAL or after in WAITING:
                # Whoever waits for the same work to be done is due: it is done, or somebody else must do it.
                Job.update(due_at=now, twin_of=None).where(Job.twin_of == job_id).execute()
    return bool(moved)


def fail(job: Job, error: ParsegateError, *, who: str, now: datetime) -> bool:
    """End a job as failed, with the error's reason and sentence. Its attempt, and so its money, is not touched.

    Returns:
        False if it has ended already, cancelled perhaps.
    """
    if job.state in FINAL:
        return False
    return step(
        job.job_id,
        JobState(job.state),
        JobState.FAILED,
        who=who,
        why=str(error),
        now=now,
        due_at=None,
        reason=error.reason,
        message=str(error),
    )


def postpone(job: Job, due_at: datetime, *, message: str | None = None, counts: bool = True) -> None:
    """Look at a job again at `due_at`, its state unchanged, and say why it waits.

    Args:
        counts: False if this is waiting, not trying again; the waits between tries grow with `tries`.
    """
    changes: dict[str, Any] = {"due_at": due_at}
    if message is not None:
        changes["message"] = message
    if counts:
        changes["tries"] = Job.tries + 1
    with transaction():
        Job.update(**changes).where(Job.job_id == job.job_id, Job.state == job.state).execute()


def record(
    job_id: UUID, before: str | None, after: str, *, who: str, why: str, at: datetime, attempt_id: UUID | None = None
) -> None:
    """Add a transition to the history."""
    History.insert(
        job_id=job_id, attempt_id=attempt_id, before=before, after=after, who=who, why=why[:1000], at=at
    ).execute()


def history(job_id: UUID, after: int = 0) -> Sequence[History]:
    """A job's transitions, oldest first.

    Args:
        after: only those after this one's `history_id`.
    """
    with reading():
        query = History.select().where(History.job_id == job_id, History.history_id > after)
        return list(query.order_by(History.history_id))
