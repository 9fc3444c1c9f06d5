"""Events about a job: made due in the transaction that makes them true."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.events import EventType, cloud_event, encode
from domain.job_state import STATUS_003, JobState
from domain.money import to_credits
from models import attempts, deliveries, job_webhooks
from models.tables import Job


def announce(
    job: Job,
    event_type: EventType,
    *,
    instance: str,
    exchange: bool,
    now: datetime,
    due_at: datetime | None = None,
) -> Sequence[UUID]:
    """Make the event about a job due for each of its receivers, once; answers the deliveries that were made.

    Args:
        job: as it stands, with its document.
        instance: this installation's id.
        exchange: whether there is an events exchange.
        due_at: see `models.deliveries.add_deliveries`.
    """
    body = encode(cloud_event(event_type, job.job_id, event_data(job), instance=instance, now=now))
    bodies = dict.fromkeys(deliveries.targets_of(job.callback_url, exchange=exchange), body)
    about = deliveries.About(job.tenant, job.job_id)
    made = deliveries.add_deliveries(about, event_type, bodies, now, due_at=due_at)
    return [*made, *job_webhooks.tell(job, now, due_at=due_at)]


def event_data(job: Job) -> dict[str, Any]:
    """What an event says about a job."""
    return {
        "job_id": str(job.job_id),
        "document_id": str(job.document_id),
        "user_id": str(job.document.user_id),
        "correlation_id": str(job.correlation_id),
        "batch_id": None if job.batch_id is None else str(job.batch_id),
        "tenant": job.tenant,
        "state": job.state,
        "status_003": STATUS_003[JobState(job.state)],
        "tier": job.tier,
        "pages": job.pages,
        "parsed_pages": job.parsed_pages,
        "provenance": job.provenance,
        "truncated": job.truncated,
        "credits": float(to_credits(job.cost)),
        "settled": attempts.is_settled(job.job_id),
        "parsed_path": job.parsed_path,
        "parsed_sha256": job.parsed_sha256,
        "reason": job.reason,
        "message": job.message,
    }
