"""The whole path over RabbitMQ and PostgreSQL with separate processes, driven over HTTP and AMQP only."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import httpx
import pytest

from domain.messages import QUEUES
from tests.acceptance.fifty import (
    billed,
    fifty,
    judge,
    stats_of,
    submit_message,
    tier_of,
    upload,
    wait_for_jobs,
)
from tests.acceptance.system import Installation, Start, installation
from tests.documents import TestDocument, make_documents
from tests.processes import Program


@pytest.fixture
def system(start_program: Start, amqp_url: str, postgres_url: str, tmp_path: Path) -> Iterator[Installation]:
    with installation(start_program, amqp_url, postgres_url, tmp_path) as built:
        yield built


def test_fifty_documents_by_http_and_by_message(system: Installation, tmp_path: Path) -> None:
    documents = fifty(tmp_path / "documents")
    ids = [uuid4() for _ in documents]
    by_http: dict[int, str] = {}
    for number, (document, document_id) in enumerate(zip(documents, ids, strict=True)):
        if number % 2:
            by_http[number] = upload(system.http, document, tier_of(number), document_id)
        else:
            message = submit_message(document, tier_of(number), document_id)
            if number % 4:
                system.publish(message, exchange="parsegate.submit", routing_key="")
            else:
                system.publish(message)
    job_ids = [by_http.get(number) or system.job_of(ids[number]) for number in range(len(documents))]

    def settled() -> bool:
        return sum(cost_of(system.http, job_id) for job_id in job_ids) == billed(stats_of(system.simulator_url))

    jobs = wait_for_jobs(system.http, job_ids, settled)
    for document, job in zip(documents, jobs, strict=True):
        judge(system.http, document, job)
    stats = stats_of(system.simulator_url)
    assert sum(round(job["credits"] * 1000) for job in jobs) == billed(stats)
    assert all(count == 1 for count in stats["by_parsegate_job"].values())
    assert stats["webhooks"]["delivered"] > 0
    for document_id, job_id in zip(ids, job_ids, strict=True):
        assert system.job_of(document_id) == job_id


def cost_of(http: httpx.Client, job_id: str) -> int:
    return round(float(http.get(f"/v1/documents/{job_id}").json()["credits"]) * 1000)


def test_messages_that_are_not_right_become_dead_letters_and_stop_nobody(system: Installation, tmp_path: Path) -> None:
    document = one_document(tmp_path)
    good = json.loads(submit_message(document, "fast", uuid4()))
    wrong = [
        b"not json",
        json.dumps(good | {"options": None}).encode(),
        json.dumps(good | {"actor_name": "start_parse"}).encode(),
        json.dumps(good | {"queue_name": "nowhere"}).encode(),
        json.dumps(good | {"kwargs": {"document_id": "17", "source": "x"}}).encode(),
        json.dumps(good | {"kwargs": {"source": "file:///x"}}).encode(),
    ]
    odd = json.dumps(good | {"kwargs": good["kwargs"] | {"options": {"version": "HERE"}}}).encode()
    for value in ("[" * 300 + "]" * 300, "NaN", "1" * 5000, str(2**64), r'"\u0000"', r'"\ud800"'):
        wrong.append(odd.replace(b'"HERE"', value.encode()))
    for body in wrong:
        system.publish(body)
    for queue in QUEUES[1:]:
        system.publish(b'{"options": null}', routing_key=queue)
    document_id = uuid4()
    system.publish(submit_message(document, "fast", document_id))
    job = system.http.get(f"/v1/documents/{system.job_of(document_id)}").json()
    judge(system.http, document, job)
    found = system.dead_letters("submit", len(wrong))
    assert set(found) == set(wrong)
    assert "options must be an object" in found[wrong[1]]
    assert "document_id" in found[wrong[4]]
    for queue in QUEUES[1:]:
        assert len(system.dead_letters(queue, 1)) == 1


def test_the_same_document_id_with_another_order_is_kept_as_a_dead_letter(system: Installation, tmp_path: Path) -> None:
    document, document_id = one_document(tmp_path), uuid4()
    message = submit_message(document, "fast", document_id)
    system.publish(message)
    job_id = system.job_of(document_id)
    system.publish(message)
    system.publish(submit_message(document, "agentic", document_id))
    (reason,) = system.dead_letters("submit", 1).values()
    assert "order_conflict" in reason
    assert stats_of(system.simulator_url)["by_parsegate_job"] == {job_id: 1}


def one_document(folder: Path) -> TestDocument:
    (folder / "one").mkdir()
    return next(document for document in make_documents(8, folder / "one", seed=5) if document.failure is None)


def test_a_message_published_as_from_the_management_page(
    system: Installation, management_url: str, tmp_path: Path
) -> None:
    document, document_id = one_document(tmp_path), uuid4()
    vhost = urlsplit(system.settings["PARSEGATE_AMQP_URL"]).path[1:]
    parts = urlsplit(management_url)
    login = base64.b64encode(f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()).decode()
    answer = httpx.post(
        f"{parts.scheme}://{parts.hostname}:{parts.port}/api/exchanges/{vhost}/amq.default/publish",
        headers={"Authorization": f"Basic {login}"},
        json={
            "properties": {"delivery_mode": 2},
            "routing_key": "submit",
            "payload": submit_message(document, "fast", document_id).decode(),
            "payload_encoding": "string",
        },
    )
    assert answer.json() == {"routed": True}
    judge(system.http, document, system.http.get(f"/v1/documents/{system.job_of(document_id)}").json())


def test_dramatiq_actors_is_a_plain_worker(
    start_program: Start, fresh_amqp_url: str, postgres_url: str, tmp_path: Path
) -> None:
    with installation(start_program, fresh_amqp_url, postgres_url, tmp_path, workers=[]) as system:
        plain = Program(
            "-m", "dramatiq", "actors", "--processes", "1", "--threads", "2",
            folder=tmp_path, environment=system.settings, executable=sys.executable,
        )  # fmt: skip
        with plain:
            document, document_id = one_document(tmp_path), uuid4()
            system.publish(submit_message(document, "fast", document_id))
            judge(system.http, document, system.http.get(f"/v1/documents/{system.job_of(document_id)}").json())


def test_a_switch_of_the_mode_is_in_force_without_a_restart(system: Installation, tmp_path: Path) -> None:
    document = one_document(tmp_path)
    answer = system.http.put("/v1/mode", json={"mode": "mock"})
    assert answer.json()["mode"] == "mock"
    until = time.monotonic() + 5
    while True:
        job_id = upload(system.http, document, "fast", uuid4())
        (job,) = wait_for_jobs(system.http, [job_id], lambda: True)
        if job["provenance"] == "mock":
            break
        assert time.monotonic() < until
    assert stats_of(system.simulator_url)["by_parsegate_job"].get(job_id) is None
