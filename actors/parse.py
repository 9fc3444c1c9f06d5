"""Sending a document: the free upload and the paid call, one provider call a message.

Paying is a two-step. `submitting` is committed with the attempt's id before the call, and the id travels in the job's
`user_metadata`; whatever goes wrong after that, the attempt can be looked for (`actors.doubt`).
"""

from __future__ import annotations

import logging
import mimetypes
from typing import Any, Final
from uuid import UUID

from actors.doubt import PAID_CALL_S, bind, into_doubt
from actors.local import parse_here
from actors.outcome import fail_job
from actors.services import LEASE, Services, log
from domain.errors import (
    AnswerLost,
    BadSetting,
    CallRefused,
    Misconfigured,
    OrderRefused,
    ParsegateError,
    Permanent,
    ProviderBusy,
    ProviderUnavailable,
    Transient,
)
from domain.job_state import AttemptState, JobState
from domain.money import ZERO
from domain.pricing import take_target_pages
from domain.signatures import job_secret
from llamaparse.client import LlamaParseClient
from llamaparse.router import Route, choose, may_fall_back
from llamaparse.schemas import ParseRequest, WebhookConfiguration
from models import jobs
from models.database import transaction
from models.tables import Attempt, Job

WEBHOOK_EVENTS: Final = ("parse.success", "parse.error", "parse.partial_success", "parse.cancelled")
ACCOUNT_WAIT_S: Final = 60.0
"""Seconds between tries while the credential or the account is refused."""


def upload_file(services: Services, job_id: UUID) -> None:
    """Upload a reserved document's bytes to the provider, which is free, or parse it here if the mode says so.

    Raises:
        StoreUnavailable: our own store or database can't be used now.
    """
    found = _reserved(job_id)
    if found is None:
        return
    job, attempt = found
    if choose(services.mode()) is Route.LOCAL:
        parse_here(services, job, attempt, why="mode mock")
        return
    try:
        provider = provider_of(services)
        if attempt.file_id is None or attempt.base_url != provider.base_url:
            _upload(services, provider, job, attempt)
    except ParsegateError as error:
        _not_sent(services, job, attempt, error)
        return
    services.nudge("start_parse", job_id=job_id)


def _upload(services: Services, provider: LlamaParseClient, job: Job, attempt: Attempt) -> None:
    document = job.document
    content_type = mimetypes.guess_type(document.filename)[0] or "application/octet-stream"
    with services.store.open(document.raw_path) as content:
        file = provider.upload_file(content, document.filename, content_type=content_type)
    jobs.set_attempt(
        attempt,
        file_id=file.id,
        base_url=provider.base_url,
        project_id=file.project_id,
        provider_date=file.server_date or services.clock(),
    )
    jobs.postpone(job, services.clock() + LEASE, counts=False)


def start_parse(services: Services, job_id: UUID) -> None:
    """Make the paid call for a reserved document whose file is at the provider.

    Raises:
        StoreUnavailable: our own database can't be used now.
    """
    found = _reserved(job_id)
    if found is None:
        return
    job, attempt = found
    if choose(services.mode()) is Route.LOCAL:
        parse_here(services, job, attempt, why="mode mock")
        return
    try:
        provider = provider_of(services)
        request = parse_request(services, job, attempt)
    except ParsegateError as error:
        _not_sent(services, job, attempt, error)
        return
    if attempt.file_id is None or attempt.base_url != provider.base_url:
        services.nudge("upload_file", job_id=job_id)
        return
    if _claim(services, job, attempt):
        _pay(services, provider, job_id, attempt.attempt_id, request)


def _claim(services: Services, job: Job, attempt: Attempt) -> bool:
    """Commit that the paid call is about to be made; False if somebody else makes it."""
    now = services.clock()
    with transaction():
        moved = jobs.step(
            job.job_id,
            JobState.RESERVED,
            JobState.SUBMITTING,
            who="start_parse",
            why="paid call",
            now=now,
            due_at=services.after(PAID_CALL_S),
            message=None,
        )
        return moved and jobs.step_attempt(
            attempt, AttemptState.OPEN, AttemptState.SUBMITTING, why="paid call", now=now, submitted_at=now
        )


def _pay(services: Services, provider: LlamaParseClient, job_id: UUID, attempt_id: UUID, request: ParseRequest) -> None:
    try:
        created = provider.create_job(request)
    except AnswerLost as error:
        into_doubt(services, job_id, attempt_id, why=str(error))
    except (CallRefused, OrderRefused) as error:
        _refused(services, job_id, attempt_id, error)
    except (Transient, Misconfigured) as error:
        _take_back(services, job_id, attempt_id, error)
    else:
        bind(services, job_id, attempt_id, created.job)


def _refused(services: Services, job_id: UUID, attempt_id: UUID, error: Permanent) -> None:
    """The provider refused the call: nothing was made, and the document fails."""
    now = services.clock()
    job, attempt = jobs.get_job(job_id), jobs.get_attempt(attempt_id)
    with transaction():
        if jobs.step_attempt(attempt, AttemptState.SUBMITTING, AttemptState.NEVER_MADE, why=str(error), now=now):
            jobs.settle(attempt, ZERO, now=now)
            fail_job(services, job, error, who="start_parse")


def _take_back(services: Services, job_id: UUID, attempt_id: UUID, error: ParsegateError) -> None:
    """The provider made nothing, and said so or was never reached: the attempt is as it was before."""
    now = services.clock()
    attempt = jobs.get_attempt(attempt_id)
    with transaction():
        moved = jobs.step(
            job_id,
            JobState.SUBMITTING,
            JobState.RESERVED,
            who="start_parse",
            why=f"not sent: {error}",
            now=now,
            due_at=now + LEASE,
        )
        if not moved or not jobs.step_attempt(
            attempt, AttemptState.SUBMITTING, AttemptState.OPEN, why=str(error), now=now, tries=attempt.tries + 1
        ):
            return
    job = jobs.get_job(job_id)
    _not_sent(services, job, jobs.get_attempt(attempt_id), error)


def _not_sent(services: Services, job: Job, attempt: Attempt, error: ParsegateError) -> None:
    """Decide what becomes of a reserved job that could not be sent for `error`."""
    if isinstance(error, Permanent):
        now = services.clock()
        with transaction():
            if jobs.step_attempt(attempt, AttemptState.OPEN, AttemptState.NEVER_MADE, why=str(error), now=now):
                jobs.settle(attempt, ZERO, now=now)
                fail_job(services, job, error, who="upload_file")
        return
    if isinstance(error, ProviderUnavailable) and may_fall_back(services.mode()):
        parse_here(services, job, attempt, why=f"provider down: {error}")
        return
    if isinstance(error, Misconfigured):
        log.error("nothing is sent until this is mended", job_id=str(job.job_id), error=str(error))
        jobs.postpone(job, services.after(ACCOUNT_WAIT_S), message=str(error), counts=False)
        return
    if not isinstance(error, Transient):
        raise error
    due_at = services.retry_at(attempt.tries)
    if isinstance(error, ProviderBusy) and error.retry_after_s is not None:
        due_at = services.after(error.retry_after_s)
    jobs.set_attempt(attempt, tries=attempt.tries + 1)
    jobs.postpone(job, due_at, message=f"{error}; trying again", counts=False)
    log.log(logging.WARNING, "not sent, trying again", job_id=str(job.job_id), error=str(error), due_at=str(due_at))


def _reserved(job_id: UUID) -> tuple[Job, Attempt] | None:
    job = jobs.find_job(job_id)
    if job is None or job.state != JobState.RESERVED:
        return None
    attempt = jobs.attempt_under_way(job_id)
    if attempt is None or attempt.state != AttemptState.OPEN:
        return None
    return job, attempt


def provider_of(services: Services) -> LlamaParseClient:
    """The provider's client.

    Raises:
        BadSetting: there is no API key.
    """
    if services.provider is None:
        raise BadSetting("LLAMA_CLOUD_API_KEY is not set: the provider can't be used without it")
    return services.provider


def parse_request(services: Services, job: Job, attempt: Attempt) -> ParseRequest:
    """What the provider is asked to do: never more pages than were reserved, and our own ids to find it by."""
    options: dict[str, Any] = dict(job.options)
    ranges = options.pop("page_ranges", None) or {}
    target, ceiling = ranges.get("target_pages"), job.pages or 1
    disable_cache = options.pop("disable_cache", None)
    if target is not None:
        target = take_target_pages(target, ceiling)
    return ParseRequest(
        tier=job.tier,
        version=str(options.pop("version", "latest")),
        file_id=attempt.file_id,
        user_metadata={
            "parsegate_instance": services.instance,
            "parsegate_job": str(job.job_id),
            "parsegate_attempt": str(attempt.attempt_id),
        },
        target_pages=target,
        max_pages=ceiling if target is None else None,
        webhook_configurations=_webhooks(services, job.job_id),
        disable_cache=disable_cache,
        options=options,
    )


def _webhooks(services: Services, job_id: UUID) -> tuple[WebhookConfiguration, ...]:
    settings = services.settings
    if settings.public_url is None or not settings.secret_key:
        return ()
    return (
        WebhookConfiguration(
            url=f"{settings.public_url}/webhooks/llamaparse/{job_id}",
            signing_secret=job_secret(settings.secret_key_bytes[0], str(job_id)),
            events=WEBHOOK_EVENTS,
        ),
    )
