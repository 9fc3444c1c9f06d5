"""What becomes of a job whose actor raised what nobody expected: it is tried a few times, and then it fails."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final
from uuid import UUID

from actors.notify import GIVE_UP_AFTER, MOST_WAIT_S
from actors.outcome import fail_job
from actors.services import Services, log
from domain.errors import NotFound, ParsegateError, Permanent
from domain.job_state import AttemptState
from models import attempts, deliveries, drifts, jobs
from models.poison import Counted, count_failure

MOST_FAILURES: Final = 5
FIRST_WAIT_S: Final = 60.0
MOST_PAUSE_S: Final = 3600.0


class AboutJob(Exception):
    """An unexpected failure of a message that is about many jobs.

    Args:
        job_id: the job that it looked at.
        cause: what was raised.
    """

    def __init__(self, job_id: UUID, cause: Exception) -> None:
        super().__init__(f"job {job_id}: {type(cause).__name__}: {cause}")
        self.job_id, self.cause = job_id, cause


class about:  # noqa: N801 - read as a statement: `with about(job_id):`
    """What nobody expects in here counts on this job, not on nobody.

    Raises:
        AboutJob: it happened.
    """

    def __init__(self, job_id: UUID) -> None:
        self._job_id = job_id

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, ParsegateError):
            raise AboutJob(self._job_id, error) from error


def unexpected(services: Services, said: Mapping[str, Any], error: BaseException) -> None:
    """Count an unexpected failure on the job or delivery of a message; the message itself is a dead letter anyway.

    A job fails with the fifth, unless it may have been paid for: then it is tried for as long as that is open, with
    growing waits.

    Args:
        said: the message's kwargs.

    Raises:
        StoreUnavailable: our own database can't be used now; the next failure counts.
    """
    if isinstance(error, AboutJob):
        said, error = {"job_id": error.job_id}, error.cause
    words = " ".join(f"{type(error).__name__}: {error}".split())
    if "delivery_id" in said:
        _delivery_failed(services, UUID(str(said["delivery_id"])), words)
    elif "job_id" in said:
        job_id = UUID(str(said["job_id"]))
        try:
            with jobs.owning(job_id):
                counted = count_failure(job_id, words, now=services.clock())
                if counted is None:
                    _ask_later(services, job_id)
                else:
                    _judge(services, counted, type(error).__name__)
        except NotFound:
            log.warning("an unexpected failure of no known job", job_id=str(job_id), error=words)


def _judge(services: Services, counted: Counted, kind: str) -> None:
    job, attempt, times = counted.job, counted.attempt, counted.failures
    if counted.is_paid or times < MOST_FAILURES:
        due_at = services.retry_at(times - 1, first_s=FIRST_WAIT_S, most_s=MOST_PAUSE_S)
        jobs.postpone(job, due_at, message=f"an error of Parsegate's own ({kind}), {times} so far", counts=False)
        if times >= MOST_FAILURES:
            log.error("a job that may be paid for can't go on", job_id=str(job.job_id), failures=times, error=kind)
        return
    why = f"Parsegate failed {times} times with an error of its own ({kind}): its log says where, under the job's id"
    if attempt is not None:
        attempts.never_made(attempt, AttemptState.OPEN, why=why, now=services.clock())
    fail_job(services, job, Permanent(why, reason="internal_error"), who="parsegate")


def _ask_later(services: Services, job_id: UUID) -> None:
    """The job has ended; what may still be asked about its money is asked later, and later again."""
    for attempt in attempts.ended_unsettled(job_id):
        due_at = services.retry_at(attempt.tries, first_s=FIRST_WAIT_S, most_s=MOST_PAUSE_S)
        attempts.set_attempt(attempt, due_at=due_at, tries=attempt.tries + 1)
    for drift in drifts.to_be_asked(job_id):
        drifts.ask_later(drift, now=services.clock(), answered=True)


def _delivery_failed(services: Services, delivery_id: UUID, words: str) -> None:
    delivery = deliveries.find_open(delivery_id)
    if delivery is None:
        return
    now = services.clock()
    is_old = now - delivery.created_at > GIVE_UP_AFTER
    due_at = None if is_old else services.retry_at(delivery.tries, first_s=FIRST_WAIT_S, most_s=MOST_WAIT_S)
    deliveries.failed(delivery_id, words, now=now, due_at=due_at)
