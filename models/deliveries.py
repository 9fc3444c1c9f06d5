"""Events that must reach somebody: rows that are due until they are delivered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

from models.database import reading, transaction
from models.tables import Batch, Delivery, Job

EVENTS: Final = "events"
"""The target that stands for the events exchange."""


def add_deliveries(
    job_id: UUID | None,
    event_type: str,
    bodies: dict[str, str],
    now: datetime,
    *,
    due_at: datetime | None = None,
    batch_id: UUID | None = None,
) -> Sequence[UUID]:
    """Make an event due for each target, once. Call it in the transaction that makes the event true.

    Args:
        job_id: None for an event about no single document; then whoever makes it sees to it that it is made once.
        bodies: target to CloudEvents JSON.
        due_at: when the clock sees to it; later than `now` where whoever makes it also nudges, so that it is sent once.
        batch_id: the batch that it is about.

    Returns:
        The ids of the deliveries that were made; none if the event was known already.
    """
    made = []
    with transaction():
        for target, body in bodies.items():
            delivery_id = uuid4()
            added = (
                Delivery.insert(
                    delivery_id=delivery_id,
                    job=job_id,
                    batch_id=batch_id,
                    event_type=event_type,
                    target=target,
                    body=body,
                    created_at=now,
                    due_at=due_at or now,
                )
                .on_conflict_ignore()
                .as_rowcount()
                .execute()
            )
            if added:
                made.append(delivery_id)
    return made


def find_open(delivery_id: UUID) -> Delivery | None:
    """The delivery, unless it was delivered or given up."""
    with reading():
        return Delivery.get_or_none(Delivery.delivery_id == delivery_id, Delivery.due_at.is_null(False))


def tenant_of(delivery: Delivery) -> str:
    """Whose event it is; one that is about neither a job nor a batch goes to the events exchange only."""
    with reading():
        if delivery.batch_id is not None:
            return str(Batch.get(Batch.batch_id == delivery.batch_id).tenant)
        return str(Job.get(Job.job_id == delivery.job_id).tenant)


def delivered(delivery_id: UUID, now: datetime) -> None:
    """It arrived."""
    with transaction():
        Delivery.update(delivered_at=now, due_at=None, last_error=None).where(
            Delivery.delivery_id == delivery_id, Delivery.due_at.is_null(False)
        ).execute()


def failed(delivery_id: UUID, error: str, *, now: datetime, due_at: datetime | None) -> None:
    """It did not arrive; it is due again at `due_at`, or given up if that is None."""
    with transaction():
        Delivery.update(
            tries=Delivery.tries + 1,
            last_error=error[:500],
            due_at=due_at,
            given_up_at=now if due_at is None else None,
        ).where(Delivery.delivery_id == delivery_id, Delivery.due_at.is_null(False)).execute()


def postpone(delivery_id: UUID, due_at: datetime) -> None:
    """It was not tried; it is due again at `due_at`."""
    with transaction():
        Delivery.update(due_at=due_at).where(
            Delivery.delivery_id == delivery_id, Delivery.due_at.is_null(False)
        ).execute()
