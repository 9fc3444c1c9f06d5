"""The one clock: sweeps what is due, and nudges whoever must look at it. Any number of them may run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Final

from actors.batches import finish_batches
from actors.retention import apply_retention
from actors.services import LEASE, Services, log
from actors.thresholds import tell_thresholds
from domain.errors import StoreUnavailable
from domain.job_state import JobState
from llamaparse.router import Route
from models.admission import wake_deferred
from models.budgets import reprice
from models.due import claim_due, claim_waiting_nudge, next_due
from models.made_calls import forget_calls

BATCH: Final = 200
IDLE_S: Final = 0.5
"""The most seconds between sweeps that found nothing; less if something is due before."""
AHEAD: Final = timedelta(milliseconds=150)
"""Whose slot comes so soon is nudged already: a nudge takes a moment, and the slot is waited for in the worker."""
LEAST_PAUSE_S: Final = 0.01
AGE_S: Final = 60.0
"""Seconds between two looks for what is kept no longer."""
_EVER: Final = datetime.min.replace(tzinfo=UTC)

_NUDGES: Final[Mapping[str, str]] = {
    JobState.DEFERRED: "check_budget",
    JobState.SUBMITTING: "search_in_doubt",
    JobState.IN_DOUBT: "search_in_doubt",
    JobState.PARSING: "ingest_result",
    JobState.INGESTING: "ingest_result",
}


def sweep(services: Services, limit: int = BATCH, *, ahead: timedelta = timedelta(), waiting: bool = True) -> int:
    """Claim what is due, who is about to be sent `ahead` of its time, and nudge it; answers how much that was.

    Args:
        waiting: whether those that wait to be admitted are looked at too, all with one message.

    Raises:
        StoreUnavailable: the database is away.
    """
    now = services.clock()
    due = claim_due(now, now + LEASE, limit, ahead=ahead)
    for job_id, state, has_file in due.jobs:
        if state == JobState.RECEIVED:
            services.nudge("check_budget" if has_file else "fetch_source", job_id=job_id)
        elif state == JobState.RESERVED:
            services.nudge("start_parse" if has_file else "upload_file", job_id=job_id)
        else:
            services.nudge(_NUDGES[state], job_id=job_id)
    for job_id in due.settlements:
        services.nudge("ingest_result", job_id=job_id)
    for delivery_id in due.deliveries:
        services.nudge("notify", delivery_id=delivery_id)
    for document_id in due.erasures:
        services.nudge("erase_document", document_id=document_id)
    if waiting and claim_waiting_nudge(now, LEASE):
        services.nudge("check_waiting")
    return len(due)


def reprice_budgets(services: Services) -> None:
    """Give limits that were written in dollars the price of today; what waits is looked at if they buy more now.

    Raises:
        StoreUnavailable: the database is away.
    """
    now, settings = services.clock(), services.settings
    if reprice(settings.prices_at(now).usd_per_credit, now=now, zone=settings.budget_timezone):
        wake_deferred(now)


def run_clock(services: Services, stop: Event, on_trouble: Callable[[str], None] | None = None) -> None:
    """Sweep until `stop` is set; a database that is away is waited for."""
    trouble, tidy_at, age_at = 0, _EVER, _EVER
    while not stop.is_set():
        try:
            is_time = services.clock() >= tidy_at
            found = sweep(services, ahead=AHEAD, waiting=is_time)
            if is_time:
                services.pacer.tidy(local=services.route() is Route.LOCAL)
                reprice_budgets(services)
                tell_thresholds(services)
                finish_batches(services)
                forget_calls(services.clock())
                tidy_at = services.after(IDLE_S)
            if services.clock() >= age_at:
                age_at = services.after(AGE_S)
                apply_retention(services)
            pause_s = 0.0 if found else _idle_s(services)
        except StoreUnavailable as error:
            trouble += 1
            log.warning("the clock waits for the database", error=str(error))
            if on_trouble is not None:
                on_trouble(str(error))
            stop.wait(min(0.5 * 2.0 ** min(trouble, 5), 10.0))
            continue
        trouble = 0
        stop.wait(pause_s)


def _idle_s(services: Services) -> float:
    """How long nothing is due, in seconds."""
    due_at = next_due()
    left_s = IDLE_S if due_at is None else (due_at - AHEAD - services.clock()).total_seconds()
    return min(max(left_s, LEAST_PAUSE_S), IDLE_S)
