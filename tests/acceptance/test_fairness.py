"""Ten thousand documents of one tenant wait when another tenant's one comes, and newcomers: four workers, one order."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from domain.job_state import JobState
from domain.money import Millicredits
from models import admission
from models.database import close_connection, open_database, server_now, transaction
from models.jobs import Content, accept_order
from models.tables import Document, History, Job, TenantTurn
from tests.acceptance.system import Start, installation, run_to_end
from tests.state import an_order

MANY = 10_000
SETTINGS = {"PARSEGATE_PARSE_LIMIT": "50/10", "PARSEGATE_UPLOAD_LIMIT": "200/1", "PARSEGATE_REUSE_SECONDS": "0"}
SIMULATOR = ("simulator", "--port", "0", "--parse-limit", "5000/1", "--upload-limit", "5000/1")
LIMIT_S = 60.0


def let_them_wait(count: int, raw: Content, raw_path: str) -> None:
    """Documents of the tenant `busy` that wait to be admitted, as if they had come by the path; all have one file."""
    now = server_now()
    with transaction():
        job = accept_order(
            an_order(tenant="busy", filename="note.txt"), who="test", now=now, due_at=now, content=raw
        ).job
        Document.update(raw_path=raw_path).where(Document.document_id == job.document_id).execute()
        admission.enqueue(job, pages=1, pages_guessed=True, estimate=Millicredits(1000), work_key=None, due_at=now)
        document, first = (row_of(Document, job.document_id), row_of(Job, job.job_id))
        ids = [uuid4() for _ in range(count - 1)]
        documents = [document | {"document_id": one, "order_sha256": f"test {one}"} for one in ids]
        jobs = [
            first
            | {
                "job_id": uuid4(),
                "document": one,
                "turn": place,
                "created_at": now + timedelta(microseconds=place),
                "due_at": now + timedelta(seconds=place / 20),
            }
            for place, one in enumerate(ids, first["turn"] + 1)
        ]
        for part in range(0, len(jobs), 1000):
            Document.insert_many(documents[part : part + 1000]).execute()
            Job.insert_many(jobs[part : part + 1000]).execute()
        TenantTurn.update(turn=jobs[-1]["turn"]).where(TenantTurn.tenant == "busy").execute()


def row_of(table: Any, key: UUID) -> dict[str, Any]:
    """A row by its columns' names."""
    (row,) = table.select().where(table._meta.primary_key == key).dicts()
    return dict(row)


def order(http: httpx.Client, name: str, tenant: str) -> str:
    answer = http.post(
        "/v1/documents", files={"file": (f"{name}.txt", f"A note, {name}.\n".encode())}, data={"tenant": tenant}
    )
    return str(answer.raise_for_status().json()["job_id"])


@pytest.mark.timeout(300)
def test_ten_thousand_of_one_tenant_do_not_starve_another(
    start_program: Start, amqp_url: str, postgres_url: str, tmp_path: Path
) -> None:
    with installation(
        start_program, amqp_url, postgres_url, tmp_path, workers=[], simulator=SIMULATOR, **SETTINGS
    ) as system:
        open_database(postgres_url)
        try:
            first = order(system.http, "first", "setup")
            stored = Document.get(Document.document_id == Job.get(Job.job_id == first).document_id)
            let_them_wait(MANY, Content(str(stored.raw_sha256), int(stored.raw_bytes or 0)), stored.raw_path)
            worker = ("worker", "--processes", "4", "--threads", "2")
            start_program(*worker, environment=system.settings).wait_for("worker ready")
            until_admitted(150)
            newcomers = [order(system.http, f"newcomer {number}", "busy") for number in range(5)]
            ordered_at = server_now()
            single = order(system.http, "single", "small")
            until, in_line_at = time.monotonic() + LIMIT_S, None
            while (said := system.http.get(f"/v1/documents/{single}").json())["state"] != "completed":
                assert time.monotonic() < until, said
                if in_line_at is None and said["pages"] is not None:
                    in_line_at = server_now()
            took_s = (server_now() - ordered_at).total_seconds()
            in_broker = system.amqp.channel().queue_declare("budget-check", passive=True).method.message_count
            print(f"completed after {took_s:.1f} s, {Job.select().where(Job.turn.is_null(False)).count()} still wait")
            assert in_broker <= 10, "those that wait do so in the database"
            assert in_line_at is not None
            judge(first, single, newcomers, in_line_at)
            assert "ledger: ok" in run_to_end(start_program("doctor", environment=system.settings))
        finally:
            close_connection()


def until_admitted(count: int) -> None:
    until = time.monotonic() + LIMIT_S
    while len(admitted()) < count:
        assert time.monotonic() < until, len(admitted())


def admitted() -> list[str]:
    """The jobs that were admitted, in the order in which they were."""
    rows = History.select(History.job_id).where(History.after == JobState.RESERVED).order_by(History.history_id)
    return [str(row.job_id) for row in rows]


def judge(first: str, single: str, newcomers: list[str], in_line_at: datetime) -> None:
    order_of_admission, waited = admitted(), Job.select(Job.job_id).where(Job.tenant == "busy")
    busy = [job_id for job_id in order_of_admission if job_id not in {single, first}]
    due = [str(row.job_id) for row in waited.order_by(Job.created_at).limit(len(busy))]
    assert busy == due, "somebody overtook"
    assert not set(newcomers) & set(busy)
    assert len(busy) < MANY / 10
    # From the moment in which it had its place nobody was admitted before it, but who was being admitted.
    placed = History.get(History.job_id == single, History.after == JobState.RESERVED)
    between = History.select().where(
        History.after == JobState.RESERVED, History.at > in_line_at, History.history_id < placed.history_id
    )
    assert between.count() <= 1
