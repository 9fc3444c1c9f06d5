"""``POST .../cancel`` and ``.../retry``: who may, what is answered, and who is nudged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.errors import OrderRefused
from gateway.dependencies import host_now
from models import jobs
from models.database import transaction
from models.jobs import Content
from models.tokens import Scope
from tests.gateway_harness import Gateway, RecordingPublisher, running_gateway
from tests.state import KINDS, an_order, state_of


@pytest.fixture
def publisher() -> RecordingPublisher:
    return RecordingPublisher()


@pytest.fixture(params=KINDS)
def gateway(request: pytest.FixtureRequest, tmp_path: Path, publisher: RecordingPublisher) -> Iterator[Gateway]:
    with (
        state_of(request.param, tmp_path),
        running_gateway(tmp_path / "store", publisher=lambda pool: publisher) as running,
    ):
        yield running


def ordered(content: Content | None = None, **said: Any) -> str:
    now = host_now()
    accepted = jobs.accept_order(an_order(**said), who="test", now=now, due_at=now, content=content)
    return str(accepted.job.job_id)


def fails(job_id: str) -> None:
    with transaction():
        assert jobs.fail(jobs.get_job(UUID(job_id)), OrderRefused("no"), who="t", now=host_now())


def test_a_job_is_cancelled_by_whoever_may_order(gateway: Gateway) -> None:
    job_id = ordered()
    path = f"/v1/documents/{job_id}/cancel"
    assert gateway.client(Scope.READ).post(path).status_code == 403
    assert gateway.client(Scope.SUBMIT, "other").post(path).status_code == 404
    said = gateway.client(Scope.SUBMIT).post(path).raise_for_status().json()
    assert (said["job_id"], said["state"], said["reason"]) == (job_id, "cancelled", "cancelled")
    assert said["message"].startswith("cancelled by submit")
    assert gateway.client(Scope.SUBMIT).post(path).json() == said
    fails(done := ordered())
    refused = gateway.client(Scope.ADMIN).post(f"/v1/documents/{done}/cancel")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/job_has_ended")
    assert gateway.client(Scope.ADMIN).post(f"/v1/documents/{uuid4()}/cancel").status_code == 404


@pytest.mark.parametrize(("content", "actor"), [(None, "fetch_source"), (Content("a" * 64, 1), "check_budget")])
def test_a_retry_answers_the_new_job_and_nudges_it(
    gateway: Gateway, publisher: RecordingPublisher, content: Content | None, actor: str
) -> None:
    job_id = ordered(content)
    path = f"/v1/documents/{job_id}/retry"
    refused = gateway.client(Scope.SUBMIT).post(path)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/nothing_to_retry")
    fails(job_id)
    assert gateway.client(Scope.READ).post(path).status_code == 403
    assert gateway.client(Scope.SUBMIT, "other").post(path).status_code == 404
    answer = gateway.client(Scope.SUBMIT).post(path)
    said = answer.json()
    assert (answer.status_code, said["redoes"], said["state"]) == (202, job_id, "received")
    assert answer.headers["location"] == f"/v1/documents/{said['job_id']}"
    assert [(one.actor_name, one.kwargs) for one in publisher.nudged] == [(actor, {"job_id": said["job_id"]})]
    assert gateway.client(Scope.SUBMIT).post(path).json() == said
    shown = gateway.client(Scope.READ).get(answer.headers["location"]).json()
    assert shown["redoes"] == job_id
