"""How a job ends: its last transition and the events that tell of it, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from actors.services import LEASE, Services, log
from actors.settlement import settle_or_wait
from domain.documents import ParsedDocument
from domain.errors import ParsegateError
from domain.events import EventType
from domain.job_state import AttemptState, JobState, Provenance
from domain.orders import pages_path, parsed_path
from domain.pricing import parse_target_pages
from domain.results import encode_pages
from domain.settlement import Bill
from models import attempts, job_events, job_webhooks, jobs
from models.database import transaction
from models.jobs import Content
from models.store import STAGING
from models.tables import Attempt, Job, Result


def fail_job(services: Services, job: Job, error: ParsegateError, *, who: str) -> None:
    """End a job as failed and tell the sender. The attempt, and so the money, is the caller's to close."""
    now = services.clock()
    with transaction():
        if not jobs.fail(job, error, who=who, now=now):
            return
        announce(services, jobs.get_job(job.job_id), EventType.FAILED)
    log.info("job failed", job_id=str(job.job_id), reason=error.reason, error=str(error))


def reject_job(services: Services, job: Job, error: ParsegateError) -> None:
    """End a waiting job as rejected: nothing was reserved or sent for it. Call it in a transaction."""
    moved = jobs.step(
        job.job_id,
        JobState(job.state),
        JobState.REJECTED,
        who="admission",
        why=str(error),
        now=services.clock(),
        due_at=None,
        reason=error.reason,
        message=str(error),
    )
    if moved:
        announce(services, jobs.get_job(job.job_id), EventType.FAILED)
        log.info("job rejected", job_id=str(job.job_id), reason=error.reason, error=str(error))


def complete_job(
    services: Services,
    job: Job,
    attempt: Attempt,
    parsed: ParsedDocument,
    *,
    provenance: Provenance,
    bill: Bill,
    is_paged: bool = True,
) -> None:
    """Store a result and end its job, which is in `ingesting`, as completed.

    Args:
        bill: what the provider said of the cost; if it has not told, the attempt stays due until it does.
        is_paged: False for a result that came as one piece, however many pages it has.
    """
    # One piece stays as it came: its sender knows its hash.
    whole = parsed.markdown if is_paged else parsed.pages[0].markdown or parsed.pages[0].text
    truncated = is_paged and is_truncated(job, len(parsed.pages))
    written = _Written.make(services, parsed, whole, provenance, truncated)
    in_place = False
    try:
        in_place = _end(services, job, attempt, written, provenance, bill, is_paged)
    finally:
        if not in_place:
            written.discard(services)


def _end(
    services: Services,
    job: Job,
    attempt: Attempt,
    written: _Written,
    provenance: Provenance,
    bill: Bill,
    is_paged: bool,
) -> bool:
    """Whoever comes first puts its files in their place; another one's would not be those that the job tells of.

    Returns:
        False if somebody else was faster.
    """
    now, document = services.clock(), job.document
    markdown_path = parsed_path(document.user_id, document.document_id)
    with jobs.owning(job.job_id):
        closed = attempts.step_attempt(
            attempt, AttemptState(attempt.state), AttemptState.COMPLETED, why="result stored", now=now
        )
        moved = jobs.step(
            job.job_id,
            JobState.INGESTING,
            JobState.COMPLETED,
            who="ingest_result",
            why="result stored",
            now=now,
            due_at=None,
            provenance=provenance,
            truncated=written.truncated,
            parsed_path=markdown_path,
            parsed_sha256=written.markdown.sha256,
            parsed_pages=written.pages if is_paged else None,
            message=None,
        )
        if closed:
            settle_or_wait(services, attempts.get_attempt(attempt.attempt_id), bill)
        if not moved:
            return False
        row = written.put_in_place(services, markdown_path, pages_path(document.user_id, document.document_id))
        Result.create(job=job.job_id, attempt=attempt.attempt_id, provenance=provenance, created_at=now, **row)
        announce(services, jobs.get_job(job.job_id), EventType.PARSED)
    log.info("job completed", job_id=str(job.job_id), provenance=provenance.value, pages=written.pages)
    return True


@dataclass(frozen=True)
class _Written:
    """A result's files, not in their place yet."""

    markdown_staged: str
    pages_staged: str
    markdown: Content
    pages: int
    failed_pages: int
    truncated: bool

    @classmethod
    def make(
        cls, services: Services, parsed: ParsedDocument, whole: str, provenance: Provenance, truncated: bool
    ) -> _Written:
        """Write them."""
        markdown_staged, pages_staged = (f"{STAGING}/result-{uuid4()}" for _ in range(2))
        services.store.write_bytes(pages_staged, encode_pages(parsed, provenance, truncated))
        markdown = services.store.write_bytes(markdown_staged, whole.encode())
        failed = len(parsed.failed_pages)
        return cls(markdown_staged, pages_staged, markdown, len(parsed.pages), failed, truncated)

    def put_in_place(self, services: Services, markdown_path: str, pages_path: str) -> dict[str, Any]:
        """Let them appear; answers what a result's row says of them."""
        services.store.move(self.pages_staged, pages_path)
        services.store.move(self.markdown_staged, markdown_path)
        return {
            "markdown_path": markdown_path,
            "markdown_sha256": self.markdown.sha256,
            "markdown_bytes": self.markdown.size,
            "pages_path": pages_path,
            "pages": self.pages,
            "failed_pages": self.failed_pages,
            "truncated": self.truncated,
        }

    def discard(self, services: Services) -> None:
        """Remove what was not put in its place."""
        for path in (self.markdown_staged, self.pages_staged):
            services.store.delete(path)


def is_truncated(job: Job, parsed_pages: int) -> bool:
    """True if a result may not be whole: it reaches a ceiling that was only guessed, or lacks pages that were counted.

    Pages that the order itself left out are not missing; those that it names beyond the guess were not asked for.
    """
    if job.pages is None:
        return False
    if not job.pages_guessed:
        return parsed_pages < job.pages
    ranges: dict[str, Any] = job.options.get("page_ranges") or {}
    if "target_pages" in ranges:
        return sum(last - first + 1 for first, last in parse_target_pages(ranges["target_pages"])) > job.pages
    most = ranges.get("max_pages")
    return parsed_pages >= job.pages and (most is None or most > job.pages)


def announce(services: Services, job: Job, event_type: EventType) -> None:
    """Make the event about a job due for each of its receivers. Call it in the transaction that makes it true."""
    now = services.clock()
    made = job_events.announce(
        job, event_type, instance=services.instance, exchange=services.emit is not None, now=now, due_at=now + LEASE
    )
    for delivery_id in made:
        services.nudge("notify", delivery_id=delivery_id)


def tell_webhooks(services: Services, job: Job) -> None:
    """The webhooks that an order asked for hear of its job's state. Call it in the transaction that makes it true."""
    now = services.clock()
    for delivery_id in job_webhooks.tell(job, now, due_at=now + LEASE):
        services.nudge("notify", delivery_id=delivery_id)
