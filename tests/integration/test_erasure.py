"""Deleting documents, at a person's word and by age: here, at the provider, and with the money that is still open."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import pytest

from actors.clock import sweep
from actors.retention import apply_retention
from actors.submit import fetch_source
from domain.errors import OrderConflict, OrderRefused
from domain.job_state import JobState
from domain.messages import Message
from llamaparse.simulator import RunningSimulator, SimulatorSettings, serve
from models import attempts, audit, erasures, files, jobs, redo
from models.cancel import cancel_job
from models.database import close_connection
from models.deliveries import About, add_deliveries, delivered
from models.erasures import Removal, Thing
from models.tables import Attempt, Delivery, Document, ErasedThing, Erasure, Job, UploadFile
from tests.state import KINDS, state_of
from tests.world import World, world_of


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    running = serve(SimulatorSettings(parse_limit="500/1", upload_limit="500/1"), "127.0.0.1", 0)
    yield running
    running.stop()


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path, simulator: RunningSimulator) -> Iterator[World]:
    with (
        state_of(request.param, tmp_path),
        world_of(simulator, tmp_path, PARSEGATE_RETENTION_DAYS="3", PARSEGATE_REUSE_SECONDS="0") as built,
    ):
        yield built
        assert audit.find_faults() == []


def deleted(world: World, job: Job) -> None:
    erasures.open_erasure(
        job.document_id, who="me", why="asked for", now=world.now(), instance="test-instance", exchange=True
    )
    world.queue.append(Message.nudge("erase_document", world.now(), document_id=job.document_id))


def goes_on(world: World, seconds: int = 5) -> None:
    for _ in range(seconds):
        world.drain()
        world.ahead += timedelta(seconds=1)
        sweep(world.services)
    world.drain()


def erasure_of(job: Job) -> Erasure:
    found = erasures.get_erasure(job.document_id)
    assert found is not None
    return found


def removed(job: Job) -> dict[tuple[str, str], str]:
    return {(thing.what, thing.place): thing.outcome for thing in erasures.things_of(job.document_id)}


def stored(world: World) -> list[Path]:
    return [path for path in (world.folder / "store").rglob("*") if path.is_file()]


def test_everything_of_a_document_is_removed_and_recorded(world: World) -> None:
    job = world.run_until(world.order_sample(callback_url="https://example.org/hook"))
    attempt = Attempt.get(Attempt.job == job.job_id)
    assert job.state == JobState.COMPLETED
    assert len(stored(world)) == 3
    delivery = Delivery.get(Delivery.job == job.job_id, Delivery.target != "events")
    delivered(delivery.delivery_id, world.now())
    deleted(world, job)
    goes_on(world)
    document, base = job.document, world.simulator.base_url
    assert removed(job) == {
        ("raw_file", document.raw_path): "removed",
        ("result", f"files/user/{document.user_id}/parsed/{document.document_id}.md"): "removed",
        ("result", f"files/user/{document.user_id}/parsed/{document.document_id}.json"): "removed",
        ("provider_job", f"{base}/api/v2/parse/{attempt.provider_job_id}"): "removed",
        ("provider_file", f"{base}/api/v1/beta/files/{attempt.file_id}"): "removed",
        ("webhook_payloads", "database"): "removed",
    }
    assert erasure_of(job).finished_at is not None
    assert stored(world) == []
    assert (world.stats()["jobs_deleted"], world.stats()["files"]) == (1, 0)
    kept = jobs.get_job(job.job_id)
    assert (kept.document.filename, kept.document.source, kept.message) == ("deleted", None, erasures.GONE)
    assert {row.body for row in Delivery.select()} == {""}
    assert (kept.cost, kept.state) == (job.cost, "completed"), "the money and the story stay"


def test_asked_twice_it_is_one_and_the_document_is_never_ordered_again(world: World) -> None:
    job = world.run_until(world.order_sample())
    deleted(world, job)
    first = erasure_of(job).asked_at
    world.ahead += timedelta(seconds=9)
    deleted(world, job)
    assert erasure_of(job).asked_at == first
    with pytest.raises(OrderConflict, match="was deleted"):
        world.order_sample(document_id=str(job.document_id))
    assert redo.open_redo(job, who="me", now=world.now(), due_at=world.now()) is None


def test_a_job_under_way_is_cancelled_and_kept_at_the_provider_until_it_is_settled(world: World) -> None:
    world.faults(usage_never=1)
    job = world.run_until(world.order_sample(), JobState.PARSING)
    deleted(world, job)
    assert jobs.get_job(job.job_id).state == JobState.CANCELLED
    attempt = Attempt.get(Attempt.job == job.job_id)
    for _ in range(20):
        goes_on(world, 1)
        if Attempt.get_by_id(attempt.attempt_id).settled_at is None:
            assert (Thing.PROVIDER_JOB, f"{attempt.base_url}/api/v2/parse/{attempt.provider_job_id}") not in removed(
                job
            )
    assert erasure_of(job).last_error == "the provider has not told yet what its attempts did and cost"
    for _ in range(2):  # what the provider never tells is assumed after a day
        world.ahead += timedelta(days=1)
        goes_on(world)
    assert erasure_of(job).finished_at is not None, erasure_of(job).last_error
    assert world.stats()["jobs_deleted"] == 1


def test_an_upload_that_ends_after_the_deletion_is_removed_too(world: World) -> None:
    job = world.order_sample()
    provider = world.services.provider
    assert provider is not None
    upload = provider.upload_file

    def slow(*given: Any, **said: Any) -> Any:
        answer = upload(*given, **said)
        deleted(world, job)
        goes_on(world)
        assert erasure_of(job).finished_at is not None
        return answer

    provider.upload_file = slow  # type: ignore[method-assign]
    world.drain()
    goes_on(world)
    assert ("provider_file", Removal.REMOVED) in {(what, how) for (what, _), how in removed(job).items()}
    assert world.stats()["files"] == 0
    assert erasure_of(job).finished_at is not None


def test_bytes_that_are_fetched_after_the_deletion_are_not_kept(world: World) -> None:
    job = world.order_sample()
    Document.update(raw_sha256=None, raw_bytes=None).execute()
    stale = jobs.get_job(job.job_id)
    deleted(world, job)
    goes_on(world)
    assert stored(world) == []
    Job.update(state=JobState.RECEIVED, finished_at=None, due_at=world.now()).execute()  # as the fetcher has seen it
    Document.update(source=stale.document.source).execute()
    fetch_source(world.services, job.job_id)
    assert stored(world) == []


def test_what_the_provider_can_not_remove_yet_is_tried_again_and_given_up_in_the_end(world: World) -> None:
    job = world.run_until(world.order_sample())
    world.simulator.stop()
    deleted(world, job)
    goes_on(world)
    assert erasure_of(job).finished_at is None
    assert "the provider could not be reached" in str(erasure_of(job).last_error)
    world.ahead += timedelta(days=31)
    goes_on(world)
    outcomes = {what: how for (what, _), how in removed(job).items()}
    assert (outcomes["provider_job"], outcomes["provider_file"]) == ("given_up", "given_up")
    assert erasure_of(job).finished_at is not None


def test_what_is_gone_already_is_recorded_as_absent(world: World) -> None:
    job = world.run_until(world.order_sample())
    attempt = Attempt.get(Attempt.job == job.job_id)
    provider = world.services.provider
    assert provider is not None
    assert attempt.provider_job_id is not None
    assert attempt.file_id is not None
    provider.delete_job(attempt.provider_job_id)
    provider.delete_file(attempt.file_id)
    world.services.store.delete(job.document.raw_path)
    deleted(world, job)
    goes_on(world)
    assert sorted(removed(job).values()) == ["absent", "absent", "absent", "removed", "removed", "removed"]


def test_documents_are_kept_as_long_as_the_setting_says(world: World) -> None:
    job, young = world.run_until(world.order_sample()), None
    world.ahead += timedelta(days=2)
    young = world.run_until(world.order_sample())
    now = world.now()
    file = UploadFile(
        file_id=uuid4(),
        tenant="t",
        name="n",
        purpose="parse",
        sha256="",
        bytes=1,
        path="files/uploads/x",
        created_at=now,
    )
    files.add_file(file, lambda: None)
    world.services.store.write_bytes(file.path, b"x")
    (told,) = add_deliveries(About(), "service.degraded", {"events": "{}"}, world.now())
    delivered(told, world.now())
    apply_retention(world.services)
    assert erasures.get_erasure(job.document_id) is None, "not old enough"
    world.ahead += timedelta(days=1, seconds=5)
    apply_retention(world.services)
    goes_on(world)
    assert erasure_of(job).finished_at is not None
    assert (erasure_of(job).asked_by, erasure_of(job).why) == ("retention", "kept for 3 days")
    assert (erasures.get_erasure(young.document_id), UploadFile.select().count()) == (None, 1)
    world.ahead += timedelta(days=2)
    apply_retention(world.services)
    goes_on(world)
    assert erasure_of(young).finished_at is not None
    assert UploadFile.select().count() == 0
    assert stored(world) == []
    assert Delivery.select().where(Delivery.job.is_null()).count() == 0


def test_a_file_that_can_not_be_removed_keeps_nobody_elses(world: World) -> None:
    for number in range(3):
        at = world.now() - timedelta(days=9 - number)
        path = f"files/uploads/{number}"
        file = UploadFile(
            file_id=uuid4(), tenant="t", name="n", purpose="parse", sha256="", bytes=1, path=path, created_at=at
        )
        files.add_file(file, lambda: None)
        if number == 1:
            (world.folder / "store" / path / "in the way").mkdir(parents=True)  # a folder is no file
        else:
            world.services.store.write_bytes(path, b"x")
    apply_retention(world.services)
    assert [file.path for file in UploadFile.select()] == ["files/uploads/1"]


def test_a_job_that_ends_while_its_document_is_deleted_stays_as_it_ended(world: World) -> None:
    """On PostgreSQL the deletion waits for whoever holds the job; on SQLite one of the two comes first as a whole."""
    job = world.order_sample()
    held, never = Event(), Event()

    def end() -> None:
        with jobs.owning(job.job_id) as owned:
            held.set()
            never.wait(0.3)
            jobs.fail(owned, OrderRefused("no"), who="t", now=world.now())
        close_connection()

    def delete() -> None:
        held.wait()
        deleted(world, job)
        close_connection()

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(end), pool.submit(delete)]:
            done.result()
    assert jobs.get_job(job.job_id).state == JobState.FAILED
    assert erasures.get_erasure(job.document_id) is not None


def test_what_comes_while_the_last_thing_is_removed_is_removed_too(world: World) -> None:
    job = world.run_until(world.order_sample())
    provider = world.services.provider
    assert provider is not None
    delete, came = provider.delete_file, list[str]()

    def late(file_id: str) -> None:
        delete(file_id)
        if not came:
            came.append(file_id)
            attempt = Attempt.get(Attempt.job == job.job_id)
            attempts.record_upload(attempt, file_id="dfl-late", base_url=provider.base_url)
            erasures.reopen_erasure(job.document_id, world.now())

    provider.delete_file = late  # type: ignore[method-assign]
    deleted(world, job)
    goes_on(world)
    assert erasure_of(job).finished_at is not None
    assert erasures.left_at_provider(job.document_id) == []
    assert ("provider_file", "absent") in {(what, how) for (what, _), how in removed(job).items()}


def test_a_document_that_was_ordered_again_is_as_young_as_its_last_job(world: World) -> None:
    job = cancel_job(world.order_sample().job_id, who="me", now=world.now(), instance="i", exchange=False)
    world.ahead += timedelta(days=2)
    again = redo.open_retry(jobs.get_job(job.job_id), who="me", now=world.now(), due_at=world.now())
    world.ahead += timedelta(days=2)
    apply_retention(world.services)
    assert erasures.get_erasure(job.document_id) is None, "the last one has not ended"
    world.run_until(again)
    apply_retention(world.services)
    assert erasures.get_erasure(job.document_id) is None
    world.ahead += timedelta(days=3, seconds=5)
    apply_retention(world.services)
    assert erasures.get_erasure(job.document_id) is not None
    assert ErasedThing.select().count() == 0, "nothing before its message"
