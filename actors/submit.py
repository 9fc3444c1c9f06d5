"""The order itself: its row and its bytes, before the message is acknowledged."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit
from uuid import UUID, uuid4

from structlog.contextvars import bind_contextvars

from actors.outcome import fail_job
from actors.services import LEASE, Services, log
from actors.source import DEADLINE_S, is_remote, read_source
from actors.strangers import BUSY_S
from domain.errors import OrderRefused, SourceUnavailable
from domain.job_state import JobState
from domain.orders import Order
from domain.settings import Settings
from models import jobs
from models.jobs import Content
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
    # The job's own: an order may name none, or come again with another one.
    bind_contextvars(job_id=str(accepted.job.job_id), correlation_id=str(accepted.job.correlation_id))
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
    if job.document.raw_sha256 is None and not _fetch_in_its_place(services, job):
        return
    services.nudge("check_budget", job_id=job_id)


def _fetch_in_its_place(services: Services, job: Job) -> bool:
    """Fetch, unless so many others are fetching that slow sources could take every thread."""
    if not is_remote(job.document.source or ""):
        return _fetch(services, job)
    places = services.strangers.sources
    if not places.take(job.job_id):
        jobs.postpone(job, services.after(BUSY_S), message="waits until fewer sources are being fetched", counts=False)
        return False
    try:
        return _fetch(services, job)
    finally:
        following = places.leave()
        if following is not None:
            services.nudge("fetch_source", job_id=following)


def _fetch(services: Services, job: Job) -> bool:
    settings, document = services.settings, job.document
    # Longer than the fetch can take: the clock must not start another one beside it.
    jobs.postpone(job, services.after(DEADLINE_S + 60.0), counts=False)
    roots = (*settings.source_roots, settings.data_dir)
    staged = f"staging/{job.job_id}.{uuid4().hex}"
    try:
        chunks = read_source(document.source or "", roots=roots, private=private_paths(settings), http=services.http)
        content = services.store.write(staged, chunks, max_bytes=settings.max_file_bytes)
    except OrderRefused as error:
        fail_job(services, job, error, who="fetch_source")
        return False
    except SourceUnavailable as error:
        if job.tries + 1 >= MOST_TRIES:
            fail_job(services, job, error, who="fetch_source")
        else:
            jobs.postpone(job, services.retry_at(job.tries), message=f"{error}; trying again")
        return False
    _keep(services, job, staged, content)
    return True


def _keep(services: Services, job: Job, staged: str, content: Content) -> None:
    """Put fetched bytes in their place, unless another message has done so meanwhile, or the document was deleted."""
    with jobs.owning(job.job_id) as owned:
        is_first = owned.document.raw_sha256 is None and owned.document.deleted_at is None
        if is_first:
            services.store.move(staged, owned.document.raw_path)
            jobs.record_content(owned, content, due_at=services.clock() + LEASE)
    if not is_first:
        services.store.delete(staged)


def private_paths(settings: Settings) -> tuple[Path, ...]:
    """What is no document to be ordered, in the data folder and elsewhere: secrets, the database, everybody's files."""
    names = (
        "store",
        "secret-key",
        "admin-token",
        "url",
        "lock",
        "parsegate.db",
        "parsegate.db-wal",
        "parsegate.db-shm",
    )
    url = "" if settings.database_url is None else settings.database_url.get_secret_value()
    named = unquote(urlsplit(url).path)[1:] if url.startswith("sqlite:") else ""
    elsewhere = [Path(f"{named}{ending}") for ending in ("", "-wal", "-shm")] if named else []
    return (*(settings.data_dir / name for name in names), *elsewhere)
