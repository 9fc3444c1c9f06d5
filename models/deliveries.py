"""Events that must reach somebody: rows that are due until they are delivered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID, uuid4

from domain.errors import NotFound
from models.changes import What, record_change
from models.database import reading, transaction
from models.tables import Delivery

EVENTS: Final = "events"
"""The target that stands for the events exchange."""


@dataclass(frozen=True)
class About:
    """What an event is about: a tenant's job or batch, or, with nothing said, the service.

    Of an event that is about no job whoever makes it sees to it that it is made once.
    """

    tenant: str | None = None
    job_id: UUID | None = None
    batch_id: UUID | None = None


def targets_of(callback_url: str | None, *, exchange: bool) -> Sequence[str]:
    """Who hears of a job or a batch.

    Args:
        exchange: whether there is an events exchange.
    """
    return [*([EVENTS] if exchange else []), *([] if callback_url is None else [callback_url])]


def add_deliveries(
    about: About, event_type: str, bodies: dict[str, str], now: datetime, *, due_at: datetime | None = None
) -> Sequence[UUID]:
    """Make an event due for each target, once. Call it in the transaction that makes the event true.

    Args:
        bodies: target to CloudEvents JSON.
        due_at: when the clock sees to it; later than `now` where whoever makes it also nudges, so that it is sent once.

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
                    job=about.job_id,
                    batch_id=about.batch_id,
                    tenant=about.tenant,
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


class DeliveryState(StrEnum):
    """What became of a delivery so far."""

    OPEN = "open"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


@dataclass(frozen=True)
class WantedDeliveries:
    """Which deliveries to receivers; None is any. Those to the events exchange are nobody's."""

    tenant: str | None = None
    state: DeliveryState | None = None
    job_id: UUID | None = None


_MOMENTS: Final[Mapping[DeliveryState, Any]] = {
    DeliveryState.OPEN: Delivery.due_at,
    DeliveryState.DELIVERED: Delivery.delivered_at,
    DeliveryState.GIVEN_UP: Delivery.given_up_at,
}


def list_deliveries(wanted: WantedDeliveries, limit: int) -> Sequence[Delivery]:
    """Deliveries to receivers, newest first."""
    query = Delivery.select().where(Delivery.target != EVENTS)
    if wanted.state is not None:
        query = query.where(_MOMENTS[wanted.state].is_null(False))
    if wanted.job_id is not None:
        query = query.where(Delivery.job == wanted.job_id)
    if wanted.tenant is not None:
        query = query.where(Delivery.tenant == wanted.tenant)
    with reading():
        return list(query.order_by(Delivery.created_at.desc(), Delivery.delivery_id).limit(limit))


def get_delivery(delivery_id: UUID, tenant: str | None) -> Delivery:
    """A delivery to a receiver.

    Args:
        tenant: whose it must be; None is anybody's.

    Raises:
        NotFound: there is none.
    """
    with reading():
        found: Delivery | None = Delivery.get_or_none(Delivery.delivery_id == delivery_id, Delivery.target != EVENTS)
        if found is None or tenant not in (None, found.tenant):
            raise NotFound(f"there is no delivery {delivery_id}")
        return found


def send_again(delivery_id: UUID, *, who: str, now: datetime) -> bool:
    """Make a delivery due once more, whatever became of it: the same event, with the same id.

    Returns:
        False if its body is not kept any more.
    """
    with transaction():
        again = (
            Delivery.update(due_at=now, delivered_at=None, given_up_at=None, last_error=None, tries=0, retried_at=now)
            .where(Delivery.delivery_id == delivery_id, Delivery.body != "")
            .execute()
        )
        if again:
            record_change(What.DELIVERY_AGAIN, str(delivery_id), who=who, now=now)
    return bool(again)


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


def forget_old(before: datetime) -> int:
    """Remove events about no single document that were sent, or given up, before a moment; answers how many.

    A document's go with it (`models.erasures`).
    """
    old = Delivery.job.is_null() & (Delivery.created_at < before) & Delivery.due_at.is_null()
    with reading():
        if not Delivery.select().where(old).exists():
            return 0
    with transaction():
        gone: int = Delivery.delete().where(old).execute()
    return gone
