"""All jobs of a simulator and the life of each: PENDING, RUNNING, then COMPLETED, FAILED or CANCELLED."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import httpx

from llamaparse.simulator.auto_mode import tier_of_page
from llamaparse.simulator.background import Background
from llamaparse.simulator.documents import Reader, Reading
from llamaparse.simulator.errors import ApiError
from llamaparse.simulator.faults import Faults
from llamaparse.simulator.files import FileStore, Spooled, StoredFile, fetch
from llamaparse.simulator.job import Job, JobFaults, JobStatus, Result
from llamaparse.simulator.orders import ParseOrder
from llamaparse.simulator.pages import Unreadable
from llamaparse.simulator.settings import SimulatorSettings
from llamaparse.simulator.webhooks import Webhooks

PENDING_SHARE: Final = 0.3
"""How much of a job's time it waits in the queue."""
LATENCY_SPREAD: Final = 0.25
"""The sigma of the log-normal latency: nine jobs of ten take between 0.66 and 1.5 of the median."""
PARSE_THREADS: Final = 4
WRONG_BILL: Final = 2.0
"""Fault `usage-wrong`: how many times the price is billed."""

CacheKey = tuple[str, str, str]


@dataclass(frozen=True)
class Cached:
    result: Result
    stored_at: float


class Jobs:
    def __init__(
        self,
        settings: SimulatorSettings,
        clock: Callable[[], float],
        files: FileStore,
        faults: Faults,
        webhooks: Webhooks,
        background: Background,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._files = files
        self._faults = faults
        self._webhooks = webhooks
        self._background = background
        self._reader = Reader(settings.max_document_pages, settings.max_page_text_bytes)
        self._latency = random.Random(f"{settings.seed}/latency")  # noqa: S311 - repeatable, not secret
        self._threads = ThreadPoolExecutor(PARSE_THREADS, thread_name_prefix="simulator-parse")
        self._client: httpx.AsyncClient | None = None
        self._cache: OrderedDict[CacheKey, Cached] = OrderedDict()
        self._jobs: dict[str, Job] = {}

    def __iter__(self) -> Iterator[Job]:
        """Every job ever made, deleted ones too."""
        return iter(self._jobs.values())

    def create(self, order: ParseOrder, project_id: str, source: StoredFile | None) -> Job:
        """Make a job and start its life."""
        faults = self._thrown()
        job = Job(
            id=f"pjb-{uuid.uuid4()}",
            project_id=project_id,
            sequence=len(self._jobs) + 1,
            order=order,
            name=source.name if source else (order.source_url or ""),
            source=source,
            faults=faults,
            latency_s=self._settings.latency_s * self._latency.lognormvariate(0, LATENCY_SPREAD),
            listed_at=self._clock() + self._settings.list_lag_s + faults.list_lag * self._settings.fault_list_lag_s,
            channels=tuple(self._webhooks.channel(configuration) for configuration in order.webhook_configurations),
        )
        self._jobs[job.id] = job
        self._tell(job)
        job.work = self._background.start(self._live(job))
        return job

    def get(self, job_id: str, project_id: str) -> Job:
        """The project's job.

        Raises:
            ApiError: 404, also for a job of another project.
        """
        job = self._jobs.get(job_id)
        if job is None or job.deleted or job.project_id != project_id:
            raise ApiError(404, f"Parse job {job_id} not found")
        return job

    def listed(self, project_id: str) -> list[Job]:
        """What the list shows now, newest first."""
        now = self._clock()
        return [
            job
            for job in reversed(self._jobs.values())
            if job.project_id == project_id and not job.deleted and job.listed_at <= now
        ]

    def cancel(self, job: Job) -> None:
        """Stop a job; it is not billed.

        Raises:
            ApiError: 400, it has ended already.
        """
        if job.is_terminal:
            raise ApiError(400, f"Job {job.id} is already in a terminal state ({job.status}) and cannot be cancelled")
        if job.work is not None:
            job.work.cancel()
        self._move(job, JobStatus.CANCELLED)

    def delete(self, job: Job) -> None:
        """Forget a job and its result.

        Raises:
            ApiError: 400, it has not ended.
        """
        if not job.is_terminal:
            raise ApiError(400, f"Job {job.id} is not in a terminal state ({job.status}) and cannot be deleted")
        job.deleted = True
        job.result = None

    def told_credits(self, job: Job) -> float | None:
        return job.told_credits(self._clock(), self._settings.usage_delay_s)

    async def ended(self, job: Job) -> None:
        """Return when the job has ended and its webhooks have been delivered or given up."""
        if job.work is not None:
            await asyncio.wait([job.work])
        await self._webhooks.settled(job.channels)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _thrown(self) -> JobFaults:
        strikes = self._faults.strikes
        return JobFaults(
            stuck=strikes("job-stuck"),
            timeout=strikes("job-timeout"),
            fails=strikes("job-fails"),
            failure_billed=strikes("failure-billed"),
            list_lag=strikes("list-lag"),
            usage_never=strikes("usage-never"),
            usage_zero=strikes("usage-zero"),
            usage_zero_once=strikes("usage-zero-once"),
            usage_wrong=strikes("usage-wrong"),
        )

    async def _live(self, job: Job) -> None:
        if job.faults.stuck:
            return
        if job.source is not None and not self._is_doomed(job) and (hit := self._cached(job, job.source.sha256)):
            self._complete(job, hit, cache_hit=True)
            return
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(job.latency_s * PENDING_SHARE)
        self._move(job, JobStatus.RUNNING)
        result: Result | None = None
        reason, cache_hit = "", False
        try:
            result, cache_hit = await self._parse(job)
        except Unreadable as unreadable:
            reason = unreadable.reason
        await asyncio.sleep(began + job.latency_s - asyncio.get_running_loop().time())
        if self._is_doomed(job):
            if result is not None and job.faults.failure_billed:
                job.billed = result.credits
            self._fail(job, "TIMEOUT" if job.faults.timeout else "INTERNAL_ERROR")
        elif result is None:
            self._fail(job, reason)
        else:
            self._complete(job, result, cache_hit=cache_hit)

    @staticmethod
    def _is_doomed(job: Job) -> bool:
        return job.faults.timeout or job.faults.fails

    async def _parse(self, job: Job) -> tuple[Result, bool]:
        """The job's result, and whether it came from the cache."""
        file: Spooled | StoredFile
        if job.source is None:
            file, job.name = await fetch(self._http(), self._files, job.order.source_url or "")
            if hit := self._cached(job, file.sha256):
                file.path.unlink(missing_ok=True)
                return hit, True
        else:
            file = job.source
        try:
            reading = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._reader.read, file.path, job.name, job.order
            )
        except OSError as error:
            raise Unreadable("FILE_NOT_FOUND") from error
        finally:
            if job.source is None:
                file.path.unlink(missing_ok=True)
        result = _judged(job.order, job.name, reading)
        self._remember(job, file.sha256, result)
        return result, False

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                trust_env=False, follow_redirects=True, max_redirects=5, timeout=self._settings.source_timeout_s
            )
        return self._client

    def _cached(self, job: Job, sha256: str) -> Result | None:
        if job.order.disable_cache:
            return None
        cached = self._cache.get((job.project_id, sha256, job.order.fingerprint()))
        if cached is None or self._clock() - cached.stored_at >= self._settings.cache_hours * 3600:
            return None
        return cached.result

    def _remember(self, job: Job, sha256: str, result: Result) -> None:
        if self._is_doomed(job):
            return
        key = (job.project_id, sha256, job.order.fingerprint())
        self._cache[key] = Cached(result, self._clock())
        self._cache.move_to_end(key)
        if len(self._cache) > self._settings.cache_entries:
            self._cache.popitem(last=False)

    def _complete(self, job: Job, result: Result, *, cache_hit: bool) -> None:
        job.result = result
        job.cache_hit = cache_hit
        if not cache_hit:
            job.billed = result.credits * (WRONG_BILL if job.faults.usage_wrong else 1.0)
        self._move(job, JobStatus.COMPLETED)

    def _fail(self, job: Job, reason: str) -> None:
        job.error_message = reason
        self._move(job, JobStatus.FAILED)

    def _move(self, job: Job, status: JobStatus) -> None:
        job.status = status
        job.updated_at = datetime.now(UTC)
        if job.is_terminal:
            job.ended_at = self._clock()
        self._tell(job)

    def _tell(self, job: Job) -> None:
        for channel in job.channels:
            self._webhooks.emit(channel, job.id, job.event, last=job.is_terminal)


def _judged(order: ParseOrder, name: str, reading: Reading) -> Result:
    """The result, if not too many of its pages failed.

    Raises:
        Unreadable: more failed than `processing_control.job_failure_conditions` allows.
    """
    if reading.failed > order.allowed_page_failure_ratio * len(reading.pages):
        if reading.failed == len(reading.pages):
            raise Unreadable("NO_DATA_FOUND_IN_FILE")
        raise Unreadable(f"TOO_MANY_FAILED_PAGES: {reading.failed} of {len(reading.pages)}")
    tiers = {page.number: tier_of_page(order, name, page) for page in reading.pages}
    return Result(
        reading=reading,
        credits=sum(order.credits_per_page(tier) for tier in tiers.values()),
        escalated=frozenset(number for number, tier in tiers.items() if tier != order.tier),
    )
