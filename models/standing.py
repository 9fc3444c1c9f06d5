"""Where a job that has not started stands: how many are before it, and when it is expected to start."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.job_state import JobState
from domain.pace import Limits, Route
from models.admission import queue_position
from models.database import reading
from models.limits import in_force
from models.service_tables import Pace, Slot
from models.tables import Job


@dataclass(frozen=True)
class QueuePlace:
    """An expectation: others may be cancelled, a budget raised, a limit learned.

    Args:
        before: how many documents leave before it; None where there is no queue (any more).
        starts_at: when its turn is expected to come; None where that is not known, or it has started.
    """

    before: int | None = None
    starts_at: datetime | None = None


def queue_place_of(job: Job, limits: Limits, now: datetime) -> QueuePlace:
    """Where a job stands.

    Args:
        limits: those of the settings; what was set while running is in force instead.

    Raises:
        StoreUnavailable: the database is away.
    """
    if job.state not in {JobState.RECEIVED, JobState.DEFERRED, JobState.RESERVED}:
        return QueuePlace()
    with reading():
        slots = Slot.select(Slot.at).where(Slot.job_id == job.job_id, Slot.used_at.is_null()).order_by(Slot.at)
        for slot in slots.limit(1):
            return QueuePlace(0, max(slot.at, now))
        if job.turn is None:
            return QueuePlace()
        before = queue_position(job)
        windows = in_force(limits, {row.name: row for row in Pace.select()}).routes[Route.CREATE]
    seconds = max((rate.seconds / rate.count for rate in windows), default=0.0)
    turn_at = now + timedelta(seconds=before * seconds)
    if job.state == JobState.DEFERRED and job.due_at is not None:
        turn_at = max(turn_at, job.due_at)
    return QueuePlace(before, turn_at)
