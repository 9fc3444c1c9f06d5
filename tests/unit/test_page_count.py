"""The page counter: exact where pages can be counted, elsewhere a ceiling that no reader of the document exceeds."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import docx
import openpyxl
import pptx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from domain.documents import PageCount
from domain.errors import DocumentRefused
from llamaparse.page_count import UNKNOWN_MAX_PAGES, count_pages
from llamaparse.simulator.documents import Reader
from llamaparse.simulator.orders import ParseOrder
from llamaparse.simulator.pages import Unreadable
from tests.documents import TestDocument, make_documents, new_pdf
from tests.local_parsing import parse, saved

KINDS: Final = {
    **dict.fromkeys(("pdf", "table_pdf", "column_pdf", "scan"), ("pdf", False)),
    **dict.fromkeys(("broken", "protected"), ("pdf", True)),
    **dict.fromkeys(("docx", "xlsx"), ("office", True)),
    **dict.fromkeys(("text", "markdown"), ("text", True)),
    "csv": ("csv", True),
    "html": ("html", True),
}
SUFFIXES: Final = (
    ".pdf",
    ".docx",
    ".xlsx",
    ".pptx",
    ".html",
    ".csv",
    ".tsv",
    ".txt",
    ".md",
    ".png",
    ".tif",
    ".doc",
    "",
)
READER: Final = Reader(max_pages=100_000, max_page_text_bytes=64 * 1024)


def counted(content: bytes, name: str) -> PageCount:
    return count_pages(io.BytesIO(content), name)


def simulated(path: Path, name: str) -> int:
    """The pages that the provider's simulator finds; 0 if it can't read the document."""
    with suppress(Unreadable):
        return READER.read(path, name, ParseOrder.model_validate({"tier": "fast", "version": "latest"})).total_pages
    return 0


def read_here(content: bytes, name: str) -> int:
    """The pages that the local parser finds; 0 if it can't read the document."""
    with suppress(DocumentRefused):
        return len(parse(content, name).pages)
    return 0


def pdf_of(pages: int) -> bytes:
    pdf = new_pdf()
    for _ in range(pages):
        pdf.add_page()
    return bytes(pdf.output())


def picture(format_name: str, frames: int = 1, *, big_tiff: bool = False) -> bytes:
    output = io.BytesIO()
    more = {"big_tiff": True} if big_tiff else {}
    first, *others = (Image.new("L", (8, 8), number % 256) for number in range(frames))
    first.save(output, format_name, **({"save_all": True, "append_images": others} if frames > 1 else {}), **more)
    return output.getvalue()


def tiff(order: str, next_offsets: Sequence[int]) -> bytes:
    """Empty frames of a TIFF, six bytes each from byte 8; each says where the next one is."""
    content = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "L", 8)
    return content + b"".join(struct.pack(order + "HL", 0, offset) for offset in next_offsets)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[TestDocument]:
    return make_documents(4 * len(KINDS), tmp_path_factory.mktemp("documents"), seed=11)


@pytest.mark.parametrize("pages", [1, 2, 40])
@pytest.mark.parametrize("name", ["a.pdf", "a.txt", "noname"])
def test_pdfs_are_counted(pages: int, name: str) -> None:
    assert counted(pdf_of(pages), name) == PageCount(pages, guessed=False, kind="pdf")


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("name", ["a.png", "a.pdf", "noname"])
def test_a_picture_is_one_page(format_name: str, name: str) -> None:
    assert counted(picture(format_name), name) == PageCount(1, guessed=False, kind="image")


@pytest.mark.parametrize("frames", [2, 5, 70])
@pytest.mark.parametrize("big_tiff", [False, True])
def test_the_frames_of_a_tiff_are_counted(frames: int, big_tiff: bool) -> None:
    content = picture("TIFF", frames, big_tiff=big_tiff)
    assert counted(content, "a.tif") == PageCount(frames, guessed=False, kind="image")


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_of_either_byte_order(order: str) -> None:
    assert counted(tiff(order, [14, 20, 0]), "a.tiff") == PageCount(3, guessed=False, kind="image")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("next_offsets", [[8], [14, 8], [14, 14], [14, 20, 14], [14, 999], [0xFFFFFFFF], [14]])
def test_a_tiff_that_runs_in_a_circle_or_out_of_the_file(order: str, next_offsets: list[int]) -> None:
    assert counted(tiff(order, next_offsets), "a.tiff") == PageCount(2, guessed=True, kind="image")


def test_a_tiff_cut_anywhere_is_counted_or_guessed() -> None:
    whole = picture("TIFF", 3)
    counts = [counted(whole[:length], "a.tif") for length in range(8, len(whole))]
    assert {count.kind for count in counts} == {"image"}
    assert all(count.pages == 3 if not count.guessed else count.pages == 2 for count in counts)


def test_each_document_is_counted_or_has_a_ceiling_that_is_high_enough(documents: list[TestDocument]) -> None:
    for document in documents:
        content = document.path.read_bytes()
        count = counted(content, document.filename)
        assert (count.kind, count.guessed) == KINDS[document.kind], document.filename
        real = max(document.pages, simulated(document.path, document.filename), read_here(content, document.filename))
        if count.guessed:
            assert count.pages >= real, document.filename
        else:
            assert count.pages == real == document.pages, document.filename


LINE: Final = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)


@given(
    lines=st.lists(LINE, max_size=30),
    times=st.integers(1, 80),
    joint=st.sampled_from(["\n", "\f", ",", "</p><p>", "<tr><td>", "\r\n\r\n"]),
    suffix=st.sampled_from([".txt", ".md", ".csv", ".tsv", ".html"]),
    encoding=st.sampled_from(["utf-8", "utf-16", "latin-1"]),
)
@settings(max_examples=150, deadline=None)
def test_the_ceiling_of_a_text_is_high_enough(
    lines: list[str], times: int, joint: str, suffix: str, encoding: str
) -> None:
    content = (joint.join(lines * times)).encode(encoding, errors="ignore")
    count = counted(content, f"a{suffix}")
    with TemporaryDirectory() as folder:
        path = Path(folder, f"a{suffix}")
        path.write_bytes(content)
        assert count.pages >= simulated(path, path.name)
    assert count.pages >= read_here(content, f"a{suffix}")
    assert count.guessed


@pytest.mark.parametrize(("length", "other"), [(3000, 1), (1501, 1501), (2999, 2), (3001, 1)])
@pytest.mark.parametrize("suffix", [".txt", ".csv"])
def test_the_ceiling_holds_for_lines_that_fill_pages_badly(
    length: int, other: int, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text("".join("x" * length + "\n" + "y" * other + "\n" for _ in range(40)))
    assert counted(path.read_bytes(), path.name).pages >= simulated(path, path.name) >= 40


def test_each_form_feed_of_a_text_may_end_a_page() -> None:
    assert counted(b"a short page\f" * 500, "a.txt").pages == 500 + 5 + 1
    assert read_here(b"a short page\f" * 500, "a.txt") == 500
    assert counted(b"a,b\f" * 500, "a.csv").pages == 3


def test_a_word_document_has_a_page_for_each_picture() -> None:
    document = docx.Document()
    before = counted(saved(document), "a.docx").pages
    for number in range(3):
        output = io.BytesIO()
        Image.new("L", (8 + number, 8)).save(output, "PNG")
        document.add_picture(output)
    assert counted(saved(document), "a.docx").pages >= before + 3


def test_a_workbook_has_more_pages_than_sheets_and_a_presentation_one_more_than_slides() -> None:
    workbook, presentation = openpyxl.Workbook(), pptx.Presentation()
    for number in range(6):
        workbook.create_sheet()["A1"] = f"cell {number}"
        presentation.slides.add_slide(presentation.slide_layouts[6])
    presentation.slides[0].element.set("show", "0")
    assert counted(saved(workbook), "a.xlsx").pages > 7
    assert counted(saved(presentation), "a.pptx") == PageCount(7, guessed=True, kind="office")


def test_slides_are_counted_whatever_their_files_are_called() -> None:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        archive.writestr("ppt/presentation.xml", "<p/>")
        for name in ("slide1", "Slide_2", "page3"):
            archive.writestr(f"ppt/slides/{name}.xml", "<p/>")
            archive.writestr(f"ppt/slides/_rels/{name}.xml.rels", "<p/>")
    assert counted(output.getvalue(), "a.pptx").pages == 4


@pytest.mark.parametrize(
    ("content", "name", "count"),
    [
        (b"", "a.pdf", PageCount(1, guessed=True, kind="unknown")),
        (b"x", "a.txt", PageCount(2, guessed=True, kind="text")),
        (b"x" * 1500, "a.csv", PageCount(2, guessed=True, kind="csv")),
        (b"x" * 1501, "a.html", PageCount(3, guessed=True, kind="html")),
        (b"%PDF-1.7 cut", "a.txt", PageCount(2, guessed=True, kind="pdf")),
        (b"\0" * 2001, "a", PageCount(3, guessed=True, kind="unknown")),
        (b"\0" * 3_000_000, "a", PageCount(UNKNOWN_MAX_PAGES, guessed=True, kind="unknown")),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" * 1000, "a.doc", PageCount(5, guessed=True, kind="office")),
        (b"PK\x03\x04 cut off", "a.docx", PageCount(2, guessed=True, kind="office")),
        (b"PK\x03\x04 cut off", "a.zip", PageCount(2, guessed=True, kind="unknown")),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_ceiling_of_what_cannot_be_counted(content: bytes, name: str, count: PageCount) -> None:
    assert counted(content, name) == count


@cache
def valid_documents() -> tuple[tuple[str, bytes], ...]:
    with TemporaryDirectory() as folder:
        made = [(document.filename, document.path.read_bytes()) for document in make_documents(12, Path(folder), 5)]
    return (*made, ("a.tif", picture("TIFF", 4)), ("a.tif", picture("TIFF", 4, big_tiff=True)))


def is_sane(count: PageCount) -> None:
    assert 1 <= count.pages <= 20_000
    assert count.kind in {"pdf", "image", "html", "csv", "text", "office", "unknown"}
    assert count.guessed or count.kind in {"pdf", "image"}


@given(content=st.binary(max_size=400), suffix=st.sampled_from(SUFFIXES))
@settings(max_examples=300, deadline=None)
def test_any_bytes_have_a_count(content: bytes, suffix: str) -> None:
    is_sane(counted(content, f"a{suffix}"))


@given(number=st.integers(0, 13), data=st.data(), junk=st.binary(max_size=12), suffix=st.sampled_from(("", *SUFFIXES)))
@settings(max_examples=300, deadline=None)
def test_a_document_cut_or_overwritten_anywhere_has_a_count(
    number: int, data: st.DataObject, junk: bytes, suffix: str
) -> None:
    name, content = valid_documents()[number]
    start = data.draw(st.integers(0, len(content)))
    is_sane(counted(content[:start] + junk + (content[start + len(junk) :] if junk else b""), name + suffix))
