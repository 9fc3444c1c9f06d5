"""How a job ends: its last transition and the events that tell of it, in one transaction."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from actors.services import Services, log
from domain.documents import ParsedDocument
from domain.errors import ParsegateError
from domain.events import EventType, cloud_event, encode
from domain.job_state import STATUS_003, AttemptState, JobState, Provenance
from domain.money import Millicredits, to_credits
from domain.orders import pages_path, parsed_path
from models import deliveries, jobs
from models.database import transaction
from models.tables import Attempt, Job, Result


def fail_job(services: Services, job: Job, error: ParsegateError, *, who: str) -> None:
    """End a job as failed and tell the sender. The attempt, and so the money, is the caller's to close."""
    now = services.clock()
    with transaction():
        if not jobs.fail(job, error, who=who, now=now):
            return
        made = _announce(services, jobs.get_job(job.job_id), EventType.FAILED)
    log.info("job failed", job_id=str(job.job_id), reason=error.reason, error=str(error))
    _send(services, made)


def complete_job(
    services: Services,
    job: Job,
    attempt: Attempt,
    parsed: ParsedDocument,
    *,
    provenance: Provenance,
    billed: Millicredits | None,
) -> None:
    """Store a result and end its job, which is in `ingesting`, as completed.

    Args:
        billed: what the provider billed; None if it has not told yet, then the attempt stays due until it does.
    """
    written = _write(services, job, parsed, provenance)
    now = services.clock()
    with transaction():
        jobs.step_attempt(attempt, AttemptState(attempt.state), AttemptState.COMPLETED, why="result stored", now=now)
        settle_or_wait(services, attempt, billed)
        moved = jobs.step(
            job.job_id,
            JobState.INGESTING,
            JobState.COMPLETED,
            who="ingest_result",
            why="result stored",
            now=now,
            due_at=None,
            provenance=provenance,
            truncated=written["truncated"],
            parsed_path=written["markdown_path"],
            parsed_sha256=written["markdown_sha256"],
            message=None,
        )
        if not moved:
            return
        Result.create(job=job.job_id, attempt=attempt.attempt_id, provenance=provenance, created_at=now, **written)
        made = _announce(services, jobs.get_job(job.job_id), EventType.PARSED)
    log.info("job completed", job_id=str(job.job_id), provenance=provenance.value, pages=len(parsed.pages))
    _send(services, made)


def _write(services: Services, job: Job, parsed: ParsedDocument, provenance: Provenance) -> dict[str, Any]:
    """Write a result's files; answers what its row says of them."""
    document = job.document
    markdown_path = parsed_path(document.user_id, document.document_id)
    at = pages_path(document.user_id, document.document_id)
    # Where the page count was a guess, a result that reaches it may lack what came after.
    truncated = job.pages_guessed and job.pages is not None and len(parsed.pages) >= job.pages
    services.store.write_bytes(at, _pages_json(parsed, provenance, truncated))
    content = services.store.write_bytes(markdown_path, parsed.markdown.encode())
    return {
        "markdown_path": markdown_path,
        "markdown_sha256": content.sha256,
        "markdown_bytes": content.size,
        "pages_path": at,
        "pages": len(parsed.pages),
        "failed_pages": len(parsed.failed_pages),
        "truncated": truncated,
    }


def settle_or_wait(services: Services, attempt: Attempt, billed: Millicredits | None) -> None:
    """Settle a closed attempt at what was billed, or ask again later if the provider has not told."""
    if billed is not None:
        jobs.settle(attempt, billed, now=services.clock())
    else:
        jobs.set_attempt(attempt, due_at=services.retry_at(attempt.tries, first_s=1.0), tries=attempt.tries + 1)


def _announce(services: Services, job: Job, event_type: EventType) -> list[UUID]:
    body = encode(
        cloud_event(event_type, job.job_id, event_data(job), instance=services.instance, now=services.clock())
    )
    targets = [deliveries.EVENTS] if services.emit is not None else []
    if job.callback_url is not None:
        targets.append(job.callback_url)
    return list(deliveries.add_deliveries(job.job_id, event_type, dict.fromkeys(targets, body), services.clock()))


def _send(services: Services, made: list[UUID]) -> None:
    for delivery_id in made:
        services.nudge("notify", delivery_id=delivery_id)


def event_data(job: Job) -> dict[str, Any]:
    """What an event says about a job."""
    return {
        "job_id": str(job.job_id),
        "document_id": str(job.document_id),
        "user_id": str(job.document.user_id),
        "correlation_id": str(job.correlation_id),
        "tenant": job.tenant,
        "state": job.state,
        "status_003": STATUS_003[JobState(job.state)],
        "tier": job.tier,
        "pages": job.pages,
        "provenance": job.provenance,
        "truncated": job.truncated,
        "credits": float(to_credits(job.cost)),
        "parsed_path": job.parsed_path,
        "parsed_sha256": job.parsed_sha256,
        "reason": job.reason,
        "message": job.message,
    }


def _pages_json(parsed: ParsedDocument, provenance: Provenance, truncated: bool) -> bytes:
    pages = [
        {
            "page_number": page.page_number,
            "markdown": page.markdown,
            "text": page.text,
            "success": page.success,
            "error": page.error,
        }
        for page in parsed.pages
    ]
    body = {"provenance": provenance.value, "truncated": truncated, "pages": pages}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
