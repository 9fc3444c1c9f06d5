"""One parse job: its state, its price and what the list and the webhooks know of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from llamaparse.simulator.documents import Reading
from llamaparse.simulator.files import StoredFile
from llamaparse.simulator.orders import Event, ParseOrder
from llamaparse.simulator.webhooks import Channel


class JobStatus(StrEnum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


TERMINAL: Final = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)

EVENT_OF: Final[dict[JobStatus, Event]] = {
    JobStatus.PENDING: "parse.pending",
    JobStatus.RUNNING: "parse.running",
    JobStatus.COMPLETED: "parse.success",
    JobStatus.FAILED: "parse.error",
    JobStatus.CANCELLED: "parse.cancelled",
}


@dataclass(frozen=True)
class Result:
    """What a completed job gives.

    Attributes:
        credits: the price of the pages, whether or not this job was the one that paid it.
        escalated: pages that an auto mode rule moved to another tier.
    """

    reading: Reading
    credits: int
    escalated: frozenset[int]


@dataclass(frozen=True)
class JobFaults:
    """What strikes this job, thrown once when it is made."""

    stuck: bool
    timeout: bool
    fails: bool
    failure_billed: bool
    list_lag: bool
    usage_never: bool
    usage_zero: bool
    usage_zero_once: bool
    usage_wrong: bool


@dataclass(eq=False)
class Job:
    """Lives in the event loop; nothing else writes to it.

    Attributes:
        sequence: orders jobs by their creation, for the list.
        source: the file, or None while a `source_url` has not been fetched.
        listed_at: on the simulator's clock, when the list begins to show it.
        ended_at: on the simulator's clock, when it ended; late usage counts from here.
        billed: credits truly billed: the truth of `/_sim/stats`, whatever `usage` says.
        times_told: how often `usage.credits` was told.
        deleted: it is gone for its owner, and kept for the statistics only.
    """

    id: str
    project_id: str
    sequence: int
    order: ParseOrder
    name: str
    source: StoredFile | None
    faults: JobFaults
    latency_s: float
    listed_at: float
    channels: tuple[Channel, ...]
    status: JobStatus = JobStatus.PENDING
    error_message: str | None = None
    result: Result | None = None
    cache_hit: bool = False
    billed: float = 0
    ended_at: float | None = None
    deleted: bool = False
    times_told: int = 0
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    updated_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    work: asyncio.Task[None] | None = None

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def metadata(self) -> dict[str, str]:
        return self.order.user_metadata or {}

    @property
    def event(self) -> Event:
        """What the webhooks say of its present state."""
        if self.result is not None and self.result.reading.failed:
            return "parse.partial_success"
        return EVENT_OF[self.status]

    def told_credits(self, now: float, delay_s: float) -> float | None:
        """What `usage.credits` says at `now`: null until billing has recorded it."""
        if self.ended_at is None or now - self.ended_at < delay_s or self.faults.usage_never:
            return None
        self.times_told += 1
        is_zero = self.faults.usage_zero or (self.faults.usage_zero_once and self.times_told == 1)
        return 0.0 if is_zero else float(self.billed)
