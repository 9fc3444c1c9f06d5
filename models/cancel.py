"""Stopping a job at a person's word. What may have been paid for stays with its attempt, for the provider to settle."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from domain.errors import OrderConflict
from domain.events import EventType
from domain.job_state import FINAL, AttemptState, JobState, Provenance
from models import attempts, jobs
from models.job_events import announce
from models.tables import Job


def cancel_job(job_id: UUID, *, who: str, now: datetime, instance: str, exchange: bool) -> Job:
    """End a job as cancelled; one that is cancelled already stays as it is.

    An attempt that was not sent is closed, and what it held is free. One that was, or may have been, is due at once:
    whoever looks at it stops it at the provider, and settles what is billed for it (`actors.result_ingest`).

    Args:
        who: by whose word, for the history and the job's message.
        instance, exchange: see `models.job_events.announce`.

    Raises:
        NotFound: there is no such job.
        OrderConflict: it has ended otherwise.
    """
    with jobs.owning(job_id) as job:
        state = JobState(job.state)
        if state is JobState.CANCELLED:
            return job
        if state in FINAL:
            raise OrderConflict(f"the job has ended as {state}: there is nothing to cancel", reason="job_has_ended")
        words = f"cancelled by {who}"
        jobs.step(
            job_id,
            state,
            JobState.CANCELLED,
            who=who,
            why=words,
            now=now,
            due_at=None,
            reason="cancelled",
            message=words,
        )
        attempt = attempts.attempt_under_way(job_id)
        if attempt is not None:
            before = AttemptState(attempt.state)
            if before is AttemptState.OPEN or attempt.provenance != Provenance.REAL:
                attempts.never_made(attempt, before, why=words, now=now)
            else:
                attempts.set_attempt(attempt, due_at=now, tries=0)
        job = jobs.get_job(job_id)
        announce(job, EventType.FAILED, instance=instance, exchange=exchange, now=now)
        return job
