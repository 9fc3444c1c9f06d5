"""Jobs that a person stops or deletes, in a real process: their money, and the provider's copies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.fifty import stats_of
from tests.acceptance.test_embedded import client_of, settings_of
from tests.processes import Program

Start = Callable[..., Program]


@pytest.fixture
def slow(start_program: Start) -> str:
    """A simulator whose jobs take an hour."""
    return start_program("simulator", "--port", "0", "--latency", "3600").wait_for(r"ready on (http://\S+)")[1]


@pytest.fixture
def http(start_program: Start, tmp_path: Path, slow: str) -> Iterator[httpx.Client]:
    up = start_program("up", "--port", "0", environment=settings_of(tmp_path, slow))
    with client_of(tmp_path / "data", up.wait_for(r"ready on (http://\S+)")[1]) as client:
        yield client
    assert "Traceback" not in up.output


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def ordered(http: httpx.Client) -> str:
    answer = http.post("/v1/documents", files={"file": ("a.txt", b"a word")})
    return str(answer.raise_for_status().json()["job_id"])


def job_of(http: httpx.Client, job_id: str) -> dict[str, Any]:
    return dict(http.get(f"/v1/documents/{job_id}").raise_for_status().json())


def test_a_deleted_job_leaves_nothing_here_and_there(
    http: httpx.Client, slow: str, start_program: Start, tmp_path: Path
) -> None:
    job_id = ordered(http)
    wait_until(lambda: job_of(http, job_id)["state"] == "parsing")
    settings = {"PARSEGATE_DATA_DIR": str(tmp_path / "data")}
    refused = start_program("jobs", "delete", job_id, environment=settings)
    assert (refused.process.wait(30), job_of(http, job_id)["state"]) == (2, "parsing"), refused.output
    assert "add --yes" in refused.output
    deleted = start_program("jobs", "delete", "--yes", job_id, environment=settings)
    assert deleted.process.wait(30) == 0, deleted.output
    assert "removed   raw file  files/user/" in deleted.output
    wait_until(lambda: http.get(f"/v1/documents/{job_id}/erasure").json()["finished_at"] is not None)
    told = start_program("jobs", "erasure", job_id, environment=settings)
    assert told.process.wait(30) == 0
    assert f"removed   provider job  {slow}/api/v2/parse/" in told.output
    assert (stats_of(slow)["jobs_deleted"], stats_of(slow)["files"]) == (1, 0)
    assert not [path for path in (tmp_path / "data" / "store").rglob("*") if path.is_file()]
    assert http.get("/v1/budget").json()["reserved_usd"] == 0


def test_a_cancelled_job_is_stopped_at_the_provider_and_its_money_is_free(http: httpx.Client, slow: str) -> None:
    job_id = ordered(http)
    wait_until(lambda: job_of(http, job_id)["state"] == "parsing")
    assert http.get("/v1/budget").json()["reserved_usd"] > 0
    http.post(f"/v1/documents/{job_id}/cancel").raise_for_status()
    wait_until(lambda: stats_of(slow)["jobs"]["CANCELLED"] == 1)
    wait_until(lambda: http.get("/v1/budget").json()["reserved_usd"] == 0)
