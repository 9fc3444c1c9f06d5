"""The local parser reads Word, Excel and PowerPoint, and refuses whatever is broken, hostile or not its kind."""

from __future__ import annotations

import datetime
import io
import struct
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import docx
import openpyxl
import pptx
import pytest
from docx.shared import Inches
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from domain.errors import DocumentRefused
from llamaparse import archives, local_office, local_text
from tests.documents import make_documents
from tests.local_parsing import one_page, parse, refused, saved

W: Final = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
SUFFIXES: Final = (
    *(".pdf", ".docx", ".xlsx", ".pptx", ".html", ".htm", ".xhtml", ".csv", ".tsv", ".tab", ".txt", ".md"),
    *(".markdown", ".png", ".tiff", ".doc", ".xls", ".svg", ".rtf", ".zip", ""),
)
OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
ENOUGH_S: Final = 12.0
"""Seconds of the processor; ten times what these need, and a third of what the square of their length would take."""
ENTITIES: Final = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "boom">]><x>&a;</x>'


def picture(format_name: str = "PNG") -> bytes:
    output = io.BytesIO()
    Image.new("L", (60, 20), 90).save(output, format_name)
    return output.getvalue()


@cache
def word() -> bytes:
    document = docx.Document()
    document.add_paragraph("a word")
    return saved(document)


@cache
def excel() -> bytes:
    workbook = openpyxl.Workbook()
    workbook.active["A1"] = "a cell"
    return saved(workbook)


@cache
def slides() -> bytes:
    presentation = pptx.Presentation()
    presentation.slides.add_slide(presentation.slide_layouts[5]).shapes.title.text = "a slide"
    return saved(presentation)


OFFICE: Final[dict[str, tuple[Callable[[], bytes], str, str]]] = {
    "a.docx": (word, "word/document.xml", "a word"),
    "a.xlsx": (excel, "xl/workbook.xml", "Sheet\na cell"),
    "a.pptx": (slides, "ppt/presentation.xml", "a slide"),
}


def changed(archive: bytes, parts: dict[str, bytes | None], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An Office file with parts added, replaced, or (None) left out."""
    output = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(output, "w", method) as new:
        for name, part in ({name: old.read(name) for name in old.namelist()} | parts).items():
            if part is not None:
                new.writestr(name, part)
    return output.getvalue()


def part_of(archive: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return opened.read(name)


def test_word_headings_lists_tables_and_places_of_tabs() -> None:
    document = docx.Document()
    document.add_heading("Title", 0)
    document.add_heading("Part", 2)
    document.add_paragraph("a\tb\nc")
    for item in ("one", "two"):
        document.add_paragraph(item, style="List Bullet")
    table = document.add_table(2, 2)
    for place, cell in enumerate(("head", "a|b", "x")):
        table.cell(place // 2, place % 2).text = cell
    tabbed = table.cell(1, 0).add_paragraph("y")
    tabbed.paragraph_format.tab_stops.add_tab_stop(Inches(1))
    inner = table.cell(1, 1).add_table(1, 2)
    inner.cell(0, 0).text, inner.cell(0, 1).text = "in", "side"
    document.add_paragraph("# no heading")
    page = one_page(saved(document), "a.docx")
    assert page.markdown == (
        "# Title\n\n## Part\n\na\tb\nc\n\n- one\n- two\n\n"
        "| head | a\\|b |\n| --- | --- |\n| x<br>y | in<br>side |\n\n\\# no heading"
    )
    assert page.text == "Title\nPart\na\tb\nc\none\ntwo\nhead\ta|b\nx y\tin side\n# no heading"


@pytest.mark.parametrize("wrapping", ["sdt/sdtContent", "ins", "customXml"])
def test_word_inside_content_controls_and_insertions(wrapping: str) -> None:
    document = docx.Document()
    paragraph = document.add_paragraph("in a control")
    table = document.add_table(2, 1)
    table.cell(0, 0).text, table.cell(1, 0).text = "row", "row in a control"
    for element in (paragraph._p, table.rows[1]._tr):
        outer = element.getparent()
        for name in wrapping.split("/"):
            outer.insert(outer.index(element) if element in outer else 0, inner := outer.makeelement(W + name))
            inner.append(element) if name == wrapping.split("/")[-1] else None
            outer = inner
    assert one_page(saved(document), "a.docx").text == "in a control\nrow\nrow in a control"


def test_word_without_what_was_deleted() -> None:
    document = docx.Document()
    paragraph = document.add_paragraph("kept ")
    deleted = paragraph._p.makeelement(W + "del")
    paragraph._p.append(deleted)
    deleted.append(paragraph.add_run("gone")._r)
    paragraph.add_run("as well")
    assert one_page(saved(document), "a.docx").text == "kept as well"


def test_excel_cells_by_their_kind() -> None:
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    sheet.title = "Kinds"
    sheet["C3"], sheet["D3"], sheet["F3"] = "a|b", 1.5, True
    sheet["C5"], sheet["D5"], sheet["E5"] = datetime.datetime(2026, 1, 2), datetime.time(9, 30), "x\ny"  # noqa: DTZ001
    page = one_page(saved(workbook), "a.xlsx")
    assert page.text == "Kinds\na|b\t1.5\t\tTRUE\n2026-01-02\t09:30:00\tx y"
    assert page.markdown == (
        "## Kinds\n\n| a\\|b | 1.5 |  | TRUE |\n| --- | --- | --- | --- |\n| 2026-01-02 | 09:30:00 | x<br>y |"
    )


@pytest.mark.parametrize("state", ["hidden", "veryHidden"])
def test_hidden_sheets_are_left_out_and_empty_ones_are_blank_pages(state: str) -> None:
    workbook = openpyxl.Workbook()
    workbook.active["A1"] = "first"
    workbook.create_sheet("Secret")["A1"] = "salaries"
    workbook["Secret"].sheet_state = state
    workbook.create_sheet("Empty")
    workbook.create_sheet("Last")["A1"] = "last"
    pages = parse(saved(workbook), "a.xlsx").pages
    assert [(page.page_number, page.text) for page in pages] == [(1, "Sheet\nfirst"), (2, ""), (3, "Last\nlast")]


def test_excel_features_that_the_library_does_not_know_are_no_warning_and_no_failure() -> None:
    sheet = part_of(excel(), "xl/worksheets/sheet1.xml")
    extension = b'<extLst><ext uri="{CCE6A557-97BC-4b89-ADB6-D9C93CAAB3DF}"/></extLst></worksheet>'
    parts = {"xl/worksheets/sheet1.xml": sheet.replace(b"</worksheet>", extension), "xl/styles.xml": None}
    assert one_page(changed(excel(), parts), "a.xlsx").text == "Sheet\na cell"


def test_a_workbook_of_too_many_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_office, "MAX_CELLS", 5)
    monkeypatch.setattr(local_text, "MAX_CELLS", 5)
    workbook = openpyxl.Workbook()
    workbook.active["F1"] = "far out"
    assert refused(saved(workbook), "a.xlsx") == "DOCUMENT_TOO_LARGE"
    assert refused("1,2,3\n4,5,6\n", "a.csv") == "DOCUMENT_TOO_LARGE"
    assert one_page("1,2,3\n4,5\n", "a.csv").text == "1\t2\t3\n4\t5"


def deck() -> Any:
    """Words and a table, a picture, a picture in a frame for one, a hidden slide, and a shape of no known kind."""
    presentation = pptx.Presentation()
    full, framed, titled, empty = (presentation.slide_layouts[number] for number in (1, 8, 5, 6))
    slide = presentation.slides.add_slide(full)
    slide.shapes.title.text = "The\vtitle"
    slide.placeholders[1].text = "one\ntwo\vlines"
    slide.placeholders[1].text_frame.paragraphs[1].level = 1
    slide.shapes.add_group_shape().shapes.add_textbox(0, 0, 9, 9).text_frame.text = "# grouped"
    table = slide.shapes.add_table(2, 2, 0, 0, 9, 9).table
    table.cell(0, 0).text, table.cell(1, 1).text = "head", "a|b"
    presentation.slides.add_slide(empty).shapes.add_picture(io.BytesIO(picture()), 0, 0)
    presentation.slides.add_slide(framed).placeholders[1].insert_picture(io.BytesIO(picture()))
    hidden = presentation.slides.add_slide(titled)
    hidden.shapes.title.text = "not yet"
    hidden.element.set("show", "0")
    odd = presentation.slides.add_slide(empty).shapes.add_textbox(0, 0, 9, 9)
    odd.text_frame.text = "no known kind"
    del odd.element.nvSpPr.cNvSpPr.attrib["txBox"]
    odd.element.spPr.clear()
    return presentation


def test_powerpoint_slide_by_slide() -> None:
    words, drawn, framed, odd = parse(saved(deck()), "a.pptx").pages
    assert words.markdown == (
        "# The title\n\n- one\n  - two lines\n\n\\# grouped\n\n| head |  |\n| --- | --- |\n|  | a\\|b |"
    )
    assert words.text == "The\ntitle\none\ntwo\nlines\n# grouped\nhead\t\n\ta|b"
    for page, number in ((drawn, 2), (framed, 3)):
        assert (page.success, page.text) == (False, "")
        assert page.error == f"Slide {number} has only pictures, which are not read here."
    assert (odd.page_number, odd.text) == (4, "no known kind")


def test_the_title_stays_where_another_shape_has_its_number() -> None:
    presentation = pptx.Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[5])
    slide.shapes.title.text = "title"
    box = slide.shapes.add_textbox(0, 0, 9, 9)
    box.text_frame.text = "box"
    box.element.nvSpPr.cNvPr.set("id", str(slide.shapes.title.shape_id))
    assert one_page(saved(presentation), "a.pptx").markdown == "# title\n\nbox"


@pytest.mark.parametrize("name", OFFICE)
def test_without_the_extra_it_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_office, "OFFICE_INSTALLED", False)
    with pytest.raises(DocumentRefused, match=r"pip install 'parsegate\[office\]'") as refusal:
        parse(OFFICE[name][0](), name)
    assert refusal.value.reason == "UNSUPPORTED_FILE_TYPE"


@pytest.mark.parametrize("name", OFFICE)
@pytest.mark.parametrize("sent_as", ["a.pdf", "a.txt", "a.csv", "noname", "a.DOCX"])
def test_the_bytes_count_for_more_than_the_name(name: str, sent_as: str) -> None:
    make, _, text = OFFICE[name]
    assert one_page(make(), sent_as).text == text


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        (b"", "a.pdf", "NO_DATA_FOUND_IN_FILE"),
        (b" \n\t\n", "a.txt", "NO_DATA_FOUND_IN_FILE"),
        (b",,\n,\n", "a.csv", "NO_DATA_FOUND_IN_FILE"),
        (b"<html><script>x</script></html>", "a.html", "NO_DATA_FOUND_IN_FILE"),
        (picture("PNG"), "a.pdf", "NO_DATA_FOUND_IN_FILE"),
        (picture("JPEG"), "a.docx", "NO_DATA_FOUND_IN_FILE"),
        (picture("TIFF"), "a.txt", "NO_DATA_FOUND_IN_FILE"),
        (picture("GIF"), "a", "NO_DATA_FOUND_IN_FILE"),
        (picture("BMP"), "a", "NO_DATA_FOUND_IN_FILE"),
        (picture("WEBP"), "a", "NO_DATA_FOUND_IN_FILE"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><text>x</text></svg>", "a.html", "NO_DATA_FOUND_IN_FILE"),
        (OLE, "a.doc", "UNSUPPORTED_FILE_TYPE"),
        (OLE, "a.docx", "UNSUPPORTED_FILE_TYPE"),
        (b"{\\rtf1 text}", "a.txt", "UNSUPPORTED_FILE_TYPE"),
        (b"\x00\x01\x02", "a.csv", "UNSUPPORTED_FILE_TYPE"),
        (b"text with \x00 in it", "a.txt", "UNSUPPORTED_FILE_TYPE"),
        (b"\x7fELF\x02\x01\x01\x00", "a", "UNSUPPORTED_FILE_TYPE"),
        (b"PK\x05\x06" + bytes(18), "a.zip", "UNSUPPORTED_FILE_TYPE"),
        (b"PK\x03\x04 cut off", "a.docx", "UNSUPPORTED_FILE_TYPE"),
        (b"%PDF-1.7\nnothing more", "a.txt", "PDF_IS_BROKEN"),
        (b"not a PDF at all", "a.pdf", "PDF_IS_BROKEN"),
        (b"\f" * 20_001, "a.txt", "TOO_MANY_PAGES"),
        (b"x" * (local_text.MAX_TEXT_BYTES + 1), "a.txt", "DOCUMENT_TOO_LARGE"),
        (b"x" * (local_text.MAX_HTML_BYTES + 1), "a.html", "DOCUMENT_TOO_LARGE"),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value[:16]),
)
def test_is_refused_with_the_provider_s_word(content: bytes, name: str, reason: str) -> None:
    assert refused(content, name) == reason


@pytest.mark.parametrize("name", OFFICE)
def test_office_files_made_to_exhaust_or_to_reach_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, main, _ = OFFICE[name]
    bomb = bytes(archives.RATIO_FREE_BYTES + 1)
    assert refused(changed(make(), {"media/zeros.bin": bomb}), name) == "DOCUMENT_TOO_LARGE"
    for declared in (ENTITIES, ENTITIES.decode().encode("utf-16")):
        assert refused(changed(make(), {main: declared}), name) == "UNSUPPORTED_FILE_TYPE"
        assert refused(changed(make(), {"customXml/item1.xml": declared}), name) == "UNSUPPORTED_FILE_TYPE"
    assert refused(changed(make(), {}, zipfile.ZIP_LZMA), name) == "UNSUPPORTED_FILE_TYPE"
    for limit in ("MAX_XML_BYTES", "MAX_UNPACKED_BYTES", "MAX_ENTRIES", "MAX_DIRECTORY_BYTES"):
        with monkeypatch.context() as patched:
            patched.setattr(archives, limit, 3)
            assert refused(make(), name) == "DOCUMENT_TOO_LARGE", limit


@pytest.mark.parametrize("name", OFFICE)
def test_office_files_with_a_part_that_is_missing_or_odd(name: str) -> None:
    make, main, _ = OFFICE[name]
    with zipfile.ZipFile(io.BytesIO(make())) as archive:
        parts = archive.namelist()
    for part in parts:
        for content in (None, b"", b"<x/>"):
            with suppress(DocumentRefused):
                parse(changed(make(), {part: content}), name)
    assert refused(changed(make(), {main: b"no xml"}), name) == "UNSUPPORTED_FILE_TYPE"


def test_an_archive_whose_parts_begin_before_the_file() -> None:
    content = bytearray(word())
    end = content.rindex(b"PK\x05\x06")
    struct.pack_into("<I", content, end + 16, struct.unpack_from("<I", content, end + 16)[0] + 60)
    assert refused(bytes(content), "a.docx") == "UNSUPPORTED_FILE_TYPE"


@pytest.mark.parametrize(
    "markup",
    [
        "<p>a" + " " * 300_000 + "b",
        "<p>a" + "&#32;" * 100_000 + "b",
        "<pre>a" + "<br>" * 30_000 + "b</pre>",
        "a" + "<!--x>" * 100_000,
        "<a b='" * 100_000 + "a",
        "<html>" + "<meta charset " * 100_000 + ">a",
    ],
    ids=lambda markup: markup[:24],
)
def test_html_does_not_take_time_with_the_square_of_its_length(markup: str) -> None:
    before = time.process_time()
    assert "a" in one_page(markup, "a.html").text
    assert time.process_time() - before < ENOUGH_S


@pytest.mark.parametrize(
    "markup",
    [
        "<ol>" + "<li><b>a</b></li>" * 3000,
        "<table><thead>" + "<tr><td>a</td></tr>" * 3000,
        "<table>" + "<tbody><tr><td>a" * 3000,
        "<blockquote>" * 70 + "<pre>a" + "\n" * 50_000 + "a",
    ],
    ids=lambda markup: markup[:24],
)
def test_html_too_laborious_for_markdown_is_given_as_text(markup: str) -> None:
    page = one_page(markup, "a.html")
    assert page.markdown == page.text
    assert set(page.text.split()) == {"a"}
    for part in ("<ol>" + "<li>a" * 9, "<table><thead>" + "<tr><td>a" * 9, "<blockquote>a"):
        assert one_page(part, "a.html").markdown != one_page(part, "a.html").text


def test_html_cells_that_claim_to_be_wide_do_not_fill_the_memory() -> None:
    assert len(one_page("<table><tr>" + "<td colspan=999>a" * 1000, "a.html").markdown) < 20_000
    assert one_page("<table><tr><th colspan=2>a<tr><td>b<td>c", "a.html").markdown.startswith("| a | |\n| --- | --- |")


@cache
def valid_documents() -> tuple[tuple[str, bytes], ...]:
    with TemporaryDirectory() as folder:
        made = [(document.filename, document.path.read_bytes()) for document in make_documents(12, Path(folder), 3)]
    return (*made, ("a.pptx", slides()), ("a.png", picture()))


def is_text_or_refused(content: bytes, name: str) -> None:
    try:
        document = parse(content, name)
    except DocumentRefused:
        return
    assert document.text.strip()
    for page in document.pages:
        assert page.success == (page.error is None)
        (page.text + page.markdown).encode()


@given(content=st.binary(max_size=400), suffix=st.sampled_from(SUFFIXES))
@settings(max_examples=400, deadline=None)
def test_any_bytes_under_any_name(content: bytes, suffix: str) -> None:
    is_text_or_refused(content, f"a{suffix}")


@given(number=st.integers(0, 13), data=st.data(), suffix=st.sampled_from(("", *SUFFIXES)))
@settings(max_examples=250, deadline=None)
def test_a_document_cut_anywhere(number: int, data: st.DataObject, suffix: str) -> None:
    name, content = valid_documents()[number]
    is_text_or_refused(content[: data.draw(st.integers(0, len(content)))], name + suffix)


@given(number=st.integers(0, 13), data=st.data(), junk=st.binary(min_size=1, max_size=12))
@settings(max_examples=250, deadline=None)
def test_a_document_overwritten_anywhere(number: int, data: st.DataObject, junk: bytes) -> None:
    name, content = valid_documents()[number]
    start = data.draw(st.integers(0, len(content)))
    is_text_or_refused(content[:start] + junk + content[start + len(junk) :], name)
