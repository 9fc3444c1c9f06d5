"""Webhooks that an order asked for, in LlamaCloud's form: each of a job's events is made due once, when it is true."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4, uuid5

from domain.errors import NotFound
from domain.job_state import JobState
from domain.sealing import seal, unseal
from models.database import reading, transaction
from models.deliveries import About, add_deliveries
from models.tables import Job, JobWebhook, Result

TARGET: Final = "webhook:"
"""How the target of such a delivery begins; its webhook's id follows."""
PENDING: Final = "parse.pending"
PARTIAL: Final = "parse.partial_success"
_EVENTS: Final[Mapping[JobState, str]] = {
    JobState.PARSING: "parse.running",
    JobState.INGESTING: "parse.running",
    JobState.COMPLETED: "parse.success",
    JobState.FAILED: "parse.error",
    JobState.REJECTED: "parse.error",
    JobState.CANCELLED: "parse.cancelled",
}
EVENTS: Final = (PENDING, "parse.running", "parse.success", "parse.error", PARTIAL, "parse.cancelled")


@dataclass(frozen=True)
class Webhook:
    """One that was asked for.

    Args:
        events: those it wants; None is all.
        output_format: ``string`` (a JSON string that holds JSON) or ``json``.
        sealed: `domain.sealing` of ``{"secret": ..., "headers": {...}}``.
    """

    url: str
    events: Sequence[str] | None
    output_format: str
    sealed: str


def add_webhooks(job: Job, webhooks: Sequence[Webhook], now: datetime) -> None:
    """Put them on record with their job, and tell them that it is pending. Call it in the order's transaction."""
    if not webhooks:
        return
    Job.update(has_webhooks=True).where(Job.job_id == job.job_id).execute()
    for webhook in webhooks:
        JobWebhook.create(
            webhook_id=uuid4(),
            job=job.job_id,
            url=webhook.url,
            events=None if webhook.events is None else list(webhook.events),
            output_format=webhook.output_format,
            sealed=webhook.sealed,
        )
    _tell(job, PENDING, now)


def tell(job: Job, now: datetime, *, due_at: datetime | None = None) -> Sequence[UUID]:
    """Make the event of a job's present state due for each of its webhooks that wants it, once.

    Call it in the transaction that makes it true; answers the deliveries that were made.

    Args:
        due_at: see `models.deliveries.add_deliveries`.
    """
    event = _EVENTS.get(JobState(job.state))
    if not job.has_webhooks or event is None:
        return []
    if job.state == JobState.COMPLETED and Result.get(Result.job == job.job_id).failed_pages:
        event = PARTIAL
    return _tell(job, event, now, due_at)


def _tell(job: Job, event: str, now: datetime, due_at: datetime | None = None) -> list[UUID]:
    made: list[UUID] = []
    about = About(job.tenant, job.job_id)
    for webhook in JobWebhook.select().where(JobWebhook.job == job.job_id):
        if webhook.events is None or event in webhook.events:
            body = _body(webhook, event, now)
            made += add_deliveries(about, event, {f"{TARGET}{webhook.webhook_id}": body}, now, due_at=due_at)
    return made


def _body(webhook: JobWebhook, event: str, now: datetime) -> str:
    """The event as LlamaCloud posts it; its id stays the same over every try."""
    said = {
        "event_id": str(uuid5(webhook.webhook_id, event)),
        "event_type": event,
        "timestamp": now.timestamp(),
        "data": {"id": str(webhook.job_id), "job_id": str(webhook.job_id)},
    }
    body = json.dumps(said)
    return body if webhook.output_format == "json" else json.dumps(body)


def webhook_of(target: str) -> JobWebhook:
    """The webhook of a delivery's target.

    Raises:
        NotFound: there is none.
    """
    with reading():
        found: JobWebhook | None = JobWebhook.get_or_none(JobWebhook.webhook_id == UUID(target.removeprefix(TARGET)))
    if found is None:
        raise NotFound("there is no such webhook")
    return found


def urls_of(targets: Iterable[str]) -> dict[str, str]:
    """Where deliveries to targets go, by target; to nowhere if that was deleted with its document."""
    asked = {target: UUID(target.removeprefix(TARGET)) for target in targets if target.startswith(TARGET)}
    with reading():
        rows = JobWebhook.select().where(JobWebhook.webhook_id.in_(list(asked.values()))) if asked else ()
        found = {row.webhook_id: row.url for row in rows}
    return {target: found.get(asked[target], "") if target in asked else target for target in targets}


def reseal(secret_keys: Sequence[bytes]) -> int:
    """Seal anew, with the newest key, what callers have given for webhooks; answers how many there were.

    Args:
        secret_keys: every one in force, newest first.

    Raises:
        BadSetting: one can't be opened with any of them.
    """
    with transaction():
        found = list(JobWebhook.select())
        for webhook in found:
            sealed = seal(secret_keys, unseal(secret_keys, webhook.sealed))
            JobWebhook.update(sealed=sealed).where(JobWebhook.webhook_id == webhook.webhook_id).execute()
    return len(found)
