"""Four worker processes on PostgreSQL: twins are paid once, and a lowered budget is in force in all of them at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from models.database import close_connection, open_database
from models.tables import LedgerEntry
from tests.acceptance.system import Start, installation, run_to_end

WORKERS = [("worker", "--processes", "4", "--threads", "4")]
SIMULATOR = ("simulator", "--port", "0", "--parse-limit", "500/1", "--upload-limit", "500/1")
SETTINGS = {"PARSEGATE_PARSE_LIMIT": "500/1", "PARSEGATE_UPLOAD_LIMIT": "500/1"}
LIMIT_S = 120.0


def order_all(http: httpx.Client, contents: Sequence[str]) -> list[str]:
    def order(numbered: tuple[int, str]) -> str:
        number, content = numbered
        answer = http.post("/v1/documents", files={"file": ("note.txt", content)}, data={"user_id": f"{number:032x}"})
        return str(answer.raise_for_status().json()["job_id"])

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(order, enumerate(contents, 1)))


def jobs_once(http: httpx.Client, job_ids: Sequence[str], states: set[str]) -> list[dict[str, object]]:
    """The jobs, once each is in one of the states."""
    until = time.monotonic() + LIMIT_S
    while True:
        jobs = [http.get(f"/v1/documents/{job_id}").raise_for_status().json() for job_id in job_ids]
        if {str(job["state"]) for job in jobs} <= states:
            return jobs
        assert time.monotonic() < until, Counter((job["state"], job["message"]) for job in jobs)


@pytest.mark.timeout(300)
def test_twins_at_the_same_moment_are_paid_once(
    start_program: Start, amqp_url: str, postgres_url: str, tmp_path: Path
) -> None:
    with installation(
        start_program, amqp_url, postgres_url, tmp_path, workers=WORKERS, simulator=SIMULATOR, **SETTINGS
    ) as system:
        job_ids = order_all(system.http, [f"Policy {number % 5}.\n" for number in range(100)])
        jobs = jobs_once(system.http, job_ids, {"completed"})
        stats = httpx.get(f"{system.simulator_url}/_sim/stats").json()
        assert stats["jobs_created"] == 5
        assert Counter(job["provenance"] for job in jobs) == {"real": 5, "cached": 95}
        text = system.http.get(f"/v1/documents/{job_ids[7]}/result").raise_for_status().text
        assert "Policy 2" in text
        assert "ledger: ok" in run_to_end(start_program("doctor", environment=system.settings))


@pytest.mark.timeout(300)
def test_a_lowered_budget_is_in_force_with_its_answer(
    start_program: Start, amqp_url: str, postgres_url: str, tmp_path: Path
) -> None:
    with installation(
        start_program, amqp_url, postgres_url, tmp_path, workers=WORKERS, simulator=SIMULATOR, **SETTINGS
    ) as system:
        open_database(postgres_url)
        try:
            http = system.http
            http.put("/v1/budget", json={"budget": "global/day", "limit_credits": 100_000}).raise_for_status()
            job_ids = order_all(http, [f"Policy {number}.\n" for number in range(200)])
            until = time.monotonic() + LIMIT_S
            while holds() < 20:
                assert time.monotonic() < until
            http.put("/v1/budget", json={"budget": "global/day", "limit_credits": 20}).raise_for_status()
            when_lowered = holds()
            assert 20 <= when_lowered < 200
            states = Counter(job["state"] for job in jobs_once(http, job_ids, {"completed", "deferred"}))
            assert states == {"completed": when_lowered, "deferred": 200 - when_lowered}
            assert holds() == when_lowered
            assert "ledger: ok" in run_to_end(start_program("doctor", environment=system.settings))
        finally:
            close_connection()


def holds() -> int:
    """How many reservations were ever accepted."""
    return int(LedgerEntry.select().where(LedgerEntry.kind == "reserve").count())
