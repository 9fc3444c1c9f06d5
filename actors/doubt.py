"""Attempts in doubt: the paid call may have had its effect, so it is looked for, and never simply repeated."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from actors.admission import NoRoom, Shortage, defer, hold, page_price, price_now
from actors.outcome import tell_webhooks
from actors.services import Services, log
from actors.settlement import provider_for, settle_or_wait
from domain.errors import CallRefused, Misconfigured, Transient
from domain.job_state import FINAL, AttemptState, JobState, Provenance
from domain.money import ZERO
from domain.settlement import Bill, DriftKind
from llamaparse.client import LlamaParseClient
from llamaparse.schemas import Job as ProviderJob
from models import attempts, jobs
from models.admission import enqueue_again
from models.database import after_commit, savepoint
from models.due import wake_all
from models.tables import Attempt, Job

PAID_CALL_S: Final = 150.0
"""Seconds after which a paid call that was not heard of again counts as in doubt; above the client's own deadline."""
LIST_MARGIN: Final = timedelta(hours=1)
"""How far before the provider's own time of the upload the list is searched."""


def bind(services: Services, job_id: UUID, attempt_id: UUID, made: ProviderJob) -> bool:
    """The provider's job of an attempt is known: the attempt is sent, and its job is parsing.

    Returns:
        False if that was known already, or the attempt was given up in the meantime.
    """
    now = services.clock()
    with jobs.owning(job_id) as job:
        attempt = attempts.get_attempt(attempt_id)
        before = AttemptState(attempt.state)
        if before not in {AttemptState.SUBMITTING, AttemptState.IN_DOUBT}:
            if attempt.provider_job_id != made.id:
                _report_surplus(services, attempt, made)
            return False
        attempts.step_attempt(
            attempt,
            before,
            AttemptState.SENT,
            why=made.id,
            now=now,
            provider_job_id=made.id,
            project_id=made.project_id,
            # Nobody waits for it any more: it is looked at now, and stopped there.
            due_at=now if job.state in FINAL else attempt.due_at,
        )
        if job.state in {JobState.SUBMITTING, JobState.IN_DOUBT}:
            jobs.step(
                job_id,
                JobState(job.state),
                JobState.PARSING,
                who="provider",
                why=f"made {made.id}",
                now=now,
                due_at=services.after(poll_wait_s(services, 0)),
                message=None,
            )
            tell_webhooks(services, jobs.get_job(job_id))
    return True


def _report_surplus(services: Services, attempt: Attempt, made: ProviderJob) -> None:
    """The provider made a job for an attempt that was given up: it is put on record, and cancelled if it can be."""
    words = f"the provider made {made.id} for an attempt that was given up"
    services.events.report_drift(attempt, DriftKind.SURPLUS, None, now=services.clock(), explanation=words)
    after_commit(lambda: cancel_at_provider(services, attempt, made.id))


def cancel_at_provider(services: Services, attempt: Attempt, provider_job_id: str) -> None:
    """Ask the provider to stop a job that nobody waits for; it may refuse."""
    provider = provider_for(services, attempt)
    if provider is None:
        return
    try:
        provider.cancel_job(provider_job_id)
    except (Transient, Misconfigured, CallRefused) as refused:
        log.warning("not cancelled at the provider", job_id=str(attempt.job_id), error=str(refused))


def into_doubt(services: Services, job_id: UUID, attempt_id: UUID, *, why: str) -> None:
    """The paid call's answer is lost: it may have made a job."""
    now = services.clock()
    with jobs.owning(job_id):
        attempt = attempts.get_attempt(attempt_id)
        if not attempts.step_attempt(attempt, AttemptState.SUBMITTING, AttemptState.IN_DOUBT, why=why, now=now):
            return
        jobs.step(
            job_id,
            JobState.SUBMITTING,
            JobState.IN_DOUBT,
            who="start_parse",
            why=why,
            now=now,
            due_at=services.after(1.0),
            message="the provider's answer is lost; looking for the job there",
        )
    log.warning("in doubt", job_id=str(job_id), attempt_id=str(attempt_id), error=why)


def recover(services: Services) -> None:
    """At the start of the only process of an installation: whatever was under way in the last one is due now.

    A paid call that was under way is in doubt at once, since nobody else can still be making it.

    Raises:
        StoreUnavailable: our own database can't be used now.
    """
    for attempt in attempts.find_attempts(Attempt.state == AttemptState.SUBMITTING):
        into_doubt(services, attempt.job_id, attempt.attempt_id, why="the process ended during the paid call")
    wake_all(services.clock())


def search_in_doubt(services: Services, job_id: UUID) -> None:
    """Look for a doubtful attempt among the provider's jobs; pay again only when it is proved that none was made.

    Proof is a complete listing without it that began after the time in which a slow request could still land
    (`PARSEGATE_DOUBT_SECONDS`). While the list can't be had, the attempt is held.

    Raises:
        StoreUnavailable: our own database can't be used now.
    """
    job, attempt = jobs.find_job(job_id), attempts.attempt_under_way(job_id)
    if job is None or attempt is None or attempt.submitted_at is None:
        return
    if attempt.state == AttemptState.SUBMITTING:
        if services.clock() < attempt.submitted_at + timedelta(seconds=PAID_CALL_S):
            return
        into_doubt(services, job_id, attempt.attempt_id, why="the worker that made the call was not heard of again")
        job, attempt = jobs.get_job(job_id), attempts.get_attempt(attempt.attempt_id)
    if attempt.state == AttemptState.IN_DOUBT and (job.state == JobState.IN_DOUBT or job.state in FINAL):
        _search(services, job, attempt)


def _search(services: Services, job: Job, attempt: Attempt) -> None:
    assert attempt.submitted_at is not None
    provider, began = services.provider, services.clock()
    if provider is None or attempt.base_url != provider.base_url:
        _look_later(services, job, attempt, f"in doubt at {attempt.base_url}, which this process does not use now")
        return
    try:
        made = _find(services, provider, attempt)
        same_project = made is not None or _is_our_project(provider, attempt)
    except (Transient, Misconfigured, CallRefused) as error:
        _look_later(services, job, attempt, f"in doubt, and the list can't be had: {error}")
        return
    if not same_project:
        message = "in doubt in another project than the key's: set the key that it was sent with"
        _look_later(services, job, attempt, message)
        log.error("held: the list is another project's", job_id=str(job.job_id), attempt_id=str(attempt.attempt_id))
        return
    if made is not None:
        bind(services, job.job_id, attempt.attempt_id, made)
    elif began >= attempt.submitted_at + timedelta(seconds=services.settings.doubt_seconds):
        try_again(
            services, job, attempt, AttemptState.NEVER_MADE, Bill(ZERO), why="a complete listing shows no such job"
        )
    else:
        _look_later(services, job, attempt, None, first_s=1.0, most_s=30.0)


def _look_later(
    services: Services, job: Job, attempt: Attempt, message: str | None, *, first_s: float = 2.0, most_s: float = 300.0
) -> None:
    """Search again later; a job that was cancelled has ended, and only its attempt is due."""
    if job.state in FINAL:
        due_at = services.retry_at(attempt.tries, first_s=first_s, most_s=most_s)
        attempts.set_attempt(attempt, due_at=due_at, tries=attempt.tries + 1)
    else:
        jobs.postpone(job, services.retry_at(job.tries, first_s=first_s, most_s=most_s), message=message)


def _find(services: Services, provider: LlamaParseClient, attempt: Attempt) -> ProviderJob | None:
    assert attempt.submitted_at is not None
    # The provider's own time, unless it lies ahead of ours: then a filter by it would hide the very job.
    since = min(attempt.provider_date or attempt.submitted_at, attempt.submitted_at) - LIST_MARGIN
    for made in provider.iterate_jobs(created_on_or_after=since):
        if is_ours(services, attempt, made):
            return made
    return None


def _is_our_project(provider: LlamaParseClient, attempt: Attempt) -> bool:
    """True unless the key was changed for one of another project, whose list proves nothing about this attempt.

    With the same key it is the same project. With another one, the file that the attempt was for must be there.
    """
    if attempt.key_id is None or attempt.key_id == provider.key_id:
        return True
    if attempt.file_id is None:
        return False
    try:
        return provider.get_file(attempt.file_id).project_id == attempt.project_id
    except CallRefused:
        return False


def is_ours(services: Services, attempt: Attempt, made: ProviderJob) -> bool:
    """True if the provider's job carries this attempt's id and this installation's."""
    said = made.user_metadata or {}
    return (
        said.get("parsegate_attempt") == str(attempt.attempt_id) and said.get("parsegate_instance") == services.instance
    )


def try_again(services: Services, job: Job, attempt: Attempt, ended: AttemptState, bill: Bill, *, why: str) -> None:
    """Close an attempt that ended without a result, and open the job's next one, with the file that is there.

    The next one needs a reservation of its own; if no budget has room for it, the job is deferred.

    Args:
        bill: what the ended one cost; it has no meaning where nothing was made.
    """
    now = services.clock()
    with jobs.owning(job.job_id) as owned:
        before = AttemptState(attempt.state)
        if ended is AttemptState.NEVER_MADE:
            closed = attempts.never_made(attempt, before, why=why, now=now)
        else:
            closed = attempts.step_attempt(attempt, before, ended, why=why, now=now)
        if not closed:
            return
        if ended is not AttemptState.NEVER_MADE:
            settle_or_wait(services, attempts.get_attempt(attempt.attempt_id), bill)
        if owned.state not in FINAL:
            _readmit(services, owned, why=why)


def _readmit(services: Services, job: Job, *, why: str) -> None:
    """Open a job's next attempt with its reservation, or defer the job."""
    now = services.clock()
    try:
        with savepoint():
            moved = jobs.step(
                job.job_id,
                JobState(job.state),
                JobState.RESERVED,
                who="parsegate",
                why=why,
                now=now,
                due_at=services.after(60.0),
                message=None,
            )
            amount = price_now(services, job)
            following = moved and attempts.open_attempt(
                job,
                provenance=Provenance.REAL,
                estimate=amount,
                now=now,
                page_price=page_price(job, amount),
            )
            if not following:
                return
            hold(services, following, job)
            services.nudge("start_parse", job_id=job.job_id)
    except NoRoom as error:
        defer(services, job, Shortage.of(job, error.refusal))
        enqueue_again(job)


def poll_wait_s(services: Services, tries: int) -> float:
    """Seconds until a silent job is asked for: a webhook is given time; without webhooks it is asked for soon."""
    settings = services.settings
    first = float(settings.poll_after_seconds) if settings.public_url is not None else 2.0
    return float(min(first * 2.0 ** min(tries, 20), max(first, 300.0)))
