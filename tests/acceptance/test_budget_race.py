"""A thousand documents race for a budget that fits a hundred: those run, the others wait, and none is lost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.acceptance.fifty import billed, stats_of
from tests.acceptance.system import Start, installation, run_to_end
from tests.acceptance.test_embedded import client_of, settings_of
from tests.documents import new_pdf
from tests.noon import noon_zone

DOCUMENTS = 1000
FIT = DOCUMENTS // 10
CREDITS = 3000
"""One page of `cost_effective`, in millicredits."""
LIMIT_S = 400.0
RACE = {
    "PARSEGATE_DAILY_BUDGET_USD": f"{FIT * CREDITS / 1000 * 0.00125:.4f}",
    "PARSEGATE_PARSE_LIMIT": "4000/10",
    "PARSEGATE_UPLOAD_LIMIT": "4000/10",
    "PARSEGATE_READ_LIMIT": "8000/10",
    "PARSEGATE_POLL_AFTER_SECONDS": "30",
    "PARSEGATE_BUDGET_TIMEZONE": noon_zone(),
}
SIMULATOR = ("simulator", "--port", "0", "--parse-limit", "5000/1", "--upload-limit", "5000/1")


def a_page(number: int) -> bytes:
    pdf = new_pdf()
    pdf.add_page()
    pdf.set_font("Helvetica", size=12)
    pdf.cell(0, 10, f"Document number {number}")
    return bytes(pdf.output())


def order_all(http: httpx.Client) -> list[str]:
    """Order every document, sixteen at a time."""

    def order(number: int) -> str:
        answer = http.post(
            "/v1/documents", files={"file": (f"{number}.pdf", a_page(number))}, data={"document_id": str(uuid4())}
        )
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(order, range(DOCUMENTS)))


def states_once(http: httpx.Client, job_ids: Sequence[str], wanted: dict[str, int]) -> None:
    """Return once the jobs are in the wanted states."""
    until = time.monotonic() + LIMIT_S
    while True:
        # A page of the list, not a thousand questions: the machine is there for the race.
        jobs = http.get("/v1/documents", params={"limit": DOCUMENTS}).raise_for_status().json()["items"]
        assert {job["job_id"] for job in jobs} == set(job_ids)
        states = Counter(job["state"] for job in jobs)
        if states == wanted:
            return
        assert time.monotonic() < until, (states, Counter(job["message"] for job in jobs).most_common(5))
        time.sleep(0.25)


def race(http: httpx.Client, simulator_url: str) -> None:
    job_ids = order_all(http)
    states_once(http, job_ids, {"completed": FIT, "deferred": DOCUMENTS - FIT})
    stats = stats_of(simulator_url)
    assert (stats["jobs_created"], billed(stats)) == (FIT, FIT * CREDITS)
    assert http.get("/v1/budget").json()["spent_usd"] == pytest.approx(FIT * 3 * 0.00125)
    raised = http.put("/v1/budget", json={"daily_limit_usd": 2 * DOCUMENTS * 3 * 0.00125})
    assert raised.status_code == 200, raised.text
    states_once(http, job_ids, {"completed": DOCUMENTS})
    stats = stats_of(simulator_url)
    assert billed(stats) == DOCUMENTS * CREDITS
    assert set(stats["by_parsegate_job"].values()) == {1}
    assert stats["answers_429"] == 0


@pytest.mark.timeout(1200)
def test_sixteen_threads_race_on_postgresql(
    start_program: Start, fresh_amqp_url: str, postgres_url: str, tmp_path: Path
) -> None:
    workers = [("worker", "--processes", "4", "--threads", "4")]
    with installation(
        start_program, fresh_amqp_url, postgres_url, tmp_path, workers=workers, simulator=SIMULATOR, **RACE
    ) as system:
        race(system.http, system.simulator_url)
        assert "ledger: ok" in run_to_end(start_program("doctor", environment=system.settings))


@pytest.mark.timeout(1200)
def test_one_process_races_on_sqlite(start_program: Start, tmp_path: Path) -> None:
    simulator_url = start_program(*SIMULATOR).wait_for(r"ready on (http://\S+)")[1]
    settings = settings_of(tmp_path, simulator_url) | RACE
    up = start_program("up", "--port", "0", environment=settings)
    with client_of(tmp_path / "data", up.wait_for(r"ready on (http://\S+)")[1]) as http:
        race(http, simulator_url)
    up.stop()
    assert up.process.returncode == 0, up.output
