"""What a signed "003" event does to a job: nothing, unless it is about the very parse that the job waits for."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from actors.ingest_003 import ingest_003
from domain.documents import ParsedDocument, ParsedPage
from domain.job_state import AttemptState, JobState, Provenance
from domain.messages import STAGED_003, Event003Message
from domain.results import encode_pages
from llamaparse.simulator import RunningSimulator
from models import audit, jobs, rejections
from models.jobs import Content
from models.service_tables import RejectedWebhook
from models.store import Store
from models.tables import Attempt, Job
from parsegate.sample_documents import SAMPLES, sample_path
from tests.noon import noon_zone
from tests.state import KINDS, state_of
from tests.world import World, world_of

MARKDOWN = "# What the old parser made of it\n"


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, simulator: RunningSimulator, tmp_path: Path) -> Iterator[World]:
    settings: dict[str, Any] = {"PARSEGATE_BUDGET_TIMEZONE": noon_zone()}
    with state_of(request.param, tmp_path), world_of(simulator, tmp_path, **settings) as made:
        made.faults(job_stuck=1)
        yield made
        assert audit.find_faults() == []


def parsing(world: World) -> Job:
    """A job whose parse is under way at the provider, and stays so."""
    path = world.folder / "letter.pdf"
    path.write_bytes(sample_path(SAMPLES[0]).read_bytes())
    return world.run_until(world.order_file(path), JobState.PARSING)


def event(world: World, job: Job, *, pages: int = 1, **said: Any) -> Event003Message:
    values: dict[str, Any] = {"status": "parsed", "parse_job_id": Attempt.get().provider_job_id}
    values |= said
    if values["status"] == "parsed":
        parsed = ParsedDocument(tuple(ParsedPage(number + 1, markdown=MARKDOWN) for number in range(pages)))
        values["result_path"] = f"{STAGED_003}{uuid4()}"
        world.services.store.write_bytes(values["result_path"], encode_pages(parsed, Provenance.REAL, truncated=False))
    return Event003Message.model_validate({"job_id": job.job_id, **values})


def staged(world: World) -> list[str]:
    return [str(path) for path in world.folder.rglob("003-*")]


def test_its_result_is_taken_in_as_it_came_and_the_cost_is_asked_for(world: World) -> None:
    job = parsing(world)
    told = event(world, job)
    ingest_003(world.services, told)
    ended = jobs.get_job(job.job_id)
    assert (ended.state, ended.provenance, ended.truncated) == (JobState.COMPLETED, "real", False)
    assert world.services.store.read(ended.parsed_path or "").decode() == MARKDOWN
    assert ended.parsed_sha256 == sha256(MARKDOWN.encode()).hexdigest()
    assert ended.parsed_pages is None, "it came as one piece"
    attempt = Attempt.get()
    assert (attempt.state, attempt.billed, attempt.due_at is not None) == (AttemptState.COMPLETED, None, True)
    assert staged(world) == []
    ingest_003(world.services, told)
    ingest_003(world.services, event(world, job, status="failed", error="late"))
    assert jobs.get_job(job.job_id).updated_at == ended.updated_at
    assert not RejectedWebhook.select().exists()


def test_a_result_by_pages_is_judged_as_one(world: World) -> None:
    job = parsing(world)
    ingest_003(world.services, event(world, job, pages=2))
    assert jobs.get_job(job.job_id).parsed_pages == 2


def test_a_failure_fails_the_job_and_keeps_the_hold(world: World) -> None:
    job = parsing(world)
    ingest_003(world.services, event(world, job, status="failed", error="scan too dark"))
    ended = jobs.get_job(job.job_id)
    assert (ended.state, ended.reason, ended.message) == (JobState.FAILED, "failed_003", "scan too dark")
    assert (Attempt.get().state, Attempt.get().settled_at) == (AttemptState.SENT, None)


@pytest.mark.parametrize("parse_job_id", ["pjb-another", None])
@pytest.mark.parametrize("status", ["parsed", "failed"])
def test_an_event_of_another_parse_changes_nothing_and_is_kept(
    world: World, parse_job_id: str | None, status: str
) -> None:
    """A replay of an earlier attempt's event, or one that could be: the provider is asked instead."""
    job = parsing(world)
    before = jobs.get_job(job.job_id)
    ingest_003(world.services, event(world, job, status=status, parse_job_id=parse_job_id))
    now = jobs.get_job(job.job_id)
    assert (now.state, now.updated_at) == (JobState.PARSING, before.updated_at)
    assert [message.actor_name for message in world.queue] == ["ingest_result"]
    (kept,) = rejections.latest(10)
    assert (kept.reason, kept.job_id, kept.said["status"]) == ("other_parse_job", str(job.job_id), status)
    assert rejections.counts() == {"other_parse_job": 1}
    assert staged(world) == []


def test_progress_only_asks_the_provider(world: World) -> None:
    job = parsing(world)
    ingest_003(world.services, event(world, job, status="processing"))
    assert [message.actor_name for message in world.queue] == ["ingest_result"]
    assert jobs.get_job(job.job_id).state == JobState.PARSING


def test_a_job_that_was_not_sent_waits_for_nothing(world: World) -> None:
    path = world.folder / "letter.pdf"
    path.write_bytes(sample_path(SAMPLES[0]).read_bytes())
    job = world.order_file(path)
    message = Event003Message.model_validate({"job_id": job.job_id, "status": "failed", "parse_job_id": "pjb-1"})
    ingest_003(world.services, message)
    assert jobs.get_job(job.job_id).state == JobState.RECEIVED
    assert rejections.counts() == {"no_such_parse": 1}


def test_of_two_results_at_once_the_one_that_is_told_is_the_one_that_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another signed result of the same parse comes while this one is being taken in, and is faster."""
    job = parsing(world)
    first, second = event(world, job, pages=2), event(world, job)
    write = Store.write_bytes

    def slowly(store: Store, path: str, data: bytes) -> Content:
        written = write(store, path, data)
        if b"page_number" in data:
            monkeypatch.setattr(Store, "write_bytes", write)
            ingest_003(world.services, second)
        return written

    monkeypatch.setattr(Store, "write_bytes", slowly)
    ingest_003(world.services, first)
    ended = jobs.get_job(job.job_id)
    assert (ended.state, ended.parsed_pages) == (JobState.COMPLETED, None), "the second one's, in one piece"
    kept = world.services.store.read(ended.parsed_path or "")
    assert sha256(kept).hexdigest() == ended.parsed_sha256
    assert not list((world.folder / "store" / "staging").iterdir())
