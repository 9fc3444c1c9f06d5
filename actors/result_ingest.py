"""Taking in what the provider says of an attempt. A signed event only starts this; what counts is the `GET`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from actors.admission import admit_if_waiting
from actors.doubt import bind, cancel_at_provider, is_ours, poll_wait_s, try_again
from actors.evidence import keep_event, was_sent
from actors.local import finish_here
from actors.outcome import complete_job, fail_job
from actors.reuse import finish_reuse
from actors.services import LEASE, Services, log
from actors.settlement import ask_about_drifts, bill_of, price_varies, provider_for, settle_late, settle_or_wait
from domain.documents import ParsedDocument, ParsedPage
from domain.errors import (
    CallRefused,
    DocumentRefused,
    Misconfigured,
    NotFound,
    OddAnswer,
    ParsegateError,
    Permanent,
    Transient,
)
from domain.job_state import FINAL, AttemptState, JobState, Provenance
from domain.messages import EventMessage
from llamaparse.schemas import JobStatus, ParseResult, failure
from models import attempts, jobs
from models.tables import Attempt, Job

MONEY: Final = ("usage", "job_metadata")
"""Expansions that say what was billed, and whether the provider took it from its cache."""
ROUTE: Final = "/webhooks/llamaparse/{job_id}"
"""Where signed events come in, for the record of those that can't be meant."""
MOST_TIMEOUTS: Final = 2
"""How many attempts a document gets that the provider ends with TIMEOUT."""
CLOSED_BY: Final = {
    JobStatus.COMPLETED: AttemptState.COMPLETED,
    JobStatus.FAILED: AttemptState.FAILED,
    JobStatus.CANCELLED: AttemptState.CANCELLED,
}


def ingest_result(services: Services, event: EventMessage) -> None:
    """Ask the provider how a job's attempt stands, and take the result in if there is one. Repeating it is harmless.

    Raises:
        StoreUnavailable: our own store or database can't be used now.
    """
    job = jobs.find_job(event.job_id)
    if job is None:
        log.warning("event for a job that is not known", job_id=str(event.job_id), event_id=event.event_id)
        keep_event(services, event, ROUTE, "unknown_job")
        return
    settle_late(services, job)
    ask_about_drifts(services, job)
    attempt = attempts.attempt_under_way(job.job_id)
    if attempt is not None:
        _look(services, job, attempt, event)
    elif event.provider_job_id is not None and not was_sent(job.job_id, event.provider_job_id):
        keep_event(services, event, ROUTE, "no_such_parse")
    # A bill below its hold frees a part of the budget: whoever waits for it may go.
    admit_if_waiting(services)


def _look(services: Services, job: Job, attempt: Attempt, event: EventMessage) -> None:
    if attempt.provenance == Provenance.MOCK:
        finish_here(services, job.job_id)
        return
    if attempt.provenance == Provenance.CACHED:
        finish_reuse(services, job.job_id)
        return
    if attempt.provider_job_id is not None and event.provider_job_id not in (None, attempt.provider_job_id):
        keep_event(services, event, ROUTE, "other_provider_job")
    provider_job_id = attempt.provider_job_id or event.provider_job_id
    if provider_job_id is None or attempt.state == AttemptState.OPEN:
        if job.state in FINAL:
            # It was cancelled while the paid call was under way: what that made is looked for, and stopped.
            services.nudge("search_in_doubt", job_id=job.job_id)
        return
    answer = _ask(services, job, attempt, provider_job_id, expand_for(job.tier))
    if answer is None:
        return
    if attempt.state != AttemptState.SENT:
        bind(services, job.job_id, attempt.attempt_id, answer.job)
        job, attempt = jobs.get_job(job.job_id), attempts.get_attempt(attempt.attempt_id)
    if attempt.state == AttemptState.SENT:
        _take_in(services, job, attempt, answer)


def expand_for(tier: str) -> Sequence[str]:
    """What to ask for: `fast` has no Markdown, and asking for it is an error."""
    return ("text", *MONEY) if tier == "fast" else ("markdown", "text", *MONEY)


def _ask(
    services: Services, job: Job, attempt: Attempt, provider_job_id: str, expand: Sequence[str]
) -> ParseResult | None:
    """The provider's word, or None if it can't be had or isn't about this attempt; then the job is due later."""
    provider = provider_for(services, attempt)
    if provider is None:
        _ask_later(services, job, attempt, f"sent to {attempt.base_url}, which this process does not use now")
        return None
    try:
        answer = provider.get_job(provider_job_id, expand=expand)
    except (OddAnswer, CallRefused, NotFound) as error:
        # Its own words, or nobody's: if that does not change, no result will ever come.
        log.warning("no result can be had", job_id=str(job.job_id), error=str(error))
        _ask_later_or_give_up(services, job, attempt, error)
        return None
    except (Transient, Misconfigured) as error:
        log.warning("the provider can't be asked", job_id=str(job.job_id), error=str(error))
        _ask_later(services, job, attempt, f"{error}; asking again")
        return None
    if not is_ours(services, attempt, answer.job):
        # A signed event may name any job of the provider's; only its own metadata binds it to an attempt.
        log.error("not this attempt's job", job_id=str(job.job_id), provider_job_id=provider_job_id)
        told = EventMessage(job_id=job.job_id, provider_job_id=provider_job_id[:200])
        keep_event(services, told, ROUTE, "not_this_attempts_job")
        return None
    return answer


def _ask_later(services: Services, job: Job, attempt: Attempt, message: str | None) -> None:
    if attempt.state != AttemptState.SENT:
        # An event asked about it; what is in doubt is looked for at its own time.
        return
    due_at = services.after(poll_wait_s(services, job.tries + 1))
    if job.due_at is not None:
        jobs.postpone(job, due_at, message=message)
    elif attempt.due_at is not None:
        attempts.set_attempt(attempt, due_at=services.retry_at(attempt.tries), tries=attempt.tries + 1)


def _is_overdue(services: Services, attempt: Attempt) -> bool:
    patience = timedelta(seconds=services.settings.stuck_after_seconds)
    return attempt.submitted_at is not None and services.clock() >= attempt.submitted_at + patience


def _ask_later_or_give_up(services: Services, job: Job, attempt: Attempt, error: ParsegateError) -> None:
    if not _is_overdue(services, attempt) or attempt.state != AttemptState.SENT:
        _ask_later(services, job, attempt, f"{error}; asking again")
        return
    if error.reason == "http_404":
        # It was made, and is there no more: what it cost will not be told.
        with jobs.owning(job.job_id) as owned:
            if attempts.step_attempt(
                attempt, AttemptState.SENT, AttemptState.CANCELLED, why=str(error), now=services.clock()
            ):
                attempts.set_attempt(attempt, due_at=services.clock())
            _fail(
                services, owned, DocumentRefused(f"its job is gone at the provider: {error}", reason="gone_at_provider")
            )
        return
    _give_up(services, job, attempt, DocumentRefused(f"no result can be had: {error}", reason="no_result"))


def _give_up(services: Services, job: Job, attempt: Attempt, error: Permanent) -> None:
    """End a job whose result never comes. Its attempt stays, and with it the money, until the provider has ended it."""
    with jobs.owning(job.job_id) as owned:
        _fail(services, owned, error)
        attempts.set_attempt(attempt, due_at=services.after(60.0))
    if attempt.provider_job_id is not None:
        cancel_at_provider(services, attempt, attempt.provider_job_id)


def _fail(services: Services, job: Job, error: ParsegateError) -> None:
    if job.state not in FINAL:
        fail_job(services, job, error, who="ingest_result")


def _take_in(services: Services, job: Job, attempt: Attempt, answer: ParseResult) -> None:
    status = answer.job.status
    if not status.is_final:
        _still_running(services, job, attempt, status)
    elif job.state in FINAL:
        _close(services, job, attempt, answer, None)
    elif status is JobStatus.COMPLETED:
        _completed(services, job, attempt, answer)
    elif status is JobStatus.FAILED:
        _failed(services, job, attempt, answer, failure(answer.job) or DocumentRefused("the provider failed"))
    else:
        cancelled = DocumentRefused("the parse was cancelled at the provider", reason="cancelled_at_provider")
        _close(services, job, attempt, answer, cancelled)


def _still_running(services: Services, job: Job, attempt: Attempt, status: JobStatus) -> None:
    if job.state in FINAL and attempt.provider_job_id is not None:
        # Nobody waits for it: what it has done so far is billed, and no more.
        cancel_at_provider(services, attempt, attempt.provider_job_id)
    if job.state in FINAL or not _is_overdue(services, attempt):
        _ask_later(services, job, attempt, None)
        return
    hours = services.settings.stuck_after_seconds / 3600
    error = DocumentRefused(f"the provider's job is still {status.value} after {hours:.1f} hours", reason="stuck")
    _give_up(services, job, attempt, error)


def _completed(services: Services, job: Job, attempt: Attempt, answer: ParseResult) -> None:
    try:
        parsed = parsed_document(answer, job.tier)
    except OddAnswer as error:
        if _is_overdue(services, attempt):
            _close(
                services, job, attempt, answer, DocumentRefused(f"no result can be had: {error}", reason="no_result")
            )
        else:
            _ask_later(services, job, attempt, f"{error}; asking again")
        return
    if job.state == JobState.PARSING:
        jobs.step(
            job.job_id,
            JobState.PARSING,
            JobState.INGESTING,
            who="ingest_result",
            why=f"{answer.job.id} is {answer.job.status.value}",
            now=services.clock(),
            due_at=services.clock() + LEASE,
            message=None,
        )
        job = jobs.get_job(job.job_id)
    if job.state == JobState.INGESTING:
        bill = bill_of(answer, parsed_pages=len(parsed.pages), price_varies=price_varies(job))
        provenance = Provenance.CACHED if bill.cached else Provenance.REAL
        complete_job(services, job, attempt, parsed, provenance=provenance, bill=bill)


def parsed_document(answer: ParseResult, tier: str) -> ParsedDocument:
    """The provider's pages in our own form.

    Raises:
        OddAnswer: a completed job without pages, the same page twice, or text or Markdown that was asked for missing.
    """
    marked, plain = answer.markdown_pages, answer.text_pages
    if plain is None or (marked is None and tier != "fast"):
        raise OddAnswer("the provider's job is completed, but a part of its result is missing")
    texts = {page.page_number: page.text for page in plain}
    if not texts and not marked:
        raise OddAnswer("the provider's job is completed, but its result has no pages")
    if marked is None:
        pages = {number: ParsedPage(number, text=text) for number, text in texts.items()}
    else:
        pages = {
            page.page_number: ParsedPage(
                page.page_number,
                markdown=page.markdown or "",
                text=texts.get(page.page_number, "") if page.success else "",
                success=page.success,
                error=page.error,
            )
            for page in marked
        }
    if len(pages) != len(plain if marked is None else marked):
        raise OddAnswer("the provider's answer holds the same page twice")
    return ParsedDocument(tuple(pages[number] for number in sorted(pages)))


def _failed(services: Services, job: Job, attempt: Attempt, answer: ParseResult, error: ParsegateError) -> None:
    if isinstance(error, Transient) and attempt.number < MOST_TIMEOUTS:
        bill = bill_of(answer, parsed_pages=None, price_varies=False)
        try_again(services, job, attempt, AttemptState.FAILED, bill, why=str(error))
        return
    _close(services, job, attempt, answer, error)


def _close(services: Services, job: Job, attempt: Attempt, answer: ParseResult, error: ParsegateError | None) -> None:
    """The provider's word ends the attempt without a result; its job fails, and what was billed is settled.

    Args:
        error: why the job fails; None if it has ended before.
    """
    ended = CLOSED_BY[answer.job.status]
    with jobs.owning(job.job_id) as owned:
        why = str(error or f"{answer.job.id} is {answer.job.status.value}")
        if not attempts.step_attempt(attempt, AttemptState.SENT, ended, why=why, now=services.clock()):
            return
        bill = bill_of(answer, parsed_pages=None, price_varies=False)
        settle_or_wait(services, attempts.get_attempt(attempt.attempt_id), bill)
        if error is not None:
            _fail(services, owned, error)
