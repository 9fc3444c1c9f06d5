"""Sending a document: the free upload and the paid call, one provider call a message.

Paying is a two-step. `submitting` is committed with the attempt's id before the call, and the id travels in the job's
`user_metadata`; whatever goes wrong after that, the attempt can be looked for (`actors.doubt`).
"""

from __future__ import annotations

import logging
import mimetypes
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from actors.admission import NoRoom, Shortage, admit_if_waiting, defer, page_price, price_now
from actors.credits import out_of_credits
from actors.doubt import PAID_CALL_S, bind, into_doubt, is_ours
from actors.local import parse_here
from actors.outcome import fail_job
from actors.reuse import reuse_here
from actors.services import LEASE, Services, log
from domain.errors import (
    AnswerLost,
    BadSetting,
    CallRefused,
    CreditsExhausted,
    Misconfigured,
    OrderRefused,
    ParsegateError,
    Permanent,
    ProviderBusy,
    ProviderUnavailable,
    Transient,
)
from domain.job_state import AttemptState, JobState, Provenance
from domain.pricing import take_target_pages
from domain.signatures import job_secret
from llamaparse.client import LlamaParseClient
from llamaparse.router import Route
from llamaparse.schemas import ParseRequest, WebhookConfiguration
from models import admission, attempts, erasures, jobs, ledger
from models.database import savepoint, transaction
from models.tables import Attempt, Job

WEBHOOK_EVENTS: Final = ("parse.success", "parse.error", "parse.partial_success", "parse.cancelled")
UPLOAD_S: Final = 960.0
"""Above the client's own deadline for a call that carries a document."""
FRESH: Final = timedelta(seconds=30)
"""A paid call is made this soon after it was claimed, or not at all: far less than `PARSEGATE_DOUBT_SECONDS`."""
MOST_UPLOADS: Final = 3
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
    if _is_done_here(services, job, attempt):
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
    # Longer than the upload can take: the clock must not start another one beside it.
    jobs.postpone(job, services.after(UPLOAD_S), counts=False)
    content_type = mimetypes.guess_type(document.filename)[0] or "application/octet-stream"
    with services.store.open(document.raw_path) as content:
        file = provider.upload_file(content, document.filename, content_type=content_type)
    with transaction():
        is_open = attempts.record_upload(
            attempt,
            file_id=file.id,
            base_url=provider.base_url,
            project_id=file.project_id,
            provider_date=file.server_date or services.clock(),
        )
        if not is_open:
            # Its document may have been deleted while the upload was under way: then this is removed too.
            erasures.reopen_erasure(job.document_id, services.clock())
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
    if _is_done_here(services, job, attempt):
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
    if _claim(services, job, attempt, provider.key_id):
        _pay(services, provider, job_id, attempt.attempt_id, request)
        admit_if_waiting(services)


def _claim(services: Services, job: Job, attempt: Attempt, key_id: str) -> bool:
    """Commit that the paid call is about to be made; False if somebody else makes it, or no budget allows it now."""
    now = services.clock()
    with jobs.owning(job.job_id) as owned:
        try:
            with savepoint():
                if ledger.is_held(attempt.attempt_id):
                    return _submitting(services, owned, attempt, key_id)
        except NoRoom as error:
            # The hold was taken before midnight, and the new day has no room for it.
            defer(services, owned, Shortage.of(owned, error.refusal))
        else:
            # Nothing is ever sent without a hold: somebody else has parsed it here meanwhile, or an older version took
            # none.
            if not jobs.step(
                job.job_id, JobState.RESERVED, JobState.DEFERRED, who="start_parse", why="no hold", now=now, due_at=now
            ):
                return False
        if attempts.never_made(attempt, AttemptState.OPEN, why="not sent", now=now):
            admission.enqueue_again(owned)
    return False


def _submitting(services: Services, job: Job, attempt: Attempt, key_id: str) -> bool:
    """Take a reserved job and its attempt into the paid call, its hold in the window that it is sent in.

    Raises:
        NoRoom: a new window has begun, and has no room; the transaction must be rolled back.
    """
    now = services.clock()
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
    if not moved or not attempts.step_attempt(
        attempt,
        AttemptState.OPEN,
        AttemptState.SUBMITTING,
        why="paid call",
        now=now,
        submitted_at=now,
        key_id=key_id,
    ):
        return False
    settings, amount = services.settings, price_now(services, job)
    if amount != attempt.estimate:
        # The price has changed since it was admitted: what is held must be what the bill can be.
        attempts.set_attempt(attempt, estimate=amount, page_price=page_price(job, amount))
    refusal = ledger.move(
        attempt.attempt_id,
        amount,
        now=now,
        zone=settings.budget_timezone,
        usd_per_credit=settings.prices_at(now).usd_per_credit,
    )
    if refusal is not None:
        raise NoRoom(refusal)
    return True


def _pay(services: Services, provider: LlamaParseClient, job_id: UUID, attempt_id: UUID, request: ParseRequest) -> None:
    claimed_at = attempts.get_attempt(attempt_id).submitted_at
    if claimed_at is None or services.clock() - claimed_at > FRESH:
        # This process was frozen since: others may count the call as made, and look for it already.
        _take_back(services, job_id, attempt_id, ProviderUnavailable("not sent in time"))
        return
    try:
        created = provider.create_job(request)
    except AnswerLost as error:
        into_doubt(services, job_id, attempt_id, why=str(error))
    except (CallRefused, OrderRefused) as error:
        if error.reason == "http_404" and attempts.get_attempt(attempt_id).tries < MOST_UPLOADS:
            # The file that was uploaded is gone there: it is uploaded once more, which is free.
            _take_back(services, job_id, attempt_id, Transient(str(error)), file_id=None)
        else:
            _refused(services, job_id, attempt_id, error)
    except (Transient, Misconfigured) as error:
        _take_back(services, job_id, attempt_id, error)
    else:
        attempt = attempts.get_attempt(attempt_id)
        if created.job.user_metadata and not is_ours(services, attempt, created.job):
            # Somebody's answer got mixed up with ours: whether our job was made is not known.
            into_doubt(services, job_id, attempt_id, why=f"the answer is about another job, {created.job.id}")
        else:
            bind(services, job_id, attempt_id, created.job)


def _refused(services: Services, job_id: UUID, attempt_id: UUID, error: Permanent) -> None:
    """The provider refused the call: nothing was made, and the document fails."""
    now = services.clock()
    with jobs.owning(job_id) as job:
        if attempts.never_made(attempts.get_attempt(attempt_id), AttemptState.SUBMITTING, why=str(error), now=now):
            # Unless it was cancelled meanwhile.
            fail_job(services, job, error, who="start_parse")


def _take_back(services: Services, job_id: UUID, attempt_id: UUID, error: ParsegateError, **changes: Any) -> None:
    """The provider made nothing, and said so or was never reached: the attempt is as it was before."""
    now = services.clock()
    attempt = attempts.get_attempt(attempt_id)
    with jobs.owning(job_id) as owned:
        if owned.state == JobState.CANCELLED:
            attempts.never_made(attempt, AttemptState.SUBMITTING, why=str(error), now=now)
            return
        moved = jobs.step(
            job_id,
            JobState.SUBMITTING,
            JobState.RESERVED,
            who="start_parse",
            why=f"not sent: {error}",
            now=now,
            due_at=now + LEASE,
        )
        if not moved or not attempts.step_attempt(
            attempt, AttemptState.SUBMITTING, AttemptState.OPEN, why=str(error), now=now, **changes
        ):
            return
    job = jobs.get_job(job_id)
    _not_sent(services, job, attempts.get_attempt(attempt_id), error)


def _not_sent(services: Services, job: Job, attempt: Attempt, error: ParsegateError) -> None:
    """Decide what becomes of a reserved job that could not be sent for `error`."""
    if isinstance(error, Permanent):
        now = services.clock()
        with jobs.owning(job.job_id) as owned:
            if attempts.never_made(attempt, AttemptState.OPEN, why=str(error), now=now):
                fail_job(services, owned, error, who="upload_file")
        admit_if_waiting(services)
        return
    if isinstance(error, CreditsExhausted):
        out_of_credits(services, job, attempt, error)
        return
    if isinstance(error, ProviderUnavailable) and _falls_back(services, job):
        parse_here(services, job, attempt, why=f"provider down: {error}")
        admit_if_waiting(services)
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
    attempts.set_attempt(attempt, tries=attempt.tries + 1)
    jobs.postpone(job, due_at, message=f"{error}; trying again", counts=False)
    log.log(logging.WARNING, "not sent, trying again", job_id=str(job.job_id), error=str(error), due_at=str(due_at))


def _is_done_here(services: Services, job: Job, attempt: Attempt) -> bool:
    """True if a reserved job needs no call: it got a copy, was parsed here, or the account has no credits left."""
    if attempt.provenance == Provenance.CACHED:
        reuse_here(services, job, attempt)
    elif services.route_of(job) is Route.LOCAL or attempt.provenance == Provenance.MOCK:
        parse_here(services, job, attempt, why="parsed here")
        admit_if_waiting(services)
    elif (account := services.exhausted()) is not None:
        out_of_credits(services, job, attempt, CreditsExhausted(account.said))
    else:
        return False
    return True


def _falls_back(services: Services, job: Job) -> bool:
    """True if the local parser stands in now: this very failure may have opened the breaker."""
    services.endpoints.forget()
    return services.route_of(job) is Route.LOCAL


def _reserved(job_id: UUID) -> tuple[Job, Attempt] | None:
    job = jobs.find_job(job_id)
    if job is None or job.state != JobState.RESERVED:
        return None
    attempt = attempts.attempt_under_way(job_id)
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
