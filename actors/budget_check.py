"""What a document may cost, before anything is sent."""

from __future__ import annotations

from uuid import UUID

from actors.outcome import fail_job
from actors.services import LEASE, Services
from domain.errors import NotFound, OrderRefused, Permanent
from domain.job_state import JobState, Provenance
from domain.pricing import Quote, price
from llamaparse.page_count import count_pages
from models import jobs
from models.database import transaction
from models.tables import Job


def check_budget(services: Services, job_id: UUID) -> None:
    """Price a document from its pages and tier, record the estimate, and open the job's first attempt.

    Raises:
        StoreUnavailable: our own store or database can't be used now.
    """
    job = jobs.find_job(job_id)
    if job is None or job.state not in {JobState.RECEIVED, JobState.DEFERRED} or job.document.raw_sha256 is None:
        return
    try:
        quote, guessed = quote_document(services, job)
    except Permanent as error:
        fail_job(services, job, error, who="check_budget")
        return
    now = services.clock()
    with transaction():
        moved = jobs.step(
            job_id,
            JobState(job.state),
            JobState.RESERVED,
            who="check_budget",
            why=f"{quote.pages} pages of {quote.tier}",
            now=now,
            due_at=now + LEASE,
            pages=quote.pages,
            pages_guessed=guessed,
            estimate=quote.amount,
        )
        if moved:
            jobs.open_attempt(job, provenance=Provenance.REAL, estimate=quote.amount, now=now)
    if moved:
        services.nudge("upload_file", job_id=job_id)


def quote_document(services: Services, job: Job) -> tuple[Quote, bool]:
    """The price ceiling of a stored document, and whether its page count is only a ceiling too.

    Raises:
        OrderRefused: it can't be priced, or the pages asked for are not in it.
        NotFound: its bytes are gone from the store.
    """
    document = job.document
    try:
        with services.store.open(document.raw_path) as content:
            counted = count_pages(content, document.filename)
    except NotFound as error:
        raise NotFound(f"the document's bytes are gone from the store: {error}") from error
    quote = price(counted.pages, job.tier, job.options)
    if not quote.pages:
        raise OrderRefused(f"the document has {counted.pages} pages, none of those asked for", reason="no_such_pages")
    return quote, counted.guessed
