"""The limiter in a real Dramatiq worker: waiting is not failing, and when the limiter fails, nothing goes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from actors.broker import EmbeddedBroker
from actors.declare import RATE_LIMITS, declare_actors
from actors.middleware.outcome import Outcome
from actors.middleware.rate_limit import SHORT_WAIT_S, RateLimit
from actors.pacing import NoSlot, PacedClient
from domain.errors import ProviderBusy, StoreUnavailable
from domain.job_state import AttemptState, JobState, Provenance
from domain.pace import Limits, Route
from domain.pace import Outcome as Ended
from domain.settings import Mode, Rate, parse_rates
from llamaparse.simulator import RunningSimulator, SimulatorSettings, serve
from models import jobs
from models.database import close_connection
from models.pace import Pacer, Promised, Taken
from models.service_tables import Pace, Slot
from models.tables import Attempt, Job
from tests.state import an_order, state_of
from tests.worker import Worker, working
from tests.world import KEY, World, world_of


@pytest.fixture
def world(simulator: RunningSimulator, tmp_path: Path) -> Iterator[World]:
    with state_of("sqlite", tmp_path), world_of(simulator, tmp_path, PARSEGATE_PARSE_LIMIT="1/60") as made:
        yield made


def reserved(world: World, **changes: Any) -> tuple[Job, Attempt]:
    """A job that is about to be sent."""
    now = world.now()
    job = jobs.accept_order(an_order(), who="test", now=now, due_at=now).job
    Job.update(state=JobState.RESERVED).where(Job.job_id == job.job_id).execute()
    said: dict[str, Any] = {"file_id": "dfl-1", "base_url": world.services.settings.base_url} | changes
    attempt = Attempt.create(
        attempt_id=uuid4(),
        job=job.job_id,
        number=1,
        state=AttemptState.OPEN,
        provenance=said.pop("provenance", Provenance.REAL),
        estimate=0,
        created_at=now,
        **said,
    )
    return jobs.get_job(job.job_id), attempt


def spend(world: World) -> None:
    """Use up the one create of this minute."""
    taken = world.services.pacer.take(Route.CREATE, uuid4())
    assert isinstance(taken, Taken)
    world.services.pacer.finish(taken.slot_id)


def slots(route: Route) -> list[Slot]:
    return list(Slot.select().where(Slot.route == route).order_by(Slot.slot_id))


def test_every_actor_that_calls_the_provider_is_limited() -> None:
    broker = EmbeddedBroker(middleware=[Outcome(lambda: None), RateLimit(lambda: pytest.fail("not to be asked"))])
    declare_actors(broker, lambda: pytest.fail("not to be asked"))
    limited = {name: actor.options.get("rate_limit") for name, actor in broker.actors.items()}
    assert {name: route for name, route in limited.items() if route is not None} == RATE_LIMITS


def test_a_message_that_may_not_go_is_acknowledged_and_its_job_due_at_its_own_slot(world: World) -> None:
    spend(world)
    found = [reserved(world)[0] for _ in range(3)]
    with working(world, lambda worker, said: None) as worker:
        for job in found:
            worker.handle("start_parse", job.job_id)
            worker.handle("start_parse", job.job_id)
    assert worker.ran == []
    waiting = [slot for slot in slots(Route.CREATE) if slot.used_at is None]
    assert [slot.job_id for slot in waiting] == [job.job_id for job in found]
    assert len({slot.at for slot in waiting}) == 3
    for job, slot in zip(found, waiting, strict=True):
        now = jobs.get_job(job.job_id)
        assert (now.state, now.due_at, now.tries) == (JobState.RESERVED, slot.at, 0)
        assert now.message == f"waits for its create slot at {slot.at:%H:%M:%S} UTC (1 per 60 s)"


def test_a_short_wait_is_slept_through_with_nothing_held(world: World) -> None:
    job, _ = reserved(world)
    answers: list[Taken | Promised] = []

    class Soon(Pacer):
        def take(self, route: Route, holder: UUID, job_id: UUID | None = None) -> Taken | Promised:
            if not answers:
                answers.append(Promised(world.now() + timedelta(seconds=SHORT_WAIT_S / 2), "a moment"))
                return answers[0]
            return super().take(route, holder, job_id)

    with working(world, lambda worker, said: None) as worker:
        worker.services = replace(worker.services, pacer=Soon(world.services.pacer.limits, world.now))
        worker.handle("start_parse", job.job_id)
    assert worker.ran == ["start_parse"]
    assert len(worker.slept) == 1
    assert 0 < worker.slept[0] <= SHORT_WAIT_S


def test_a_slot_without_a_call_returns(world: World) -> None:
    job, _ = reserved(world)
    with working(world, lambda worker, said: None) as worker:
        worker.handle("start_parse", job.job_id)
    assert worker.ran == ["start_parse"]
    assert slots(Route.CREATE) == []


@pytest.mark.parametrize(
    "failure", [StoreUnavailable("the database is away"), RuntimeError("a mistake"), ValueError("another")]
)
def test_when_the_limiter_fails_nothing_goes(world: World, failure: Exception) -> None:
    class Broken(Pacer):
        def take(self, route: Route, holder: UUID, job_id: UUID | None = None) -> Taken | Promised:
            raise failure

    job, _ = reserved(world)
    with working(world, lambda worker, said: None) as worker:
        worker.services = replace(worker.services, pacer=Broken(world.services.pacer.limits, world.now))
        worker.handle("start_parse", job.job_id)
        worker.handle("upload_file", reserved(world, file_id=None)[0].job_id)
    assert worker.ran == []
    assert jobs.get_job(job.job_id).state == JobState.RESERVED
    assert world.stats()["requests"] == 0


def test_a_client_without_a_slot_makes_no_call(world: World) -> None:
    """The second guard: an actor that runs although no slot was taken."""
    with PacedClient(world.services.settings.base_url, KEY) as client, pytest.raises(NoSlot) as caught:
        client.get_job("pjb-1")
    assert isinstance(caught.value, ProviderBusy)
    assert world.stats()["requests"] == 0


def test_what_makes_no_call_takes_no_slot(world: World) -> None:
    mocked, _ = reserved(world, provenance=Provenance.MOCK)
    unsent, _ = reserved(world, file_id=None)
    uploaded, _ = reserved(world)
    with working(world, lambda worker, said: None) as worker:
        worker.handle("start_parse", mocked.job_id)
        worker.handle("start_parse", unsent.job_id)
        worker.handle("upload_file", uploaded.job_id)
        worker.handle("ingest_result", uploaded.job_id)
        worker.handle("search_in_doubt", uploaded.job_id)
        world.mode = Mode.MOCK
        worker.handle("start_parse", uploaded.job_id)
        worker.handle("start_parse", uuid4())
        worker.handle("check_budget", uploaded.job_id)
    assert len(worker.ran) == 8
    assert Pace.select().where(Pace.seen_at.is_null(False)).count() == 0, "nobody took a slot"


@pytest.mark.parametrize("state", [JobState.PARSING, JobState.CANCELLED, JobState.FAILED])
def test_the_provider_is_asked_about_what_it_still_works_at_whether_its_job_has_ended_or_not(
    world: World, state: JobState
) -> None:
    job, _ = reserved(world, provider_job_id="pjb-1")
    Attempt.update(state=AttemptState.SENT).execute()
    Job.update(state=JobState.PARSING).execute()
    if state != JobState.PARSING:
        said: dict[str, Any] = {
            "who": "test",
            "why": "test",
            "now": world.now(),
            "due_at": None,
            "reason": "test",
            "message": "test",
        }
        assert jobs.step(job.job_id, JobState.PARSING, state, **said)
    with working(world, lambda worker, said: None) as worker:
        worker.handle("ingest_result", job.job_id)
    assert worker.ran == ["ingest_result"]
    assert Pace.select().where(Pace.seen_at.is_null(False)).count() == 1, "it took a slot"


def test_calls_are_counted_with_their_end_and_what_was_answered(world: World) -> None:
    def ask(worker: Worker, said: Any) -> None:
        assert worker.services.provider is not None
        (slot,) = slots(Route.READ)
        assert slot.done_at is None
        worker.services.provider.list_jobs()
        worker.services.provider.list_jobs()

    job, attempt = reserved(world, submitted_at=world.now())
    Attempt.update(state=AttemptState.IN_DOUBT).where(Attempt.attempt_id == attempt.attempt_id).execute()
    Job.update(state=JobState.IN_DOUBT).where(Job.job_id == job.job_id).execute()
    with working(world, ask) as worker:
        worker.handle("search_in_doubt", job.job_id)
    assert [(slot.outcome, slot.done_at is not None) for slot in slots(Route.READ)] == [("ok", True), ("ok", True)]


def test_a_question_that_is_being_asked_is_asked_again_later_and_is_no_wait_for_a_slot(world: World) -> None:
    """A webhook and a poll may ask at once; who looks at the job is told nothing of it."""
    job, attempt = reserved(world)
    Job.update(state=JobState.PARSING).where(Job.job_id == job.job_id).execute()
    assert isinstance(world.services.pacer.take(Route.READ, attempt.attempt_id, job.job_id), Taken)
    again = world.services.pacer.take(Route.READ, attempt.attempt_id, job.job_id)
    assert isinstance(again, Promised)
    now = jobs.get_job(job.job_id)
    assert (now.due_at, now.message) == (again.at, job.message)


def test_a_429_teaches_and_holds_everybody(world: World) -> None:
    def ask(worker: Worker, said: Any) -> None:
        assert worker.services.provider is not None
        with pytest.raises(ProviderBusy):
            worker.services.provider.list_jobs()

    world.faults(too_many_requests=1.0)
    job, attempt = reserved(world, submitted_at=world.now())
    Attempt.update(state=AttemptState.IN_DOUBT).where(Attempt.attempt_id == attempt.attempt_id).execute()
    Job.update(state=JobState.IN_DOUBT).where(Job.job_id == job.job_id).execute()
    with working(world, ask) as worker:
        worker.handle("search_in_doubt", job.job_id)
    row = Pace.get(Pace.name == Route.READ)
    assert (row.ceiling, row.proven) == (1, 1)
    assert row.hold_until is not None
    assert row.hold_until > world.now() + timedelta(seconds=0.2)
    assert isinstance(world.services.pacer.take(Route.READ, uuid4()), Promised)
    assert isinstance(world.services.pacer.take(Route.UPLOAD, uuid4()), Taken)


def test_a_worker_that_dies_keeps_its_place_until_the_clients_deadline(world: World) -> None:
    taken = world.services.pacer.take(Route.CREATE, uuid4())
    assert isinstance(taken, Taken)
    after = uuid4()
    first = world.services.pacer.take(Route.CREATE, after)
    assert isinstance(first, Promised)
    world.ahead += timedelta(seconds=89)
    assert isinstance(world.services.pacer.take(Route.CREATE, after), Promised)
    assert Slot.get(Slot.slot_id == taken.slot_id).outcome is None
    world.ahead += timedelta(seconds=2)
    assert isinstance(world.services.pacer.take(Route.CREATE, after), Promised)
    assert Slot.get(Slot.slot_id == taken.slot_id).outcome == "lost"
    world.ahead += timedelta(seconds=60)
    assert isinstance(world.services.pacer.take(Route.CREATE, after), Taken)


def test_a_mode_switch_lets_who_waits_to_be_sent_go_at_once(world: World) -> None:
    spend(world)
    job, attempt = reserved(world)
    assert isinstance(world.services.pacer.take(Route.CREATE, attempt.attempt_id, job.job_id), Promised)
    due_at = jobs.get_job(job.job_id).due_at
    assert due_at is not None
    assert due_at > world.now() + timedelta(seconds=50)
    world.services.pacer.tidy(local=True)
    now_due = jobs.get_job(job.job_id).due_at
    assert now_due is not None
    assert now_due <= world.now()
    assert [slot for slot in slots(Route.CREATE) if slot.used_at is None] == []


def test_no_more_are_in_flight_than_are_allowed(world: World) -> None:
    limits = replace(world.services.pacer.limits, in_flight=2)
    pacer = Pacer(replace(limits, routes={**limits.routes, Route.CREATE: parse_rates("50/10")}), world.now)
    (sent, _), (going, about), (late, last) = reserved(world), reserved(world), reserved(world)
    Attempt.update(state=AttemptState.SENT, provider_job_id="pjb-1").where(Attempt.job == sent.job_id).execute()
    assert isinstance(pacer.take(Route.CREATE, about.attempt_id, going.job_id), Taken)
    answer = pacer.take(Route.CREATE, last.attempt_id, late.job_id)
    assert isinstance(answer, Promised)
    assert "in flight" in answer.why
    Attempt.update(state=AttemptState.COMPLETED).where(Attempt.job == sent.job_id).execute()
    assert isinstance(pacer.take(Route.CREATE, last.attempt_id, late.job_id), Taken)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.parametrize(("limit", "told"), [("30/3", "30/3"), ("30/3", "5000/3")])
def test_threads_at_a_real_pace(tmp_path: Path, kind: str, limit: str, told: str) -> None:
    """90 calls by 8 threads: a limit that is told is never hit, and one that is not costs few answers of 429."""
    with (
        serve(SimulatorSettings(parse_limit="500/1", upload_limit=limit)) as simulator,
        state_of(kind, tmp_path),
        world_of(simulator, tmp_path) as world,
    ):
        limits = Limits({Route.UPLOAD: parse_rates(told), Route.CREATE: (Rate(1, 1),), Route.READ: (Rate(1, 1),)})
        published = {Route.UPLOAD: Rate(30, 3), Route.CREATE: Rate(1, 1), Route.READ: Rate(1, 1)}
        pacer = Pacer(limits, lambda: datetime.now(UTC), published)
        began, ended = call_in_threads(world, pacer, threads=8, calls=90)
        refused = world.stats()["answers_429"]
    assert refused == 0 if told == limit else refused < 10
    if told == limit:
        # Two windows after the first, which is open at once. How much of the pace is used: tests/acceptance/test_pace.
        assert (ended - began).total_seconds() >= 6


def call_in_threads(world: World, pacer: Pacer, *, threads: int, calls: int) -> tuple[datetime, datetime]:
    """Uploads, each in a slot of its own; answers when the first began and the last ended."""
    left, lock, times = [calls], threading.Lock(), list[datetime]()
    assert world.services.provider is not None
    client, pause = world.services.provider, threading.Event()

    def next_call() -> bool:
        with lock:
            left[0] -= 1
            return left[0] >= 0

    def one_call(number: int) -> None:
        holder = uuid4()
        while not isinstance(answer := pacer.take(Route.UPLOAD, holder), Taken):
            pause.wait(max(0.001, pacer.seconds_until(answer.at)))
        times.append(datetime.now(UTC))
        with (world.folder / "a.txt").open("rb") as content:
            try:
                client.upload_file(content, f"{number}.txt")
            except ProviderBusy:
                pacer.finish(answer.slot_id, Ended.BUSY)
                with lock:
                    left[0] += 1
            else:
                pacer.finish(answer.slot_id)

    def run() -> None:
        while next_call():
            one_call(left[0])
        close_connection()

    (world.folder / "a.txt").write_text("a letter")
    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return min(times), max(times)
