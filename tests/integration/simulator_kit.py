"""What the simulator's tests share: its control, a clock, what a receiver of webhooks saw, ready-made documents."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from fpdf import FPDF
from llama_cloud import LlamaCloud
from llama_cloud.types import ParsingGetResponse
from PIL import Image

API_KEY = "llx-conformance"
FAST: Mapping[str, Any] = {"tier": "fast", "version": "latest"}
EFFECTIVE: Mapping[str, Any] = {"tier": "cost_effective", "version": "latest"}
DEADLINE_S = 15.0
QUICK: Mapping[str, Any] = {
    "seed": 7,
    "latency_s": 0.02,
    "webhook_retry_waits": (0.02, 0.04),
    "late_create_s": 0.5,
    "slow_s": 0.4,
    "webhook_late_s": 0.3,
    "fault_list_lag_s": 0.4,
}
"""Settings for tests: the provider's behaviour at a test's pace."""


@dataclass(frozen=True)
class Provider:
    """A server that speaks the provider's API, and the simulator's `/_sim` behind it."""

    base_url: str
    control_url: str
    key: str = API_KEY
    job_ids: str = "pjb-"
    """How a job's id begins."""

    def sdk(self, api_key: str | None = None, **options: Any) -> LlamaCloud:
        return LlamaCloud(api_key=api_key or self.key, base_url=self.base_url, **{"max_retries": 0, **options})

    def faults(self, **rates: float) -> None:
        """``faults(create_500_after=1)``; 0 turns one off."""
        body = {name.replace("_", "-"): rate for name, rate in rates.items()}
        httpx.put(f"{self.control_url}/_sim/faults", json=body).raise_for_status()

    def stats(self) -> dict[str, Any]:
        answer: dict[str, Any] = httpx.get(f"{self.control_url}/_sim/stats").raise_for_status().json()
        return answer

    def reset(self) -> None:
        httpx.post(f"{self.control_url}/_sim/reset").raise_for_status()


@dataclass
class Clock:
    """A clock that stands still until it is told to go on. Seconds."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Received:
    """One request that the receiver got, at `at` seconds of the monotonic clock."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float

    def event(self) -> dict[str, Any]:
        """The event, whichever of the two formats it came in."""
        value = json.loads(self.body)
        event: dict[str, Any] = json.loads(value) if isinstance(value, str) else value
        return event


@dataclass
class Receiver:
    """A little web server: takes webhooks and gives files.

    Attributes:
        statuses: what to answer to the next POSTs, in order; then 200.
        files: what GET gives, by path.
    """

    url: str = ""
    received: list[Received] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    def types(self) -> list[str]:
        return [one.event()["event_type"] for one in list(self.received)]


def until(found: Callable[[], Any], what: str) -> Any:
    """Poll until `found` gives something true, and return that."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.01)
    raise AssertionError(f"never seen in {DEADLINE_S} s: {what}")


def finished(sdk: LlamaCloud, job_id: str, expand: Sequence[str] = ()) -> ParsingGetResponse:
    """The job once it has ended."""

    def ended() -> ParsingGetResponse | None:
        answer = sdk.parsing.get(job_id, expand=[*expand])
        return answer if answer.job.status in ("COMPLETED", "FAILED", "CANCELLED") else None

    answer: ParsingGetResponse = until(ended, f"the end of {job_id}")
    return answer


def upload(sdk: LlamaCloud, path: Path, **fields: Any) -> str:
    return sdk.files.create(file=path, purpose="parse", **fields).id


def parse(sdk: LlamaCloud, file_id: str, **order: Any) -> str:
    return sdk.parsing.create(file_id=file_id, **{**EFFECTIVE, **order}).id


def credits_of(sdk: LlamaCloud, job_id: str) -> float | None:
    """What `usage` says once the job has ended."""
    usage = finished(sdk, job_id, ["usage"]).job.usage
    assert usage is not None
    return usage.credits


def make_pdf(path: Path, pages: Sequence[str | None], *, password: str | None = None) -> Path:
    """A PDF with one page for each text; None makes a page that is only an image, as a scanner does."""
    pdf = FPDF()
    pdf.set_creation_date(datetime(2026, 1, 1))  # noqa: DTZ001 - the same bytes each time
    for text in pages:
        pdf.add_page()
        if text is None:
            pdf.image(Image.new("RGB", (60, 80), "grey"), x=10, y=10, w=100)
        else:
            pdf.set_font("Helvetica", size=12)
            pdf.multi_cell(0, 8, text)
    if password is not None:
        pdf.set_encryption(owner_password=f"owner-{password}", user_password=password)
    pdf.output(str(path))
    return path
