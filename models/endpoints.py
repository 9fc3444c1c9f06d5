"""Receivers of events: to one that has failed for days nothing is posted, until a person says so or it receives."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid5

from domain.errors import NotFound
from models.changes import What, record_change
from models.database import reading, transaction
from models.service_tables import Endpoint

DISABLE_AFTER: Final = timedelta(days=3)
"""How long a receiver has failed, without one success, before it is disabled."""
DISABLE_FAILURES: Final = 10
"""And how often at least: who sends one event a week is no proof."""
_IDS: Final = UUID("7b0a3c52-7c0f-4a69-9f3a-5b8a2e0d8f11")


def endpoint_id(tenant: str, url: str) -> UUID:
    """A receiver's id: the same for ever."""
    return uuid5(_IDS, f"{tenant} {url}")


def find_failing(tenant: str, url: str) -> Endpoint | None:
    """The receiver's row if it has not taken the last event for it."""
    with reading():
        found: Endpoint | None = Endpoint.get_or_none(Endpoint.endpoint_id == endpoint_id(tenant, url))
    return found


def received(endpoint: Endpoint) -> None:
    """It took an event: whatever was held against it is forgotten."""
    with transaction():
        Endpoint.delete().where(Endpoint.endpoint_id == endpoint.endpoint_id).execute()


def failed(tenant: str, url: str, error: str, now: datetime) -> Endpoint | None:
    """It did not take an event. Call it in a transaction; answers its row if it is disabled by this, once."""
    words = error[:500]
    Endpoint.insert(
        endpoint_id=endpoint_id(tenant, url), tenant=tenant, url=url, failing_since=now, failures=1, last_error=words
    ).on_conflict(
        conflict_target=[Endpoint.endpoint_id],
        update={Endpoint.failures: Endpoint.failures + 1, Endpoint.last_error: words},
    ).execute()
    found: Endpoint = Endpoint.get_by_id(endpoint_id(tenant, url))
    is_enough = found.failures >= DISABLE_FAILURES and now - found.failing_since >= DISABLE_AFTER
    if found.disabled_at is not None or not is_enough:
        return None
    Endpoint.update(disabled_at=now).where(Endpoint.endpoint_id == found.endpoint_id).execute()
    return found


def list_endpoints(tenant: str | None, limit: int) -> Sequence[Endpoint]:
    """Receivers that fail, those that are disabled first.

    Args:
        tenant: None is all.
    """
    query = Endpoint.select()
    if tenant is not None:
        query = query.where(Endpoint.tenant == tenant)
    with reading():
        return list(query.order_by(Endpoint.disabled_at.is_null(), Endpoint.failing_since).limit(limit))


def enable(wanted: UUID, tenant: str | None, *, who: str, now: datetime) -> Endpoint:
    """Post to a receiver again; answers what was held against it.

    Args:
        tenant: whose it must be; None is anybody's.
        who: by whose word, for the audit log.

    Raises:
        NotFound: there is none of this id that fails.
    """
    with transaction():
        found: Endpoint | None = Endpoint.get_or_none(Endpoint.endpoint_id == wanted)
        if found is None or tenant not in (None, found.tenant):
            raise NotFound(f"no receiver {wanted} fails")
        Endpoint.delete().where(Endpoint.endpoint_id == wanted).execute()
        record_change(What.ENDPOINT_ENABLED, found.url, who=who, now=now)
        return found
