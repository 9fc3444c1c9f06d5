"""The end of a batch: one event, made when the last of its jobs has ended."""

from __future__ import annotations

from typing import Final

from actors.services import LEASE, Services, log
from models import batches
from models.database import transaction

MOST_AT_ONCE: Final = 50


def finish_batches(services: Services) -> None:
    """Tell of batches that have ended.

    Raises:
        StoreUnavailable: the database is away.
    """
    now, has_exchange = services.clock(), services.emit is not None
    with transaction():
        for batch in batches.claim_ended(MOST_AT_ONCE):
            made = batches.finish_batch(
                batch, now, instance=services.instance, exchange=has_exchange, due_at=now + LEASE
            )
            for delivery_id in made:
                services.nudge("notify", delivery_id=delivery_id)
            log.info("batch completed", batch_id=str(batch.batch_id), documents=batch.total)
