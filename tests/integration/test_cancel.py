"""A job that a person stops: its money is free, or held until the provider has spoken; and a job that is retried."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from actors.clock import sweep
from domain.budgets import GLOBAL_DAY
from domain.errors import NotFound, OrderConflict
from domain.job_state import AttemptState, JobState
from domain.money import Millicredits
from domain.settings import Mode
from llamaparse.client import LlamaParseClient
from llamaparse.simulator import RunningSimulator, SimulatorSettings, serve
from models import audit, budgets, jobs
from models.cancel import cancel_job
from models.redo import open_retry, redone_by
from models.tables import Attempt, Delivery, Job
from tests.noon import noon_zone
from tests.state import KINDS, state_of
from tests.world import World, world_of


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    settings = SimulatorSettings(latency_s=30.0, parse_limit="500/1", upload_limit="500/1")
    running = serve(settings, "127.0.0.1", 0)
    yield running
    running.stop()


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path, simulator: RunningSimulator) -> Iterator[World]:
    zone = noon_zone()
    with state_of(request.param, tmp_path), world_of(simulator, tmp_path, PARSEGATE_BUDGET_TIMEZONE=zone) as built:
        budgets.set_budget(GLOBAL_DAY, Millicredits(10_000), who="test", now=built.now(), zone=zone_of(built))
        yield built
        assert audit.find_faults() == []


def zone_of(world: World) -> Any:
    return world.services.settings.budget_timezone


def cancelled(world: World, job: Job) -> Job:
    return cancel_job(job.job_id, who="me", now=world.now(), instance="test-instance", exchange=True)


def held(world: World) -> int:
    return int(budgets.balance(GLOBAL_DAY, world.now(), zone_of(world)).reserved)


def spent(world: World) -> int:
    return int(budgets.balance(GLOBAL_DAY, world.now(), zone_of(world)).spent)


def goes_on(world: World, seconds: int) -> None:
    for _ in range(seconds):
        world.drain()
        world.ahead += timedelta(seconds=1)
        sweep(world.services)
    world.drain()


@pytest.mark.parametrize("state", [JobState.RECEIVED, JobState.RESERVED])
def test_what_was_not_sent_is_closed_and_its_money_free(world: World, state: JobState) -> None:
    job = world.order_sample()
    while jobs.get_job(job.job_id).state != state:
        world.handle(world.queue.popleft())
    job = cancelled(world, job)
    assert (job.state, job.reason, job.message) == (JobState.CANCELLED, "cancelled", "cancelled by me")
    assert (job.due_at, job.turn) == (None, None)
    assert [row.event_type for row in Delivery.select().where(Delivery.job == job.job_id)] == ["document.failed"]
    goes_on(world, 3)
    assert (held(world), spent(world), world.stats()["jobs_created"]) == (0, 0, 0)
    assert {one.state for one in Attempt.select()} <= {AttemptState.NEVER_MADE}
    assert jobs.get_job(job.job_id).state == JobState.CANCELLED


def test_what_is_deferred_is_cancelled(world: World) -> None:
    budgets.set_budget(GLOBAL_DAY, Millicredits(3000), who="test", now=world.now(), zone=zone_of(world))
    world.order_sample()
    waiting = world.folder / "two.txt"
    waiting.write_text("Two.")
    job = world.run_until(world.order_file(waiting, tier="fast"), JobState.DEFERRED)
    assert cancelled(world, job).state == JobState.CANCELLED
    goes_on(world, 3)
    assert jobs.get_job(job.job_id).state == JobState.CANCELLED


def test_what_is_at_the_provider_is_stopped_there_and_settled_at_its_bill(world: World) -> None:
    job = world.run_until(world.order_sample(), JobState.PARSING)
    assert held(world) == 3000
    job = cancelled(world, job)
    assert (job.state, held(world)) == (JobState.CANCELLED, 3000)
    goes_on(world, 30)
    assert world.stats()["jobs"]["CANCELLED"] == 1
    attempt = Attempt.get(Attempt.job == job.job_id)
    assert (attempt.state, attempt.billed, held(world), spent(world)) == (AttemptState.CANCELLED, 0, 0, 0)
    assert [row.event_type for row in Delivery.select().where(Delivery.job == job.job_id)] == ["document.failed"]


@pytest.mark.parametrize(("fault", "made"), [("create_answer_lost", 1), ("create_500_before", 0)])
def test_what_is_in_doubt_is_looked_for_and_its_money_held_until_then(world: World, fault: str, made: int) -> None:
    """Found, it is stopped at the provider; proved not to be there, its money is free. It is never paid again."""
    world.faults(**{fault: 1.0})
    job = world.run_until(world.order_sample(), JobState.IN_DOUBT)
    world.faults(**{fault: 0.0})
    cancelled(world, job)
    goes_on(world, 2)
    attempt = Attempt.get(Attempt.job == job.job_id)
    if not made:
        assert (attempt.state, held(world)) == (AttemptState.IN_DOUBT, 3000)
    goes_on(world, 60)
    attempt = Attempt.get(Attempt.job == job.job_id)
    ended = AttemptState.CANCELLED if made else AttemptState.NEVER_MADE
    assert (attempt.state, attempt.billed, held(world)) == (ended, 0, 0)
    assert world.stats()["jobs_created"] == made
    assert world.stats()["jobs"]["CANCELLED"] == made
    assert jobs.get_job(job.job_id).state == JobState.CANCELLED


@pytest.mark.parametrize(
    ("fault", "ended", "made"),
    [
        (None, AttemptState.CANCELLED, 1),
        ("create_answer_lost", AttemptState.CANCELLED, 1),
        ("payment_required", AttemptState.NEVER_MADE, 0),
    ],
)
def test_who_cancels_during_the_paid_call_is_answered_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch, fault: str | None, ended: AttemptState, made: int
) -> None:
    make = LlamaParseClient.create_job

    def create_job(client: LlamaParseClient, request: Any) -> Any:
        assert cancelled(world, job).state == JobState.CANCELLED
        return make(client, request)

    monkeypatch.setattr(LlamaParseClient, "create_job", create_job)
    if fault is not None:
        world.faults(**{fault: 1.0})
    job = world.order_sample()
    goes_on(world, 60)
    attempt = Attempt.get(Attempt.job == job.job_id)
    assert (attempt.state, attempt.billed, held(world)) == (ended, 0, 0)
    assert (world.stats()["jobs_created"], world.stats()["jobs"]["CANCELLED"]) == (made, made)
    assert jobs.get_job(job.job_id).state == JobState.CANCELLED


def test_who_cancels_twice_is_told_the_same_and_what_has_ended_stays(world: World) -> None:
    job = world.order_sample()
    first = cancelled(world, job)
    again = cancel_job(job.job_id, who="another", now=world.now(), instance="test-instance", exchange=True)
    assert (again.state, again.message) == (first.state, "cancelled by me")
    assert Delivery.select().where(Delivery.job == job.job_id).count() == 1
    with pytest.raises(NotFound):
        cancel_job(UUID(int=7), who="me", now=world.now(), instance="test-instance", exchange=True)
    world.mode = Mode.MOCK
    path = world.folder / "done.txt"
    path.write_text("Done.")
    done = world.run_until(world.order_file(path))
    with pytest.raises(OrderConflict, match="has ended as completed: there is nothing to cancel"):
        cancelled(world, done)


def test_a_retry_is_a_new_job_and_asking_twice_makes_one(world: World) -> None:
    job = cancelled(world, world.order_sample(mode="mock", tags=["a"], priority=3))
    again = open_retry(job, who="me", now=world.now(), due_at=world.now())
    twice = open_retry(job, who="me", now=world.now(), due_at=world.now())
    assert again.job_id == twice.job_id != job.job_id
    assert (again.document_id, again.redoes, again.mode, again.tags, again.priority) == (
        *(job.document_id, job.job_id, "mock", ["a"], 3),
    )
    assert world.run_until(again).state == JobState.COMPLETED
    assert redone_by(job) == again
    assert open_retry(job, who="me", now=world.now(), due_at=world.now()) == again
    with pytest.raises(OrderConflict, match="has a result"):
        open_retry(jobs.get_job(again.job_id), who="me", now=world.now(), due_at=world.now())


def test_a_document_has_one_job_at_a_time_whichever_is_retried(world: World) -> None:
    first = cancelled(world, world.order_sample())
    second = open_retry(first, who="me", now=world.now(), due_at=world.now())
    second = cancelled(world, second)
    third = open_retry(second, who="me", now=world.now(), due_at=world.now())
    assert open_retry(first, who="me", now=world.now(), due_at=world.now()) == third
    cancelled(world, third)
    world.mode = Mode.MOCK
    last = world.run_until(open_retry(first, who="me", now=world.now(), due_at=world.now()))
    assert (last.state, last.redoes) == (JobState.COMPLETED, third.job_id)
    assert {redone_by(job) for job in (first, second, third)} == {last}


def test_nothing_is_retried_that_may_still_be_billed(world: World) -> None:
    job = cancelled(world, world.run_until(world.order_sample(), JobState.PARSING))
    with pytest.raises(OrderConflict, match="so that nothing is paid twice"):
        open_retry(job, who="me", now=world.now(), due_at=world.now())
    goes_on(world, 30)
    assert open_retry(job, who="me", now=world.now(), due_at=world.now()).state == JobState.RECEIVED
    with pytest.raises(OrderConflict, match="goes on by itself"):
        open_retry(world.order_sample(), who="me", now=world.now(), due_at=world.now())
