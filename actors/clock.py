"""The one clock: sweeps what is due, and nudges whoever must look at it. Any number of them may run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Event
from typing import Final

from actors.services import LEASE, Services, log
from domain.errors import StoreUnavailable
from domain.job_state import JobState
from models.due import claim_due

BATCH: Final = 200
IDLE_S: Final = 0.5
"""Seconds between sweeps that found nothing."""

_NUDGES: Final[Mapping[str, str]] = {
    JobState.DEFERRED: "check_budget",
    JobState.RESERVED: "upload_file",
    JobState.SUBMITTING: "search_in_doubt",
    JobState.IN_DOUBT: "search_in_doubt",
    JobState.PARSING: "ingest_result",
    JobState.INGESTING: "ingest_result",
}


def sweep(services: Services, limit: int = BATCH) -> int:
    """Claim what is due and nudge it; answers how much that was.

    Raises:
        StoreUnavailable: the database is away.
    """
    now = services.clock()
    due = claim_due(now, now + LEASE, limit)
    for job_id, state, has_content in due.jobs:
        if state == JobState.RECEIVED:
            services.nudge("check_budget" if has_content else "fetch_source", job_id=job_id)
        else:
            services.nudge(_NUDGES[state], job_id=job_id)
    for job_id in due.settlements:
        services.nudge("ingest_result", job_id=job_id)
    for delivery_id in due.deliveries:
        services.nudge("notify", delivery_id=delivery_id)
    return len(due)


def run_clock(services: Services, stop: Event, on_trouble: Callable[[str], None] | None = None) -> None:
    """Sweep until `stop` is set; a database that is away is waited for."""
    trouble = 0
    while not stop.is_set():
        try:
            found = sweep(services)
        except StoreUnavailable as error:
            trouble += 1
            log.warning("the clock waits for the database", error=str(error))
            if on_trouble is not None:
                on_trouble(str(error))
            stop.wait(min(0.5 * 2.0 ** min(trouble, 5), 10.0))
            continue
        trouble = 0
        if not found:
            stop.wait(IDLE_S)
