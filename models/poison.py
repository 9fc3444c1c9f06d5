"""Failures that nobody expected, counted on the job: what fails by a fault of our own must not go round for ever.

Each is a line of the job's history, from its state to the same state, so that whoever asks sees them. They count for
the whole life of a job: a fault that comes back after every step would else never end.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from domain.job_state import FINAL, AttemptState
from models import attempts, jobs
from models.tables import Attempt, History, Job

WHO: Final = "unexpected"
PAID: Final = frozenset({AttemptState.SUBMITTING, AttemptState.IN_DOUBT, AttemptState.SENT})
"""The paid call was made, or may have been: the job must go on until the provider has had its word."""


@dataclass(frozen=True)
class Counted:
    """A job after one more failure.

    Args:
        failures: how many it has had.
        attempt: the one under way, if there is one.
    """

    job: Job
    failures: int
    attempt: Attempt | None

    @property
    def is_paid(self) -> bool:
        """True if an attempt may have been paid for, and has not ended."""
        return self.attempt is not None and self.attempt.state in PAID


def count_failure(job_id: UUID, why: str, *, now: datetime) -> Counted | None:
    """Count an unexpected failure on a job; None if there is no such job, or it has ended.

    Call it in a transaction with what follows from it (`models.jobs.owning`).

    Raises:
        StoreUnavailable: the database is away.
    """
    job = jobs.find_job(job_id)
    if job is None or job.state in FINAL:
        return None
    jobs.record(job_id, job.state, job.state, who=WHO, why=why, at=now)
    failures = History.select().where(History.job_id == job_id, History.who == WHO).count()
    return Counted(job, failures, attempts.attempt_under_way(job_id))
