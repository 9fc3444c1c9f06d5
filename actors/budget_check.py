"""What a document may cost, before anything is sent, and its place among those that wait for the budget."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from actors.admission import (
    Round,
    admit_free,
    admit_waiting,
    hold_back,
    keys_of,
    may_be_mocked,
    over_a_whole_window,
    refuse_for_good,
)
from actors.outcome import fail_job, reject_job
from actors.poison import about
from actors.reuse import find_result
from actors.services import LEASE, Services
from domain.errors import NotFound, OrderRefused, Permanent, Waiting
from domain.pricing import Quote, price
from domain.reuse import work_key
from llamaparse.router import Route
from models import admission, budgets, jobs
from models.due import claim_waiting, waiting_nudge_came
from models.tables import Job

MOST_PAGES: Final = 1_000_000
"""More than this is no count but a broken or hostile file."""
BUSY_S: Final = 2.0
"""Seconds after which a document that nobody was free to count is looked at again."""
WAITING_BATCH: Final = 200
"""How many waiting documents one message looks at again."""
SECONDS_A_DOCUMENT: Final = 0.2
"""At the provider's published pace, 50 in 10 s: how soon a waiting document is looked at again, for each before it."""


def check_budget(services: Services, job_id: UUID) -> None:
    """Price a document, give it its place in the queue, and admit whoever may go now.

    Raises:
        StoreUnavailable: our own store or database can't be used now.
    """
    job = jobs.find_job(job_id)
    if job is None or job.state not in jobs.WAITING or job.document.raw_sha256 is None:
        return
    if job.turn is None and not _enqueue(services, job):
        return
    if not admit_free(services, jobs.get_job(job_id)):
        _wait_on(services, job_id, admit_waiting(services))


def check_waiting(services: Services) -> None:
    """Admit whoever may go, and look again at those that wait and are due.

    One message for all of them: they go in one order anyhow, and ten thousand messages about documents that wait would
    stand before the one about another tenant's new document.

    Raises:
        StoreUnavailable: our own store or database can't be used now.
    """
    waiting_nudge_came(services.clock())
    done, now = admit_waiting(services), services.clock()
    for _ in range(WAITING_BATCH):
        # One by one: what can't be looked at holds up nobody else, and is claimed for a while.
        claimed = claim_waiting(now, now + LEASE, 1)
        if not claimed:
            return
        for job_id in claimed:
            with about(job_id):
                if not admit_free(services, jobs.get_job(job_id)):
                    _wait_on(services, job_id, done)


def _wait_on(services: Services, job_id: UUID, done: Round) -> None:
    """What becomes of a job that has its place, after a round of admissions."""
    job = jobs.get_job(job_id)
    if job.turn is None or job.state not in jobs.WAITING:
        return
    shortage = done.shortage_for(job)
    beyond = done.too_dear_for(job)
    if beyond is not None:
        refuse_for_good(services, job, beyond)
    elif shortage is not None:
        hold_back(services, job, shortage)
    else:
        _wait_for_turn(services, job)


def _enqueue(services: Services, job: Job) -> bool:
    """Price a document and let it wait; False if it has ended instead."""
    try:
        quote, guessed = quote_document(services, job)
        job.work_key = _work_key(services, job)
        if find_result(services, job) is None:
            _check_fits_a_window(services, job, quote)
    except Waiting as error:
        jobs.postpone(job, services.after(BUSY_S), message=str(error), counts=False)
        return False
    except OrderRefused as error:
        with jobs.owning(job.job_id) as owned:
            if error.reason == "over_a_whole_window" and owned.state in jobs.WAITING:
                reject_job(services, owned, error)
            else:
                fail_job(services, owned, error, who="check_budget")
        return False
    except Permanent as error:
        fail_job(services, job, error, who="check_budget")
        return False
    return admission.enqueue(
        job,
        pages=quote.pages,
        pages_guessed=guessed,
        estimate=quote.amount,
        work_key=job.work_key,
        due_at=services.clock() + LEASE,
    )


def _check_fits_a_window(services: Services, job: Job, quote: Quote) -> None:
    """Refuse what can never be reserved, however long it waits.

    Raises:
        OrderRefused: it costs more than a whole window of one of its budgets allows.
    """
    if services.route_of(job) is Route.LOCAL or may_be_mocked(services, job):
        return
    for balance in budgets.balances_of(keys_of(job), services.clock(), services.settings.budget_timezone):
        if balance.limit is not None and quote.amount > balance.limit:
            raise over_a_whole_window(quote.amount, balance.key, balance.limit)


def _work_key(services: Services, job: Job) -> str | None:
    """See `domain.reuse`; None if results are not used again."""
    settings, document = services.settings, job.document
    if not settings.reuse_seconds or document.raw_sha256 is None:
        return None
    tenant = None if settings.reuse_across_tenants else job.tenant
    return work_key(
        document.raw_sha256, document.filename, job.tier, job.options, place=settings.base_url, tenant=tenant
    )


def _wait_for_turn(services: Services, job: Job) -> None:
    position = admission.queue_position(job)
    due_at = services.clock() + max(LEASE, timedelta(seconds=position * SECONDS_A_DOCUMENT))
    jobs.postpone(job, due_at, message=f"waits for its turn; {position} documents are before it", counts=False)


def quote_document(services: Services, job: Job) -> tuple[Quote, bool]:
    """The price ceiling of a stored document, and whether its page count is only a ceiling too.

    Raises:
        OrderRefused: it can't be priced, or the pages asked for are not in it.
        NotFound: its bytes are gone from the store.
        Waiting: it can't be counted now.
    """
    document = job.document
    try:
        with services.store.open(document.raw_path) as content:
            counted = services.parsers.count(content, document.filename)
    except NotFound as error:
        raise NotFound(f"the document's bytes are gone from the store: {error}") from error
    if counted.pages > MOST_PAGES:
        raise OrderRefused(f"the document claims {counted.pages:,} pages", reason="TOO_MANY_PAGES")
    quote = price(counted.pages, job.tier, job.options, services.settings.prices_at(services.clock()))
    if not quote.pages:
        raise OrderRefused(f"the document has {counted.pages} pages, none of those asked for", reason="no_such_pages")
    return quote, counted.guessed
