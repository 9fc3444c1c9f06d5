"""Each call of the client as it should go, against a provider faked at its HTTP edge: real sockets, raw bytes."""

from __future__ import annotations

import io
import json
from datetime import datetime

import pytest

from domain.errors import NotFound, OddAnswer, OrderRefused, ProviderUnavailable
from llamaparse.client import LlamaParseClient
from llamaparse.schemas import JobStatus, ParseRequest, WebhookConfiguration
from tests.client_calls import DATED, JOB, KEY, MOMENT, REQUEST, SECRET, UPLOAD, connect
from tests.raw_server import RawServer, answering, reply


def test_upload_file() -> None:
    answer = {"id": "dfl-1", "name": "ä.pdf", "project_id": "p", "external_file_id": "e", "new": 1}
    with RawServer(answering(reply(200, answer, headers=DATED))) as server, connect(server) as client:
        file = client.upload_file(io.BytesIO(b"%PDF-1.4"), 'ä"\r\nX: y.pdf', external_file_id="e")
    assert (file.id, file.name, file.server_date, file.model_extra) == ("dfl-1", "ä.pdf", MOMENT, {"new": 1})
    (sent,) = server.requests
    assert sent.line == "POST /api/v1/beta/files HTTP/1.1"
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert int(sent.headers["content-length"]) == len(sent.body)
    assert b'name="purpose"\r\n\r\nparse\r\n' in sent.body
    assert b'name="external_file_id"\r\n\r\ne\r\n' in sent.body
    disposition = 'Content-Disposition: form-data; name="file"; filename="ä%22%0D%0AX: y.pdf"'
    assert f"{disposition}\r\nContent-Type: application/pdf\r\n\r\n%PDF-1.4\r\n".encode() in sent.body


def test_create_job() -> None:
    request = ParseRequest(
        tier="agentic",
        file_id="dfl-1",
        user_metadata={"parsegate_attempt": "a1"},
        max_pages=3,
        webhook_configurations=[WebhookConfiguration(url="https://gate/x", signing_secret=SECRET)],
        options={"output_options": {"markdown": {}}},
    )
    with RawServer(answering(reply(200, JOB, headers=DATED))) as server, connect(server) as client:
        created = client.create_job(request)
    assert (created.job.id, created.job.status, created.server_date) == ("pjb-1", JobStatus.PENDING, MOMENT)
    (sent,) = server.requests
    assert sent.line == "POST /api/v2/parse HTTP/1.1"
    assert sent.headers["content-type"] == "application/json"
    assert json.loads(sent.body) == request.body()


def test_upload_and_create() -> None:
    with RawServer(answering(reply(200, JOB, headers=DATED))) as server, connect(server) as client:
        created = client.upload_and_create(io.BytesIO(b"%PDF"), "a.bin", UPLOAD, content_type="application/pdf")
    assert (created.job.id, created.server_date) == ("pjb-1", MOMENT)
    (sent,) = server.requests
    assert sent.line == "POST /api/v2/parse/upload HTTP/1.1"
    assert b'name="configuration"\r\n\r\n{"tier": "fast", "version": "latest"}\r\n' in sent.body
    assert b'filename="a.bin"\r\nContent-Type: application/pdf\r\n\r\n%PDF\r\n' in sent.body


def test_get_job() -> None:
    answer = {
        "job": JOB | {"status": "COMPLETED", "usage": {"credits": 3.0}},
        "markdown": {"pages": [{"page_number": 1, "markdown": "# Hi", "success": True}]},
        "items": {"pages": [{"page_number": 1, "page_width": 595.32}]},
    }
    with RawServer(answering(reply(200, answer, headers=DATED))) as server, connect(server) as client:
        result = client.get_job("pjb-1", expand=["markdown", "usage"])
    assert server.requests[0].line == "GET /api/v2/parse/pjb-1?expand=markdown&expand=usage HTTP/1.1"
    assert result.job.millicredits == 3000
    assert result.markdown_pages is not None
    assert result.markdown_pages[0].markdown == "# Hi"
    assert result.raw == answer
    assert result.server_date == MOMENT


def test_get_job_without_expansions_or_date() -> None:
    with RawServer(answering(reply(200, {"job": JOB}))) as server, connect(server) as client:
        assert client.get_job("pjb-1").server_date is None
    assert server.requests[0].target == "/api/v2/parse/pjb-1"


def test_list_jobs() -> None:
    answer = {"items": [JOB], "next_page_token": "t/2", "total_size": 9}
    with RawServer(answering(reply(200, answer, headers=DATED))) as server, connect(server) as client:
        page = client.list_jobs(
            created_on_or_after=MOMENT,
            created_on_or_before=MOMENT,
            status=JobStatus.PENDING,
            job_ids=["a", "b&c"],
            page_size=50,
            page_token="t/1",
        )
    assert server.requests[0].target == (
        "/api/v2/parse?created_at_on_or_after=2026-10-21T07%3A28%3A00.000000Z"
        "&created_at_on_or_before=2026-10-21T07%3A28%3A00.000000Z"
        "&status=PENDING&job_ids=a&job_ids=b%26c&page_size=50&page_token=t%2F1"
    )
    assert ([job.id for job in page.items], page.next_page_token, page.server_date) == (["pjb-1"], "t/2", MOMENT)


def test_list_jobs_wants_aware_times() -> None:
    with RawServer(answering(reply())) as server, connect(server) as client, pytest.raises(ValueError, match="offset"):
        client.list_jobs(created_on_or_after=datetime(2026, 1, 1))  # noqa: DTZ001


def test_iterate_jobs_reads_every_page() -> None:
    """An empty page in the middle is not the end."""
    pages = [
        {"items": [JOB, JOB | {"id": "pjb-2"}], "next_page_token": "2"},
        {"items": [], "next_page_token": "3"},
        {"items": [JOB | {"id": "pjb-3"}], "next_page_token": None},
    ]
    with RawServer(answering(*(reply(200, page) for page in pages))) as server, connect(server) as client:
        assert [job.id for job in client.iterate_jobs(page_size=2)] == ["pjb-1", "pjb-2", "pjb-3"]
    assert [sent.target.partition("?")[2] for sent in server.requests] == [
        "page_size=2",
        "page_size=2&page_token=2",
        "page_size=2&page_token=3",
    ]


@pytest.mark.parametrize("tokens", [["2", "2"], ["2", "3", "2"]])
def test_iterate_jobs_does_not_go_in_circles(tokens: list[str]) -> None:
    pages = [reply(200, {"items": [JOB], "next_page_token": token}) for token in tokens]
    with RawServer(answering(*pages)) as server, connect(server) as client, pytest.raises(OddAnswer, match="circles"):
        list(client.iterate_jobs())


def test_iterate_jobs_does_not_end_well_on_half_a_list() -> None:
    pages = [reply(200, {"items": [JOB], "next_page_token": "2"}), reply(500, {"detail": "oh"})]
    with RawServer(answering(*pages)) as server, connect(server) as client:
        jobs = client.iterate_jobs()
        assert next(jobs).id == "pjb-1"
        with pytest.raises(ProviderUnavailable):
            next(jobs)


def test_cancel_delete_versions_and_files() -> None:
    answers = [
        JOB | {"status": "CANCELLED"},
        {"id": "pjb-1", "project_id": "p"},
        {"fast": ["2026-06-15"], "latest": {"fast": "2026-06-15"}},
        {"id": "dfl-1", "name": "a", "project_id": "p"},
    ]
    script = answering(*(reply(200, answer, headers=DATED) for answer in answers), b"HTTP/1.1 204 No Content\r\n\r\n")
    with RawServer(script) as server, connect(server) as client:
        assert client.cancel_job("pjb-1").status is JobStatus.CANCELLED
        assert client.delete_job("pjb-1").id == "pjb-1"
        assert client.versions().fast == ("2026-06-15",)
        assert client.get_file("dfl-1").server_date == MOMENT
        client.delete_file("dfl-1")
    assert [sent.line.removesuffix(" HTTP/1.1") for sent in server.requests] == [
        "POST /api/v2/parse/pjb-1/cancel",
        "DELETE /api/v2/parse/pjb-1",
        "GET /api/v2/parse/versions",
        "GET /api/v1/beta/files/dfl-1",
        "DELETE /api/v1/beta/files/dfl-1",
    ]


def test_a_base_url_may_have_a_path() -> None:
    answers = answering(reply(200, {"job": JOB}))
    with RawServer(answers) as server, LlamaParseClient(f"{server.url}/llama/", KEY) as client:
        client.get_job("pjb-1")
        assert client.base_url == f"{server.url}/llama"
    assert server.requests[0].target == "/llama/api/v2/parse/pjb-1"


@pytest.mark.parametrize(
    ("job_id", "segment"),
    [
        ("../../v1/files", "..%2F..%2Fv1%2Ffiles"),
        ("a/b?c#d&e=f", "a%2Fb%3Fc%23d%26e%3Df"),
        ("a b\r\nX: y", "a%20b%0D%0AX%3A%20y"),
        ("%2e%2e%2f", "%252e%252e%252f"),
        ("http://evil.test/", "http%3A%2F%2Fevil.test%2F"),
        ("ü", "%C3%BC"),
    ],
)
def test_an_id_cannot_change_the_path(job_id: str, segment: str) -> None:
    with RawServer(answering(reply(200, {"job": JOB | {"id": job_id}}))) as server, connect(server) as client:
        assert client.get_job(job_id).job.id == job_id
    assert server.requests[0].target == f"/api/v2/parse/{segment}"


@pytest.mark.parametrize("job_id", ["", ".", "..", "\ud800", "x" * 1000])
def test_an_impossible_id_is_not_asked_for(job_id: str) -> None:
    with RawServer(answering(reply(200, {"job": JOB}))) as server, connect(server) as client:
        for ask in (client.get_job, client.cancel_job, client.delete_job, client.get_file, client.delete_file):
            with pytest.raises(NotFound):
                ask(job_id)
        assert server.connections == 0


@pytest.mark.parametrize(
    "bad",
    [
        {"tier": "fast"},
        {"tier": "fast", "file_id": "f", "source_url": "https://x"},
        {"tier": "fast", "file_id": "f", "options": {"a": float("nan")}},
        {"tier": "fast", "file_id": "f", "options": {"a": object()}},
    ],
)
def test_a_request_that_cannot_be_sent_is_refused(bad: dict[str, object]) -> None:
    with RawServer(answering(reply(200, JOB))) as server, connect(server) as client:
        with pytest.raises(OrderRefused):
            client.create_job(ParseRequest(**bad))  # type: ignore[arg-type]
        with pytest.raises(OrderRefused):
            client.upload_and_create(io.BytesIO(), "a", REQUEST)
        assert server.connections == 0
