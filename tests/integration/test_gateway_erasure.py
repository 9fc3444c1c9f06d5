"""``DELETE /v1/documents/{job_id}`` and ``.../erasure``: who may, what is answered, and what is gone at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from domain.documents import ParsedPage
from models.tokens import Scope
from tests.gateway_harness import Gateway, RecordingPublisher, complete, running_gateway
from tests.state import KINDS, state_of


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


def ordered(gateway: Gateway, **said: str) -> str:
    client = gateway.client(Scope.SUBMIT)
    answer = client.post("/v1/documents", files={"file": ("secret.txt", b"a word")}, data=said)
    return str(answer.raise_for_status().json()["job_id"])


def test_a_document_is_deleted_by_whoever_may_order(gateway: Gateway, publisher: RecordingPublisher) -> None:
    job_id = ordered(gateway)
    complete(gateway, job_id, [ParsedPage(1, markdown="a word", text="a word")])
    assert len(gateway.files()) == 3
    path = f"/v1/documents/{job_id}"
    assert gateway.client(Scope.READ).delete(path).status_code == 403
    assert gateway.client(Scope.SUBMIT, "other").delete(path).status_code == 404
    client = gateway.client(Scope.SUBMIT)
    assert client.get(f"{path}/erasure").json()["type"] == "/problems/not_deleted"
    assert client.delete(f"/v1/documents/{uuid4()}").status_code == 404
    said = client.delete(path).raise_for_status().json()
    assert gateway.files() == set(), "before the answer"
    assert [(thing["what"], thing["outcome"]) for thing in said["removed"]] == [
        ("raw_file", "removed"),
        ("result", "removed"),
        ("result", "removed"),
    ]
    assert (said["why"], said["finished_at"]) == ("asked for", None)
    assert said["asked_by"].startswith("submit-")
    last = publisher.nudged[-1]
    assert (last.actor_name, last.kwargs) == ("erase_document", {"document_id": said["document_id"]})
    assert gateway.client(Scope.READ).get(f"{path}/erasure").json() == said
    assert gateway.client(Scope.ADMIN).delete(path).json() == said, "asked again, the same"


@pytest.mark.parametrize("rest", ["", "/result", "/events", "/cancel", "/retry"])
def test_a_deleted_job_is_gone_for_everybody(gateway: Gateway, rest: str) -> None:
    job_id = ordered(gateway)
    client = gateway.client(Scope.ADMIN)
    client.delete(f"/v1/documents/{job_id}").raise_for_status()
    method = "POST" if rest in {"/cancel", "/retry"} else "GET"
    gone = client.request(method, f"/v1/documents/{job_id}{rest}")
    assert (gone.status_code, gone.json()["type"]) == (410, "/problems/document_deleted")
    assert gone.json()["erasure"] == f"/v1/documents/{job_id}/erasure"
    assert client.get("/v1/documents").json()["items"] == []


def test_a_deleted_document_is_not_ordered_again(gateway: Gateway) -> None:
    document_id = str(uuid4())
    job_id = ordered(gateway, document_id=document_id)
    client = gateway.client(Scope.SUBMIT)
    client.delete(f"/v1/documents/{job_id}").raise_for_status()
    again = client.post("/v1/documents", files={"file": ("a.txt", b"a word")}, data={"document_id": document_id})
    assert (again.status_code, "was deleted" in again.json()["detail"]) == (409, True)
    assert gateway.files() == set()
