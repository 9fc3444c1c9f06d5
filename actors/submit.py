"""The order itself: its row and its bytes, before the message is acknowledged."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from actors.outcome import fail_job
from actors.services import LEASE, Services, log
from actors.source import read_source
from domain.errors import OrderRefused, SourceUnavailable
from domain.job_state import JobState
from domain.orders import Order
from models import jobs
from models.tables import Job

MOST_TRIES: Final = 6
"""How often a source that does not answer is tried, over about a minute, before the job fails."""


def submit_document(services: Services, order: Order) -> None:
    """Take an order: make its job, and fetch its bytes into our store.

    When this returns the order is safe: its row is committed, and its bytes are in the store, or the job has failed
    for a stated reason, or the source does not answer and the job is due to ask again.

    Raises:
        OrderConflict: the same `document_id` was used with another order.
        StoreUnavailable: the order is not safe; the message must not be acknowledged.
    """
    now = services.clock()
    accepted = jobs.accept_order(order, who="submit message", now=now, due_at=now + LEASE)
    if not accepted.created:
        log.info("ordered again", job_id=str(accepted.job.job_id), document_id=str(order.document_id))
    fetch_source(services, accepted.job.job_id)


def fetch_source(services: Services, job_id: UUID) -> None:
    """Bring a received document's bytes into our store.

    Raises:
        StoreUnavailable: our own store or database can't be used now.
    """
    job = jobs.find_job(job_id)
    if job is None or job.state != JobState.RECEIVED:
        return
    if job.document.raw_sha256 is None and not _fetch(services, job):
        return
    services.nudge("check_budget", job_id=job_id)


def _fetch(services: Services, job: Job) -> bool:
    settings, document = services.settings, job.document
    roots = (*settings.source_roots, settings.data_dir)
    try:
        chunks = read_source(document.source or "", roots=roots, http=services.http)
        content = services.store.write(document.raw_path, chunks, max_bytes=settings.max_file_bytes)
    except OrderRefused as error:
        fail_job(services, job, error, who="fetch_source")
        return False
    except SourceUnavailable as error:
        if job.tries + 1 >= MOST_TRIES:
            fail_job(services, job, error, who="fetch_source")
        else:
            jobs.postpone(job, services.retry_at(job.tries), message=f"{error}; trying again")
        return False
    jobs.record_content(job, content, due_at=services.clock() + LEASE)
    return True
