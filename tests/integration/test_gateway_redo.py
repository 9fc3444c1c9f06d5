"""Ordering again for real over HTTP, an order's own mode, and what `/v1/mode` says of the provider."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from domain.documents import ParsedPage
from domain.job_state import JobState
from domain.pace import Outcome, Route, limits_of
from gateway.dependencies import host_now
from models import control
from models.database import server_now
from models.jobs import get_job, history
from models.pace import Pacer, Taken
from models.tables import Document, Job
from models.tokens import Scope
from tests.gateway_harness import Gateway, RecordingPublisher, complete, end, running_gateway, settings_of
from tests.money import defer
from tests.state import state_of

KEY = {"LLAMA_CLOUD_API_KEY": "llx-very-secret"}
PAGES = [ParsedPage(1, text="A note."), ParsedPage(2, text="More.")]


@pytest.fixture
def publisher() -> RecordingPublisher:
    return RecordingPublisher()


@pytest.fixture
def gateway(tmp_path: Path, publisher: RecordingPublisher) -> Iterator[Gateway]:
    with (
        state_of("sqlite", tmp_path),
        running_gateway(tmp_path / "store", settings=settings_of(**KEY), publisher=lambda _: publisher) as made,
    ):
        yield made


def order(gateway: Gateway, scope: Scope = Scope.SUBMIT, **fields: str) -> httpx.Response:
    return httpx.post(
        f"{gateway.url}/v1/documents",
        headers={"Authorization": f"Bearer {gateway.token(scope)}"},
        files={"file": ("note.txt", f"A note, {uuid4()}".encode())},
        data=fields,
    )


def mocked(gateway: Gateway, **fields: str) -> str:
    """A job whose result the local parser made."""
    job_id = str(order(gateway, Scope.ADMIN, **fields).json()["job_id"])
    complete(gateway, job_id, PAGES)
    Job.update(pages=2).where(Job.job_id == UUID(job_id)).execute()
    return job_id


def redo(gateway: Gateway, scope: Scope = Scope.ADMIN, **said: Any) -> httpx.Response:
    body = {"provenance": "mock", **said}
    return httpx.post(f"{gateway.url}/v1/redo", headers={"Authorization": f"Bearer {gateway.token(scope)}"}, json=body)


def test_a_dry_run_is_a_quote(gateway: Gateway, publisher: RecordingPublisher) -> None:
    for _ in range(3):
        mocked(gateway, tier="agentic")
    publisher.nudged.clear()
    said = redo(gateway, dry_run=True)
    assert said.status_code == 200
    assert said.json() == {
        "documents": 3,
        "more": False,
        "pages": 6,
        "pages_guessed": False,
        "credits": 60,
        "usd": 0.075,
        "fits": True,
    }
    assert Job.select().count() == 3
    assert publisher.nudged == []


def test_each_is_ordered_again_once(gateway: Gateway, publisher: RecordingPublisher) -> None:
    first, other = mocked(gateway), str(order(gateway).json()["job_id"])
    publisher.nudged.clear()
    said = redo(gateway)
    assert said.status_code == 202
    (made,) = said.json()["jobs"]
    assert (made["redoes"], made["state"]) == (first, "received")
    job = get_job(UUID(made["job_id"]))
    assert (job.mode, job.document_id, job.redoes) == ("real", get_job(UUID(first)).document_id, UUID(first))
    assert [step.why for step in history(job.job_id)] == [f"job {first} again, for real"]
    assert [(nudge.actor_name, nudge.kwargs["job_id"]) for nudge in publisher.nudged] == [
        ("check_budget", made["job_id"])
    ]
    assert redo(gateway).json()["documents"] == 0
    assert Job.select().count() == 3
    assert get_job(UUID(other)).redoes is None


def test_the_earlier_job_answers_with_the_real_result(gateway: Gateway) -> None:
    first = mocked(gateway)
    token = {"Authorization": f"Bearer {gateway.token(Scope.ADMIN)}"}
    url = f"{gateway.url}/v1/documents/{first}/result"
    before = httpx.get(url, headers=token)
    assert (before.text, before.headers["Parsegate-Provenance"]) == ("A note.\n\nMore.", "mock")
    again = redo(gateway).json()["jobs"][0]["job_id"]
    assert httpx.get(url, headers=token).text == before.text
    complete(gateway, again, [ParsedPage(1, text="The real note.")])
    Job.update(provenance="real").where(Job.job_id == UUID(again)).execute()
    after = httpx.get(url, headers=token)
    assert (after.text, after.headers["Parsegate-Provenance"]) == ("The real note.", "real")
    assert after.headers["ETag"] != before.headers["ETag"]
    shown = httpx.get(f"{gateway.url}/v1/documents/{again}", headers=token).json()
    assert (shown["redoes"], shown["mode"]) == (first, "real")


def test_a_deleted_document_is_not_ordered_again(gateway: Gateway) -> None:
    job_id = mocked(gateway)
    document_id = get_job(UUID(job_id)).document_id
    Document.update(deleted_at=host_now()).where(Document.document_id == document_id).execute()
    assert redo(gateway).json()["documents"] == 0


def test_a_redo_that_failed_can_be_repeated(gateway: Gateway) -> None:
    mocked(gateway)
    again = UUID(redo(gateway).json()["jobs"][0]["job_id"])
    end(get_job(again), JobState.RECEIVED, JobState.REJECTED)
    assert redo(gateway).json()["jobs"][0]["job_id"] != str(again)
    assert redo(gateway).json()["documents"] == 0


def test_pages_that_were_asked_for_are_quoted_as_they_were_priced(gateway: Gateway) -> None:
    """`pages` is what the order's ranges left, whatever their numbers."""
    mocked(gateway, tier="fast", options='{"page_ranges": {"target_pages": "5,10"}}')
    other = mocked(gateway)
    Job.update(tier="gone").where(Job.job_id == UUID(other)).execute()
    said = redo(gateway, dry_run=True).json()
    assert (said["documents"], said["pages"], said["credits"]) == (2, 2, 2)


@pytest.mark.parametrize("body", [{"provenance": "real"}, {"dry_run": 1}, {"more": True}, {"provenance": None}])
def test_a_malformed_redo_is_refused(gateway: Gateway, body: dict[str, Any]) -> None:
    answer = redo(gateway, **body)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/order_refused")


def test_a_redo_needs_what_real_mode_needs(tmp_path: Path) -> None:
    with state_of("sqlite", tmp_path), running_gateway(tmp_path / "store") as gateway:
        assert "LLAMA_CLOUD_API_KEY" in redo(gateway).json()["detail"]


def test_an_order_may_name_its_mode_with_the_right_token(gateway: Gateway) -> None:
    refused = order(gateway, mode="mock")
    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/mode_not_allowed")
    answer = order(gateway, Scope.ADMIN, mode="mock")
    assert answer.status_code == 202
    assert get_job(UUID(answer.json()["job_id"])).mode == "mock"
    assert order(gateway, Scope.ADMIN, mode="fast").status_code == 422


def test_an_order_can_t_be_real_without_a_key(tmp_path: Path) -> None:
    with state_of("sqlite", tmp_path), running_gateway(tmp_path / "store") as gateway:
        answer = order(gateway, Scope.ADMIN, mode="real")
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/setting_missing")
        assert Job.select().count() == 0


def test_the_mode_says_what_is_out_of_use_and_a_switch_mends_it(gateway: Gateway) -> None:
    admin = httpx.Client(base_url=gateway.url, headers={"Authorization": f"Bearer {gateway.token(Scope.ADMIN)}"})
    with admin:
        assert {endpoint["state"] for endpoint in admin.get("/v1/mode").json()["endpoints"]} == {"closed"}
        pacer = Pacer(limits_of(settings_of(**KEY)), server_now)
        taken = pacer.take(Route.CREATE, uuid4())
        assert isinstance(taken, Taken)
        pacer.finish(taken.slot_id, Outcome.REFUSED, said="the provider answered 401: no", key_id="old")
        control.exhaust_account(host_now() + timedelta(hours=1), "402", now=host_now())
        job = get_job(UUID(str(order(gateway).json()["job_id"])))
        defer(job, host_now() + timedelta(hours=1))
        said = admin.get("/v1/mode").json()
        assert {endpoint["state"] for endpoint in said["endpoints"]} == {"open"}
        assert said["endpoints"][0]["why"] == "the provider answered 401: no"
        assert said["out_of_credits_until"] is not None
        limits = admin.get("/v1/limits").json()["limits"]
        assert "stopped since" in limits[0]["explanation"]
        said = admin.put("/v1/mode", json={"mode": "real"}).json()
        assert {endpoint["state"] for endpoint in said["endpoints"]} == {"closed"}
        assert said["out_of_credits_until"] is None
    woken = get_job(job.job_id)
    assert woken.state == JobState.DEFERRED
    assert (woken.due_at or host_now()) <= host_now()
