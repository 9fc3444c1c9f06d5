"""The sample documents are what `parsegate.sample_documents` says they are, and cover what people send."""

from __future__ import annotations

import runpy
import sys
import unicodedata
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pypdfium2
import pytest

from domain.documents import ParsedDocument
from domain.errors import DocumentRefused
from llamaparse.file_kind import file_kind
from llamaparse.local_parser import parse_locally
from llamaparse.page_count import count_pages
from llamaparse.pdfium import PDFIUM_LOCK
from parsegate.sample_documents import SAMPLES, Sample, sample_path

ROOT: Final = Path(__file__).resolve().parents[2]
COMPLETED: Final = [sample for sample in SAMPLES if sample.expected_state == "completed"]
FAILED: Final = [sample for sample in SAMPLES if sample.expected_state == "failed"]
MADE: Final[dict[str, str]] = {
    "policy-letter.pdf": "policy_letter",
    "service-contract.pdf": "service_contract",
    "scanned-receipt.pdf": "scanned_receipt",
    "premiums.csv": "PREMIUMS",
    "claims-guide.html": "GUIDE",
    "broken-invoice.pdf": "broken_invoice",
    "protected-statement.pdf": "protected_statement",
    "minutes.docx": "minutes",
    "inventory.xlsx": "inventory",
    "handover-notes.txt": "NOTES",
}
NEEDS_A_SYSTEM_FONT: Final = {"greek-and-cyrillic.pdf"}


def by_name(sample: Sample) -> str:
    return sample.filename


def parsed(sample: Sample) -> ParsedDocument:
    with sample_path(sample).open("rb") as content:
        return parse_locally(content, sample.filename)


def pages_drawn(content: bytes) -> list[tuple[str, bool]]:
    """The text of each page of a PDF, and whether there is a picture on it."""
    with PDFIUM_LOCK:
        document = pypdfium2.PdfDocument(content)
        try:
            pages = []
            for page in document:
                textpage = page.get_textpage()
                pictures = any(item.type == pypdfium2.raw.FPDF_PAGEOBJ_IMAGE for item in page.get_objects())
                pages.append((textpage.get_text_range(), pictures))
                textpage.close()
                page.close()
            return pages
        finally:
            document.close()


def the_sample(filename: str) -> Sample:
    (found,) = (sample for sample in SAMPLES if sample.filename == filename)
    return found


def test_every_file_is_listed_and_every_listed_one_is_there() -> None:
    names = [sample.filename for sample in SAMPLES]
    assert sorted(names) == sorted(path.name for path in (ROOT / "parsegate" / "samples").iterdir())
    assert len(names) >= 8


@pytest.mark.parametrize("sample", SAMPLES, ids=by_name)
def test_says_all_that_the_demo_needs(sample: Sample) -> None:
    assert sample.title
    assert sample.tier in {"fast", "cost_effective", "agentic", "agentic_plus"}
    assert (sample.expected_reason is None) == (sample.expected_state == "completed") == bool(sample.snippet)


@pytest.mark.parametrize("sample", COMPLETED, ids=by_name)
def test_has_the_pages_it_says(sample: Sample) -> None:
    content = sample_path(sample).read_bytes()
    counted = count_pages(BytesIO(content), sample.filename)
    assert len(parsed(sample).pages) == sample.pages
    if sample.filename.endswith(".pdf"):
        assert len(pages_drawn(content)) == counted.pages == sample.pages
        assert not counted.guessed
    else:
        assert counted.pages >= sample.pages
        assert counted.guessed


@pytest.mark.parametrize("sample", COMPLETED, ids=by_name)
def test_its_snippet_is_in_its_text(sample: Sample) -> None:
    document = parsed(sample)
    assert sample.snippet in document.text
    assert sample.snippet in document.markdown
    assert not document.failed_pages


@pytest.mark.parametrize("sample", FAILED, ids=by_name)
def test_fails_with_the_reason_it_says(sample: Sample) -> None:
    with pytest.raises(DocumentRefused) as refused:
        parsed(sample)
    assert refused.value.reason == sample.expected_reason


def test_the_contract_has_forty_pages_each_with_its_clause() -> None:
    pages = parsed(the_sample("service-contract.pdf")).pages
    assert len(pages) == 40
    for number, page in enumerate(pages, start=1):
        assert page.text.startswith(f"{number}. ")
        assert page.text.endswith(f"Page {number} of 40")


def test_the_scan_has_a_picture_and_no_text() -> None:
    assert pages_drawn(sample_path(the_sample("scanned-receipt.pdf")).read_bytes()) == [("", True)]


def test_another_script_than_latin_is_among_them() -> None:
    first, second = parsed(the_sample("greek-and-cyrillic.pdf")).pages
    for page, script in ((first, "GREEK"), (second, "CYRILLIC")):
        letters = [letter for letter in page.text if letter.isalpha()]
        assert len(letters) > 80
        assert all(unicodedata.name(letter).startswith(script) for letter in letters)


def test_they_cover_what_people_send() -> None:
    kinds = [file_kind(BytesIO(sample_path(sample).read_bytes()), sample.filename) for sample in SAMPLES]
    assert {"pdf", "csv", "html", "docx", "xlsx", "text"} <= set(kinds)
    assert {1, 40} <= {sample.pages for sample in COMPLETED if sample.filename.endswith(".pdf")}
    reasons = {sample.expected_reason for sample in FAILED}
    assert reasons == {"NO_DATA_FOUND_IN_FILE", "PDF_IS_BROKEN", "PDF_IS_PROTECTED"}


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    before = list(sys.path)
    try:
        return runpy.run_path(str(ROOT / "scripts" / "make-samples"), run_name="make_samples")
    finally:
        sys.path[:] = before


@pytest.mark.parametrize("filename", MADE)
def test_the_script_makes_the_same_bytes(filename: str, script: dict[str, Any]) -> None:
    maker: str | Callable[[], bytes] = script[MADE[filename]]
    made = maker.encode() if isinstance(maker, str) else maker()
    assert made == (ROOT / "parsegate" / "samples" / filename).read_bytes()


def test_the_script_makes_each_sample() -> None:
    assert MADE.keys() | NEEDS_A_SYSTEM_FONT == {sample.filename for sample in SAMPLES}
