"""Who goes next: documents that wait are admitted one at a time, by priority, then tenants in turn, then age.

A waiting job has a `turn`. A tenant's documents get rising turns that begin no lower than the one just admitted
(start-time fair queueing): ten thousand documents of one tenant don't stand before the first of another.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from peewee import Value, fn

from domain.budgets import BudgetKey, Scope
from domain.job_state import AttemptState, JobState, Provenance
from domain.money import Millicredits
from models.database import database, is_postgres, reading, transaction
from models.jobs import WAITING
from models.prepared import Prepared
from models.tables import EVERYBODY, Attempt, Document, Job, TenantTurn

_LOCK: Final = 0x61646D69
"""The PostgreSQL advisory lock of the admission step (an arbitrary constant)."""


@dataclass
class Blocked:
    """Budgets that refused somebody in this round: nobody overtakes who needs the same one.

    Args:
        paying: nobody who pays can go: the provider's account has no credits left, or enough are on their way.
        too_dear: budgets whose whole limit some documents are beyond, with that limit: those stop nobody else.
    """

    keys: set[BudgetKey] = field(default_factory=set)
    paying: bool = False
    too_dear: dict[BudgetKey, Millicredits] = field(default_factory=dict)

    @property
    def everybody(self) -> bool:
        """True once what all share has run out."""
        return self.paying or any(key.scope is Scope.GLOBAL for key in self.keys)

    def of(self, scope: Scope) -> list[str]:
        """The tenants or users that must wait."""
        return [key.subject for key in self.keys if key.scope is scope]


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """A transaction that only one process at a time may be in: the ordered admission step."""
    with transaction():
        if is_postgres():
            database.execute_sql("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        yield


def enqueue(
    job: Job, *, pages: int, pages_guessed: bool, estimate: Millicredits, work_key: str | None, due_at: datetime
) -> bool:
    """Let a priced job wait to be admitted, behind its tenant's others; False if it waits already, or has moved on."""
    with transaction():
        moved = (
            Job.update(
                pages=pages,
                pages_guessed=pages_guessed,
                estimate=estimate,
                work_key=work_key,
                twin_of=None,
                turn=_next_turn(job),
                due_at=due_at,
            )
            .where(Job.job_id == job.job_id, Job.state.in_(WAITING), Job.turn.is_null())
            .execute()
        )
    return bool(moved)


def set_estimate(job: Job, estimate: Millicredits) -> None:
    """The price has changed while a job waited. Call it in the admission step."""
    Job.update(estimate=estimate).where(Job.job_id == job.job_id).execute()
    job.estimate = estimate


def enqueue_again(job: Job, **changes: Any) -> None:
    """Put a job that had been admitted before at the front of its priority. Call it in its transaction."""
    Job.update(turn=_admitted_turn(job.priority), **changes).where(Job.job_id == job.job_id).execute()


def _admitted_turn(priority: int) -> int:
    admitted = TenantTurn.get_or_none(TenantTurn.priority == priority, TenantTurn.tenant == EVERYBODY)
    return int(admitted.turn) if admitted is not None else 1


def _next_turn(job: Job) -> int:
    least, greater = _admitted_turn(job.priority), fn.GREATEST if is_postgres() else fn.MAX
    TenantTurn.insert(priority=job.priority, tenant=job.tenant, turn=least).on_conflict(
        conflict_target=[TenantTurn.priority, TenantTurn.tenant],
        update={TenantTurn.turn: greater(TenantTurn.turn + 1, least)},
    ).execute()
    return int(TenantTurn.get(TenantTurn.priority == job.priority, TenantTurn.tenant == job.tenant).turn)


def was_admitted(job: Job) -> None:
    """Remember how far the turns of a job's priority have come. Call it in the admission step."""
    TenantTurn.insert(priority=job.priority, tenant=EVERYBODY, turn=job.turn or 1).on_conflict(
        conflict_target=[TenantTurn.priority, TenantTurn.tenant], preserve=[TenantTurn.turn]
    ).execute()


def next_waiting(blocked: Blocked, *, free: bool = False) -> Job | None:
    """The job that is to be admitted next, with its document; None if nobody waits who is not blocked.

    Args:
        free: documents are parsed here, and pay nothing, unless their order asked for a mode of its own.
    """
    if blocked.everybody and not free:
        return None
    if blocked == Blocked():
        return _NEXT.first()
    query = _waiting()
    pays_nothing = Job.mode.is_null() if free else Value(False)
    if blocked.everybody:
        query = query.where(pays_nothing)
    if tenants := blocked.of(Scope.TENANT):
        query = query.where(pays_nothing | Job.tenant.not_in(tenants))
    if users := blocked.of(Scope.USER):
        query = query.where(pays_nothing | Document.user_id.not_in(users))
    for key, limit in blocked.too_dear.items():
        query = query.where(pays_nothing | _is_not_of(key) | (Job.estimate <= limit))
    found: Job | None = query.get_or_none()
    return found


def _is_not_of(key: BudgetKey) -> Any:
    """True for jobs that a budget does not limit."""
    if key.scope is Scope.GLOBAL:
        return Value(False)
    return Job.tenant != key.subject if key.scope is Scope.TENANT else Document.user_id != key.subject


def waiting_in_turn() -> Any:
    """A query of those that wait to be admitted, with their documents, in their order."""
    query = Job.select(Job, Document).join(Document).where(Job.turn.is_null(False), Job.state.in_(WAITING))
    return query.order_by(Job.priority.desc(), Job.turn, Job.created_at, Job.job_id)


def _waiting() -> Any:
    return waiting_in_turn().limit(1)


_NEXT: Final[Prepared[Job]] = Prepared(_waiting)
_ADMITTED: Final[Prepared[Any]] = Prepared(
    lambda: (
        Attempt.select(fn.COUNT(Attempt.attempt_id))
        .where(Attempt.state == AttemptState.OPEN, Attempt.provenance == Provenance.REAL)
        .tuples()
    )
)
_ANYONE: Final[Prepared[Any]] = Prepared(lambda: Job.select(Job.job_id).where(Job.turn.is_null(False)).limit(1))


def is_anyone_waiting() -> bool:
    """True if a document waits to be admitted."""
    with reading():
        return _ANYONE.first() is not None


def admitted_not_sent() -> int:
    """How many attempts for the provider were admitted and have not been sent."""
    with reading():
        [(count,)] = _ADMITTED.rows()
    return int(count)


def queue_position(job: Job) -> int:
    """How many documents are before a waiting one."""
    ahead = (Job.priority > job.priority) | (
        (Job.priority == job.priority)
        & ((Job.turn < job.turn) | ((Job.turn == job.turn) & (Job.created_at < job.created_at)))
    )
    with reading():
        return Job.select().where(Job.turn.is_null(False), ahead).count()


def wake_deferred(now: datetime) -> int:
    """Make every job that waits for a budget due now: a limit was raised."""
    with transaction():
        return int(Job.update(due_at=now).where(Job.turn.is_null(False), Job.state == JobState.DEFERRED).execute())
