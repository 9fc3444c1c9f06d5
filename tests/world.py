"""The actors' plain functions around a database and the simulator, with messages and time in the test's hands."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from actors.boot import close_services, configure_budget
from actors.budget_check import check_budget, check_waiting
from actors.clock import sweep
from actors.doubt import search_in_doubt
from actors.erase import erase_document
from actors.ingest_003 import ingest_003
from actors.notify import notify
from actors.parse import start_parse, upload_file
from actors.result_ingest import ingest_result
from actors.services import Services
from actors.submit import fetch_source, submit_document
from domain.job_state import FINAL, JobState
from domain.messages import (
    ACTORS,
    DeliveryMessage,
    DocumentMessage,
    EventMessage,
    JobMessage,
    Message,
    QueueMessage,
    admit,
)
from domain.orders import Order
from domain.pace import limits_of
from domain.settings import Mode, read_settings
from llamaparse.client import LlamaParseClient
from llamaparse.simulator import RunningSimulator
from llamaparse.transport import guarded_client
from models import jobs
from models.pace import Pacer
from models.store import Store
from models.tables import Job
from parsegate.sample_documents import SAMPLES, sample_path

KEY = "llx-test"
SECRET_KEY = "0123456789abcdef" * 4

_STEPS: dict[str, Callable[[Services, Any], None]] = {
    "submit_document": submit_document,
    "fetch_source": lambda services, said: fetch_source(services, said.job_id),
    "check_budget": lambda services, said: check_budget(services, said.job_id),
    "check_waiting": lambda services, said: check_waiting(services),
    "upload_file": lambda services, said: upload_file(services, said.job_id),
    "start_parse": lambda services, said: start_parse(services, said.job_id),
    "search_in_doubt": lambda services, said: search_in_doubt(services, said.job_id),
    "ingest_result": ingest_result,
    "ingest_003": ingest_003,
    "erase_document": lambda services, said: erase_document(services, said.document_id),
    "notify": lambda services, said: notify(services, said.delivery_id),
}


@dataclass
class World:
    """One process's worth of actors, run by hand.

    Args:
        services: as in production, but for `send`, which queues, and `clock`, which is real time and `ahead`.
        queue: messages that were sent and not handled.
        ahead: how far the clock was set forward.
    """

    simulator: RunningSimulator
    folder: Path
    mode: Mode = Mode.REAL
    queue: deque[Message] = field(default_factory=deque)
    ahead: timedelta = timedelta()
    events: list[tuple[str, str]] = field(default_factory=list)
    services: Services = field(init=False)

    def now(self) -> datetime:
        """The test's present."""
        return datetime.now(UTC) + self.ahead

    def handle(self, message: Message) -> None:
        """Give a message to its actor's function, the way the broker would."""
        admitted = admit(message.encode(), message.queue_name)
        payload = ACTORS[admitted.actor_name].payload.model_validate(dict(admitted.kwargs))
        assert isinstance(payload, Order | JobMessage | DeliveryMessage | DocumentMessage | QueueMessage)
        _STEPS[admitted.actor_name](self.services, payload)

    def drain(self) -> None:
        """Handle what is queued, and what that sends, until nothing is left."""
        while self.queue:
            self.handle(self.queue.popleft())

    def handle_event(self, event: EventMessage) -> None:
        """Give the provider's event to its actor's function."""
        ingest_result(self.services, event)

    def submit(self, order: Order) -> Job:
        """Order a document as a message would, without handling what follows."""
        submit_document(self.services, order)
        return Job.select().where(Job.document == order.document_id).get()

    def order_file(self, path: Path, **said: Any) -> Job:
        """Order a local file."""
        return self.submit(Order.model_validate({"document_id": random_uuid(), "source": path.as_uri(), **said}))

    def order_sample(self, **said: Any) -> Job:
        """Order a one-page sample."""
        path = self.folder / "one.pdf"
        path.write_bytes(sample_path(SAMPLES[0]).read_bytes())
        return self.order_file(path, **said)

    def run_until(self, job: Job, *states: JobState, rounds: int = 400) -> Job:
        """Drain and sweep, time running a second faster with each round, until the job is in one of `states`."""
        wanted, found = states or tuple(FINAL), job
        for _ in range(rounds):
            self.drain()
            found = jobs.get_job(job.job_id)
            if found.state in wanted:
                return found
            self.ahead += timedelta(seconds=1)
            self.settle_simulator()
            sweep(self.services)
        raise AssertionError(f"{job.job_id} is {found.state} ({found.message}), wanted {wanted}")

    def settle_simulator(self) -> None:
        """Wait, a second at most, until the simulator has ended the jobs that it is going to end."""
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            counts = self.stats()["jobs"]
            if not counts["PENDING"] + counts["RUNNING"]:
                return

    def stats(self) -> dict[str, Any]:
        """What really happened at the provider."""
        answer = httpx.get(f"{self.simulator.base_url}/_sim/stats")
        return dict(answer.json())

    def faults(self, **rates: float) -> None:
        """Switch faults, underscores for hyphens."""
        said = {name.replace("_", "-"): rate for name, rate in rates.items()}
        httpx.put(f"{self.simulator.base_url}/_sim/faults", json=said).raise_for_status()


def random_uuid() -> str:
    """A UUID that need not be secret."""
    return f"{random.getrandbits(128):032x}"


@contextmanager
def world_of(
    simulator: RunningSimulator, folder: Path, *, mode: Mode = Mode.REAL, **environment: str
) -> Iterator[World]:
    """A world over the database that the models are bound to.

    Args:
        environment: settings over those of the tests.
    """
    world = World(simulator, folder, mode)
    settings = read_settings(
        {
            "PARSEGATE_DATA_DIR": str(folder),
            "PARSEGATE_SECRET_KEY": SECRET_KEY,
            "PARSEGATE_SOURCE_ROOTS": str(folder),
            "PARSEGATE_DOUBT_SECONDS": "5",
            "PARSEGATE_DAILY_BUDGET_USD": "unlimited",
            "LLAMA_CLOUD_API_KEY": KEY,
            "LLAMA_CLOUD_BASE_URL": simulator.base_url,
            **environment,
        },
        None,
    )

    configure_budget(settings, world.now())

    def emit(routing_key: str, body: str, *, event_id: str) -> None:
        world.events.append((routing_key, body))

    world.services = Services(
        settings=settings,
        clock=world.now,
        store=Store(str(folder / "store")),
        mode=lambda: world.mode,
        provider=LlamaParseClient(settings.base_url, KEY),
        send=world.queue.append,
        emit=emit,
        http=guarded_client(settings.private_hosts, timeout=httpx.Timeout(5.0)),
        instance="test-instance",
        pacer=Pacer(limits_of(settings), world.now),
        random=random.Random(7),
    )
    try:
        yield world
    finally:
        close_services(world.services)
