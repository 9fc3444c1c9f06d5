"""Parsing here instead of at the provider: free, marked as `mock`, and only for what was never sent."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from actors.outcome import complete_job, fail_job, tell_webhooks
from actors.services import Services
from domain.documents import ParsedDocument
from domain.errors import Permanent, Waiting
from domain.job_state import AttemptState, JobState, Provenance
from domain.money import ZERO
from domain.settlement import Bill
from models import attempts, jobs
from models.ledger import release
from models.tables import Attempt, Job

PARSE_S: Final = 600.0
"""Seconds after which a local parse that has not ended counts as crashed."""
BUSY_S: Final = 2.0
"""Seconds after which a document that found every local parser busy asks again."""


def parse_here(services: Services, job: Job, attempt: Attempt, *, why: str) -> None:
    """Take a reserved job whose attempt was never sent, give back what it held, and parse it with the local parser."""
    now = services.clock()
    with jobs.owning(job.job_id):
        moved = jobs.step(
            job.job_id,
            JobState.RESERVED,
            JobState.INGESTING,
            who="parse_here",
            why=why,
            now=now,
            due_at=services.after(PARSE_S),
            message=None,
        )
        if moved:
            attempts.set_attempt(attempt, provenance=Provenance.MOCK, estimate=0)
            release(attempt.attempt_id, now=now, why=why)
            tell_webhooks(services, jobs.get_job(job.job_id))
    if moved:
        finish_here(services, job.job_id)


def finish_here(services: Services, job_id: UUID) -> None:
    """Parse a job that is `ingesting` from the local parser, and store the result. Repeating it changes nothing."""
    job, attempt = jobs.get_job(job_id), attempts.attempt_under_way(job_id)
    if job.state != JobState.INGESTING or attempt is None or attempt.provenance != Provenance.MOCK:
        return
    try:
        parsed = _parse(services, job)
    except Waiting as error:
        jobs.postpone(job, services.after(BUSY_S), message=str(error), counts=False)
        return
    except Permanent as error:
        with jobs.owning(job_id) as job:
            attempts.step_attempt(attempt, AttemptState.OPEN, AttemptState.FAILED, why=str(error), now=services.clock())
            attempts.settle(attempt, ZERO, now=services.clock(), why="parsed here")
            fail_job(services, job, error, who="local parser")
        return
    complete_job(services, job, attempt, parsed, provenance=Provenance.MOCK, bill=Bill(ZERO))


def _parse(services: Services, job: Job) -> ParsedDocument:
    ranges: dict[str, Any] = job.options.get("page_ranges") or {}
    target = ranges.get("target_pages")
    with services.store.open(job.document.raw_path) as content:
        return services.parsers.parse(
            content,
            job.document.filename,
            max_pages=job.pages if target is None else None,
            target_pages=target,
        )
