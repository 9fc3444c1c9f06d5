"""What nobody expected does not go round for ever: it is counted, and the fifth ends the job, unless it is paid."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from actors import budget_check
from actors.admission import Round
from actors.clock import sweep
from actors.poison import MOST_FAILURES, AboutJob, unexpected
from domain.budgets import GLOBAL_DAY
from domain.job_state import AttemptState, JobState
from domain.messages import Message
from domain.money import ZERO
from llamaparse.simulator import RunningSimulator, SimulatorSettings, serve
from models import admission, attempts, budgets, deliveries, jobs, ledger
from models.tables import Attempt, Delivery, Job
from parsegate.sample_documents import SAMPLES, sample_path
from tests.state import KINDS, state_of
from tests.world import World, world_of

SAMPLE = next(sample for sample in SAMPLES if sample.expected_state == "completed")
ERROR = LookupError("nobody thought of this")


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    running = serve(SimulatorSettings(latency_s=0.01, parse_limit="500/1", upload_limit="500/1"), "127.0.0.1", 0)
    yield running
    running.stop()


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path, simulator: RunningSimulator) -> Iterator[World]:
    with state_of(request.param, tmp_path), world_of(simulator, tmp_path) as built:
        yield built


def ordered(world: World) -> Job:
    path = world.folder / SAMPLE.filename
    path.write_bytes(sample_path(SAMPLE).read_bytes())
    return world.order_file(path)


def fails(world: World, job: Job) -> Job:
    unexpected(world.services, {"job_id": str(job.job_id)}, ERROR)
    return jobs.get_job(job.job_id)


@pytest.mark.parametrize("state", [JobState.RECEIVED, JobState.RESERVED])
def test_a_job_that_fails_unexpectedly_five_times_fails(world: World, state: JobState) -> None:
    job = ordered(world)
    while jobs.get_job(job.job_id).state != state:
        world.handle(world.queue.popleft())
    waits = []
    for _ in range(MOST_FAILURES - 1):
        job = fails(world, job)
        assert job.state == state
        assert job.due_at is not None
        waits.append(job.due_at - world.now())
    assert waits[-1] > waits[0] + timedelta(minutes=2)
    assert job.message == "an error of Parsegate's own (LookupError), 4 so far"
    job = fails(world, job)
    assert (job.state, job.reason) == (JobState.FAILED, "internal_error")
    assert "its log says where" in (job.message or "")
    for attempt in Attempt.select().where(Attempt.job == job.job_id):
        assert (attempt.state, attempt.billed) == (AttemptState.NEVER_MADE, 0)
        assert not ledger.is_held(attempt.attempt_id)
    assert [row.event_type for row in Delivery.select().where(Delivery.job == job.job_id)] == ["document.failed"]
    told = [row.why for row in jobs.history(job.job_id) if row.before == row.after]
    assert told == ["LookupError: nobody thought of this"] * MOST_FAILURES


def test_a_look_at_all_that_wait_counts_its_failure_on_the_one_it_was_about(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ordered(world)
    while jobs.get_job(job.job_id).document.raw_sha256 is None:
        world.handle(world.queue.popleft())
    admission.enqueue(
        jobs.get_job(job.job_id), pages=1, pages_guessed=False, estimate=ZERO, work_key=None, due_at=world.now()
    )
    budgets.set_budget(GLOBAL_DAY, ZERO, who="test", now=world.now(), zone=world.services.settings.budget_timezone)
    Job.update(estimate=1000, due_at=world.now()).execute()
    monkeypatch.setattr(budget_check, "admit_waiting", lambda services: Round())

    def fail(*said: object) -> None:
        raise ERROR

    monkeypatch.setattr(budget_check, "_wait_on", fail)
    with pytest.raises(AboutJob) as raised:
        budget_check.check_waiting(world.services)
    unexpected(world.services, {}, raised.value)
    assert jobs.get_job(job.job_id).message == "an error of Parsegate's own (LookupError), 1 so far"


def test_a_job_that_may_be_paid_for_goes_on_until_it_can_end(world: World) -> None:
    job = world.run_until(ordered(world), JobState.PARSING)
    waits = []
    for _ in range(MOST_FAILURES + 3):
        job = fails(world, job)
        assert job.due_at is not None
        waits.append(job.due_at - world.now())
    assert job.state == JobState.PARSING
    assert waits[-1] > timedelta(minutes=25)
    world.ahead += timedelta(hours=2)
    sweep(world.services)
    job = world.run_until(job)
    assert job.state == JobState.COMPLETED
    assert world.stats()["jobs_created"] == 1


def test_what_is_open_after_the_end_is_asked_ever_later(world: World) -> None:
    job = world.run_until(ordered(world))
    attempt = Attempt.select().where(Attempt.job == job.job_id).get()
    Attempt.update(settled_at=None, billed=None, due_at=world.now()).where(
        Attempt.attempt_id == attempt.attempt_id
    ).execute()
    waits = []
    for _ in range(3):
        assert fails(world, job).state == JobState.COMPLETED
        due_at = attempts.get_attempt(attempt.attempt_id).due_at
        assert due_at is not None
        waits.append(due_at - world.now())
    assert waits[-1] > waits[0]
    assert waits[0] > timedelta(seconds=25)


def test_an_event_that_fails_unexpectedly_is_tried_ever_later_and_given_up_in_the_end(world: World) -> None:
    job = world.run_until(ordered(world))
    about = deliveries.About(job.tenant, job.job_id)
    (delivery_id,) = deliveries.add_deliveries(about, "document.parsed", {"https://a.example": "{}"}, world.now())
    for _ in range(3):
        unexpected(world.services, {"delivery_id": str(delivery_id)}, ERROR)
    row = Delivery.get_by_id(delivery_id)
    assert (row.tries, row.last_error) == (3, "LookupError: nobody thought of this")
    assert row.due_at is not None
    world.ahead += timedelta(days=4)
    unexpected(world.services, {"delivery_id": str(delivery_id)}, ERROR)
    assert deliveries.find_open(delivery_id) is None


@pytest.mark.parametrize(
    "said", [{"job_id": str(uuid4())}, {"delivery_id": str(uuid4())}, {"document_id": str(uuid4())}]
)
def test_a_failure_of_nothing_that_is_known_changes_nothing(world: World, said: dict[str, str]) -> None:
    unexpected(world.services, said, ERROR)


def test_the_clock_and_the_steps_take_no_count_for_a_step(world: World) -> None:
    job = fails(world, ordered(world))
    world.services.send(Message("check_budget", {"job_id": str(job.job_id)}, "m", 1))
    assert world.run_until(job).state == JobState.COMPLETED
