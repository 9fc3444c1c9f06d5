"""Trouble at the provider and around it: every job ends with a reason, and money waits for the provider's word."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from actors.clock import sweep
from actors.notify import notify
from actors.result_ingest import parsed_document
from actors.submit import fetch_source
from domain.errors import OddAnswer
from domain.job_state import AttemptState, JobState
from domain.messages import EventMessage
from domain.settings import read_settings
from domain.signatures import callback_secret
from llamaparse.client import LlamaParseClient
from llamaparse.schemas import ParseResult
from llamaparse.simulator import RunningSimulator, SimulatorSettings, serve
from models import audit, jobs
from models.tables import Attempt, Delivery, Drift
from parsegate.sample_documents import SAMPLES, sample_path
from tests.integration.simulator_kit import Receiver
from tests.state import KINDS, state_of
from tests.world import KEY, SECRET_KEY, World, world_of

pytest_plugins = ["tests.integration.simulator_fixtures"]

ONE_PAGE = SAMPLES[0]
NEW_KEY = "f" * 64


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    settings = SimulatorSettings(latency_s=0.01, late_create_s=0.3, parse_limit="500/1", upload_limit="500/1")
    running = serve(settings, "127.0.0.1", 0)
    yield running
    running.stop()


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path, simulator: RunningSimulator) -> Iterator[World]:
    with (
        state_of(request.param, tmp_path),
        world_of(simulator, tmp_path, PARSEGATE_STUCK_AFTER_SECONDS="600", PARSEGATE_USAGE_WAIT_SECONDS="900") as built,
    ):
        yield built
        assert audit.find_faults() == []


def pass_time(world: World, minutes: int) -> None:
    """Let the clock look at whatever is due, minute by minute."""
    for _ in range(minutes):
        world.drain()
        world.ahead += timedelta(minutes=1)
        sweep(world.services)
    world.drain()


# No result


def test_a_job_that_hangs_at_the_provider_fails_and_its_money_waits_for_the_providers_word(world: World) -> None:
    world.faults(job_stuck=1)
    job = world.run_until(world.order_sample(), JobState.PARSING)
    pass_time(world, 30)
    job, attempt = jobs.get_job(job.job_id), Attempt.get()
    assert (job.state, job.reason) == (JobState.FAILED, "stuck")
    assert (attempt.state, attempt.billed) == (AttemptState.CANCELLED, 0)
    assert world.stats()["jobs"]["CANCELLED"] == 1


def test_a_job_that_is_gone_at_the_provider_fails_and_its_cost_is_assumed(world: World) -> None:
    job = world.run_until(world.order_sample(), JobState.PARSING)
    world.settle_simulator()
    assert world.services.provider is not None
    (made,) = world.services.provider.iterate_jobs()
    httpx.delete(
        f"{world.simulator.base_url}/api/v2/parse/{made.id}", headers={"Authorization": f"Bearer {KEY}"}
    ).raise_for_status()
    pass_time(world, 30)
    job, attempt = jobs.get_job(job.job_id), Attempt.get()
    assert (job.state, job.reason) == (JobState.FAILED, "gone_at_provider")
    assert (attempt.billed, attempt.assumed) == (3000, True)
    assert [row.kind for row in Drift.select()] == ["never_told"]


JOB = {"id": "pjb-1", "project_id": "p", "status": "COMPLETED", "usage": {"credits": 3}}
MARKDOWN = {"pages": [{"page_number": 1, "markdown": "# a", "success": True}]}
TEXT = {"pages": [{"page_number": 1, "text": "a"}]}


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({}, "missing"),
        ({"markdown": MARKDOWN}, "missing"),
        ({"text": TEXT}, "missing"),
        ({"markdown": {"pages": []}, "text": {"pages": []}}, "no pages"),
        ({"markdown": {"pages": MARKDOWN["pages"] * 2}, "text": TEXT}, "twice"),
    ],
)
def test_half_a_result_is_none(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(OddAnswer, match=words):
        parsed_document(ParseResult.model_validate({"job": JOB, **parts}), "agentic")


def test_fast_needs_no_markdown() -> None:
    parsed = parsed_document(ParseResult.model_validate({"job": JOB, "text": TEXT}), "fast")
    assert [page.text for page in parsed.pages] == ["a"]


def test_an_event_that_names_an_impossible_job_changes_nothing(world: World) -> None:
    world.faults(create_answer_lost=1)
    job = world.run_until(world.order_sample(), JobState.IN_DOUBT)
    world.handle_event(EventMessage(job_id=job.job_id, provider_job_id=".."))
    assert jobs.get_job(job.job_id).state == JobState.IN_DOUBT
    world.faults(create_answer_lost=0)
    assert world.run_until(job).state == JobState.COMPLETED


# Sending


def test_a_list_of_another_project_proves_nothing(world: World) -> None:
    world.faults(create_answer_lost=1)
    job = world.run_until(world.order_sample(), JobState.IN_DOUBT)
    world.faults(create_answer_lost=0)
    right = world.services
    with LlamaParseClient(world.simulator.base_url, "llx-another-project") as other:
        world.services = replace(right, provider=other)
        pass_time(world, 20)
        held = jobs.get_job(job.job_id)
    assert held.state == JobState.IN_DOUBT
    assert "another project" in (held.message or "")
    world.services = right
    assert world.run_until(held).state == JobState.COMPLETED
    assert world.stats()["jobs_created"] == 1


def test_a_file_that_is_gone_at_the_provider_is_uploaded_again(world: World) -> None:
    job = world.order_sample()
    while world.queue and world.queue[0].actor_name != "start_parse":
        world.handle(world.queue.popleft())
    assert world.services.provider is not None
    world.services.provider.delete_file(str(Attempt.get().file_id))
    assert world.run_until(jobs.get_job(job.job_id)).state == JobState.COMPLETED
    assert world.stats()["uploads"] == 2
    assert world.stats()["jobs_created"] == 1


def test_a_worker_that_was_frozen_does_not_pay_late(world: World) -> None:
    """Between the commit and the call it stood still for longer than a doubt lasts."""
    job = world.order_sample()
    while world.queue and world.queue[0].actor_name != "start_parse":
        world.handle(world.queue.popleft())
    steady = world.services.clock

    def freezing() -> datetime:
        claimed = Attempt.select().where(Attempt.state == AttemptState.SUBMITTING).exists()
        return steady() + timedelta(hours=1 if claimed else 0)

    world.services = replace(world.services, clock=freezing)
    world.handle(world.queue.popleft())
    assert world.stats()["jobs_created"] == 0
    world.services = replace(world.services, clock=steady)
    world.ahead += timedelta(hours=2)
    assert world.run_until(jobs.get_job(job.job_id)).state == JobState.COMPLETED
    assert world.stats()["jobs_created"] == 1


# Sources and callbacks


def test_an_order_cannot_read_the_database_by_another_name(world: World) -> None:
    """A hard link to it, or a database that lies elsewhere in a folder of sources."""
    (world.folder / "parsegate.db").write_text("private")
    os.link(world.folder / "parsegate.db", world.folder / "letter.pdf")
    elsewhere = world.folder / "elsewhere.db"
    elsewhere.write_text("private")
    settings = world.services.settings.model_copy(update={"database_url": SecretStr(f"sqlite:///{elsewhere}")})
    world.services = replace(world.services, settings=settings)
    for path in (world.folder / "letter.pdf", elsewhere):
        job = world.order_file(path)
        assert (jobs.get_job(job.job_id).state, jobs.get_job(job.job_id).reason) == ("failed", "source_refused")


@pytest.mark.parametrize("name", ["admin-token", "secret-key", "parsegate.db", "store/files/x.pdf", "./store/../lock"])
def test_an_order_cannot_read_the_data_folder(world: World, name: str) -> None:
    path = world.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("private")
    job = world.order_file(Path(f"{world.folder}/{name}"))
    assert (jobs.get_job(job.job_id).state, jobs.get_job(job.job_id).reason) == ("failed", "source_refused")


def test_who_fetches_second_changes_nothing(world: World) -> None:
    job = world.order_sample()
    before = jobs.get_job(job.job_id).document
    (world.folder / "one.pdf").write_bytes(b"something else")
    fetch_source(world.services, job.job_id)
    assert jobs.get_job(job.job_id).document.raw_sha256 == before.raw_sha256
    assert world.services.store.read(before.raw_path) == sample_path(ONE_PAGE).read_bytes()
    assert not list((world.folder / "store" / "staging").iterdir())


def test_nothing_goes_out_unsigned(world: World) -> None:
    job = world.run_until(world.order_sample(callback_url="https://example.org/hook"))
    without = read_settings({"PARSEGATE_DATA_DIR": str(world.folder)}, None)
    delivery = Delivery.get(Delivery.job == job.job_id, Delivery.target == "https://example.org/hook")
    notify(replace(world.services, settings=without), delivery.delivery_id)
    kept = Delivery.get_by_id(delivery.delivery_id)
    assert kept.due_at is not None
    assert "unsigned" in str(kept.last_error)


def test_a_callback_arrives_signed_and_once(tmp_path: Path, simulator: RunningSimulator, receiver: Receiver) -> None:
    with state_of("sqlite", tmp_path), world_of(simulator, tmp_path, PARSEGATE_PRIVATE_HOSTS="127.0.0.1") as world:
        job = world.run_until(world.order_sample(callback_url=receiver.url, correlation_id=uuid4()))
        world.drain()
        (got,) = receiver.received
    body = json.loads(got.body)
    assert (body["type"], body["data"]["job_id"], body["data"]["settled"]) == ("document.parsed", str(job.job_id), True)
    Webhook(callback_secret(bytes.fromhex(SECRET_KEY), "default")).verify(got.body, dict(got.headers))


def test_the_reference_package_verifies_what_is_sent_over_retries_and_a_rotation(
    tmp_path: Path, simulator: RunningSimulator, receiver: Receiver
) -> None:
    receiver.statuses[:] = [503, 503]
    old, new = bytes.fromhex(SECRET_KEY), bytes.fromhex(NEW_KEY)
    told_old, told_new = (Webhook(callback_secret(key, "default")) for key in (old, new))
    with state_of("sqlite", tmp_path), world_of(simulator, tmp_path, PARSEGATE_PRIVATE_HOSTS="127.0.0.1") as world:
        job = world.run_until(world.order_sample(callback_url=receiver.url))
        delivery = Delivery.get(Delivery.job == job.job_id, Delivery.target == receiver.url)
        world.drain()
        for keys in (f"{NEW_KEY},{SECRET_KEY}", NEW_KEY):
            settings = world.services.settings.model_copy(
                update={"secret_key": tuple(SecretStr(key) for key in keys.split(","))}
            )
            notify(replace(world.services, settings=settings), delivery.delivery_id)
        first, second, third = receiver.received
        assert Delivery.get_by_id(delivery.delivery_id).delivered_at is not None
    assert {one.headers["webhook-id"] for one in receiver.received} == {json.loads(first.body)["id"]}
    assert first.body == second.body == third.body
    told_old.verify(first.body, dict(first.headers))
    told_old.verify(second.body, dict(second.headers))
    told_new.verify(second.body, dict(second.headers))
    told_new.verify(third.body, dict(third.headers))
    for told, got in ((told_new, first), (told_old, third)):
        with pytest.raises(WebhookVerificationError):
            told.verify(got.body, dict(got.headers))
