"""One simulated provider: all its state, and what it knows of itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from llamaparse.simulator.asgi import AsgiApp
from llamaparse.simulator.background import Background
from llamaparse.simulator.faults import Faults
from llamaparse.simulator.files import FileStore, StoredFile
from llamaparse.simulator.job import Job, JobStatus
from llamaparse.simulator.jobs import Jobs
from llamaparse.simulator.limits import SlidingWindow, WindowPeak
from llamaparse.simulator.orders import ParseOrder
from llamaparse.simulator.settings import Limit, SimulatorSettings
from llamaparse.simulator.webhooks import Webhooks


@dataclass
class Tally:
    """Calls under /api, whatever they were answered with."""

    requests: int = 0
    answers_429: int = 0
    uploads: int = 0


class Simulator:
    """Everything lives in one event loop: call its methods there, or speak HTTP to it.

    Args:
        settings: how it behaves.
        clock: seconds; rules limits, the cache's age, late usage and the list's lag. Latencies and waits use the
            event loop's time.

    Attributes:
        app: its ASGI application, which `create_simulator` sets.
    """

    app: AsgiApp

    def __init__(self, settings: SimulatorSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self.clock = clock
        self._begin()

    def _begin(self) -> None:
        self.tally = Tally()
        self.faults = Faults(self.settings.seed, self.settings.faults)
        self.files = FileStore(self.settings)
        self.background = Background()
        self.webhooks = Webhooks(self.settings, self.faults, self.background)
        self.jobs = Jobs(self.settings, self.clock, self.files, self.faults, self.webhooks, self.background)
        parse_limit = Limit.parse(self.settings.parse_limit)
        # The provider counts parse creations for the organization and uploads for the project.
        self._creates = SlidingWindow(parse_limit, self.clock)
        self._uploads: dict[str, SlidingWindow] = {}
        self._granted_peak = WindowPeak(parse_limit.seconds, self.clock)
        self._asked_peak = WindowPeak(parse_limit.seconds, self.clock)

    def may_create(self) -> bool:
        """Take a place in the window of parse creations."""
        self._asked_peak.count()
        if not self._creates.take():
            return False
        self._granted_peak.count()
        return True

    def may_upload(self, project_id: str) -> bool:
        """Take a place in the project's window of uploads."""
        window = self._uploads.get(project_id)
        if window is None:
            window = SlidingWindow(Limit.parse(self.settings.upload_limit), self.clock)
            self._uploads[project_id] = window
        return window.take()

    def create_late(self, order: ParseOrder, project_id: str, source: StoredFile | None) -> None:
        """Make a job some time after its creator has been told nothing, or that it was not made."""

        async def make() -> None:
            await asyncio.sleep(self.settings.late_create_s)
            self.jobs.create(order, project_id, source)

        self.background.start(make())

    async def reset(self) -> None:
        """Forget everything and throw the dice from the start again. The faults are those of the settings."""
        await self.close()
        self._begin()

    async def close(self) -> None:
        await self.background.cancel_all()
        await self.webhooks.close()
        await self.jobs.close()
        self.files.close()

    def stats(self) -> dict[str, object]:
        """The truth: what was made and billed, whatever the answers said."""
        jobs = list(self.jobs)
        return {
            "requests": self.tally.requests,
            "answers_429": self.tally.answers_429,
            "uploads": self.tally.uploads,
            "files": len(self.files),
            "jobs_created": len(jobs),
            "jobs": {status.value: sum(job.status is status for job in jobs) for status in JobStatus},
            "jobs_deleted": sum(job.deleted for job in jobs),
            "cache_hits": sum(job.cache_hit for job in jobs),
            "by_parsegate_job": _tagged(jobs, "parsegate_job", lambda _job: 1),
            "by_parsegate_attempt": _tagged(jobs, "parsegate_attempt", lambda _job: 1),
            "credits_billed": sum(job.billed for job in jobs),
            "credits_by_job": _tagged(jobs, "parsegate_job", lambda job: job.billed),
            "credits_by_attempt": _tagged(jobs, "parsegate_attempt", lambda job: job.billed),
            "max_creates_in_window": self._granted_peak.peak,
            "max_create_requests_in_window": self._asked_peak.peak,
            "webhooks": dict(self.webhooks.counts),
            "faults": dict(self.faults.struck),
        }


def _tagged(jobs: list[Job], key: str, amount: Callable[[Job], float]) -> dict[str, float]:
    """Sums by a tag of `user_metadata`, over the jobs that carry it."""
    sums: dict[str, float] = {}
    for job in jobs:
        if (tag := job.metadata.get(key)) is not None:
            sums[tag] = sums.get(tag, 0) + amount(job)
    return sums
