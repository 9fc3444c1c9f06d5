"""What the provider refuses, and documents that it can't read, seen through the official SDK's typed errors."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import docx
import httpx
import llama_cloud
import pptx
import pytest
from llama_cloud import LlamaCloud
from openpyxl import Workbook
from PIL import Image

from tests.integration.simulator_kit import (
    API_KEY,
    EFFECTIVE,
    FAST,
    Clock,
    Provider,
    credits_of,
    finished,
    make_pdf,
    parse,
    upload,
)

pytest_plugins = ["tests.integration.simulator_fixtures"]


@pytest.mark.parametrize("key", ["llx-wrong", "sk-other", "llx-"])
def test_401_for_a_wrong_key(provider: Provider, key: str) -> None:
    with provider.sdk(key) as sdk, pytest.raises(llama_cloud.AuthenticationError) as refused:
        list(sdk.parsing.list())
    assert refused.value.response.json() == {"detail": "Invalid API Key"}


def test_402_without_credits(provider: Provider, pdf: Path) -> None:
    with provider.sdk("llx-broke-1") as sdk:
        file = upload(sdk, pdf)
        creates: list[Callable[[], str]] = [
            lambda: parse(sdk, file),
            lambda: sdk.parsing.create(upload_file=pdf, **EFFECTIVE).id,
        ]
        for create in creates:
            with pytest.raises(llama_cloud.APIStatusError) as refused:
                create()
            assert refused.value.status_code == 402
            assert "credits" in refused.value.response.json()["detail"]
    assert provider.stats()["jobs_created"] == 0


def test_404_for_what_is_not_there(sdk: LlamaCloud) -> None:
    for call in (
        lambda: sdk.parsing.get("pjb-none"),
        lambda: parse(sdk, "dfl-none"),
        lambda: sdk.files.delete("dfl-none"),
    ):
        with pytest.raises(llama_cloud.NotFoundError) as refused:
            call()
        assert "not found" in refused.value.response.json()["detail"]


def test_413_for_a_file_that_is_too_large(start: Callable[..., Provider], tmp_path: Path) -> None:
    large = tmp_path / "large.txt"
    with start(max_file_mb=1).sdk() as sdk:
        large.write_bytes(b"x" * 1024 * 1024)
        assert upload(sdk, large)
        for size in (1024 * 1024 + 1, 4 * 1024 * 1024):
            large.write_bytes(b"x" * size)
            with pytest.raises(llama_cloud.APIStatusError) as refused:
                upload(sdk, large)
            assert refused.value.status_code == 413


@pytest.mark.parametrize(
    ("order", "location"),
    [
        ({"version": None}, ["body", "version"]),
        ({"version": "2020-01-01"}, ["body", "version"]),
        ({"tier": "golden"}, ["body", "tier"]),
        ({"processing_options": {"confidence_score_effort": "low"}}, ["body", "processing_options"]),
        ({"page_ranges": {"max_pages": 0}}, ["body", "page_ranges", "max_pages"]),
        ({"processing_control": {"timeouts": {"base_in_seconds": 7201}}}, ["body", "processing_control", "timeouts"]),
        ({"webhook_configurations": [{"webhook_url": "ftp://x"}]}, ["body", "webhook_configurations", 0]),
        ({"webhook_configurations": [{"webhook_events": ["parse.done"]}]}, ["body", "webhook_configurations", 0]),
        ({"extra_body": {"page_range": "1"}}, ["body", "page_range"]),
        ({"source_url": "https://example.com/a.pdf"}, ["body"]),
    ],
)
def test_422_says_where(
    sdk: LlamaCloud, provider: Provider, pdf: Path, order: dict[str, Any], location: list[object]
) -> None:
    with pytest.raises(llama_cloud.UnprocessableEntityError) as refused:
        parse(sdk, upload(sdk, pdf), **order)
    finding = refused.value.response.json()["detail"][0]
    assert finding["loc"][: len(location)] == location
    assert set(finding) == {"loc", "msg", "type"}
    assert provider.stats()["jobs_created"] == 0


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"tier": NaN}', b'{"tier": "\\ud800"}', b"[" * 100_000, b'{"a": 1}'],
)
def test_malformed_bodies_are_422_and_never_a_traceback(provider: Provider, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {API_KEY}"}
    form = {"file": ("a.txt", b"text"), "configuration": (None, body)}
    answers = [
        httpx.post(f"{provider.base_url}/api/v2/parse", content=body, headers=headers),
        httpx.post(f"{provider.base_url}/api/v2/parse/upload", files=form, headers=headers),
        httpx.post(f"{provider.base_url}/api/v2/parse/upload", content=body, headers=headers),
        httpx.post(
            f"{provider.base_url}/api/v1/beta/files",
            content=b"--b\r\n" + body,
            headers={**headers, "Content-Type": "multipart/form-data; boundary=b"},
        ),
        httpx.post(
            f"{provider.base_url}/api/v1/beta/files",
            content=body,
            headers={**headers, "Content-Type": "multipart/form-data"},
        ),
    ]
    assert [answer.status_code for answer in answers] == [422] * 5
    assert all(answer.json()["detail"][0]["msg"] for answer in answers)


@pytest.mark.parametrize("value", [b"NaN", b"-Infinity", b'"\\ud800"'])
def test_what_is_no_json_anywhere_in_the_body(provider: Provider, value: bytes) -> None:
    """Also where anything may stand: without the check this order would get as far as its missing file (404)."""
    body = b'{"tier": "fast", "version": "latest", "file_id": "dfl-none", "output_options": {"x": %s}}' % value
    headers = {"Authorization": f"Bearer {API_KEY}"}
    answer = httpx.post(f"{provider.base_url}/api/v2/parse", content=body, headers=headers)
    assert (answer.status_code, answer.json()["detail"][0]["type"]) == (422, "json_invalid")


def test_a_form_that_breaks_off_leaves_no_file(provider: Provider) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nhalf of it'
    headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "multipart/form-data; boundary=b"}
    answer = httpx.post(f"{provider.base_url}/api/v1/beta/files", content=head, headers=headers)
    assert answer.status_code == 422
    assert provider.stats()["files"] == 0


def test_429_is_exact_and_says_nothing_of_when_to_come_back(start: Callable[..., Provider], pdf: Path) -> None:
    clock = Clock()
    provider = start(clock=clock, upload_limit="3/5", parse_limit="5/10")
    with provider.sdk() as sdk:
        file = upload(sdk, pdf)
        for _ in range(2):
            upload(sdk, pdf)
        with pytest.raises(llama_cloud.RateLimitError):
            upload(sdk, pdf)
        for _ in range(5):
            parse(sdk, file)
            clock.now += 1
        with pytest.raises(llama_cloud.RateLimitError) as refused:
            parse(sdk, file)
        assert "retry-after" not in refused.value.response.headers
        assert refused.value.response.json() == {"detail": "Too many requests"}
        clock.now += 4.9
        with pytest.raises(llama_cloud.RateLimitError):
            sdk.parsing.create(upload_file=pdf, **EFFECTIVE)
        clock.now += 0.1  # the first of the five is now exactly ten seconds old, the refused ones count for nothing
        parse(sdk, file)
        with pytest.raises(llama_cloud.RateLimitError):
            parse(sdk, file)
    stats = provider.stats()
    assert (stats["answers_429"], stats["jobs_created"], stats["uploads"]) == (4, 6, 3)
    assert (stats["max_creates_in_window"], stats["max_create_requests_in_window"]) == (5, 8)


def test_the_sdks_own_retries_meet_the_limit(start: Callable[..., Provider], pdf: Path) -> None:
    provider = start(parse_limit="1/1")
    with provider.sdk(max_retries=5) as sdk:
        file = upload(sdk, pdf)
        first, second = parse(sdk, file), parse(sdk, file)
    assert first != second
    assert provider.stats()["answers_429"] >= 1


def test_every_answer_carries_the_servers_date(provider: Provider) -> None:
    for path in ("/api/v2/parse", "/api/v2/parse/versions", "/none", "/_sim/stats"):
        said = parsedate_to_datetime(httpx.get(provider.base_url + path).headers["date"])
        assert abs(said - datetime.now(UTC)) < timedelta(seconds=5)


def test_unknown_routes_and_methods(provider: Provider) -> None:
    headers = {"Authorization": f"Bearer {API_KEY}"}
    lost = httpx.get(f"{provider.base_url}/api/v2/nothing", headers=headers)
    assert (lost.status_code, lost.json()) == (404, {"detail": "Not Found"})
    wrong = httpx.put(f"{provider.base_url}/api/v2/parse", headers=headers)
    assert (wrong.status_code, wrong.json()) == (405, {"detail": "Method Not Allowed"})


# Documents that can't be read


def broken(path: Path) -> Path:
    path.write_bytes(b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\n")
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def picture(path: Path) -> Path:
    Image.new("RGB", (40, 40), "white").save(path)
    return path


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: broken(folder / "broken.pdf"), "PDF_IS_BROKEN"),
        (lambda folder: make_pdf(folder / "locked.pdf", ["secret"], password="pw"), "PDF_IS_PROTECTED"),
        (lambda folder: written(folder / "empty.pdf", b""), "NO_DATA_FOUND_IN_FILE"),
        (lambda folder: written(folder / "blank.txt", b" \n \n"), "NO_DATA_FOUND_IN_FILE"),
        (lambda folder: written(folder / "thing.bin", bytes(range(256))), "UNSUPPORTED_FILE_TYPE"),
        (lambda folder: make_pdf(folder / "scan.pdf", [None, None]), "NO_DATA_FOUND_IN_FILE"),
        (lambda folder: picture(folder / "photo.png"), "NO_DATA_FOUND_IN_FILE"),
        (lambda folder: picture(folder / "photo.jpg"), "NO_DATA_FOUND_IN_FILE"),
        (lambda folder: make_pdf(folder / "half.pdf", ["read me", None]), "TOO_MANY_FAILED_PAGES: 1 of 2"),
        (lambda folder: make_pdf(folder / "long.pdf", ["page"] * 6), "TOO_MANY_PAGES"),
        (lambda folder: written(folder / "long.txt", b"word " * 20_000), "DOCUMENT_TOO_LARGE"),
    ],
)
def test_a_document_that_cant_be_read_fails_with_the_providers_reason(
    start: Callable[..., Provider], tmp_path: Path, make: Callable[[Path], Path], reason: str
) -> None:
    provider = start(max_document_pages=5)
    with provider.sdk() as sdk:
        done = finished(sdk, parse(sdk, upload(sdk, make(tmp_path))), ["text", "usage"])
        assert (done.job.status, done.job.error_message, done.text) == ("FAILED", reason, None)
        assert done.job.usage is not None
        assert done.job.usage.credits == 0
    assert provider.stats()["credits_billed"] == 0


def test_failed_pages_may_be_allowed(sdk: LlamaCloud, tmp_path: Path) -> None:
    file = upload(sdk, make_pdf(tmp_path / "half.pdf", ["read me", None]))
    allowed = {"job_failure_conditions": {"allowed_page_failure_ratio": 0.5}}
    done = finished(sdk, parse(sdk, file, processing_control=allowed), ["markdown", "text"])
    assert done.job.status == "COMPLETED"
    assert done.markdown is not None
    assert [page.model_dump() for page in done.markdown.pages][1] == {
        "page_number": 2,
        "success": False,
        "error": "no text layer; the simulator does not OCR",
    }


def test_a_blank_page_is_no_failure(sdk: LlamaCloud, tmp_path: Path) -> None:
    done = finished(sdk, parse(sdk, upload(sdk, make_pdf(tmp_path / "gap.pdf", ["before", "", "after"]))), ["text"])
    assert done.job.status == "COMPLETED"
    assert done.text is not None
    assert [page.text for page in done.text.pages] == ["before", "", "after"]


# Other formats


def word(path: Path) -> Path:
    document = docx.Document()
    document.add_heading("Report", level=1)
    document.add_paragraph("A paragraph.")
    table = document.add_table(rows=2, cols=2)
    for number, cell in enumerate(cell for row in table.rows for cell in row.cells):
        cell.text = f"cell {number}"
    document.save(str(path))
    return path


def excel(path: Path) -> Path:
    book = Workbook()
    for title, state in (("Sales", "visible"), ("Secret", "hidden"), ("Costs", "visible")):
        sheet = book.create_sheet(title)
        sheet.append([title, "amount"])
        sheet.append(["a|b", 7])
        sheet.sheet_state = state
    del book["Sheet"]
    book.save(path)
    return path


def powerpoint(path: Path) -> Path:
    show = pptx.Presentation()
    for title in ("First slide", "Second slide"):
        slide = show.slides.add_slide(show.slide_layouts[5])
        slide.shapes.title.text = title
    show.save(str(path))
    return path


@pytest.mark.parametrize(
    ("make", "pages"),
    [
        (word, ["# Report\n\nA paragraph.\n\n| cell 0 | cell 1 |\n| --- | --- |\n| cell 2 | cell 3 |"]),
        (
            excel,
            [f"# {title}\n\n| {title} | amount |\n| --- | --- |\n| a\\|b | 7 |" for title in ("Sales", "Costs")],
        ),
        (powerpoint, ["First slide", "Second slide"]),
        (lambda path: written(path, b"name;sum\nx;1\n"), ["| name | sum |\n| --- | --- |\n| x | 1 |"]),
        (
            lambda path: written(
                path, b"<html><style>p {}</style><h2>Head</h2><p>one<br>two</p><ul><li>item</li></ul>"
            ),
            ["## Head\n\none\n\ntwo\n\n- item"],
        ),
        (lambda path: written(path, b"# A title\n\nplain *text*"), ["# A title\n\nplain *text*"]),
    ],
    ids=["docx", "xlsx", "pptx", "csv", "html", "md"],
)
def test_other_formats_are_really_read(
    sdk: LlamaCloud,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    make: Callable[[Path], Path],
    pages: list[str],
) -> None:
    kind = request.node.callspec.id
    job = parse(sdk, upload(sdk, make(tmp_path / f"file.{kind}")))
    done = finished(sdk, job, ["markdown"])
    assert done.markdown is not None
    assert [page.model_dump()["markdown"] for page in done.markdown.pages] == pages
    assert credits_of(sdk, job) == 3 * len(pages)


def test_a_long_text_counts_as_several_pages(sdk: LlamaCloud, tmp_path: Path) -> None:
    lines = [f"line {number:04}" for number in range(1000)]
    file = upload(sdk, written(tmp_path / "long.txt", "\n".join(lines).encode()))
    done = finished(sdk, parse(sdk, file, **FAST), ["text"])
    assert done.text is not None
    assert len(done.text.pages) == 4
    assert "\n".join(page.text for page in done.text.pages).splitlines() == lines


def test_an_archive_that_is_no_office_file(sdk: LlamaCloud, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "hello")
    done = finished(sdk, parse(sdk, upload(sdk, written(tmp_path / "a.docx", buffer.getvalue()))))
    assert done.job.error_message == "UNSUPPORTED_FILE_TYPE"
