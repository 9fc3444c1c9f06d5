"""The old routes: their answers, whom they let in, and what is kept of the others."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from domain.clock import parse_utc
from domain.results import decode_pages
from domain.signatures import signature_003
from gateway.dependencies import host_now
from models.rejections import Rejection, counts, keep, latest
from models.service_tables import RejectedWebhook
from models.tokens import Scope
from tests.gateway_harness import Gateway, RecordingPublisher, running_gateway, settings_of
from tests.money import a_job
from tests.state import KINDS, state_of

SECRET, OLD_SECRET = "the-new-003-secret", "the-old-003-secret"


@pytest.fixture
def publisher() -> RecordingPublisher:
    return RecordingPublisher()


@pytest.fixture(params=KINDS)
def gateway(request: pytest.FixtureRequest, tmp_path: Path, publisher: RecordingPublisher) -> Iterator[Gateway]:
    settings = settings_of(LLAMAPARSE_WEBHOOK_SECRET=f"{SECRET}, {OLD_SECRET}")
    with (
        state_of(request.param, tmp_path),
        running_gateway(tmp_path / "store", settings=settings, publisher=lambda _: publisher) as running,
    ):
        yield running


def post(gateway: Gateway, path: str, body: bytes, signature: str | None = None, secret: str = SECRET) -> Any:
    headers = {"X-Webhook-Signature": signature_003(secret, body) if signature is None else signature}
    return httpx.post(f"{gateway.url}{path}", content=body, headers=headers, timeout=30)


def parsed(job_id: str, markdown: str = "# Policy", **said: Any) -> bytes:
    raw = markdown.encode()
    artifact = {"type": "markdown", "content": markdown, "sha256": sha256(raw).hexdigest(), "bytes": len(raw)}
    return json.dumps({"job_id": job_id, "status": "parsed", "artifacts": [artifact], **said}).encode()


def rejected(gateway: Gateway, count: int) -> dict[str, Any]:
    """What the gateway tells of rejections, once there are so many."""
    until = time.monotonic() + 30
    while True:
        said = dict(gateway.client(Scope.ADMIN).get("/v1/webhooks/rejected").raise_for_status().json())
        if sum(said["counts"].values()) >= count:
            return said
        assert time.monotonic() < until, said


def test_both_routes_answer_as_they_always_did(gateway: Gateway, publisher: RecordingPublisher) -> None:
    job = a_job(host_now())
    job_id, document_id = str(job.job_id), str(job.document_id)
    body = parsed(job_id, document_id=document_id, parse_job_id="pjb-1")
    for path, secret in ((f"/webhook/llamaparse/{job_id}", OLD_SECRET), ("/api/v1/webhooks/llamaparse", SECRET)):
        answer = post(gateway, path, body, secret=secret)
        assert answer.status_code == 200
        said = answer.json()
        assert set(said) == {"success", "message", "job_id", "document_id", "processed_at"}
        assert (said["success"], said["job_id"], said["document_id"]) == (True, job_id, document_id)
        assert abs((parse_utc(said["processed_at"]) - host_now()).total_seconds()) < 60
        message = publisher.sent.pop()
        assert (message.actor_name, message.kwargs["parse_job_id"]) == ("ingest_003", "pjb-1")
        stored = gateway.store.read(str(message.kwargs["result_path"]))
        assert decode_pages(stored).markdown == "# Policy"


def test_a_body_that_names_no_job_only_asks_the_provider(gateway: Gateway, publisher: RecordingPublisher) -> None:
    job_id = str(a_job(host_now()).job_id)
    for body in (b'{"status": "completed", "result": {"md": "# Forged?"}}', b'{"status": "failed", "error": "x"}'):
        assert post(gateway, f"/webhook/llamaparse/{job_id}", body).json()["job_id"] == job_id
        message = publisher.sent.pop()
        assert (message.actor_name, dict(message.kwargs)) == ("ingest_result", {"job_id": job_id})
    assert not [path for path in gateway.files() if "003-" in path]


@pytest.mark.parametrize("route", ["/api/v1/webhooks/llamaparse", "/webhook/llamaparse/{job_id}"])
def test_nothing_unsigned_gets_in(gateway: Gateway, publisher: RecordingPublisher, route: str) -> None:
    """Always the same answer; which part was wrong is on our own record, without the body."""
    job_id = str(a_job(host_now()).job_id)
    path, body = route.format(job_id=job_id), parsed(job_id)
    right = signature_003(SECRET, body)
    answers = [
        httpx.post(f"{gateway.url}{path}", content=body, headers={"Authorization": "Bearer hidden"}),
        httpx.post(f"{gateway.url}{path}", content=body, headers=[("X-Webhook-Signature", right)] * 2),
        *(post(gateway, path, body, wrong) for wrong in ("", right.upper(), f"sha256={right}", "0" * 64)),
        post(gateway, path, body + b" ", right),
        post(gateway, path, body, secret="another"),
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.json()["detail"] for answer in answers}) == 1
    assert publisher.sent == []
    said = rejected(gateway, len(answers))
    assert said["counts"] == {
        "signature_doubled": 1,
        "signature_malformed": 3,
        "signature_missing": 1,
        "signature_wrong": 3,
    }
    first = said["items"][-1]
    assert (first["route"], first["reason"]) == (route, "signature_missing")
    # Not a byte of it was read.
    assert (first["body_sha256"], first["body_bytes"]) == (None, None)
    last = said["items"][0]
    assert (last["body_sha256"], last["body_bytes"]) == (sha256(body).hexdigest(), len(body))
    assert ["authorization", "********"] in first["headers"]
    assert "# Policy" not in json.dumps(said)


def test_what_is_signed_and_impossible_changes_nothing_and_is_kept(
    gateway: Gateway, publisher: RecordingPublisher
) -> None:
    job = a_job(host_now())
    job_id, other = str(job.job_id), str(uuid4())
    here = f"/webhook/llamaparse/{job_id}"
    cases = [
        (here, parsed(other), "job_mismatch"),
        (here, parsed(job_id, document_id=other), "document_mismatch"),
        (here, parsed(job_id).replace(b"# Policy", b"# Forged"), "digest_mismatch"),
        (here, b"[]", "malformed_event"),
        (here, b'{"result": [' + b"{}," * 10_000 + b"{}]}", "malformed_event"),
        ("/api/v1/webhooks/llamaparse", parsed(other), "unknown_job"),
        ("/api/v1/webhooks/llamaparse", b"{}", "job_missing"),
    ]
    answers = [post(gateway, path, body) for path, body, _ in cases]
    # Which part was wrong is on our own record only.
    assert {answer.status_code for answer in answers} == {422}
    assert {(answer.json()["type"], answer.json()["detail"]) for answer in answers} == {
        ("/problems/event_refused", "The event can't be accepted")
    }
    assert post(gateway, "/webhook/llamaparse/no-uuid", b"{}").status_code == 404
    assert publisher.sent == []
    assert rejected(gateway, len(cases) + 1)["counts"] == dict(Counter(reason for *_, reason in cases)) | {
        "not_found": 1
    }


def test_the_last_thousand_are_kept_and_all_are_counted(gateway: Gateway) -> None:
    for part in range(3):
        one = [Rejection(host_now(), "/r", f"reason_{part}", said={"number": number}) for number in range(400)]
        keep(one, {"dropped": 5})
    assert RejectedWebhook.select().count() == 1000
    assert [row.said["number"] for row in latest(2)] == [399, 398]
    assert counts() == {"dropped": 15, "reason_0": 400, "reason_1": 400, "reason_2": 400}
    said = gateway.client(Scope.ADMIN).get("/v1/webhooks/rejected?limit=3").json()
    assert len(said["items"]) == 3
    assert gateway.client(Scope.READ).get("/v1/webhooks/rejected").status_code == 403
    assert gateway.client(Scope.ADMIN).get("/v1/webhooks/rejected?limit=1001").status_code == 400
