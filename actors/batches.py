"""The end of a batch: one event, made when the last of its jobs has ended."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from actors.services import LEASE, Services, log
from domain.events import EventType, cloud_event, encode
from domain.money import to_credits
from models import batches, deliveries
from models.database import reading, transaction
from models.tables import Batch

MOST_AT_ONCE: Final = 50


def finish_batches(services: Services) -> None:
    """Tell of batches that have ended. Quick when there are none.

    Raises:
        StoreUnavailable: the database is away.
    """
    now = services.clock()
    with reading():
        if not Batch.select().where(Batch.due_at <= now).exists():
            return
    with transaction():
        for batch in batches.claim_ended(now, MOST_AT_ONCE):
            batches.finish_batch(batch, now)
            _tell(services, batch, now)


def _tell(services: Services, batch: Batch, now: datetime) -> None:
    event = cloud_event(
        EventType.BATCH_COMPLETED, batch.batch_id, _event_data(batch), instance=services.instance, now=now
    )
    targets = [deliveries.EVENTS] if services.emit is not None else []
    if batch.callback_url is not None:
        targets.append(batch.callback_url)
    bodies = dict.fromkeys(targets, encode(event))
    made = deliveries.add_deliveries(
        None, EventType.BATCH_COMPLETED, bodies, now, due_at=now + LEASE, batch_id=batch.batch_id
    )
    for delivery_id in made:
        services.nudge("notify", delivery_id=delivery_id)
    log.info("batch completed", batch_id=str(batch.batch_id), documents=batch.total)


def _event_data(batch: Batch) -> dict[str, Any]:
    totals = batches.totals_of(batch.batch_id)
    return {
        "batch_id": str(batch.batch_id),
        "correlation_id": str(batch.correlation_id),
        "tenant": batch.tenant,
        "documents": batch.total,
        "states": totals.states,
        "pages": totals.pages,
        "credits": float(to_credits(totals.cost)),
        "settled": totals.settled,
    }
