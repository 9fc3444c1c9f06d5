"""The whole path over RabbitMQ and PostgreSQL with separate processes, driven over HTTP and AMQP only."""

from __future__ import annotations

import base64
import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID, uuid4

import httpx
import pika
import pytest

from domain.messages import QUEUES
from tests.acceptance.fifty import (
    LIMIT_S,
    billed,
    fifty,
    judge,
    stats_of,
    submit_message,
    tier_of,
    upload,
    wait_for_jobs,
)
from tests.documents import TestDocument, make_documents
from tests.processes import Program

SECRET_KEY = "0123456789abcdef" * 4
Start = Callable[..., Program]


@dataclass
class Installation:
    """Separate processes around one vhost and one database.

    Args:
        settings: the environment that its processes share.
        events: CloudEvents that came out of the events exchange, by document id.
    """

    settings: dict[str, str]
    amqp: pika.BlockingConnection
    simulator_url: str
    http: httpx.Client
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    _events_queue: str = ""

    def listen(self) -> None:
        """Bind a queue of our own to the events exchange."""
        channel = self.amqp.channel()
        self._events_queue = str(channel.queue_declare("", exclusive=True).method.queue)
        channel.queue_bind(self._events_queue, "parsegate.events", "document.*")
        channel.basic_consume(self._events_queue, self._take, auto_ack=True)

    def _take(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        event = json.loads(body)
        assert event["type"] == method.routing_key
        self.events[event["data"]["document_id"]] = event

    def publish(self, body: bytes, *, exchange: str = "", routing_key: str = "submit") -> None:
        """Publish with plain AMQP, as an upload service would."""
        channel = self.amqp.channel()
        channel.confirm_delivery()
        channel.basic_publish(exchange, routing_key, body, mandatory=True)
        channel.close()

    def job_of(self, document_id: UUID) -> str:
        """The job id of a document, from the event that told of its end."""
        until = time.monotonic() + LIMIT_S
        while str(document_id) not in self.events:
            assert time.monotonic() < until, f"no event about {document_id}"
            self.amqp.process_data_events(time_limit=0.1)
        return str(self.events[str(document_id)]["data"]["job_id"])

    def dead_letters(self, queue: str, count: int) -> dict[bytes, str]:
        """The bodies and reasons of the dead letters of a queue, once there are `count`."""
        channel, found = self.amqp.channel(), dict[bytes, str]()
        until = time.monotonic() + 30
        while len(found) < count:
            assert time.monotonic() < until, found
            method, properties, body = channel.basic_get(f"{queue}.XQ", auto_ack=True)
            if method is not None and body is not None and properties is not None:
                found[body] = str((properties.headers or {})["x-parsegate-reason"])
        channel.close()
        return found


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def installation(
    start: Start, amqp_url: str, database_url: str, folder: Path, *, worker: tuple[str, ...] = ("worker",)
) -> Iterator[Installation]:
    """Simulator, gateway, worker and clock, each a process."""
    simulator = start("simulator", "--port", "0", "--parse-limit", "500/1")
    simulator_url = simulator.wait_for(r"ready on (http://\S+)")[1]
    port = free_port()
    settings = {
        "PARSEGATE_AMQP_URL": amqp_url,
        "PARSEGATE_DATABASE_URL": database_url,
        "PARSEGATE_DATA_DIR": str(folder / "data"),
        "PARSEGATE_SECRET_KEY": SECRET_KEY,
        "PARSEGATE_SOURCE_ROOTS": str(folder),
        "PARSEGATE_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "PARSEGATE_DAILY_BUDGET_USD": "unlimited",
        "LLAMA_CLOUD_API_KEY": "llx-test",
        "LLAMA_CLOUD_BASE_URL": simulator_url,
    }
    run_to_end(start("db", "migrate", environment=settings))
    start("gateway", "--port", str(port), environment=settings).wait_for("ready on")
    if worker == ("worker",):
        start(*worker, environment=settings).wait_for("worker ready")
    start("clock", environment=settings).wait_for("ready")
    token = run_to_end(start("token", "create", "--name", "t", "--scope", "admin", environment=settings))
    amqp = pika.BlockingConnection(pika.URLParameters(amqp_url))
    headers = {"Authorization": f"Bearer {token.strip()}"}
    try:
        with httpx.Client(base_url=settings["PARSEGATE_PUBLIC_URL"], headers=headers, timeout=30) as http:
            built = Installation(settings, amqp, simulator_url, http)
            built.listen()
            yield built
    finally:
        amqp.close()


def run_to_end(program: Program) -> str:
    """A command's output, once it has ended well."""
    assert program.process.wait(timeout=60) == 0, program.output
    return program.output


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
    with installation(start_program, fresh_amqp_url, postgres_url, tmp_path, worker=()) as system:
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
