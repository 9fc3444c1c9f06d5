"""The same bytes with the same options are paid once: whoever orders them again gets a copy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from actors.clock import sweep
from domain.job_state import AttemptState, JobState, Provenance
from domain.reuse import work_key
from domain.settings import Mode
from llamaparse.simulator import RunningSimulator
from models import attempts, jobs
from models.admission import queue_position
from models.database import transaction
from models.tables import Attempt, Document, Job, LedgerEntry, Result
from parsegate.sample_documents import SAMPLES, sample_path
from tests.noon import noon_zone
from tests.state import KINDS, state_of
from tests.world import World, world_of

LETTER = next(sample for sample in SAMPLES if sample.pages == 1 and sample.expected_state == "completed")
LONG = max(SAMPLES, key=lambda sample: sample.pages)


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, simulator: RunningSimulator, tmp_path: Path) -> Iterator[World]:
    with state_of(request.param, tmp_path), world_of(simulator, tmp_path) as made:
        yield made


def order(world: World, name: str = "letter.pdf", **said: Any) -> Job:
    path = world.folder / name
    if not path.exists():
        path.write_bytes(sample_path(LETTER).read_bytes())
    return world.order_file(path, **said)


def text_of(world: World, job: Job) -> str:
    return world.services.store.read(jobs.get_job(job.job_id).parsed_path or "").decode()


def made(world: World) -> int:
    return int(world.stats()["jobs_created"])


def test_it_is_paid_once_and_each_owns_its_copy(world: World) -> None:
    first = world.run_until(order(world))
    again = world.run_until(order(world))
    assert (again.state, again.provenance, again.cost) == (JobState.COMPLETED, Provenance.CACHED, 0)
    assert (again.pages, again.parsed_pages, again.truncated) == (first.pages, first.parsed_pages, first.truncated)
    assert made(world) == 1
    assert again.parsed_sha256 == first.parsed_sha256
    assert again.parsed_path != first.parsed_path
    stored = json.loads(world.services.store.read(Result.get_by_id(again.job_id).pages_path))
    assert stored["provenance"] == "cached"
    world.services.store.delete(first.parsed_path or "")
    assert LETTER.snippet in text_of(world, again)
    attempt = Attempt.get(Attempt.job == again.job_id)
    assert (attempt.provenance, attempt.billed, attempt.estimate) == (Provenance.CACHED, 0, 0)
    assert not LedgerEntry.select().where(LedgerEntry.attempt == attempt.attempt_id).exists()


@pytest.mark.parametrize(
    "other",
    [
        {"tier": "agentic"},
        {"options": {"page_ranges": {"max_pages": 1}}},
        {"options": {"disable_cache": True}},
        {"tenant": "another"},
        {"name": "letter.txt"},
    ],
    ids=str,
)
def test_other_work_is_paid(world: World, other: dict[str, Any]) -> None:
    world.run_until(order(world))
    again = world.run_until(order(world, **other))
    assert again.provenance != Provenance.CACHED or again.cost > 0 or made(world) == 2
    assert made(world) == 2


def test_a_copy_is_as_old_as_what_it_is_a_copy_of(world: World) -> None:
    world.run_until(order(world))
    world.ahead += timedelta(hours=30)
    assert world.run_until(order(world)).provenance == Provenance.CACHED
    world.ahead += timedelta(hours=30)
    assert world.run_until(order(world)).reused_from is None
    assert made(world) == 2


def test_twins_wait_for_the_first(world: World) -> None:
    twins = [order(world) for _ in range(4)]
    world.drain()
    waiting = [job for job in map(reloaded, twins) if job.twin_of is not None]
    (leader,) = [job for job in map(reloaded, twins) if job.twin_of is None]
    assert len(waiting) == 3
    assert {(job.twin_of, job.turn) for job in waiting} == {(leader.job_id, None)}
    assert all(f"waits for job {leader.job_id}" in (job.message or "") for job in waiting)
    ended = [world.run_until(job) for job in twins]
    assert sorted(job.provenance or "" for job in ended) == ["cached"] * 3 + ["real"]
    assert sum(job.cost for job in ended) == 3000
    assert made(world) == 1
    assert len({text_of(world, job) for job in ended}) == 1


def reloaded(job: Job) -> Job:
    return jobs.get_job(job.job_id)


def test_if_the_first_fails_the_next_takes_over(world: World) -> None:
    world.faults(job_fails=1.0)
    twins = [order(world) for _ in range(3)]
    world.drain()
    (leader,) = [job for job in map(reloaded, twins) if job.twin_of is None]
    assert world.run_until(leader).state == JobState.FAILED
    world.faults(job_fails=0.0)
    ended = {job.job_id: world.run_until(job) for job in twins}
    assert sorted(job.provenance or "" for job in ended.values()) == ["", "cached", "real"]
    assert made(world) == 2


def test_if_the_first_is_deferred_nobody_waits_for_it(world: World) -> None:
    twins = [order(world) for _ in range(3)]
    world.drain()
    (leader,) = [job for job in map(reloaded, twins) if job.twin_of is None]
    now = world.now()
    assert jobs.step(
        leader.job_id, JobState(leader.state), JobState.DEFERRED, who="test", why="test", now=now, due_at=now
    )
    assert {reloaded(job).twin_of for job in twins} == {None}
    assert all((reloaded(job).due_at or now) <= world.now() for job in twins)


@pytest.mark.parametrize("end", [JobState.REJECTED, JobState.CANCELLED])
def test_if_the_first_is_rejected_or_cancelled_the_next_takes_over(world: World, end: JobState) -> None:
    twins = [order(world) for _ in range(3)]
    while not Job.select().where(Job.state == JobState.RESERVED).exists():
        world.handle(world.queue.popleft())
    (leader,) = [job for job in map(reloaded, twins) if job.state == JobState.RESERVED]
    now, attempt = world.now(), attempts.attempt_under_way(leader.job_id)
    assert attempt is not None
    with transaction():
        assert attempts.never_made(attempt, AttemptState.OPEN, why="test", now=now)
        # The state machine's own step: who cancels and rejects is not what is judged.
        assert jobs.step(leader.job_id, JobState.RESERVED, end, who="test", why="test", now=now, due_at=None)
    ended = [world.run_until(job) for job in twins if job.job_id != leader.job_id]
    assert sorted(job.provenance or "" for job in ended) == ["cached", "real"]
    assert made(world) == 1


def test_a_twin_whose_leader_was_forgotten_is_looked_at_again(world: World) -> None:
    """Nobody waits for ever: whatever was lost, it is due by itself."""
    first = order(world)
    world.drain()
    second = order(world)
    world.drain()
    assert reloaded(second).twin_of == first.job_id
    Job.update(twin_of=None).where(Job.job_id == second.job_id).execute()
    for job in (first, second):
        assert world.run_until(job).state == JobState.COMPLETED
    assert made(world) == 1


def test_a_result_that_is_gone_is_paid_for(world: World) -> None:
    first = world.run_until(order(world))
    world.services.store.delete(Result.get_by_id(first.job_id).pages_path)
    again = world.run_until(order(world))
    assert (again.state, again.reused_from, reloaded(first).work_key) == (JobState.COMPLETED, None, None)
    assert world.run_until(order(world)).reused_from == again.job_id
    assert LETTER.snippet in text_of(world, again)
    assert made(world) == 2


def test_a_result_that_was_changed_is_paid_for(world: World) -> None:
    first = world.run_until(order(world))
    stored = json.loads(world.services.store.read(Result.get_by_id(first.job_id).pages_path))
    stored["pages"][0]["markdown"] = stored["pages"][0]["text"] = "Something else."
    world.services.store.write_bytes(Result.get_by_id(first.job_id).pages_path, json.dumps(stored).encode())
    again = world.run_until(order(world))
    assert (again.state, again.reused_from, made(world)) == (JobState.COMPLETED, None, 2)
    assert LETTER.snippet in text_of(world, again)


def test_a_deleted_documents_result_is_not_used(world: World) -> None:
    first = world.run_until(order(world))
    Document.update(deleted_at=world.now()).where(Document.document_id == first.document_id).execute()
    assert world.run_until(order(world)).reused_from is None
    assert made(world) == 2


def test_a_copy_that_was_begun_is_finished(world: World) -> None:
    """The process ended between taking the job and storing its copy."""
    world.run_until(order(world))
    job = order(world)
    while reloaded(job).state != JobState.RESERVED:
        world.handle(world.queue.popleft())
    world.queue.clear()
    now = world.now()
    jobs.step(job.job_id, JobState.RESERVED, JobState.INGESTING, who="test", why="test", now=now, due_at=now)
    sweep(world.services)
    assert world.run_until(job).provenance == Provenance.CACHED
    assert made(world) == 1


def test_what_the_local_parser_made_is_not_used_for_real(world: World) -> None:
    world.mode = Mode.MOCK
    assert world.run_until(order(world)).provenance == Provenance.MOCK
    world.mode = Mode.REAL
    assert world.run_until(order(world)).provenance == Provenance.REAL
    world.mode = Mode.MOCK
    assert world.run_until(order(world)).provenance == Provenance.MOCK


def test_a_copy_needs_no_budget(simulator: RunningSimulator, tmp_path: Path) -> None:
    day: dict[str, Any] = {"PARSEGATE_DAILY_BUDGET_USD": "0.00375", "PARSEGATE_BUDGET_TIMEZONE": noon_zone()}
    with state_of("sqlite", tmp_path), world_of(simulator, tmp_path, **day) as world:
        assert world.run_until(order(world)).cost == 3000
        other = world.folder / "other.txt"
        other.write_text("Another document.")
        assert world.run_until(world.order_file(other, tier="fast"), JobState.DEFERRED).state == JobState.DEFERRED
        assert world.run_until(order(world)).provenance == Provenance.CACHED


@pytest.mark.parametrize(
    ("name", "value", "paid"),
    [("PARSEGATE_REUSE_SECONDS", "0", 2), ("PARSEGATE_REUSE_ACROSS_TENANTS", "true", 1)],
)
def test_it_can_be_switched(simulator: RunningSimulator, tmp_path: Path, name: str, value: str, paid: int) -> None:
    changed: dict[str, Any] = {name: value}
    with state_of("sqlite", tmp_path), world_of(simulator, tmp_path, **changed) as world:
        world.run_until(order(world, tenant="one"))
        world.run_until(order(world, tenant="two"))
        assert made(world) == paid


def test_the_work_is_bytes_type_tier_options_and_tenant() -> None:
    options = {"a": 1, "b": {"c": [1]}}
    key = work_key("ff", "a.PDF", "fast", options, place="p", tenant="t")
    assert key == work_key("ff", "b.pdf", "fast", {"b": {"c": [1]}, "a": 1}, place="p", tenant="t")
    others = [
        work_key("fe", "a.pdf", "fast", options, place="p", tenant="t"),
        work_key("ff", "a.txt", "fast", options, place="p", tenant="t"),
        work_key("ff", "a.pdf", "agentic", options, place="p", tenant="t"),
        work_key("ff", "a.pdf", "fast", {"a": 1}, place="p", tenant="t"),
        work_key("ff", "a.pdf", "fast", options, place="p", tenant="u"),
        work_key("ff", "a.pdf", "fast", options, place="p", tenant=None),
        work_key("ff", "a.pdf", "fast", options, place="q", tenant="t"),
    ]
    assert len({key, *others}) == 8
    assert work_key("ff", "a.pdf", "fast", {"disable_cache": True}, place="p", tenant="t") is None


def test_a_leader_that_can_t_go_on_is_no_leader_for_ever(world: World) -> None:
    """Its provider's address was changed while it was there: whoever orders the same again is not to wait for it."""
    first = order(world)
    world.drain()
    Attempt.update(base_url="http://elsewhere.example").execute()
    second = order(world)
    world.drain()
    assert reloaded(second).twin_of == first.job_id
    world.ahead += timedelta(seconds=world.services.settings.stuck_after_seconds + 1)
    sweep(world.services)
    assert world.run_until(second).state == JobState.COMPLETED
    assert reloaded(first).state == JobState.PARSING


def test_a_copy_moves_nobodys_turn(simulator: RunningSimulator, tmp_path: Path) -> None:
    """Whoever orders what is there already goes past the queue, and leaves it as it was."""
    day: dict[str, Any] = {"PARSEGATE_DAILY_BUDGET_USD": "0.00375", "PARSEGATE_BUDGET_TIMEZONE": noon_zone()}
    with state_of("sqlite", tmp_path), world_of(simulator, tmp_path, **day) as world:
        world.run_until(order(world, tenant="many"))
        for number in range(5):
            path = world.folder / f"{number}.txt"
            path.write_text(f"Number {number}")
            world.run_until(world.order_file(path, tier="fast", tenant="many"), JobState.DEFERRED)
        assert world.run_until(order(world, tenant="many")).provenance == Provenance.CACHED
        path = world.folder / "one.txt"
        path.write_text("The only one.")
        one = world.run_until(world.order_file(path, tier="fast", tenant="one"), JobState.DEFERRED)
        assert queue_position(reloaded(one)) <= 1
