"""Reading results: three formats of one thing, and a clear word where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from domain.documents import ParsedPage
from domain.job_state import JobState
from models.tables import Job
from models.tokens import Scope
from tests.gateway_harness import Gateway, complete, end, running_gateway, walk
from tests.state import state_of

PAGES = (
    ParsedPage(1, "# Übersicht\n\n**eins**", "Übersicht\n\neins"),
    ParsedPage(2, success=False, error="nothing to read"),
    ParsedPage(3, "", "日本語"),
)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with state_of("sqlite", tmp_path), running_gateway(tmp_path / "store") as gateway:
        yield gateway


@pytest.fixture
def job(gateway: Gateway) -> Job:
    """A job that was just ordered; `gateway.http` has a token of its tenant."""
    answer = gateway.client().post("/v1/documents", files={"file": ("a.pdf", b"%PDF")})
    return Job.get_by_id(UUID(answer.json()["job_id"]))


def result(gateway: Gateway, job: Job, wanted: str | None = None, **headers: str) -> httpx.Response:
    params = {} if wanted is None else {"format": wanted}
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.http.get(f"/v1/documents/{job.job_id}/result", params=params, headers=sent)


def test_markdown_is_the_stored_file(gateway: Gateway, job: Job) -> None:
    """Byte for byte, also without `format`; the hash on the job is its ETag."""
    parsed = complete(gateway, str(job.job_id), PAGES)
    view = gateway.http.get(f"/v1/documents/{job.job_id}").json()
    for answer in (result(gateway, job), result(gateway, job, "markdown")):
        assert (answer.status_code, answer.content) == (200, parsed.markdown.encode())
        assert answer.headers["Content-Type"] == "text/markdown; charset=utf-8"
        assert answer.headers["ETag"] == f'"{view["parsed_sha256"]}"'
        assert answer.headers["Parsegate-Provenance"] == view["provenance"] == "mock"
    assert gateway.store.read(view["parsed_path"]) == parsed.markdown.encode()


def test_text_is_every_readable_page(gateway: Gateway, job: Job) -> None:
    """Plain text, UTF-8, a blank line between pages."""
    complete(gateway, str(job.job_id), PAGES)
    answer = result(gateway, job, "text")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.content.decode() == "Übersicht\n\neins\n\n日本語"
    assert answer.headers["Parsegate-Provenance"] == "mock"


def test_json_goes_page_by_page(gateway: Gateway, job: Job) -> None:
    """Every page, the failed one with its reason."""
    complete(gateway, str(job.job_id), PAGES)
    answer = result(gateway, job, "json")
    assert answer.headers["Content-Type"] == "application/json"
    said = answer.json()
    assert (said["job_id"], said["document_id"]) == (str(job.job_id), str(job.document_id))
    assert (said["provenance"], said["truncated"]) == ("mock", False)
    assert said["pages"][1] == {
        "page_number": 2, "markdown": "", "text": "", "success": False, "error": "nothing to read"
    }  # fmt: skip
    assert [page["text"] for page in said["pages"]] == ["Übersicht\n\neins", "", "日本語"]


def test_etag_saves_a_second_transfer(gateway: Gateway, job: Job) -> None:
    """304 for the same format; each format has an ETag of its own."""
    complete(gateway, str(job.job_id), PAGES)
    tags = {wanted: result(gateway, job, wanted).headers["ETag"] for wanted in ("markdown", "text", "json")}
    assert len(set(tags.values())) == 3
    for wanted, tag in tags.items():
        again = result(gateway, job, wanted, If_None_Match=tag)
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    assert result(gateway, job, "text", If_None_Match=tags["json"]).status_code == 200


def test_unfinished_job_is_409_and_says_its_state(gateway: Gateway, job: Job) -> None:
    """A caller that polls can go by it."""
    walk(job, JobState.RESERVED)
    problem = result(gateway, job).json()
    assert (problem["status"], problem["type"], problem["state"]) == (409, "/problems/not_finished", "reserved")


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.REJECTED, JobState.CANCELLED])
def test_job_without_a_result_is_422_and_says_why(gateway: Gateway, job: Job, state: JobState) -> None:
    """The reason for machines, the sentence for people."""
    end(job, JobState.RECEIVED, state, reason="PDF_IS_BROKEN", message="The PDF is broken.")
    problem = result(gateway, job).json()
    assert (problem["status"], problem["type"]) == (422, "/problems/no_result")
    assert (problem["state"], problem["reason"]) == (state, "PDF_IS_BROKEN")
    assert "The PDF is broken." in problem["detail"]


@pytest.mark.parametrize("wanted", ["pdf", "", "Markdown", "../json"])
def test_unknown_format_is_422(gateway: Gateway, job: Job, wanted: str) -> None:
    """Said which there are."""
    complete(gateway, str(job.job_id), PAGES)
    answer = result(gateway, job, wanted)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/unknown_format")
    assert "markdown, text, json" in answer.json()["detail"]


@pytest.mark.parametrize("wanted", ["markdown", "text", "json"])
def test_result_that_is_kept_no_more_is_404(gateway: Gateway, job: Job, wanted: str) -> None:
    """Without the path where it was, and without the ETag it had."""
    complete(gateway, str(job.job_id), PAGES)
    for name in gateway.files():
        (gateway.folder / name).unlink()
    answer = result(gateway, job, wanted)
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/result_gone")
    assert "files/user" not in answer.text
    assert "ETag" not in answer.headers


def test_result_of_another_tenant_is_404(gateway: Gateway, job: Job) -> None:
    """An admin sees it."""
    complete(gateway, str(job.job_id), PAGES)
    gateway.client(Scope.SUBMIT, "other")
    assert result(gateway, job).json()["type"] == "/problems/not_found"
    gateway.client(Scope.ADMIN, "other")
    assert result(gateway, job).status_code == 200


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-4", slice(0, 5)),
        ("bytes=5-", slice(5, None)),
        ("bytes=-6", slice(-6, None)),
        ("bytes=3-3", slice(3, 4)),
        ("bytes=2-999999", slice(2, None)),
        ("bytes=-999999", slice(0, None)),
    ],
)
def test_a_range_is_a_part(gateway: Gateway, job: Job, asked: str, part: slice) -> None:
    whole = complete(gateway, str(job.job_id), PAGES).markdown.encode()
    answer = result(gateway, job, Range=asked)
    assert (answer.status_code, answer.content) == (206, whole[part])
    first, last, _ = part.indices(len(whole))
    assert answer.headers["Content-Range"] == f"bytes {first}-{last - 1}/{len(whole)}"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert result(gateway, job, Range=asked, If_Range=answer.headers["ETag"]).status_code == 206
    assert result(gateway, job, Range=asked, If_Range='"another"').content == whole


@pytest.mark.parametrize("asked", ["bytes=a-b", "bytes=-", "bytes=5-2", "bytes=0-1,3-4", "pages=1-2", "bytes 0-1", ""])
def test_what_is_no_range_is_the_whole(gateway: Gateway, job: Job, asked: str) -> None:
    whole = complete(gateway, str(job.job_id), PAGES).markdown.encode()
    answer = result(gateway, job, Range=asked)
    assert (answer.status_code, answer.content) == (200, whole)


@pytest.mark.parametrize("asked", ["bytes=999999-", "bytes=-0"])
def test_a_range_of_nothing_is_416(gateway: Gateway, job: Job, asked: str) -> None:
    whole = complete(gateway, str(job.job_id), PAGES).markdown.encode()
    answer = result(gateway, job, Range=asked)
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{len(whole)}")
    assert answer.json()["type"] == "/problems/range_not_satisfiable"
