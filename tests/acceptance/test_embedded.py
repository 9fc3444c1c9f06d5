"""The embedded installation: the same fifty documents, and a process that is killed while it works."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx

from domain.job_state import JobState
from tests.acceptance.fifty import billed, fifty, judge, stats_of, tier_of, upload, wait_for_jobs
from tests.processes import Program

Start = Callable[..., Program]


def client_of(data: Path, url: str) -> httpx.Client:
    """A client with the data folder's admin token."""
    token = (data / "admin-token").read_text().strip()
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30)


def settings_of(tmp_path: Path, simulator_url: str) -> dict[str, str]:
    return {
        "PARSEGATE_DATA_DIR": str(tmp_path / "data"),
        "PARSEGATE_DAILY_BUDGET_USD": "unlimited",
        "PARSEGATE_DOUBT_SECONDS": "3",
        "PARSEGATE_POLL_AFTER_SECONDS": "1",
        "LLAMA_CLOUD_API_KEY": "llx-test",
        "LLAMA_CLOUD_BASE_URL": simulator_url,
    }


def test_fifty_documents_embedded(start_program: Start, tmp_path: Path) -> None:
    simulator = start_program("simulator", "--port", "0", "--parse-limit", "500/1")
    simulator_url = simulator.wait_for(r"ready on (http://\S+)")[1]
    data = tmp_path / "data"
    up = start_program("up", "--port", "0", environment=settings_of(tmp_path, simulator_url))
    url = up.wait_for(r"ready on (http://\S+)")[1]
    assert (data / "admin-token").stat().st_mode & 0o777 == 0o600
    assert (data / "secret-key").stat().st_mode & 0o777 == 0o600
    documents = fifty(tmp_path / "documents")
    with client_of(data, url) as http:
        job_ids = [upload(http, document, tier_of(number), uuid4()) for number, document in enumerate(documents)]
        jobs = wait_for_jobs(http, job_ids, lambda: cost_of_all(http, job_ids) == billed(stats_of(simulator_url)))
        for document, job in zip(documents, jobs, strict=True):
            judge(http, document, job)
    up.stop()
    assert up.process.returncode == 0, up.output
    assert "Traceback" not in up.output


def test_a_killed_process_loses_nothing_and_pays_nothing_twice(start_program: Start, tmp_path: Path) -> None:
    simulator = start_program("simulator", "--port", "0", "--parse-limit", "500/1", "--latency", "0.5")
    simulator_url = simulator.wait_for(r"ready on (http://\S+)")[1]
    settings, data = settings_of(tmp_path, simulator_url), tmp_path / "data"
    documents = fifty(tmp_path / "documents")[:20]
    job_ids: list[str] = []
    for part in range(4):
        up = start_program("up", "--port", "0", environment=settings)
        with client_of(data, up.wait_for(r"ready on (http://\S+)")[1]) as http:
            for number in range(part * 5, part * 5 + 5):
                job_ids.append(upload(http, documents[number], tier_of(number), uuid4()))
            # Somewhere in the middle of the work of these, and of those of the rounds before.
            wait_until_one_has_left(http, job_ids[-1])
        os.killpg(up.process.pid, signal.SIGKILL)
        up.process.wait()
    up = start_program("up", "--port", "0", environment=settings)
    with client_of(data, up.wait_for(r"ready on (http://\S+)")[1]) as http:
        jobs = wait_for_jobs(http, job_ids, lambda: cost_of_all(http, job_ids) == billed(stats_of(simulator_url)))
        for document, job in zip(documents, jobs, strict=True):
            judge(http, document, job)
    stats = stats_of(simulator_url)
    assert all(count == 1 for count in stats["by_parsegate_job"].values()), stats["by_parsegate_job"]


def wait_until_one_has_left(http: httpx.Client, job_id: str) -> None:
    """Until a job is on its way to the provider."""
    while http.get(f"/v1/documents/{job_id}").json()["state"] in {JobState.RECEIVED, JobState.RESERVED}:
        pass


def cost_of_all(http: httpx.Client, job_ids: list[str]) -> int:
    """Millicredits settled for all of these."""
    return sum(round(http.get(f"/v1/documents/{job_id}").json()["credits"] * 1000) for job_id in job_ids)
