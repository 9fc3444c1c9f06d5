"""Taking in what the provider says of an attempt. A signed event only starts this; what counts is the `GET`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from actors.doubt import bind, is_ours, poll_wait_s, try_again
from actors.local import finish_here
from actors.outcome import complete_job, fail_job, settle_or_wait
from actors.services import LEASE, Services, log
from domain.documents import ParsedDocument, ParsedPage
from domain.errors import CallRefused, DocumentRefused, Misconfigured, OddAnswer, ParsegateError, Transient
from domain.job_state import FINAL, AttemptState, JobState, Provenance
from domain.messages import EventMessage
from llamaparse.client import LlamaParseClient
from llamaparse.schemas import JobStatus, ParseResult, failure
from models import jobs
from models.database import transaction
from models.tables import Attempt, Job

MOST_TIMEOUTS: Final = 2
"""How many attempts a document gets that the provider ends with TIMEOUT."""


def ingest_result(services: Services, event: EventMessage) -> None:
    """Ask the provider how a job's attempt stands, and take the result in if there is one. Repeating it is harmless.

    Raises:
        StoreUnavailable: our own store or database can't be used now.
    """
    job = jobs.find_job(event.job_id)
    if job is None:
        log.warning("event for a job that is not known", job_id=str(event.job_id), event_id=event.event_id)
        return
    settle_late(services, job)
    attempt = jobs.attempt_under_way(job.job_id)
    if attempt is None or job.state in FINAL:
        return
    if attempt.provenance == Provenance.MOCK:
        finish_here(services, job.job_id)
        return
    provider_job_id = attempt.provider_job_id or event.provider_job_id
    if provider_job_id is None or attempt.state == AttemptState.OPEN:
        return
    answer = _ask(services, job, attempt, provider_job_id, expand_for(job.tier))
    if answer is None:
        return
    if attempt.state != AttemptState.SENT:
        bind(services, job.job_id, attempt.attempt_id, answer.job)
        job, attempt = jobs.get_job(job.job_id), jobs.get_attempt(attempt.attempt_id)
    if attempt.state == AttemptState.SENT:
        _take_in(services, job, attempt, answer)


def expand_for(tier: str) -> Sequence[str]:
    """What to ask for: `fast` has no Markdown, and asking for it is an error."""
    return ("text", "usage") if tier == "fast" else ("markdown", "text", "usage")


def _ask(
    services: Services, job: Job, attempt: Attempt, provider_job_id: str, expand: Sequence[str]
) -> ParseResult | None:
    """The provider's word, or None if it can't be had or isn't about this attempt; then the job is due later."""
    provider = _provider_for(services, attempt)
    if provider is None:
        message = f"sent to {attempt.base_url}, which this process does not use now"
        jobs.postpone(job, services.after(poll_wait_s(services, job.tries)), message=message)
        return None
    try:
        answer = provider.get_job(provider_job_id, expand=expand)
    except (Transient, Misconfigured, CallRefused) as error:
        log.warning("the provider can't be asked", job_id=str(job.job_id), error=str(error))
        _ask_later(services, job, f"{error}; asking again")
        return None
    if not is_ours(services, attempt, answer.job):
        # A signed event may name any job of the provider's; only its own metadata binds it to an attempt.
        log.error("not this attempt's job", job_id=str(job.job_id), provider_job_id=provider_job_id)
        return None
    return answer


def _provider_for(services: Services, attempt: Attempt) -> LlamaParseClient | None:
    provider = services.provider
    return provider if provider is not None and provider.base_url == attempt.base_url else None


def _ask_later(services: Services, job: Job, message: str | None) -> None:
    if job.due_at is not None:
        jobs.postpone(job, services.after(poll_wait_s(services, job.tries + 1)), message=message)


def _take_in(services: Services, job: Job, attempt: Attempt, answer: ParseResult) -> None:
    status = answer.job.status
    if not status.is_final:
        _ask_later(services, job, None)
    elif status is JobStatus.COMPLETED:
        _completed(services, job, attempt, answer)
    elif status is JobStatus.FAILED:
        _failed(services, job, attempt, answer, failure(answer.job) or DocumentRefused("the provider failed"))
    else:
        cancelled = DocumentRefused("the parse was cancelled at the provider", reason="cancelled_at_provider")
        _close(services, job, attempt, answer, AttemptState.CANCELLED, cancelled)


def _completed(services: Services, job: Job, attempt: Attempt, answer: ParseResult) -> None:
    try:
        parsed = parsed_document(answer)
    except OddAnswer as error:
        _ask_later(services, job, f"{error}; asking again")
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
        complete_job(services, job, attempt, parsed, provenance=Provenance.REAL, billed=answer.job.millicredits)


def parsed_document(answer: ParseResult) -> ParsedDocument:
    """The provider's pages in our own form.

    Raises:
        OddAnswer: a completed job without pages, or the same page twice.
    """
    texts = {page.page_number: page.text for page in answer.text_pages or ()}
    marked = answer.markdown_pages
    if marked is None and answer.text_pages is None:
        raise OddAnswer("the provider's job is completed but its answer has no pages")
    if marked is None:
        return ParsedDocument(tuple(ParsedPage(number, text=text) for number, text in sorted(texts.items())))
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
    if len(pages) != len(marked):
        raise OddAnswer("the provider's answer holds the same page twice")
    return ParsedDocument(tuple(pages[number] for number in sorted(pages)))


def _failed(services: Services, job: Job, attempt: Attempt, answer: ParseResult, error: ParsegateError) -> None:
    if isinstance(error, Transient) and attempt.number < MOST_TIMEOUTS:
        with transaction():
            try_again(services, job, attempt, AttemptState.FAILED, why=str(error))
            settle_or_wait(services, attempt, answer.job.millicredits)
        return
    _close(services, job, attempt, answer, AttemptState.FAILED, error)


def _close(
    services: Services,
    job: Job,
    attempt: Attempt,
    answer: ParseResult,
    ended: AttemptState,
    error: ParsegateError,
) -> None:
    """The provider's word ends the attempt without a result; its job fails, and what was billed is settled."""
    with transaction():
        if jobs.step_attempt(attempt, AttemptState.SENT, ended, why=str(error), now=services.clock()):
            settle_or_wait(services, attempt, answer.job.millicredits)
            fail_job(services, job, error, who="ingest_result")


def settle_late(services: Services, job: Job) -> None:
    """Ask what closed attempts of a job cost, where the provider had not told when they ended."""
    for attempt in jobs.unsettled_attempts(job.job_id):
        provider = _provider_for(services, attempt)
        if provider is None or attempt.provider_job_id is None:
            jobs.set_attempt(attempt, due_at=services.clock() + timedelta(minutes=5))
            continue
        try:
            answer = provider.get_job(attempt.provider_job_id, expand=("usage",))
        except (Transient, Misconfigured, CallRefused) as error:
            log.warning("the cost can't be had yet", job_id=str(job.job_id), error=str(error))
            settle_or_wait(services, attempt, None)
        else:
            settle_or_wait(services, attempt, answer.job.millicredits)
