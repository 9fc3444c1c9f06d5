"""Removing what is left of deleted documents: our own files, and what the provider has of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from actors.services import Services, log
from domain.errors import CallRefused, Misconfigured, NotFound, ParsegateError, Transient
from models import erasures
from models.erasures import AtProvider, Removal, Thing
from models.tables import Erasure

GIVE_UP_AFTER: Final = timedelta(days=30)
"""What could not be removed at the provider for so long is put on record as given up, for a person to see."""
MOST_WAIT_S: Final = 3600.0


def erase_document(services: Services, document_id: UUID) -> None:
    """Remove what is left of a deleted document, and put each thing on record; what can't go yet is due later.

    Raises:
        StoreUnavailable: our own store or database can't be used now.
    """
    erasure = erasures.get_erasure(document_id)
    if erasure is None or erasure.due_at is None:
        return
    erasures.remove_stored(services.store, erasure.document, services.clock())
    waits_for = _remove_at_provider(services, erasure) or _blank_payloads(document_id, services.clock())
    if waits_for is None and not erasures.finish_erasure(document_id, services.clock()):
        waits_for = "something came after all"
    if waits_for is None:
        log.info("deleted", document_id=str(document_id), why=erasure.why)
    else:
        due_at = services.retry_at(erasure.tries, most_s=MOST_WAIT_S)
        erasures.postpone_erasure(document_id, due_at, why=waits_for)


def may_be_removed_there(services: Services, document_id: UUID) -> bool:
    """True if a call to the provider would be made for a deleted document now."""
    erasure = erasures.get_erasure(document_id)
    if erasure is None or erasure.due_at is None or services.provider is None:
        return False
    base_url = services.provider.base_url
    left = [thing for thing in erasures.left_at_provider(document_id) if thing.base_url == base_url]
    return bool(left) and not erasures.money_is_open(document_id)


def _remove_at_provider(services: Services, erasure: Erasure) -> str | None:
    """Remove what is there; answers why something can't be removed yet."""
    document_id = erasure.document_id
    if erasures.money_is_open(document_id):
        return "the provider has not told yet what its attempts did and cost"
    waits_for = None
    for thing in erasures.left_at_provider(document_id):
        try:
            outcome = _remove(services, thing)
        except (Transient, Misconfigured, CallRefused) as error:
            if services.clock() < erasure.asked_at + GIVE_UP_AFTER:
                waits_for = f"{thing.place}: {error}"
                continue
            log.error("not removed at the provider", place=thing.place, error=str(error))
            outcome = Removal.GIVEN_UP
        erasures.record_removal(document_id, thing.what, thing.place, outcome, services.clock())
    return waits_for


def _remove(services: Services, thing: AtProvider) -> Removal:
    provider = services.provider
    if provider is None or provider.base_url != thing.base_url:
        raise Misconfigured(f"this process does not use {thing.base_url} now")
    try:
        if thing.what is Thing.PROVIDER_JOB:
            provider.delete_job(thing.thing_id)
        else:
            provider.delete_file(thing.thing_id)
    except (CallRefused, NotFound) as error:
        if _is_absent(error):
            return Removal.ABSENT
        raise
    return Removal.REMOVED


def _is_absent(error: ParsegateError) -> bool:
    return isinstance(error, NotFound) or error.reason in {"http_404", "http_410"}


def _blank_payloads(document_id: UUID, now: datetime) -> str | None:
    if not erasures.blank_deliveries(document_id):
        return "events about it are still being delivered"
    erasures.record_removal(document_id, Thing.WEBHOOK_PAYLOADS, "database", Removal.REMOVED, now)
    return None
