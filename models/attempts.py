"""Attempts to have a document parsed, and their money: each ends once, by the provider's word, and never reopens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from peewee import IntegrityError, Node

from domain.errors import NotFound
from domain.job_state import ATTEMPT_FINAL, AttemptState, Provenance
from domain.money import Millicredits
from models import ledger
from models.database import reading, savepoint, transaction
from models.jobs import record
from models.prepared import Prepared
from models.tables import Attempt, Document, Job

UNDER_WAY: Final = tuple(state for state in AttemptState if state not in ATTEMPT_FINAL)


def open_attempt(
    job: Job,
    *,
    provenance: Provenance,
    estimate: Millicredits,
    now: datetime,
    page_price: Millicredits | None = None,
) -> Attempt | None:
    """The job's next attempt; None if one is under way. Call it inside the transaction that needs it.

    A file that an earlier attempt has uploaded is used again.
    """
    with reading():
        earlier = _OF_JOB.rows(job.job_id)
    last = earlier[-1] if earlier else None
    try:
        with savepoint():
            attempt: Attempt = Attempt.create(
                attempt_id=uuid4(),
                job=job.job_id,
                number=len(earlier) + 1,
                state=AttemptState.OPEN,
                provenance=provenance,
                estimate=estimate,
                page_price=page_price,
                file_id=last.file_id if last else None,
                base_url=last.base_url if last else None,
                project_id=last.project_id if last else None,
                provider_date=last.provider_date if last else None,
                created_at=now,
            )
    except IntegrityError:
        return None
    record(job.job_id, None, AttemptState.OPEN, who="parsegate", why="opened", at=now, attempt_id=attempt.attempt_id)
    return attempt


_BY_ID: Final[Prepared[Attempt]] = Prepared(
    lambda attempt_id: Attempt.select().where(Attempt.attempt_id == attempt_id), Attempt.attempt_id
)
_UNDER_WAY: Final[Prepared[Attempt]] = Prepared(
    lambda job_id: Attempt.select().where(Attempt.job == job_id, Attempt.state.in_(UNDER_WAY)), Attempt.job
)
_OF_JOB: Final[Prepared[Attempt]] = Prepared(
    lambda job_id: Attempt.select().where(Attempt.job == job_id).order_by(Attempt.number), Attempt.job
)


def attempt_under_way(job_id: UUID) -> Attempt | None:
    """The job's attempt that has not ended, if there is one."""
    with reading():
        return _UNDER_WAY.first(job_id)


def get_attempt(attempt_id: UUID) -> Attempt:
    """The attempt.

    Raises:
        NotFound: there is no such attempt.
    """
    with reading():
        attempt = _BY_ID.first(attempt_id)
    if attempt is None:
        raise NotFound(f"there is no attempt {attempt_id}")
    return attempt


def ended_unsettled(job_id: UUID) -> Sequence[Attempt]:
    """The job's attempts that ended but whose cost the provider has not told."""
    with reading():
        return [
            attempt for attempt in _OF_JOB.rows(job_id) if attempt.state in ATTEMPT_FINAL and attempt.due_at is not None
        ]


def is_settled(job_id: UUID) -> bool:
    """True if the cost of every attempt of a job is known."""
    with reading():
        return not Attempt.select().where(Attempt.job == job_id, Attempt.settled_at.is_null()).exists()


def step_attempt(
    attempt: Attempt, before: AttemptState, after: AttemptState, *, why: str, now: datetime, **changes: Any
) -> bool:
    """Take an attempt from `before` to `after`, if it is still there. A closed attempt never reopens."""
    if before in ATTEMPT_FINAL:
        raise ValueError(f"attempt {attempt.attempt_id} ended as {before} and can't become {after}")
    with transaction():
        moved = (
            Attempt.update(state=after, **changes)
            .where(Attempt.attempt_id == attempt.attempt_id, Attempt.state == before)
            .execute()
        )
        if moved:
            record(attempt.job_id, before, after, who="parsegate", why=why, at=now, attempt_id=attempt.attempt_id)
    return bool(moved)


def set_attempt(attempt: Attempt, **changes: Any) -> None:
    """Set columns of an attempt that has not been settled."""
    with transaction():
        Attempt.update(**changes).where(
            Attempt.attempt_id == attempt.attempt_id, Attempt.settled_at.is_null()
        ).execute()


def record_upload(attempt: Attempt, **said: Any) -> bool:
    """Put on record that an attempt's file is at the provider; False if the attempt was closed meanwhile.

    Also then, so that the file can be removed there some day.
    """
    with transaction():
        Attempt.update(**said).where(Attempt.attempt_id == attempt.attempt_id).execute()
        return bool(get_attempt(attempt.attempt_id).settled_at is None)


def settle(attempt: Attempt, billed: Millicredits, *, now: datetime, why: str, assumed: bool = False) -> bool:
    """Record what an attempt cost, once: it is added to its job's cost, and what it held is closed.

    Args:
        assumed: the provider did not tell; `billed` is what was reserved.
    """
    with transaction():
        settled = (
            Attempt.update(billed=billed, settled_at=now, due_at=None, assumed=assumed)
            .where(Attempt.attempt_id == attempt.attempt_id, Attempt.settled_at.is_null())
            .execute()
        )
        if settled:
            Job.update(cost=Job.cost + billed).where(Job.job_id == attempt.job_id).execute()
            ledger.settle(attempt.attempt_id, billed, now=now, why=why)
    return bool(settled)


def never_made(attempt: Attempt, before: AttemptState, *, why: str, now: datetime) -> bool:
    """It is proved that the provider made nothing: the attempt is closed at no cost, and its hold is given back."""
    with transaction():
        closed = (
            Attempt.update(state=AttemptState.NEVER_MADE, billed=0, settled_at=now, due_at=None)
            .where(Attempt.attempt_id == attempt.attempt_id, Attempt.state == before)
            .execute()
        )
        if closed:
            ledger.release(attempt.attempt_id, now=now, why=why)
            record(
                attempt.job_id,
                before,
                AttemptState.NEVER_MADE,
                who="parsegate",
                why=why,
                at=now,
                attempt_id=attempt.attempt_id,
            )
    return bool(closed)


def correct(attempt: Attempt, billed: Millicredits, *, now: datetime, why: str, again: bool = False) -> bool:
    """It is known after all what an attempt cost that was settled at its estimate: by the provider, or a person.

    Args:
        again: a person has said so before, and may have been wrong.
    """
    with transaction():
        change = billed - (attempt.billed or 0)
        corrected = (
            Attempt.update(billed=billed, assumed=False)
            .where(
                Attempt.attempt_id == attempt.attempt_id,
                (Attempt.assumed | again) & Attempt.settled_at.is_null(False),
                Attempt.billed == attempt.billed,
            )
            .execute()
        )
        if corrected and change:
            Job.update(cost=Job.cost + change).where(Job.job_id == attempt.job_id).execute()
            ledger.adjust(attempt.attempt_id, change, now=now, why=why)
    return bool(corrected)


def billed_before(attempt: Attempt, since: datetime) -> bool:
    """True if the provider billed another attempt for the same bytes with the same order since a moment."""
    with reading():
        job = Job.select(Job, Document).join(Document).where(Job.job_id == attempt.job_id).get()
        if job.options.get("disable_cache"):
            return False
        twins = (
            Attempt.select(Attempt, Job)
            .join(Job)
            .join(Document)
            .where(
                Document.raw_sha256 == job.document.raw_sha256,
                Job.tier == job.tier,
                Attempt.attempt_id != attempt.attempt_id,
                Attempt.base_url == attempt.base_url,
                Attempt.billed > 0,
                ~Attempt.assumed,
                Attempt.settled_at >= since,
            )
        )
        return any(twin.job.options == job.options for twin in twins)


def count_sent() -> int:
    """How many are at the provider, not ended."""
    with reading():
        return int(Attempt.select().where(Attempt.state == AttemptState.SENT).count())


def find_attempts(where: Node) -> Sequence[Attempt]:
    """Attempts that match, oldest first."""
    with reading():
        return list(Attempt.select().where(where).order_by(Attempt.created_at))
