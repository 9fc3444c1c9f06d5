"""Settling: what an attempt cost, by the provider's word, or, where that is missing, by what was reserved."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from actors.services import Services, log
from domain.errors import CallRefused, Misconfigured, Transient
from domain.job_state import AttemptState
from domain.money import Millicredits, format_credits
from domain.settlement import Bill, DriftKind, judge_bill
from llamaparse.client import LlamaParseClient
from llamaparse.schemas import ParseResult
from models import attempts, drifts, jobs
from models.tables import Attempt, Job

ASK_LATER: Final = timedelta(minutes=5)
CACHE_HOURS: Final = 48
"""How long the provider serves the same file with the same options without billing (facts page, "Prices")."""


def bill_of(answer: ParseResult, *, parsed_pages: int | None, price_varies: bool) -> Bill:
    """What the provider's answer says of the cost."""
    metadata = answer.raw.get("job_metadata")
    cached = isinstance(metadata, dict) and metadata.get("job_is_cache_hit") is True
    return Bill(answer.job.millicredits, cached=cached, parsed_pages=parsed_pages, price_varies=price_varies)


def settle_or_wait(services: Services, attempt: Attempt, bill: Bill) -> None:
    """Settle an attempt that has ended, or ask again later if the provider has not told what it cost.

    Call it in a transaction that owns the job.
    """
    now = services.clock()
    since, prices = attempt.submitted_at or attempt.created_at, services.settings.prices_at(attempt.created_at)
    settled = judge_bill(
        bill,
        reserved=Millicredits(attempt.estimate),
        page_price=None if attempt.page_price is None else Millicredits(attempt.page_price),
        overdue=now >= since + timedelta(seconds=services.settings.usage_wait_seconds),
        tier_prices=[amount + more for amount in prices.tiers.values() for more in (0, prices.high_confidence)],
    )
    if settled is None:
        due_at = services.retry_at(attempt.tries, first_s=1.0)
        attempts.set_attempt(attempt, due_at=due_at, tries=attempt.tries + 1)
        return
    if settled.drift is DriftKind.UNEXPLAINED_ZERO and attempts.billed_before(
        attempt, now - timedelta(hours=CACHE_HOURS)
    ):
        # The provider does not say that it came from its cache, but we know that we paid for the same not long ago.
        attempts.settle(attempt, Millicredits(0), now=now, why="from the provider's cache: the same was paid before")
        return
    why = f"assumed: {settled.drift}" if settled.assumed and settled.drift else "billed by the provider"
    if (
        attempts.settle(attempt, settled.amount, now=now, why=why, assumed=settled.assumed)
        and settled.drift is not None
    ):
        services.events.report_drift(attempt, settled.drift, bill.told, now=now)


def settle_late(services: Services, job: Job) -> None:
    """Ask what closed attempts of a job cost, where the provider had not told when they ended."""
    for attempt in attempts.ended_unsettled(job.job_id):
        answer = _ask(services, attempt)
        told = None if answer is None else answer.job.millicredits
        if answer is None and attempt.provider_job_id is None:
            attempts.set_attempt(attempt, due_at=services.clock() + ASK_LATER)
            continue
        bill = (
            Bill(told)
            if answer is None
            else bill_of(answer, parsed_pages=_pages(job, attempt), price_varies=price_varies(job))
        )
        with jobs.owning(job.job_id):
            settle_or_wait(services, attempts.get_attempt(attempt.attempt_id), bill)


def ask_about_drifts(services: Services, job: Job) -> None:
    """Ask again what an attempt cost that was settled at its estimate, and correct it if the provider tells now."""
    now = services.clock()
    for drift in drifts.to_be_asked(job.job_id):
        attempt = attempts.get_attempt(drift.attempt_id)
        answer = _ask(services, attempt)
        told = None if answer is None else answer.job.millicredits
        with jobs.owning(job.job_id):
            if told and attempts.correct(attempt, told, now=now, why="the provider has told what it cost"):
                drifts.explain(drift, f"the provider told {format_credits(told)} credits later", now=now)
                if told > attempt.estimate:
                    services.events.report_drift(attempt, DriftKind.OVER_RESERVATION, told, now=now)
            else:
                drifts.ask_later(drift, now=now, answered=answer is not None)


def price_varies(job: Job) -> bool:
    """True if single pages of a job may be billed at another tier than the rest."""
    processing = job.options.get("processing_options") or {}
    return bool(processing.get("auto_mode_configuration"))


def _pages(job: Job, attempt: Attempt) -> int | None:
    return job.parsed_pages if attempt.state == AttemptState.COMPLETED else None


def _ask(services: Services, attempt: Attempt) -> ParseResult | None:
    provider = provider_for(services, attempt)
    if provider is None or attempt.provider_job_id is None:
        return None
    try:
        return provider.get_job(attempt.provider_job_id, expand=("usage", "job_metadata"))
    except (Transient, Misconfigured, CallRefused) as error:
        log.warning("the cost can't be had yet", job_id=str(attempt.job_id), error=str(error))
        return None


def provider_for(services: Services, attempt: Attempt) -> LlamaParseClient | None:
    """The provider's client, if it is the one that an attempt went to."""
    provider = services.provider
    return provider if provider is not None and provider.base_url == attempt.base_url else None
