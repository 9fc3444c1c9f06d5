"""The provider goes and comes back, refuses the key, or has no credits left: what is sent, and who waits."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from actors import admission, parse
from actors.clock import sweep
from domain.budgets import GLOBAL_DAY
from domain.job_state import AttemptState, JobState, Provenance
from domain.pace import Route
from domain.settings import Mode
from llamaparse.router import Route as Way
from llamaparse.simulator import RunningSimulator
from models import attempts, jobs, ledger
from models.breakers import view_breakers
from models.budgets import balance
from models.control import refill_account
from models.pace import Taken
from models.service_tables import Slot
from models.tables import Attempt, Delivery, Job
from tests.documents import new_pdf
from tests.state import KINDS, state_of
from tests.worker import Worker, working
from tests.world import World, world_of

DOWN = "upload_500"


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, simulator: RunningSimulator, tmp_path: Path) -> Iterator[World]:
    with state_of(request.param, tmp_path), world_of(simulator, tmp_path) as made:
        yield made


@pytest.fixture
def worker(world: World) -> Iterator[Worker]:
    with working(world) as made:
        yield made


def order(world: World, name: str, **said: Any) -> Job:
    """A document of its own, one page."""
    pdf = new_pdf()
    pdf.add_page()
    pdf.set_font("Helvetica", size=12)
    pdf.cell(0, 10, f"This is {name}.")
    path = world.folder / f"{name}.pdf"
    path.write_bytes(bytes(pdf.output()))
    return world.order_file(path, **said)


def states() -> dict[str, str]:
    return {view.route.value: view.state.value for view in view_breakers(datetime.now(UTC))}


def told(kind: str) -> list[dict[str, Any]]:
    """What the events of a kind say, oldest first."""
    found = Delivery.select().where(Delivery.event_type == kind, Delivery.job.is_null()).order_by(Delivery.created_at)
    return [json.loads(delivery.body)["data"] for delivery in found]


def break_it(worker: Worker, count: int = 3) -> list[Job]:
    """Send documents while uploads fail, until the breaker opens."""
    worker.world.faults(**{DOWN: 1.0})
    made = [order(worker.world, f"first {number}") for number in range(count)]
    worker.drain()
    return made


def test_it_opens_nothing_goes_and_one_call_tries(worker: Worker) -> None:
    made = break_it(worker)
    assert states() == {"upload": "open", "create": "closed", "read": "closed"}
    asked = worker.world.stats()["requests"]
    late = order(worker.world, "late")
    worker.drain()
    waiting = jobs.get_job(late.job_id)
    assert worker.world.stats()["requests"] == asked
    assert (waiting.state, waiting.tries, Attempt.get(Attempt.job == late.job_id).tries) == (JobState.RESERVED, 0, 0)
    assert "sending has stopped: 3 of the last 3 calls failed" in (waiting.message or "")
    # The provider is still down: of four who wait one tries, and the wait grows.
    worker.world.ahead += timedelta(seconds=2.5)
    for job in (*made, late):
        worker.handle("upload_file", job.job_id)
    assert worker.world.stats()["requests"] == asked + 1
    worker.world.faults(**{DOWN: 0.0})
    for job in (*made, late):
        assert worker.run_until(job).state == JobState.COMPLETED
    assert states()["upload"] == "closed"
    assert [said["endpoint"] for said in told("service.degraded")] == ["upload"]
    (recovered,) = told("service.recovered")
    assert recovered["endpoint"] == "upload"
    assert recovered["seconds"] > 2


def test_after_a_recovery_it_takes_as_many_failures_again(worker: Worker) -> None:
    break_it(worker)
    worker.world.faults(**{DOWN: 0.0})
    worker.run_until(order(worker.world, "good"))
    worker.world.faults(**{DOWN: 1.0})
    for number in range(2):
        order(worker.world, f"second {number}")
    worker.drain()
    assert states()["upload"] == "closed"
    order(worker.world, "third")
    worker.drain()
    assert states()["upload"] == "open"


def test_in_hybrid_mode_the_local_parser_stands_in(worker: Worker) -> None:
    worker.world.mode = Mode.HYBRID
    made = break_it(worker)
    worker.services.endpoints.forget()
    asked = worker.world.stats()["requests"]
    late = worker.run_until(order(worker.world, "late"))
    assert (late.state, late.provenance, late.cost) == (JobState.COMPLETED, Provenance.MOCK, 0)
    assert worker.world.stats()["requests"] == asked
    for job in made:
        ended = worker.run_until(job)
        assert (ended.state, ended.provenance) == (JobState.COMPLETED, Provenance.MOCK)
    assert balance(GLOBAL_DAY, worker.world.now(), worker.services.settings.budget_timezone).reserved == 0
    assert not Slot.select().where(Slot.used_at.is_null()).exists()
    worker.world.ahead += timedelta(seconds=20)
    worker.world.faults(**{DOWN: 0.0})
    worker.services.endpoints.forget()
    again = worker.run_until(order(worker.world, "again"))
    assert (again.state, again.provenance) == (JobState.COMPLETED, Provenance.REAL)
    assert states()["upload"] == "closed"


def test_one_failure_is_no_outage(worker: Worker) -> None:
    """In hybrid mode a document waits for its second try: a real result is worth that."""
    worker.world.mode = Mode.HYBRID
    (job,) = break_it(worker, 1)
    assert jobs.get_job(job.job_id).state == JobState.RESERVED
    worker.world.faults(**{DOWN: 0.0})
    ended = worker.run_until(job)
    assert (ended.state, ended.provenance) == (JobState.COMPLETED, Provenance.REAL)


def test_what_may_be_paid_for_never_falls_back(worker: Worker) -> None:
    worker.world.mode = Mode.HYBRID
    worker.world.faults(create_answer_lost=1.0)
    made = [order(worker.world, f"doubtful {number}") for number in range(3)]
    worker.drain()
    assert states()["create"] == "open"
    assert {jobs.get_job(job.job_id).state for job in made} == {JobState.IN_DOUBT}
    worker.world.faults(create_answer_lost=0.0)
    for job in made:
        ended = worker.run_until(job)
        assert (ended.state, ended.provenance) == (JobState.COMPLETED, Provenance.REAL)
    assert set(worker.world.stats()["by_parsegate_job"].values()) == {1}


def test_a_refused_order_says_nothing_about_the_provider(worker: Worker) -> None:
    """A 429, a broken document and a call that the provider refuses are no failures of the endpoint."""
    worker.world.faults(too_many_requests=1.0)
    for number in range(4):
        order(worker.world, f"busy {number}")
    worker.drain()
    assert set(states().values()) == {"closed"}


def test_slow_calls_open_it_too(world: World) -> None:
    with working(world, slow_s=0.0) as worker:
        worker.services.pacer._slow[Route.READ] = timedelta(days=1)
        made = [order(world, f"slow {number}") for number in range(3)]
        worker.drain()
        assert states()["upload"] == "open"
        assert "took too long" in told("service.degraded")[0]["why"]
        assert made


def test_calls_that_hang_open_it_for_the_next(world: World) -> None:
    with working(world, slow_s=5.0) as worker:
        for number in range(3):
            Slot.insert(route=Route.CREATE, holder=UUID(int=number), at=world.now(), used_at=world.now()).execute()
        world.ahead += timedelta(seconds=6)
        job = order(world, "next")
        worker.drain()
        assert states()["create"] == "open"
        assert jobs.get_job(job.job_id).state == JobState.RESERVED
        assert world.stats()["jobs_created"] == 0


def test_a_refused_key_stops_all_sending_until_it_is_changed(world: World) -> None:
    with working(world, key="llx-wrong") as worker:
        first = order(world, "first")
        worker.drain()
        asked = world.stats()["requests"]
        assert asked == 1
        assert set(states().values()) == {"open"}
        (said,) = [said for said in told("service.degraded") if said["endpoint"] == "create"]
        assert said["cause"] == "credential_refused"
        second = order(world, "second")
        worker.drain()
        world.ahead += timedelta(seconds=50)
        for job in (first, second):
            worker.handle("upload_file", job.job_id)
        assert world.stats()["requests"] == asked
        # In hybrid mode too: a refused key is for a person to mend, not for the local parser to hide.
        world.mode = Mode.HYBRID
        worker.handle("upload_file", second.job_id)
        assert jobs.get_job(second.job_id).state == JobState.RESERVED
        world.mode = Mode.REAL
    with working(world) as worker:
        assert set(states().values()) == {"closed"}
        for job in (first, second):
            assert worker.run_until(job).state == JobState.COMPLETED


def test_a_key_that_works_again_is_noticed(worker: Worker) -> None:
    worker.world.faults(unauthorized=1.0)
    job = order(worker.world, "job")
    worker.drain()
    worker.world.faults(unauthorized=0.0)
    assert worker.run_until(job, step=timedelta(seconds=10)).state == JobState.COMPLETED
    assert set(states().values()) == {"closed"}
    assert {said["endpoint"] for said in told("service.recovered")} == {"upload", "create", "read"}


def test_no_credits_left_is_an_exhausted_budget(worker: Worker) -> None:
    worker.world.faults(payment_required=1.0)
    first, second = order(worker.world, "first"), order(worker.world, "second")
    worker.drain()
    asked = worker.world.stats()["requests"]
    for job in (jobs.get_job(first.job_id), jobs.get_job(second.job_id)):
        assert (job.state, job.waits_for, job.tries) == (JobState.DEFERRED, "account", 0)
        assert "no credits left" in (job.message or "")
        assert not ledger.is_held(Attempt.get(Attempt.job == job.job_id).attempt_id)
    late = order(worker.world, "late")
    worker.drain()
    assert jobs.get_job(late.job_id).state == JobState.DEFERRED
    assert worker.world.stats()["requests"] == asked
    (said,) = told("budget.exhausted")
    assert said["budget"] == "account"
    worker.world.faults(payment_required=0.0)
    for job in (first, second, late):
        assert worker.run_until(job, step=timedelta(seconds=30)).state == JobState.COMPLETED
    assert set(worker.world.stats()["by_parsegate_job"].values()) == {1}
    assert {attempt.state for attempt in Attempt.select().where(Attempt.number == 1)} <= {
        AttemptState.NEVER_MADE,
        AttemptState.COMPLETED,
    }


def test_who_topped_up_need_not_wait(worker: Worker) -> None:
    worker.world.faults(payment_required=1.0)
    job = order(worker.world, "job")
    worker.drain()
    worker.world.faults(payment_required=0.0)
    assert refill_account()
    assert not refill_account()
    worker.services.account.forget()
    worker.handle("check_budget", job.job_id)
    worker.drain()
    assert worker.run_until(job, rounds=5).state == JobState.COMPLETED


@pytest.mark.parametrize(
    ("policy", "state", "provenance"),
    [("reject", JobState.REJECTED, None), ("mock", JobState.COMPLETED, Provenance.MOCK)],
)
def test_no_credits_left_as_the_setting_says(
    simulator: RunningSimulator, tmp_path: Path, policy: str, state: JobState, provenance: str | None
) -> None:
    with (
        state_of("sqlite", tmp_path),
        world_of(simulator, tmp_path, PARSEGATE_ON_BUDGET_EXHAUSTED=policy) as world,
        working(world) as worker,
    ):
        world.faults(payment_required=1.0)
        for name in ("first", "second"):
            ended = worker.run_until(order(world, name))
            assert (ended.state, ended.provenance, ended.cost) == (state, provenance, 0)
        assert world.stats()["jobs_created"] == 0


def test_an_order_may_have_a_mode_of_its_own(worker: Worker) -> None:
    here = worker.run_until(order(worker.world, "here", mode="mock"))
    assert (here.provenance, here.cost, worker.world.stats()["requests"]) == (Provenance.MOCK, 0, 0)
    worker.world.mode = Mode.MOCK
    there = worker.run_until(order(worker.world, "there", mode="real"))
    assert (there.provenance, there.cost) == (Provenance.REAL, 3000)


def test_the_clock_wakes_who_waits_when_it_opens(worker: Worker) -> None:
    """In hybrid mode nobody waits for a slot of a provider that is down."""
    worker.world.mode = Mode.HYBRID
    break_it(worker)
    assert states()["upload"] == "open"
    worker.services.endpoints.forget()
    worker.services.pacer.tidy(local=worker.services.route() is Way.LOCAL)
    assert not Slot.select().where(Slot.used_at.is_null()).exists()
    sweep(worker.services)
    worker.drain()
    assert {job.state for job in Job.select()} == {JobState.COMPLETED}


def test_choosing_takes_less_than_a_millisecond(worker: Worker) -> None:
    """The state of the breakers is read from the database twice a second, not for every document."""
    worker.world.mode = Mode.HYBRID
    job = order(worker.world, "any")
    began = time.perf_counter()
    for _ in range(1000):
        worker.services.route_of(job)
    took_ms = time.perf_counter() - began
    print(f"\n{took_ms:.4f} ms a choice")
    assert took_ms < 1


def test_a_probe_whose_process_died_keeps_nobody_out_for_long(worker: Worker) -> None:
    made = break_it(worker)
    worker.world.ahead += timedelta(seconds=3)
    taken = worker.services.pacer.take(Route.UPLOAD, UUID(int=1))
    assert isinstance(taken, Taken)
    assert states()["upload"] == "half_open"
    worker.world.faults(**{DOWN: 0.0})
    before = worker.world.now()
    assert worker.run_until(made[0]).state == JobState.COMPLETED
    assert worker.world.now() - before < timedelta(seconds=30)


def test_orders_that_must_be_real_stop_nobody_who_is_parsed_here(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "AHEAD", 2)
    worker.world.mode = Mode.HYBRID
    break_it(worker)
    real = [order(worker.world, f"real {number}", mode="real") for number in range(4)]
    worker.services.endpoints.forget()
    worker.drain()
    ordinary = worker.run_until(order(worker.world, "ordinary"), rounds=5)
    assert ordinary.provenance == Provenance.MOCK
    worker.world.faults(**{DOWN: 0.0})
    assert {worker.run_until(job).provenance for job in real} == {Provenance.REAL}


def test_what_was_parsed_here_meanwhile_is_left_alone(worker: Worker) -> None:
    """Two messages about one job: one is about to send it when the other parses it here."""
    job = order(worker.world, "contested")
    while worker.world.queue[0].actor_name != "start_parse":
        worker.drain_one()
    attempt = Attempt.get(Attempt.job == job.job_id)
    stale = jobs.get_job(job.job_id)
    now = worker.world.now()
    jobs.step(job.job_id, JobState.RESERVED, JobState.INGESTING, who="test", why="here", now=now, due_at=now)
    Attempt.update(provenance=Provenance.MOCK, estimate=0).execute()
    ledger.release(attempt.attempt_id, now=now, why="here")
    assert not parse._claim(worker.services, stale, attempt, "key")
    worker.world.queue.clear()
    assert attempts.get_attempt(attempt.attempt_id).state == AttemptState.OPEN
    assert worker.run_until(job).provenance == Provenance.MOCK
