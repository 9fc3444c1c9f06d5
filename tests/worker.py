"""A real Dramatiq worker with the limiter, around a world: what it sends on is handled by the test, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import dramatiq
from dramatiq import Broker, Middleware

from actors.broker import EmbeddedBroker
from actors.clock import sweep
from actors.declare import declare_actors
from actors.middleware.outcome import Outcome
from actors.middleware.rate_limit import RateLimit
from actors.pacing import PacedClient
from actors.services import Services
from domain.job_state import FINAL, JobState
from domain.messages import Message
from models import jobs
from models.database import close_connection
from models.pace import Pacer
from models.tables import Job
from tests.world import KEY, World


@dataclass
class Worker:
    """A worker of one thread around a world; what its actors did is in `ran`."""

    world: World
    broker: EmbeddedBroker
    services: Services
    ran: list[str] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    def handle(self, actor_name: str, job_id: UUID, **said: str) -> None:
        """Let the worker handle one message, to the end."""
        message = Message(actor_name, {"job_id": str(job_id), **said}, str(uuid4()), 1)
        self.broker.send(message)
        self.broker.join(message.queue_name, timeout=20_000)
        self.idle(message.queue_name)

    def drain(self) -> None:
        """Handle what the world has queued, and what that sends, until nothing is left."""
        while self.world.queue:
            self.drain_one()

    def drain_one(self) -> None:
        """Handle the first message that the world has queued."""
        message = self.world.queue.popleft()
        self.broker.send(message)
        self.broker.join(message.queue_name, timeout=20_000)
        self.idle(message.queue_name)

    def run_until(self, job: Job, *states: JobState, step: timedelta = timedelta(seconds=1), rounds: int = 100) -> Job:
        """Drain and sweep, time running on by `step` with each round, until the job is in one of `states`."""
        wanted, found = states or tuple(FINAL), job
        for _ in range(rounds):
            self.drain()
            found = jobs.get_job(job.job_id)
            if found.state in wanted:
                return found
            self.world.ahead += step
            self.world.settle_simulator()
            self.services.endpoints.forget()
            self.services.account.forget()
            sweep(self.services)
        raise AssertionError(f"{job.job_id} is {found.state} ({found.message}), wanted {wanted}")

    def idle(self, queue: str) -> None:
        """Until the thread has taken up its next wait."""
        self.broker.queues[queue].join()


@contextmanager
def working(
    world: World, step: Callable[[Worker, Any], None] | None = None, *, key: str = KEY, slow_s: float = 20.0
) -> Iterator[Worker]:
    """A worker whose actors are the real ones, or call `step`."""
    broker = EmbeddedBroker(middleware=[Outcome(lambda: None), _Closing()])
    client = PacedClient(world.services.settings.base_url, key)
    pacer = Pacer(
        world.services.pacer.limits, world.now, slow_s=slow_s, on_change=world.services.events.breaker_changed
    )
    pacer.close_breakers(other_key_than=client.key_id)
    worker = Worker(world, broker, replace(world.services, provider=client, pacer=pacer))
    broker.add_middleware(RateLimit(lambda: worker.services, worker.slept.append))
    declare_actors(broker, lambda: worker.services)
    if step is not None:
        for name, actor in broker.actors.items():
            actor.fn = _recording(worker, name, step)
    running = dramatiq.Worker(broker, worker_threads=1, worker_timeout=50)
    running.start()
    try:
        yield worker
    finally:
        running.stop(10_000)
        client.close()


class _Closing(Middleware):
    """A worker's thread leaves no connection behind."""

    def before_worker_thread_shutdown(self, broker: Broker, thread: Any) -> None:
        """In the thread itself."""
        close_connection()


def _recording(worker: Worker, name: str, step: Callable[[Worker, Any], None]) -> Callable[..., None]:
    def run(**said: Any) -> None:
        worker.ran.append(name)
        step(worker, said)

    return run
