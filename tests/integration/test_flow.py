"""A document's way through the actors, on both databases, against the simulator: nothing lost, nothing paid twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from actors.clock import sweep
from domain.errors import OrderConflict
from domain.job_state import AttemptState, JobState, Provenance
from domain.messages import EventMessage
from domain.settings import Mode
from llamaparse.simulator import RunningSimulator, SimulatorSettings, serve
from models import jobs, rejections
from models.tables import Attempt, Delivery, Job, Result
from parsegate.sample_documents import SAMPLES, Sample, sample_path
from tests.state import KINDS, an_order, state_of
from tests.world import World, world_of

ONE_PAGE = next(sample for sample in SAMPLES if sample.pages == 1 and sample.expected_state == "completed")


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    settings = SimulatorSettings(latency_s=0.01, late_create_s=0.3, parse_limit="500/1", upload_limit="500/1")
    running = serve(settings, "127.0.0.1", 0)
    yield running
    running.stop()


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path, simulator: RunningSimulator) -> Iterator[World]:
    with state_of(request.param, tmp_path), world_of(simulator, tmp_path) as built:
        yield built


def put(world: World, sample: Sample = ONE_PAGE) -> Path:
    """A copy of a sample where a `file://` source may lie."""
    path = world.folder / sample.filename
    path.write_bytes(sample_path(sample).read_bytes())
    return path


def markdown_of(world: World, job: Job) -> str:
    assert job.parsed_path is not None
    return world.services.store.read(job.parsed_path).decode()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.filename)
def test_each_sample_ends_as_it_should(world: World, sample: Sample) -> None:
    job = world.run_until(world.order_file(put(world, sample), tier=sample.tier))
    assert (job.state, job.reason) == (sample.expected_state, sample.expected_reason)
    if job.state == JobState.COMPLETED:
        assert sample.snippet in markdown_of(world, job) or sample.snippet in str(
            world.services.store.read((job.parsed_path or "").replace(".md", ".json"))
        )
        assert job.provenance == Provenance.REAL
        assert job.cost == round(world.stats()["credits_by_job"][str(job.job_id)] * 1000)
        assert Result.get_by_id(job.job_id).markdown_sha256 == job.parsed_sha256
    assert world.stats()["by_parsegate_job"][str(job.job_id)] == 1
    types = {delivery.event_type for delivery in Delivery.select().where(Delivery.job == job.job_id)}
    assert types == {"document.parsed" if job.state == JobState.COMPLETED else "document.failed"}


def test_repeated_and_stale_messages_change_nothing(world: World) -> None:
    order = an_order(source=put(world).as_uri())
    job = world.run_until(world.submit(order))
    steps = [(step.before, step.after) for step in jobs.history(job.job_id)]
    for actor in ("fetch_source", "check_budget", "upload_file", "start_parse", "search_in_doubt", "ingest_result"):
        world.services.nudge(actor, job_id=job.job_id)
    world.submit(order)
    world.drain()
    assert [(step.before, step.after) for step in jobs.history(job.job_id)] == steps
    assert world.stats()["jobs_created"] == 1
    with pytest.raises(OrderConflict):
        world.submit(order.model_copy(update={"tier": "fast"}))


def test_lost_messages_are_made_good_by_the_clock(world: World) -> None:
    job = world.order_file(put(world))
    for _ in range(30):
        world.queue.clear()
        world.run_until(job, *JobState, rounds=1)
        if jobs.get_job(job.job_id).state == JobState.COMPLETED:
            break
    job = world.run_until(job)
    assert job.state == JobState.COMPLETED
    assert world.stats()["jobs_created"] == 1


@pytest.mark.parametrize(
    "fault", ["create_answer_lost", "create_500_after", "create_answer_late", "create_504_late_job"]
)
def test_a_job_whose_answer_was_lost_is_found_and_paid_once(world: World, fault: str) -> None:
    world.faults(**{fault: 1.0})
    job = world.order_file(put(world))
    doubtful = world.run_until(job, JobState.IN_DOUBT)
    world.faults(**{fault: 0.0})
    assert "lost" in (doubtful.message or "")
    until_made(world)
    ended = world.run_until(doubtful)
    assert ended.state == JobState.COMPLETED
    assert world.stats()["by_parsegate_job"] == {str(job.job_id): 1}
    assert ended.cost == round(world.stats()["credits_billed"] * 1000)


def until_made(world: World) -> None:
    """The simulator makes a late job in real time."""
    while not world.stats()["jobs_created"]:
        pass


def test_what_was_never_made_is_paid_after_a_clean_listing_only(world: World) -> None:
    world.faults(create_500_before=1.0)
    job = world.order_file(put(world))
    doubtful = world.run_until(job, JobState.IN_DOUBT)
    world.faults(create_500_before=0.0, html_error=1.0)
    for _ in range(20):
        world.run_until(doubtful, *JobState, rounds=1)
        world.ahead += world.ahead
        world.services.nudge("search_in_doubt", job_id=job.job_id)
    assert jobs.get_job(job.job_id).state == JobState.IN_DOUBT
    assert "can't be had" in (jobs.get_job(job.job_id).message or "")
    world.faults(html_error=0.0)
    ended = world.run_until(doubtful)
    assert ended.state == JobState.COMPLETED
    attempts = Attempt.select().where(Attempt.job == job.job_id).order_by(Attempt.number)
    assert [attempt.state for attempt in attempts] == [AttemptState.NEVER_MADE, AttemptState.COMPLETED]
    assert world.stats()["jobs_created"] == 1


def test_within_the_doubt_time_a_clean_listing_proves_nothing(world: World) -> None:
    world.faults(create_500_before=1.0)
    job = world.run_until(world.order_file(put(world)), JobState.IN_DOUBT)
    world.faults(create_500_before=0.0)
    world.services.nudge("search_in_doubt", job_id=job.job_id)
    world.drain()
    assert jobs.get_job(job.job_id).state == JobState.IN_DOUBT


def test_an_event_that_comes_before_the_answer_binds_only_its_own_attempt(world: World) -> None:
    other = world.run_until(world.order_file(put(world)))
    foreign = Attempt.get(Attempt.job == other.job_id).provider_job_id
    world.faults(create_answer_lost=1.0)
    job = world.run_until(world.order_file(put(world), options={"disable_cache": True}), JobState.IN_DOUBT)
    world.faults(create_answer_lost=0.0)
    assert foreign is not None
    due_at = jobs.get_job(job.job_id).due_at
    ingest(world, job.job_id, foreign)
    ingest(world, job.job_id, "pjb-nobody")
    assert (jobs.get_job(job.job_id).state, jobs.get_job(job.job_id).due_at) == (JobState.IN_DOUBT, due_at)
    assert rejections.counts() == {"not_this_attempts_job": 1}
    provider = world.services.provider
    assert provider is not None
    own = next(
        made.id
        for made in provider.iterate_jobs()
        if (made.user_metadata or {}).get("parsegate_job") == str(job.job_id)
    )
    ingest(world, job.job_id, own)
    assert world.run_until(job).state == JobState.COMPLETED
    assert world.stats()["jobs_created"] == 2
    ingest(world, job.job_id, own)
    ingest(world, job.job_id, foreign)
    ingest(world, UUID(int=7), own)
    assert rejections.counts() == {"no_such_parse": 1, "not_this_attempts_job": 1, "unknown_job": 1}
    said = rejections.latest(1)[0]
    assert (said.route, said.job_id, said.said["provider_job_id"]) == (
        *("/webhooks/llamaparse/{job_id}", str(UUID(int=7)), own),
    )


def ingest(world: World, job_id: UUID, provider_job_id: str) -> None:
    world.handle_event(EventMessage(job_id=job_id, event_type="parse.success", provider_job_id=provider_job_id))


@pytest.mark.parametrize("fault", ["too_many_requests", "upload_500", "html_error", "unauthorized"])
def test_waiting_is_not_failing(world: World, fault: str) -> None:
    job = world.order_file(put(world))
    world.faults(**{fault: 1.0})
    world.drain()
    waiting = jobs.get_job(job.job_id)
    assert waiting.state in {JobState.RESERVED, JobState.IN_DOUBT}
    assert waiting.message
    world.faults(**{fault: 0.0})
    ended = world.run_until(job)
    assert ended.state == JobState.COMPLETED
    assert ended.message is None
    assert world.stats()["jobs_created"] == 1


def test_a_cost_that_is_told_late_is_settled_late(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    settings = SimulatorSettings(latency_s=0.01, usage_delay_s=0.5, parse_limit="500/1", upload_limit="500/1")
    simulator = serve(settings, "127.0.0.1", 0)
    request.addfinalizer(simulator.stop)
    with state_of("sqlite", tmp_path), world_of(simulator, tmp_path) as world:
        job = world.run_until(world.order_file(put(world), tier="agentic"))
        assert (job.state, job.cost, Attempt.get().settled_at) == (JobState.COMPLETED, 0, None)
        while Attempt.get().settled_at is None:
            world.ahead += timedelta(seconds=30)
            sweep(world.services)
            world.drain()
        assert (Attempt.get().billed, jobs.get_job(job.job_id).cost) == (10_000, 10_000)


def test_a_timeout_of_the_provider_is_tried_once_more(world: World) -> None:
    world.faults(job_timeout=1.0)
    job = world.run_until(world.order_file(put(world)))
    assert (job.state, job.reason) == (JobState.FAILED, "TIMEOUT")
    assert world.stats()["jobs_created"] == 2


def test_in_mock_mode_nothing_is_sent(world: World) -> None:
    world.mode = Mode.MOCK
    job = world.run_until(world.order_file(put(world)))
    assert (job.state, job.provenance, job.cost) == (JobState.COMPLETED, Provenance.MOCK, 0)
    assert ONE_PAGE.snippet in markdown_of(world, job)
    assert world.stats()["requests"] == 0


def test_an_attempt_in_doubt_never_falls_back(world: World) -> None:
    world.mode = Mode.HYBRID
    world.faults(create_answer_lost=1.0)
    job = world.run_until(world.order_file(put(world)), JobState.IN_DOUBT)
    world.mode = Mode.MOCK
    world.faults(create_answer_lost=0.0)
    ended = world.run_until(job)
    assert (ended.state, ended.provenance) == (JobState.COMPLETED, Provenance.REAL)


def test_only_the_pages_asked_for_are_parsed_and_paid(world: World) -> None:
    long = max(SAMPLES, key=lambda sample: sample.pages)
    job = world.run_until(
        world.order_file(put(world, long), tier="fast", options={"page_ranges": {"target_pages": "2,5-7"}})
    )
    assert (job.state, job.pages, job.cost) == (JobState.COMPLETED, 4, 4000)
    assert Result.get_by_id(job.job_id).pages == 4


@pytest.mark.parametrize(
    ("name", "reason", "words"),
    [
        ("missing.pdf", "source_missing", "there is no file"),
        ("empty.pdf", "file_empty", "empty"),
        ("folder", "source_is_folder", "is a folder"),
        ("../outside.pdf", "source_refused", "PARSEGATE_SOURCE_ROOTS"),
        ("link.pdf", "source_refused", "PARSEGATE_SOURCE_ROOTS"),
        ("large.pdf", "file_too_large", "larger than"),
    ],
)
def test_a_source_that_can_never_be_read_fails_in_one_sentence(
    tmp_path: Path, simulator: RunningSimulator, name: str, reason: str, words: str
) -> None:
    inside = tmp_path / "inside"
    (inside / "folder").mkdir(parents=True)
    (inside / "empty.pdf").touch()
    (tmp_path / "outside.pdf").write_bytes(b"%PDF-1.4 secret")
    (inside / "link.pdf").symlink_to(tmp_path / "outside.pdf")
    with (inside / "large.pdf").open("wb") as large:
        large.truncate(1_000_001)
    with state_of("sqlite", tmp_path), world_of(simulator, inside, PARSEGATE_MAX_FILE_MB="1") as world:
        job = world.run_until(world.submit(an_order(source=f"{inside.as_uri()}/{name}")))
        assert (job.state, job.reason) == (JobState.FAILED, reason)
        assert words in (job.message or "")
        assert not list(inside.glob("store/**/*.part"))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("ftp://example.org/a.pdf", "source_refused"),
        ("a.pdf", "source_refused"),
        ("http://127.0.0.1:1/a.pdf", "order_refused"),
        ("http://localhost/a.pdf", "order_refused"),
        ("http://[::ffff:127.0.0.1]/a.pdf", "order_refused"),
        ("file://remote/a.pdf", "source_refused"),
    ],
)
def test_sources_that_are_not_allowed_are_refused(
    tmp_path: Path, simulator: RunningSimulator, source: str, reason: str
) -> None:
    with state_of("sqlite", tmp_path), world_of(simulator, tmp_path) as world:
        job = world.run_until(world.submit(an_order(source=source)))
        assert (job.state, job.reason) == (JobState.FAILED, reason)


def test_a_source_that_does_not_answer_is_asked_again_and_then_fails(
    tmp_path: Path, simulator: RunningSimulator
) -> None:
    with state_of("sqlite", tmp_path), world_of(simulator, tmp_path, PARSEGATE_PRIVATE_HOSTS="127.0.0.1") as world:
        job = world.submit(an_order(source="http://127.0.0.1:9/a.pdf"))
        waiting = jobs.get_job(job.job_id)
        assert waiting.state == JobState.RECEIVED
        assert "trying again" in (waiting.message or "")
        ended = world.run_until(job)
        assert (ended.state, ended.reason) == (JobState.FAILED, "source_unavailable")


def test_an_order_that_cannot_be_priced_fails_visibly(tmp_path: Path, simulator: RunningSimulator) -> None:
    with state_of("sqlite", tmp_path), world_of(simulator, tmp_path) as world:
        job = world.run_until(world.order_file(put(world), tier="premium"))
        assert (job.state, job.reason) == (JobState.FAILED, "order_refused")
        assert "unknown tier" in (job.message or "")
        assert world.stats()["requests"] == 0
