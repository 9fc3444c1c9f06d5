"""Bills that are not what was priced. They stand until they are explained, and the provider is asked again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from domain.errors import NotFound
from domain.money import Millicredits
from domain.settlement import DriftKind
from models.changes import What, record_change
from models.database import reading, transaction
from models.tables import Attempt, Drift, Job

ASK_AFTER: Final = (timedelta(hours=1), timedelta(hours=6), timedelta(hours=24), timedelta(hours=72))
"""How long after a bill that is missing or unbelievable the provider is asked again."""
_ASKED: Final = frozenset({DriftKind.UNEXPLAINED_ZERO, DriftKind.NEVER_TOLD})


def report(
    attempt: Attempt, kind: DriftKind, billed: Millicredits | None, *, now: datetime, explanation: str | None = None
) -> bool:
    """Put a drift on record, once, with what is known about it; False if it is there already."""
    with transaction():
        made = (
            Drift.insert(
                attempt=attempt.attempt_id,
                kind=kind,
                priced=attempt.estimate,
                billed=billed,
                at=now,
                explanation=explanation,
                due_at=now + ASK_AFTER[0] if kind in _ASKED else None,
            )
            .on_conflict_ignore()
            .as_rowcount()
            .execute()
        )
    return bool(made)


def by_a_person(drift: Drift) -> bool:
    """True if what an assumed bill really was is known by a person's word alone, which may be taken back."""
    return DriftKind(drift.kind) in _ASKED and drift.explained_by is not None


def to_be_asked(job_id: UUID) -> Sequence[Drift]:
    """A job's drifts about which the provider may still be asked."""
    with reading():
        mine = Attempt.select(Attempt.attempt_id).where(Attempt.job == job_id)
        return list(Drift.select().where(Drift.attempt.in_(mine), Drift.due_at.is_null(False)))


def find(most: int, *, every: bool = False, tenant: str | None = None) -> Sequence[Drift]:
    """Drifts with their attempts and jobs, newest first: those that nobody has explained, or every one.

    Args:
        most: how many at most.
        tenant: only this one's.
    """
    query = Drift.select(Drift, Attempt, Job).join(Attempt).join(Job).order_by(Drift.drift_id.desc()).limit(most)
    if not every:
        query = query.where(Drift.explained_at.is_null())
    if tenant is not None:
        query = query.where(Job.tenant == tenant)
    with reading():
        return list(query)


def get(drift_id: int) -> Drift:
    """A drift with its attempt and job.

    Raises:
        NotFound: there is none.
    """
    with reading():
        found: Drift | None = (
            Drift.select(Drift, Attempt, Job).join(Attempt).join(Job).where(Drift.drift_id == drift_id).get_or_none()
        )
    if found is None:
        raise NotFound(f"there is no drift {drift_id}")
    return found


def ask_later(drift: Drift, *, now: datetime, answered: bool) -> None:
    """Nothing new was learned; after the last time that the provider answered it is left to a person."""
    tries = drift.tries + (1 if answered else 0)
    due_at = now + ASK_AFTER[tries] if tries < len(ASK_AFTER) else None
    with transaction():
        # Somebody may have explained it meanwhile.
        Drift.update(tries=tries, due_at=due_at).where(
            Drift.drift_id == drift.drift_id, Drift.explained_at.is_null()
        ).execute()


def explain(drift: Drift, explanation: str, *, now: datetime, by: str | None = None) -> None:
    """A drift is explained: by a person, or (`by` is None) by what the provider told later. The last word stands."""
    with transaction():
        Drift.update(explained_at=now, explanation=explanation, explained_by=by, due_at=None).where(
            Drift.drift_id == drift.drift_id
        ).execute()
        if by is not None:
            record_change(What.DRIFT_EXPLAINED, str(drift.drift_id), who=by, now=now, after=explanation)
