"""A whole installation of separate processes over RabbitMQ and PostgreSQL, as a test drives it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pika

from tests.acceptance.fifty import LIMIT_S
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
    start: Start,
    amqp_url: str,
    database_url: str,
    folder: Path,
    *,
    workers: Sequence[tuple[str, ...]] = (("worker",),),
    simulator: tuple[str, ...] = ("simulator", "--port", "0", "--parse-limit", "500/1"),
    **environment: str,
) -> Iterator[Installation]:
    """Simulator, gateway, workers and clock, each a process.

    Args:
        workers: the command of each.
        simulator: the simulator's command.
        environment: settings over those of the tests.
    """
    simulator_url = start(*simulator).wait_for(r"ready on (http://\S+)")[1]
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
        **environment,
    }
    run_to_end(start("db", "migrate", environment=settings))
    start("gateway", "--port", str(port), environment=settings).wait_for("ready on")
    for started in [start(*command, environment=settings) for command in workers]:
        started.wait_for("worker ready")
    start("clock", environment=settings).wait_for("ready")
    token = run_to_end(start("token", "create", "--name", "t", "--scope", "admin", environment=settings))
    # A test may look elsewhere for minutes, and answers no heartbeat meanwhile.
    parameters = pika.URLParameters(amqp_url)
    parameters.heartbeat = 0
    amqp = pika.BlockingConnection(parameters)
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
