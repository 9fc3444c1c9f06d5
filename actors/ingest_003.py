"""Taking in what a signed "003" webhook carries, if it is about the very parse that its job waits for."""

from __future__ import annotations

from typing import Final

from actors.evidence import keep_event, was_sent
from actors.outcome import complete_job, fail_job
from actors.services import LEASE, Services, log
from domain.errors import DocumentRefused, NotFound
from domain.job_state import FINAL, AttemptState, JobState, Provenance
from domain.messages import Event003Message
from domain.results import decode_pages
from domain.settlement import Bill
from domain.webhook_003 import Status003
from models import attempts, jobs
from models.tables import Attempt, Job

ROUTE: Final = "003"


def ingest_003(services: Services, event: Event003Message) -> None:
    """Take a result or a failure in; whatever does not belong changes nothing and is kept as evidence.

    Raises:
        StoreUnavailable: our own store or database can't be used now.
    """
    job, attempt = jobs.find_job(event.job_id), attempts.attempt_under_way(event.job_id)
    if job is None or attempt is None or job.state in FINAL:
        if was_sent(event.job_id, event.parse_job_id):
            # It was told before, or the provider's own word was faster.
            log.info("a late event", job_id=str(event.job_id), status=event.status)
        else:
            keep_event(services, event, ROUTE, "no_such_parse")
    elif attempt.state != AttemptState.SENT or event.parse_job_id != attempt.provider_job_id:
        keep_event(services, event, ROUTE, "other_parse_job")
        services.nudge("ingest_result", job_id=job.job_id)
    elif event.status is Status003.FAILED:
        _fail(services, job, attempt, event)
    elif event.status is Status003.PARSED and event.result_path is not None:
        _complete(services, job, attempt, event.result_path)
    else:
        services.nudge("ingest_result", job_id=job.job_id)
    if event.result_path is not None:
        services.store.delete(event.result_path)


def _fail(services: Services, job: Job, attempt: Attempt, event: Event003Message) -> None:
    """The job fails; its money stays with the attempt until the provider tells what it cost."""
    error = DocumentRefused(event.error or "the parse failed", reason="failed_003")
    with jobs.owning(job.job_id) as owned:
        if owned.state not in FINAL:
            fail_job(services, owned, error, who="ingest_003")
            attempts.set_attempt(attempt, due_at=services.clock())


def _complete(services: Services, job: Job, attempt: Attempt, path: str) -> None:
    try:
        parsed = decode_pages(services.store.read(path))
    except NotFound:
        # The message came twice.
        return
    jobs.step(
        job.job_id,
        JobState.PARSING,
        JobState.INGESTING,
        who="ingest_003",
        why="a signed 003 event brought the result",
        now=services.clock(),
        due_at=services.clock() + LEASE,
        message=None,
    )
    job = jobs.get_job(job.job_id)
    if job.state == JobState.INGESTING:
        is_paged = len(parsed.pages) > 1
        complete_job(services, job, attempt, parsed, provenance=Provenance.REAL, bill=Bill(None), is_paged=is_paged)
