"""Documents that are ordered together: all or none, one sum, and one event when the last one has ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4

import pytest

from actors.batches import finish_batches
from actors.clock import sweep
from domain.budgets import GLOBAL_DAY
from domain.errors import OrderConflict
from domain.events import EventType
from domain.job_state import FINAL, JobState
from domain.orders import Order
from llamaparse.simulator import RunningSimulator, SimulatorSettings, serve
from models import audit, batches, jobs
from models.batches import BatchOrder
from models.database import close_connection
from models.tables import Batch, Budget, Delivery, Document, Job
from parsegate.sample_documents import SAMPLES, sample_path
from tests.money import limit
from tests.state import KINDS, state_of
from tests.world import World, world_of


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    running = serve(SimulatorSettings(parse_limit="500/1", upload_limit="500/1"), "127.0.0.1", 0)
    yield running
    running.stop()


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path, simulator: RunningSimulator) -> Iterator[World]:
    with state_of(request.param, tmp_path), world_of(simulator, tmp_path) as built:
        yield built
        assert audit.find_faults() == []


def an_order(world: World, number: int, **said: Any) -> Order:
    path = world.folder / f"{number}.pdf"
    path.write_bytes(sample_path(SAMPLES[0]).read_bytes() + b"%" * number)
    return Order.model_validate({"document_id": uuid4(), "source": path.as_uri(), "tenant": "t", **said})


def a_batch(world: World, count: int, **said: Any) -> BatchOrder:
    orders = [an_order(world, number) for number in range(count)]
    return BatchOrder(uuid4(), "t", orders, "same", uuid4(), **said)


def opened(world: World, order: BatchOrder) -> Batch:
    return batches.open_batch(order, who="me", now=world.now())


def until_all_have_ended(world: World, batch_id: UUID) -> None:
    for _ in range(200):
        world.drain()
        if all(job.state in FINAL for job in batches.jobs_of(batch_id)):
            return
        world.ahead += timedelta(seconds=1)
        world.settle_simulator()
        sweep(world.services)
    raise AssertionError([job.state for job in batches.jobs_of(batch_id)])


def told(batch_id: UUID) -> list[Delivery]:
    return list(Delivery.select().where(Delivery.batch_id == batch_id))


def test_one_event_tells_of_the_end_of_all(world: World) -> None:
    order = a_batch(world, 3, callback_url="https://example.org/batches")
    batch = opened(world, order)
    assert (batch.total, batches.has_ended(order.batch_id), batch.finished_at) == (3, False, None)
    until_all_have_ended(world, order.batch_id)
    assert told(order.batch_id) == [], "nothing before the clock looks"
    for _ in range(3):
        finish_batches(world.services)
        world.drain()
    found = told(order.batch_id)
    assert sorted(row.target for row in found) == ["events", "https://example.org/batches"]
    assert {row.tenant for row in found} == {"t"}
    (event,) = {row.body for row in found}
    said = json.loads(event)
    assert (said["type"], said["subject"]) == ("batch.completed", str(order.batch_id))
    assert said["data"] == {
        "batch_id": str(order.batch_id),
        "correlation_id": str(order.correlation_id),
        "tenant": "t",
        "documents": 3,
        "states": {"completed": 3},
        "pages": 3,
        "credits": 9.0,
        "settled": True,
    }
    assert [key for key, _ in world.events].count(EventType.BATCH_COMPLETED) == 1
    assert [key for key, _ in world.events].count(EventType.PARSED) == 3, "each document's own"
    assert Batch.get_by_id(order.batch_id).finished_at is not None


def test_all_documents_are_ordered_or_none(world: World) -> None:
    order = a_batch(world, 2)
    jobs.accept_order(order.orders[1], who="me", now=world.now(), due_at=world.now())
    with pytest.raises(OrderConflict, match="was ordered before: a batch takes new documents only"):
        opened(world, order)
    assert (Batch.select().count(), Document.select().count(), Job.select().count()) == (0, 1, 1)


def test_who_repeats_it_gets_the_same_batch(world: World) -> None:
    order = a_batch(world, 2)
    opened(world, order)
    assert opened(world, order).batch_id == order.batch_id
    assert Job.select().count() == 2
    other = BatchOrder(order.batch_id, "t", [an_order(world, 9)], "another", uuid4())
    with pytest.raises(OrderConflict, match="use another batch_id"):
        opened(world, other)
    foreign = BatchOrder(order.batch_id, "u", order.orders, "same", uuid4())
    with pytest.raises(OrderConflict, match="use another batch_id"):
        opened(world, foreign)


def test_what_is_cancelled_failed_or_rejected_has_ended_too(world: World) -> None:
    order = a_batch(world, 3)
    opened(world, order)
    now = world.now()
    first, second, _ = (job.job_id for job in batches.jobs_of(order.batch_id))
    jobs.step(first, JobState.RECEIVED, JobState.REJECTED, who="t", why="t", now=now, due_at=None)
    jobs.step(
        second, JobState.RECEIVED, JobState.FAILED, who="t", why="t", now=now, due_at=None, reason="r", message="m"
    )
    batches.cancel_batch(order.batch_id, who="me", now=now, instance="i", exchange=False)
    finish_batches(world.services)
    totals = batches.totals_of(order.batch_id)
    assert totals.states == {"cancelled": 1, "failed": 1, "rejected": 1}
    assert Batch.get_by_id(order.batch_id).finished_at is not None


def test_those_that_end_at_the_same_moment_hold_nobody_up_and_are_told_of_once(world: World) -> None:
    """Each ends in a transaction that also changes money, as jobs do: attempt and windows after the job."""
    limit(GLOBAL_DAY, 1000)
    order = a_batch(world, 8)
    opened(world, order)
    found = batches.jobs_of(order.batch_id)
    ready = Barrier(len(found))

    def change_money(number: int) -> None:
        Budget.update(changed_by=str(number)).where(Budget.budget == str(GLOBAL_DAY)).execute()

    def end(number: int, job_id: UUID) -> None:
        ready.wait()
        try:
            with jobs.owning(job_id):
                if number % 2:
                    change_money(number)
                jobs.step(job_id, JobState.RECEIVED, JobState.REJECTED, who="t", why="t", now=world.now(), due_at=None)
                if not number % 2:
                    change_money(number)
            finish_batches(world.services)
        finally:
            close_connection()

    with ThreadPoolExecutor(len(found)) as pool:
        list(pool.map(end, range(len(found)), [job.job_id for job in found]))
    finish_batches(world.services)
    assert (batches.has_ended(order.batch_id), len(told(order.batch_id))) == (True, 1)


def test_the_sum_says_how_much_of_it_is_known(world: World) -> None:
    order = a_batch(world, 2)
    opened(world, order)
    before = batches.totals_of(order.batch_id)
    assert (before.priced, before.estimate, before.cost, before.states) == (0, 0, 0, {"received": 2})
    until_all_have_ended(world, order.batch_id)
    after = batches.totals_of(order.batch_id)
    assert (after.priced, after.pages, after.estimate, after.cost, after.settled) == (2, 2, 6000, 6000, True)
    assert after.open_estimates == []
