"""The clock looks again just in time: for a slot a little before it, for everything else not before it is due."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from actors.admission import admit_free
from actors.budget_check import WAITING_BATCH
from actors.clock import AHEAD, run_clock, sweep
from actors.services import LEASE
from domain.budgets import GLOBAL_DAY
from domain.job_state import AttemptState, JobState, Provenance
from domain.messages import Message
from domain.money import Millicredits
from domain.pace import Route
from llamaparse.simulator import RunningSimulator, SimulatorSettings, serve
from models import jobs
from models.budgets import set_budget
from models.database import close_connection
from models.due import next_due
from models.pace import Promised, Taken
from models.tables import Attempt, Job
from tests.state import KINDS, an_order, state_of
from tests.world import World, world_of


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    with serve(SimulatorSettings()) as running:
        yield running


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, simulator: RunningSimulator, tmp_path: Path) -> Iterator[World]:
    with state_of(request.param, tmp_path), world_of(simulator, tmp_path, PARSEGATE_PARSE_LIMIT="1/2") as made:
        yield made


def a_job(due_at: datetime, state: JobState, **attempt: object) -> Job:
    job = jobs.accept_order(an_order(), who="test", now=due_at, due_at=due_at).job
    Job.update(state=state).where(Job.job_id == job.job_id).execute()
    Attempt.create(
        attempt_id=uuid4(),
        job=job.job_id,
        number=1,
        state=AttemptState.OPEN,
        provenance=Provenance.REAL,
        estimate=0,
        created_at=due_at,
        **attempt,
    )
    return job


def test_the_next_moment_is_the_earliest_of_everything_that_is_due(world: World) -> None:
    assert next_due() is None
    later, sooner = world.now() + timedelta(hours=2), world.now() + timedelta(hours=1)
    job = a_job(later, JobState.PARSING)
    assert next_due() == later
    Attempt.update(due_at=sooner).where(Attempt.job == job.job_id).execute()
    assert next_due() == sooner


def test_only_who_waits_for_a_slot_is_looked_at_before_its_time(world: World) -> None:
    soon = world.now() + timedelta(seconds=30)
    a_job(soon, JobState.IN_DOUBT)
    uploaded = a_job(soon, JobState.RESERVED, file_id="dfl-1")
    unsent = a_job(soon, JobState.RESERVED)
    assert sweep(world.services) == 0
    assert sweep(world.services, ahead=timedelta(minutes=1)) == 2
    nudged = {str(message.kwargs["job_id"]): message.actor_name for message in world.queue}
    assert nudged == {str(uploaded.job_id): "start_parse", str(unsent.job_id): "upload_file"}


def test_those_that_wait_to_be_admitted_are_looked_at_with_one_message(world: World) -> None:
    """However many they are, they don't stand before the message about another tenant's new document."""
    before = world.now() - timedelta(seconds=1)
    found = [jobs.accept_order(an_order(), who="test", now=before, due_at=before).job for _ in range(300)]
    Job.update(turn=1, estimate=3000, state=JobState.DEFERRED, waits_for="global/day").execute()
    assert sweep(world.services, waiting=False) == 0
    assert sweep(world.services) == 0
    (message,) = world.queue
    assert (message.actor_name, message.kwargs) == ("check_waiting", {})
    assert next_due() is None
    set_budget(GLOBAL_DAY, Millicredits(0), who="test", now=world.now(), zone=world.services.settings.budget_timezone)
    world.drain()
    later = Job.select().where(Job.due_at > world.now() + timedelta(seconds=1))
    assert later.count() == WAITING_BATCH + 1, "the first one was held back by the round itself"
    sweep(world.services)
    world.drain()
    assert later.count() == len(found)
    sweep(world.services)
    assert not world.queue


def test_who_was_admitted_meanwhile_is_not_taken_back(world: World) -> None:
    """A batch takes seconds: by its turn a job may be anywhere, and somebody else may have done the same work."""
    before = world.now() - timedelta(seconds=1)
    job = jobs.accept_order(an_order(mode="mock"), who="test", now=before, due_at=before).job
    known = jobs.get_job(job.job_id)
    for state in (JobState.RESERVED, JobState.PARSING, JobState.INGESTING):
        Job.update(state=state, turn=None).where(Job.job_id == job.job_id).execute()
        for seen in (known, jobs.get_job(job.job_id)):
            assert not admit_free(world.services, seen)
        assert jobs.get_job(job.job_id).state == state


def test_while_no_worker_comes_those_that_wait_are_told_of_once_in_a_lease(world: World) -> None:
    """Nothing piles up in the broker while the workers are away."""
    before = world.now() - timedelta(seconds=1)
    jobs.accept_order(an_order(), who="test", now=before, due_at=before)
    Job.update(turn=1, estimate=3000).execute()
    for _ in range(20):
        sweep(world.services)
    assert len(world.queue) == 1
    world.ahead += LEASE + timedelta(seconds=1)
    for _ in range(20):
        sweep(world.services)
    assert len(world.queue) == 2
    world.ahead -= timedelta(hours=1)
    Job.update(due_at=world.now()).execute()
    sweep(world.services)
    assert len(world.queue) == 3, "a clock that was set back holds up nobody"


def test_a_slot_is_nudged_when_it_comes_not_at_the_next_sweep(world: World) -> None:
    """The clock runs for real: nothing but the time that it wakes up at is judged."""
    first = world.services.pacer.take(Route.CREATE, uuid4())
    assert isinstance(first, Taken)
    world.services.pacer.finish(first.slot_id)
    job = a_job(world.now() + timedelta(hours=1), JobState.RESERVED, file_id="dfl-1")
    attempt = Attempt.get(Attempt.job == job.job_id)
    promised = world.services.pacer.take(Route.CREATE, attempt.attempt_id, job.job_id)
    assert isinstance(promised, Promised)
    stop, woke = threading.Event(), list[datetime]()

    def send(message: Message) -> None:
        woke.append(datetime.now(UTC))
        stop.set()

    def run() -> None:
        run_clock(replace(world.services, send=send), stop)
        close_connection()

    thread = threading.Thread(target=run)
    thread.start()
    until = time.monotonic() + 30
    while not stop.wait(0.1):
        assert time.monotonic() < until
    thread.join()
    assert promised.at - AHEAD <= woke[0] < promised.at + timedelta(seconds=1)
