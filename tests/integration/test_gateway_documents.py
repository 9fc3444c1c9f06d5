"""Ordering documents over HTTP: by upload and by URL, once however often it is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from domain.clock import parse_utc
from domain.errors import StoreUnavailable
from domain.job_state import JobState
from domain.messages import ACTORS, check_payload
from domain.orders import raw_path
from gateway.documents import FIRST_LOOK
from models.jobs import Content, find_job
from models.store import Store, Writer
from models.tables import Document, Job
from models.tokens import Scope
from tests.gateway_harness import Gateway, RawConnection, RecordingPublisher, end, running_gateway, settings_of
from tests.state import KINDS, state_of

MB = 1_000_000
USER = "0b1b2c3d-0000-4000-8000-00000000000a"
DOCUMENT = "0b1b2c3d-0000-4000-8000-00000000000b"
PDF = b"%PDF-1.7 not really"


@pytest.fixture
def publisher() -> RecordingPublisher:
    return RecordingPublisher()


@contextmanager
def gateway_over(kind: str, folder: Path, publisher: RecordingPublisher) -> Iterator[Gateway]:
    store = folder / "store"
    store.mkdir()
    settings = settings_of(PARSEGATE_MAX_FILE_MB="1")
    with (
        state_of(kind, folder),
        running_gateway(store, settings=settings, publisher=lambda _: publisher) as gateway,
    ):
        yield gateway


@pytest.fixture
def gateway(tmp_path: Path, publisher: RecordingPublisher) -> Iterator[Gateway]:
    with gateway_over("sqlite", tmp_path, publisher) as gateway:
        yield gateway


@pytest.fixture(params=KINDS)
def either(request: pytest.FixtureRequest, tmp_path: Path, publisher: RecordingPublisher) -> Iterator[Gateway]:
    """Over each database in turn."""
    with gateway_over(request.param, tmp_path, publisher) as gateway:
        yield gateway


def upload(http: httpx.Client, content: bytes = PDF, filename: str = "policy.pdf", **fields: Any) -> httpx.Response:
    """One document as a form."""
    headers = {"Idempotency-Key": key} if (key := fields.pop("key", None)) else {}
    return http.post("/v1/documents", files={"file": (filename, content)}, data=fields, headers=headers)


def order_url(http: httpx.Client, url: str = "https://example.com/a.pdf", **fields: Any) -> httpx.Response:
    """One document by its URL."""
    headers = {"Idempotency-Key": key} if (key := fields.pop("key", None)) else {}
    return http.post("/v1/documents", json={"source_url": url, **fields}, headers=headers)


def reason(answer: httpx.Response) -> str:
    """The problem's stable word, after a look at the rest of it."""
    problem = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert problem["status"] == answer.status_code
    assert problem["correlation_id"] == answer.headers["Correlation-Id"]
    assert problem["instance"] == answer.request.url.path
    assert problem["title"]
    assert "Traceback" not in answer.text
    return str(problem["type"].removeprefix("/problems/"))


def job_of(answer: httpx.Response) -> Job:
    """The job of an order that was accepted."""
    assert answer.status_code == 202, answer.text
    job = find_job(UUID(answer.json()["job_id"]))
    assert job is not None
    return job


def form(*parts: tuple[str, str, bytes]) -> bytes:
    """A form's body with the parts in this order: name, more of the header, content."""
    return b"".join(
        b'--cut\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % (name.encode(), more.encode(), content)
        for name, more, content in parts
    ) + b"--cut--\r\n"  # fmt: skip


def post_form(http: httpx.Client, body: bytes, boundary: str = "cut") -> httpx.Response:
    """A form as its raw body."""
    return http.post(
        "/v1/documents", content=body, headers={"Content-Type": f"multipart/form-data; boundary={boundary}"}
    )


FILE = ("file", '; filename="policy.pdf"', PDF)


def test_upload_is_in_its_place_when_202_arrives(either: Gateway, publisher: RecordingPublisher) -> None:
    """The row is committed with the bytes' hash, the bytes lie at the 003 path, and the next actor is nudged."""
    answer = upload(either.client(), user_id=USER, document_id=DOCUMENT, tier="agentic", tags="a, b", priority="-3")
    job = job_of(answer)
    assert answer.json() == {"job_id": str(job.job_id), "document_id": DOCUMENT, "state": "received"}
    assert answer.headers["Location"] == f"/v1/documents/{job.job_id}"
    path = raw_path(UUID(USER), UUID(DOCUMENT), "policy.pdf")
    assert either.files() == {path}
    assert either.store.read(path) == PDF
    document = job.document
    assert (document.raw_path, document.raw_sha256, document.raw_bytes) == (path, sha256(PDF).hexdigest(), len(PDF))
    assert (job.tier, job.tags, job.priority, document.filename) == ("agentic", ["a", "b"], -3, "policy.pdf")
    assert job.due_at == job.created_at + FIRST_LOOK == job.created_at + timedelta(seconds=60)
    [message] = publisher.nudged
    assert message.actor_name == "check_budget"
    assert check_payload(ACTORS["check_budget"], dict(message.kwargs)) == {"job_id": str(job.job_id)}


def test_source_url_is_to_be_fetched(either: Gateway, publisher: RecordingPublisher) -> None:
    """No bytes yet: the job waits for whoever fetches them."""
    options = {"page_ranges": {"target_pages": "1-3"}}
    job = job_of(order_url(either.client(), "https://example.com/x/report.pdf?token=1", options=options, tags=["a"]))
    assert (job.document.source, job.document.filename) == ("https://example.com/x/report.pdf?token=1", "report.pdf")
    assert (job.document.raw_sha256, job.options, job.tags) == (None, options, ["a"])
    [message] = publisher.nudged
    assert message.actor_name == "fetch_source"
    check_payload(ACTORS["fetch_source"], dict(message.kwargs))


@pytest.mark.parametrize("where", range(4))
def test_fields_come_in_any_order(gateway: Gateway, where: int) -> None:
    """Before the file, after it, or around it."""
    said = [
        ("document_id", "", DOCUMENT.encode()),
        ("user_id", "", USER.encode()),
        ("options", '\r\nContent-Type: application/json', b'{"disable_cache": true}'),
    ]  # fmt: skip
    job = job_of(post_form(gateway.client(), form(*said[:where], FILE, *said[where:])))
    assert (str(job.document_id), job.options) == (DOCUMENT, {"disable_cache": True})
    assert gateway.files() == {raw_path(UUID(USER), UUID(DOCUMENT), "policy.pdf")}


@pytest.mark.parametrize(
    "content", [b"\r\n--cu", b"\r\n--cu\r\n--cut" * 999 + b"x", b"\r\n" * 5000, bytes(range(256)) * 999]
)
def test_bytes_that_look_like_the_form_s_own_arrive_as_they_are(gateway: Gateway, content: bytes) -> None:
    """The form's boundary is only what the form says it is."""
    content = content.replace(b"\r\n--cut", b"\r\n--cuT")
    job = job_of(post_form(gateway.client(), form(("file", '; filename="a.bin"', content))))
    assert gateway.store.read(job.document.raw_path) == content


def test_tags_come_as_a_list_or_repeated(gateway: Gateway) -> None:
    """Both are common in forms. An empty field is one that was left out."""
    job = job_of(post_form(gateway.client(), form(("tags", "", b"a,b"), FILE, ("tags", "", b" c "), ("tier", "", b""))))
    assert (job.tags, job.tier) == (["a", "b", "c"], "cost_effective")


@pytest.mark.parametrize(
    ("header", "filename", "path_ends"),
    [
        ('; filename="../../etc/passwd"', "passwd", ".bin"),
        ('; filename="C:\\\\x\\\\a.PDF"', "a.PDF", ".pdf"),
        ("; filename=\"x\"; filename*=UTF-8''%e6%97%a5.pdf", "日.pdf", ".pdf"),
        ('; filename="日本.pdf"', "日本.pdf", ".pdf"),
        ('; filename="a.p/../../df"', "df", ".bin"),
        ('; filename=""', "document", ".bin"),
        ("", "document", ".bin"),
    ],
)
def test_filename_never_leaves_its_folder(gateway: Gateway, header: str, filename: str, path_ends: str) -> None:
    """The path is made of ids; of the name only its ending is used."""
    job = job_of(post_form(gateway.client(), form(("file", header, PDF))))
    assert job.document.filename == filename
    assert gateway.files() == {f"files/user/{UUID(int=0)}/raw/{job.document_id}{path_ends}"}


REFUSED_FORMS: dict[str, tuple[int, str, bytes]] = {
    "no file": (422, "file_missing", form(("tier", "", b"fast"))),
    "no part at all": (422, "file_missing", b"--cut--\r\n"),
    "two files": (422, "two_files", form(FILE, FILE)),
    "an empty file": (422, "file_empty", form(("file", '; filename="a.pdf"', b""))),
    "unknown field before": (422, "order_refused", form(("colour", "", b"red"), FILE)),
    "unknown field after": (422, "order_refused", form(FILE, ("colour", "", b"red"))),
    "source in a form": (422, "order_refused", form(FILE, ("source", "", b"file:///etc/passwd"))),
    "source_url in a form": (422, "order_refused", form(FILE, ("source_url", "", b"https://example.com"))),
    "a field twice": (422, "order_refused", form(("tier", "", b"fast"), FILE, ("tier", "", b"fast"))),
    "options that are no JSON": (422, "order_refused", form(FILE, ("options", "", b"{"))),
    "options that are no object": (422, "order_refused", form(FILE, ("options", "", b"[]"))),
    "unknown option": (422, "order_refused", form(FILE, ("options", "", b'{"configuration_id": "x"}'))),
    "unknown tier": (422, "order_refused", form(FILE, ("tier", "", b"best"))),
    "priority that is no number": (422, "order_refused", form(FILE, ("priority", "", b"high"))),
    "priority out of range": (422, "order_refused", form(FILE, ("priority", "", b"101"))),
    "wrong UUID": (422, "order_refused", form(FILE, ("document_id", "", b"7"))),
    "private callback": (422, "order_refused", form(FILE, ("callback_url", "", b"http://169.254.169.254/"))),
    "NUL in a field": (422, "order_refused", form(FILE, ("tags", "", b"a\0b"))),
    "a field that is not UTF-8": (422, "order_refused", form(FILE, ("tags", "", b"\xff"))),
    "a name that is not UTF-8": (400, "malformed_form", form(FILE).replace(b"policy", b"\xff")),
    "too many parts": (400, "bad_request", form(*[("tags", "", b"a")] * 65, FILE)),
    "a field too long": (400, "bad_request", form(("tier", "", b"x" * 70_000), FILE)),
    "no end": (400, "bad_request", form(FILE).removesuffix(b"--cut--\r\n")),
    "cut in the file": (400, "bad_request", form(FILE)[:-20]),
    "another boundary": (400, "bad_request", form(FILE).replace(b"--cut", b"--tuc")),
    "nothing": (400, "bad_request", b""),
    "base64": (400, "bad_request", form(("file", "\r\nContent-Transfer-Encoding: base64", PDF))),
}


@pytest.mark.parametrize("case", REFUSED_FORMS)
def test_refused_form_leaves_nothing_behind(gateway: Gateway, publisher: RecordingPublisher, case: str) -> None:
    """One clear answer; no row, no file, no message."""
    status, word, body = REFUSED_FORMS[case]
    answer = post_form(gateway.client(), body)
    assert (answer.status_code, reason(answer)) == (status, word)
    assert (gateway.files(), publisher.nudged, Document.select().count()) == (set(), [], 0)


REFUSED_JSON: dict[str, tuple[int, str, str]] = {
    "no JSON": (400, "malformed_json", "{"),
    "deep": (400, "malformed_json", "[" * 100_000),
    "deep, but closed": (400, "malformed_json", '{"source_url": ' + "[" * 500 + "]" * 500 + "}"),
    "not a number": (400, "malformed_json", '{"source_url": "https://example.com/", "options": {"a": NaN}}'),
    "infinite": (400, "malformed_json", '{"source_url": "https://example.com/", "options": {"a": 1e999}}'),
    "a NUL": (400, "malformed_json", '{"source_url": "https://example.com/", "tags": ["\\u0000"]}'),
    "half a pair": (400, "malformed_json", '{"source_url": "https://example.com/", "tenant": "\\ud800"}'),
    "a list": (422, "order_refused", "[]"),
    "no source": (422, "order_refused", "{}"),
    "source": (422, "order_refused", '{"source": "file:///etc/passwd"}'),
    "both": (422, "order_refused", '{"source_url": "https://example.com/", "source": "file:///etc/passwd"}'),
    "file URL": (422, "order_refused", '{"source_url": "file:///etc/passwd"}'),
    "loopback": (422, "order_refused", '{"source_url": "http://127.0.0.1/"}'),
    "loopback, spelled oddly": (422, "order_refused", '{"source_url": "http://2130706433/"}'),
    "a number": (422, "order_refused", '{"source_url": 7}'),
    "priority as text": (422, "order_refused", '{"source_url": "https://example.com/", "priority": "1"}'),
    "too many tags": (422, "order_refused", json.dumps({"source_url": "https://example.com/", "tags": ["a"] * 21})),
}


@pytest.mark.parametrize("case", REFUSED_JSON)
def test_refused_json_leaves_nothing_behind(gateway: Gateway, publisher: RecordingPublisher, case: str) -> None:
    """The same for orders in JSON."""
    status, word, body = REFUSED_JSON[case]
    answer = gateway.client(Scope.ADMIN).post(
        "/v1/documents", content=body, headers={"Content-Type": "application/json; charset=utf-8"}
    )
    assert (answer.status_code, reason(answer)) == (status, word)
    assert (publisher.nudged, Document.select().count()) == ([], 0)


@pytest.mark.parametrize("content_type", ["application/pdf", "application/x-www-form-urlencoded", "text/json", None])
def test_other_content_types_are_415(gateway: Gateway, content_type: str | None) -> None:
    """Said what to send instead."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = gateway.client().post("/v1/documents", content=PDF, headers=headers)
    assert (answer.status_code, reason(answer)) == (415, "unsupported_media_type")


@pytest.mark.parametrize("path", ["/api/v1/beta/files", "/api/v2/parse/upload"])
@pytest.mark.parametrize("content_type", [None, "application/json"])
def test_other_content_types_are_415_on_llamaclouds_interface_too(
    gateway: Gateway, path: str, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = gateway.client().post(path, content=b"{}", headers=headers)
    assert (answer.status_code, "part named 'file'" in answer.json()["detail"]) == (415, True)


def test_largest_file_is_taken_and_a_byte_more_is_413(gateway: Gateway) -> None:
    """The limit counts the file's own bytes, and holds without a Content-Length too."""
    http = gateway.client()
    job = job_of(upload(http, b"x" * MB))
    assert job.document.raw_bytes == MB
    before = gateway.files()
    answer = upload(http, b"x" * (MB + 1))
    assert (answer.status_code, reason(answer)) == (413, "file_too_large")
    body = form(("file", "", b"x" * (MB + 1)))
    chunked = http.post(
        "/v1/documents",
        content=(body[at : at + 50_000] for at in range(0, len(body), 50_000)),
        headers={"Content-Type": "multipart/form-data; boundary=cut"},
    )
    assert (chunked.status_code, reason(chunked)) == (413, "file_too_large")
    assert gateway.files() == before


def test_refused_by_its_headers_before_a_byte_of_the_body(gateway: Gateway) -> None:
    """No token: 401. Far too large: 413. Both though nothing of the body ever comes, and without a 100 Continue."""
    token = gateway.token()
    for line, status in (("X-Nothing: 1", 401), (f"Authorization: Bearer {token}", 413)):
        with RawConnection(gateway.address) as connection:
            connection.send(
                f"POST /v1/documents HTTP/1.1\nHost: x\nContent-Length: 999999999999\nExpect: 100-continue\n{line}\n"
                "Content-Type: multipart/form-data; boundary=cut"
            )
            assert connection.answer()[0] == status


def test_broken_connection_leaves_nothing_behind(gateway: Gateway, publisher: RecordingPublisher) -> None:
    """A sender that goes away in the middle of the file, and one that goes after it but before the form's end."""
    file = ("file", '; filename="policy.pdf"', b"x" * 300_000)
    body = form(file, ("tier", "", b"fast" + b" " * 20_000))
    for cut in (len(form(file)) - 20, len(body) - 30):
        with RawConnection(gateway.address) as connection:
            connection.send(
                f"POST /v1/documents HTTP/1.1\nHost: x\nContent-Length: {len(body)}\n"
                f"Authorization: Bearer {gateway.token()}\nContent-Type: multipart/form-data; boundary=cut",
                body[:cut],
            )
            eventually(lambda: any("staging" in name for name in gateway.files()))
        eventually(lambda: gateway.files() == set())
    assert (publisher.nudged, Document.select().count()) == ([], 0)


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until it holds; fail after ten seconds."""
    ticks = threading.Event()
    for _ in range(1000):
        if holds():
            return
        ticks.wait(0.01)
    pytest.fail("it never came to hold")


def test_same_document_id_and_order_is_the_same_job(either: Gateway, publisher: RecordingPublisher) -> None:
    """Ordering again is harmless: same answer, no second job, no second nudge, no second copy."""
    http = either.client()
    first, second = (upload(http, document_id=DOCUMENT, correlation_id=str(uuid4())) for _ in range(2))
    assert first.json() == second.json()
    assert second.status_code == 202
    assert (len(either.files()), Job.select().count(), len(publisher.nudged)) == (1, 1, 1)


@pytest.mark.parametrize("other", [{"content": b"other"}, {"tier": "fast"}, {"filename": "other.pdf"}])
def test_same_document_id_with_another_order_is_409(either: Gateway, other: dict[str, Any]) -> None:
    """And the bytes of the first order stay what they are."""
    http = either.client()
    job = job_of(upload(http, document_id=DOCUMENT))
    answer = upload(http, document_id=DOCUMENT, **other)
    assert (answer.status_code, reason(answer)) == (409, "order_conflict")
    assert either.files() == {job.document.raw_path}
    assert either.store.read(job.document.raw_path) == PDF


def test_racing_orders_of_one_document_id_have_one_winner_with_its_own_bytes(either: Gateway) -> None:
    """16 uploads with 4 contents at once: one content wins, its senders get one job, the others 409."""
    token = either.token()
    contents = [bytes([65 + number % 4]) * 300_000 for number in range(16)]

    def send(content: bytes) -> tuple[int, bytes, str]:
        with httpx.Client(base_url=either.url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as http:
            answer = upload(http, content, document_id=DOCUMENT)
        return answer.status_code, content, answer.json().get("job_id", "")

    with ThreadPoolExecutor(16) as senders:
        answers = list(senders.map(send, contents))
    won = {(content, job_id) for status, content, job_id in answers if status == 202}
    assert {status for status, _, _ in answers} == {202, 409}
    [(content, _)] = won
    assert sum(status == 202 for status, _, _ in answers) == 4
    document = Document.get_by_id(UUID(DOCUMENT))
    assert document.raw_sha256 == sha256(content).hexdigest()
    assert either.files() == {document.raw_path}
    assert either.store.read(document.raw_path) == content


@pytest.mark.parametrize("order", [upload, order_url])
def test_idempotency_key_stands_for_the_document(either: Gateway, order: Callable[..., httpx.Response]) -> None:
    """The same key and order: the same job. Another order: 422. Another token's key is another key."""
    http = either.client()
    first, second, other_key = (order(http, key=key) for key in ("k1", "k1", "k2"))
    assert first.json() == second.json()
    assert first.json()["job_id"] != other_key.json()["job_id"]
    conflict = order(http, key="k1", tier="fast")
    assert (conflict.status_code, reason(conflict)) == (422, "idempotency_key_reused")
    assert order(either.client(), key="k1").json()["job_id"] not in {
        first.json()["job_id"],
        other_key.json()["job_id"],
    }


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
def test_odd_idempotency_key_is_400(gateway: Gateway, key: str) -> None:
    """Better no order than one under a key that does not hold."""
    answer = gateway.client().post(
        "/v1/documents", json={"source_url": "https://example.com"}, headers={"Idempotency-Key": key}
    )
    assert (answer.status_code, reason(answer)) == (400, "bad_idempotency_key")


def test_tenant_is_the_token_s(gateway: Gateway) -> None:
    """Another tenant in the order: 403, unless it is an admin who asks."""
    assert job_of(order_url(gateway.client(tenant="red"))).tenant == "red"
    assert job_of(order_url(gateway.http, tenant="red")).tenant == "red"
    refused = order_url(gateway.http, tenant="blue")
    assert (refused.status_code, reason(refused)) == (403, "foreign_tenant")
    assert job_of(order_url(gateway.client(Scope.ADMIN, "red"), tenant="blue")).tenant == "blue"


def test_job_of_another_tenant_is_404(either: Gateway) -> None:
    """The same answer as for a job that never was; an admin sees it."""
    path = order_url(either.client(tenant="red")).headers["Location"]
    assert either.http.get(path).status_code == 200
    assert either.client(Scope.READ, "red").get(path).status_code == 200
    assert either.client(Scope.ADMIN, "blue").get(path).status_code == 200
    http = either.client(Scope.SUBMIT, "blue")
    never = http.get(f"/v1/documents/{UUID(int=7)}")
    for answer in (http.get(path), http.get(f"{path}/result"), never):
        assert (answer.status_code, reason(answer)) == (404, "not_found")
    assert http.get("/v1/documents/no-uuid").status_code == 404


def test_job_says_everything_about_itself(either: Gateway) -> None:
    """Every member that the interface names, and the order's correlation id or the request's own."""
    correlation = str(uuid4())
    http = either.client()
    answer = http.post(
        "/v1/documents", json={"source_url": "https://example.com/a.pdf"}, headers={"Correlation-Id": correlation}
    )
    job = http.get(answer.headers["Location"]).json()
    moments = {name: job.pop(name) for name in ("due_at", "created_at", "updated_at")}
    [ordered] = job.pop("history")
    assert ordered.pop("who")
    assert ordered == {
        "at": moments["created_at"],
        "attempt_id": None,
        "before": None,
        "after": "received",
        "why": "ordered",
    }
    assert job == {
        "job_id": answer.json()["job_id"],
        "document_id": answer.json()["document_id"],
        "user_id": str(UUID(int=0)),
        "tenant": "default",
        "filename": "a.pdf",
        "state": "received",
        "status_003": "uploaded",
        "tier": "cost_effective",
        "pages": None,
        "pages_guessed": False,
        "parsed_pages": None,
        "estimate_credits": None,
        "credits": 0,
        "usd": 0,
        "provenance": None,
        "truncated": False,
        "reason": None,
        "message": None,
        "tags": [],
        "priority": 0,
        "correlation_id": correlation,
        "finished_at": None,
        "parsed_path": None,
        "parsed_sha256": None,
        "mode": None,
        "reused_from": None,
        "redoes": None,
        "batch_id": None,
        "queue_position": None,
        "expected_start_at": None,
    }
    assert parse_utc(moments["due_at"]) - parse_utc(moments["created_at"]) == FIRST_LOOK
    assert answer.headers["Correlation-Id"] == correlation
    Job.update(cost=4500, estimate=12_000).execute()
    end(job_of(answer), JobState.RECEIVED, JobState.FAILED, reason="PDF_IS_BROKEN", message="It is broken.")
    job = http.get(answer.headers["Location"]).json()
    assert (job["credits"], job["usd"], job["estimate_credits"], job["due_at"]) == (4.5, 0.005625, 12, None)
    assert (job["state"], job["status_003"], job["reason"]) == ("failed", "failed_parse", "PDF_IS_BROKEN")
    assert job["finished_at"] == job["updated_at"]
    assert [(step["before"], step["after"]) for step in job["history"]] == [(None, "received"), ("received", "failed")]


class BrokenStore(Store):
    """A store that breaks at a named step."""

    broken = ""

    def move(self, source: str, target: str) -> None:
        """Broken, or as it should be."""
        if self.broken == "move":
            raise StoreUnavailable("the disk at /secret is full")
        super().move(source, target)

    def new_writer(self, path: str, *, max_bytes: int | None = None, allow_empty: bool = False) -> Writer:
        """One whose `commit` is broken, or as it should be."""
        writer = super().new_writer(path, max_bytes=max_bytes, allow_empty=allow_empty)
        return BrokenWriter(writer) if self.broken == "commit" else writer


class BrokenWriter(Writer):
    """A writer whose disk is full."""

    def __init__(self, writer: Writer) -> None:
        self.__dict__.update(writer.__dict__)

    def commit(self) -> Content:
        """Broken."""
        raise StoreUnavailable("the disk at /secret is full")


@pytest.mark.parametrize("step", ["commit", "move"])
def test_no_job_without_its_bytes(tmp_path: Path, step: str) -> None:
    """The store breaks: 503, no row, no file, no inside told; once it is mended the same order goes through."""
    store = BrokenStore(str(tmp_path / "store"))
    with state_of("sqlite", tmp_path), running_gateway(tmp_path / "store", store=store) as gateway:
        store.broken = step
        http = gateway.client()
        answer = upload(http, document_id=DOCUMENT)
        assert (answer.status_code, reason(answer)) == (503, "store_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert "secret" not in answer.text
        assert (gateway.files(), Document.select().count()) == (set(), 0)
        store.broken = ""
        assert job_of(upload(http, document_id=DOCUMENT)).document.raw_sha256 == sha256(PDF).hexdigest()


@contextmanager
def gateway_process(folder: Path) -> Iterator[tuple[int, str, str]]:
    """A gateway alone in a process: its id, its URL, a token."""
    command = [sys.executable, "-m", "tests.gateway_process", str(folder)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
    with process:
        assert process.stdout is not None
        url, token = process.stdout.readline().split()
        yield process.pid, url, token
    assert process.returncode == 0


def peak_mb(process_id: int) -> float:
    """The most memory that a process ever had resident."""
    status = Path(f"/proc/{process_id}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1000


def test_50_mb_upload_takes_constant_memory(tmp_path: Path) -> None:
    """The gateway's peak grows by less than a quarter of what is uploaded."""
    piece = os.urandom(MB)
    head, tail = form(("file", '; filename="big.bin"', b"")).split(b"\r\n\r\n\r\n")

    def body() -> Iterator[bytes]:
        yield head + b"\r\n\r\n"
        for _ in range(50):
            yield piece
        yield b"\r\n" + tail

    with gateway_process(tmp_path) as (process_id, url, token):
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "multipart/form-data; boundary=cut"}
        with httpx.Client(base_url=url, headers=headers, timeout=60) as http:
            assert http.post("/v1/documents", content=form(FILE)).status_code == 202
            before = peak_mb(process_id)
            answer = http.post("/v1/documents", content=body())
            grown = peak_mb(process_id) - before
        assert answer.status_code == 202, answer.text
    assert grown < 12, f"{grown} MB for 50 MB"
