"""Using a result again: the same bytes with the same options are not paid twice, and each order owns its copy."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from uuid import UUID

from actors.outcome import complete_job
from actors.services import LEASE, Services, log
from domain.documents import ParsedDocument
from domain.errors import NotFound
from domain.job_state import AttemptState, JobState, Provenance
from domain.money import ZERO
from domain.results import decode_pages
from domain.settlement import Bill
from models import attempts, jobs, reuse
from models.admission import enqueue_again
from models.database import transaction
from models.tables import Attempt, Job, Result


def find_result(services: Services, job: Job) -> Job | None:
    """The job whose result can be used again for `job`, if there is one."""
    seconds = services.settings.reuse_seconds
    return reuse.find_result(job, services.clock() - timedelta(seconds=seconds)) if seconds else None


def reuse_here(services: Services, job: Job, attempt: Attempt) -> None:
    """Take a reserved job that was admitted to a copy, and give it one; if there is none any more, it is parsed."""
    try:
        parsed = _source(services, job)
    except (NotFound, ValueError) as error:
        _parse_after_all(services, job, attempt, why=f"the result can't be used again: {error}")
        return
    moved = jobs.step(
        job.job_id,
        JobState.RESERVED,
        JobState.INGESTING,
        who="reuse",
        why=f"a copy of job {job.reused_from}",
        now=services.clock(),
        due_at=services.clock() + LEASE,
        message=None,
    )
    if moved:
        _complete(services, job.job_id, attempt, parsed)


def finish_reuse(services: Services, job_id: UUID) -> None:
    """Complete a job whose copy was begun by a process that ended. Repeating it changes nothing."""
    job, attempt = jobs.get_job(job_id), attempts.attempt_under_way(job_id)
    if job.state != JobState.INGESTING or attempt is None or attempt.provenance != Provenance.CACHED:
        return
    now = services.clock()
    with jobs.owning(job_id):
        jobs.step(
            job_id, JobState.INGESTING, JobState.RESERVED, who="reuse", why="begun before", now=now, due_at=now + LEASE
        )
    reuse_here(services, jobs.get_job(job_id), attempt)


def _complete(services: Services, job_id: UUID, attempt: Attempt, parsed: ParsedDocument) -> None:
    bill = Bill(ZERO, cached=True)
    complete_job(services, jobs.get_job(job_id), attempt, parsed, provenance=Provenance.CACHED, bill=bill)


def _source(services: Services, job: Job) -> ParsedDocument:
    """The result that is to be copied.

    Raises:
        NotFound: it is not there any more.
        ValueError: it is not what was stored.
    """
    source = None if job.reused_from is None else jobs.find_job(job.reused_from)
    if source is None or source.document.deleted_at is not None:
        raise NotFound("its document was deleted")
    stored: Result = Result.get(Result.job == source.job_id)
    parsed = decode_pages(services.store.read(stored.pages_path))
    if sha256(parsed.markdown.encode()).hexdigest() != source.parsed_sha256:
        raise ValueError("it is not what was stored")
    return parsed


def _parse_after_all(services: Services, job: Job, attempt: Attempt, *, why: str) -> None:
    now = services.clock()
    log.warning("parsed after all", job_id=str(job.job_id), error=why)
    with jobs.owning(job.job_id) as owned, transaction():
        if not attempts.never_made(attempt, AttemptState.OPEN, why=why, now=now):
            return
        jobs.step(
            job.job_id, JobState(owned.state), JobState.DEFERRED, who="reuse", why=why, now=now, due_at=now, message=why
        )
        # Its source is of no use to anybody: the next twin is not sent to it again.
        reuse.forget(owned.reused_from)
        enqueue_again(owned, reused_from=None)
