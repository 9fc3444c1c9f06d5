"""What is kept no longer than `PARSEGATE_RETENTION_DAYS`: documents that have ended, uploaded files, old events."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from actors.services import Services, log
from domain.errors import StoreUnavailable
from models import deliveries, erasures, files

BATCH: Final = 100


def apply_retention(services: Services) -> None:
    """Delete what is too old, a batch at a time; nothing if no age is set.

    Raises:
        StoreUnavailable: the database can't be used now.
    """
    days, now = services.settings.retention_days, services.clock()
    if days is None:
        return
    until, why = now - timedelta(days=days), f"kept for {days} days"
    for document_id in erasures.find_aged(until, BATCH):
        if erasures.open_aged_erasure(document_id, until, why=why, now=now):
            services.nudge("erase_document", document_id=document_id)
    for file in files.find_aged(until, BATCH):
        try:
            services.store.delete(file.path)
        except StoreUnavailable as error:
            log.warning("an uploaded file can't be removed now", file_id=str(file.file_id), error=str(error))
            continue
        files.forget_file(file)
        log.info("an uploaded file was kept long enough", file_id=str(file.file_id), days=days)
    deliveries.forget_old(until)
