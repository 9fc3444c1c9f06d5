"""Reading documents: what kind it is, how pages are cut, and that nothing hostile gets further than a reason."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fpdf import FPDF
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llamaparse.simulator.documents import Reader, Reading
from llamaparse.simulator.orders import ParseOrder
from llamaparse.simulator.pages import CHARS_PER_PAGE, NO_TEXT_LAYER, Unreadable

HTML_PIECES = [
    "@",
    "<table>",
    "<tr>",
    "<td>",
    "</td>",
    "</table>",
    "<p>",
    "<li>",
    "<h2>",
    "<br>",
    "</p>",
    "<!--x-->",
    "<![odd",
]
READER = Reader(max_pages=50, max_page_text_bytes=64 * 1024)


def read(path: Path, content: bytes | str | None = None, reader: Reader = READER, **order: Any) -> Reading:
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return reader.read(path, path.name, ParseOrder.model_validate({"tier": "fast", "version": "latest", **order}))


def reason(path: Path, content: bytes | str) -> str:
    with pytest.raises(Unreadable) as unreadable:
        read(path, content)
    return unreadable.value.reason


def test_the_bytes_count_for_more_than_the_name(tmp_path: Path) -> None:
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("Helvetica")
    pdf.cell(text="really a PDF")
    pdf.output(str(tmp_path / "note.txt"))
    assert [page.text for page in read(tmp_path / "note.txt").pages] == ["really a PDF"]
    assert reason(tmp_path / "text.pdf", "not a PDF at all") == "PDF_IS_BROKEN"
    (scan,) = read(tmp_path / "photo.pdf", b"\x89PNG\r\n\x1a\n and so on").pages
    assert scan.error == NO_TEXT_LAYER


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Grüße".encode(), "Grüße"),
        ("Grüße".encode("utf-8-sig"), "Grüße"),
        ("Grüße".encode("utf-16"), "Grüße"),
        ("Grüße".encode("cp1252"), "Grüße"),
    ],
)
def test_text_in_the_usual_encodings(tmp_path: Path, content: bytes, text: str) -> None:
    assert read(tmp_path / "a.txt", content).pages[0].text == text


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.html", "a.md", "a.docx", "a"])
@pytest.mark.parametrize("content", [b"\x00\x01\x02", b"text with a \x00 in it", b"PK\x03\x04 cut off"])
def test_binary_that_is_nothing_known(tmp_path: Path, name: str, content: bytes) -> None:
    assert reason(tmp_path / name, content) == "UNSUPPORTED_FILE_TYPE"


@given(lines=st.lists(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=400), max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pages_hold_all_of_a_text_and_are_not_overfull(tmp_path: Path, lines: list[str]) -> None:
    whole = "\n".join(lines)
    if not whole.strip():
        assert reason(tmp_path / "a.txt", whole) == "NO_DATA_FOUND_IN_FILE"
        return
    pages = read(tmp_path / "a.txt", whole).pages
    assert [page.number for page in pages] == list(range(1, len(pages) + 1))
    assert all(len(page.text) <= CHARS_PER_PAGE for page in pages)
    written = [line for line in lines if line.strip()]
    assert [line for page in pages for line in page.text.splitlines() if line.strip()] == written


def test_a_line_longer_than_a_page_is_cut(tmp_path: Path) -> None:
    pages = read(tmp_path / "a.txt", "x" * (2 * CHARS_PER_PAGE + 1)).pages
    assert [len(page.text) for page in pages] == [CHARS_PER_PAGE, CHARS_PER_PAGE, 1]


def test_the_text_of_a_page_is_cut_at_64_kilobytes(tmp_path: Path) -> None:
    small = Reader(max_pages=50, max_page_text_bytes=101)
    (page,) = read(tmp_path / "a.txt", "ü" * 200, reader=small).pages
    assert page.text == "ü" * 50


def test_a_csv_repeats_its_head_on_each_page_of_markdown(tmp_path: Path) -> None:
    rows = "".join(f"{number},{'x' * 100}\n" for number in range(40))
    first, second = read(tmp_path / "a.csv", "id,text\n" + rows).pages
    assert first.text.startswith("id\ttext\n0\t")
    assert not second.text.startswith("id")
    assert first.markdown.startswith("| id | text |\n| --- | --- |\n| 0 |")
    assert second.markdown.startswith("| id | text |\n| --- | --- |\n| ")


def test_a_field_too_long_for_csv_is_read_as_text(tmp_path: Path) -> None:
    assert read(tmp_path / "a.csv", "x" * 140_000).total_pages == 47


def test_html_without_scripts_and_with_tables(tmp_path: Path) -> None:
    page = """<!DOCTYPE html><head><title>T</title><script>var x = "<p>no</p>"</script></head>
    <![odd]><h1>Head &amp; <b>bold</b></h1><table><tr><th>a<th>b</tr><tr><td>1</td><td><p>2</p><p>3</p></td></tr>
    </table>tail</div></p>"""
    (found,) = read(tmp_path / "a.html", page).pages
    assert "var x" not in found.text
    assert found.markdown.startswith("T\n\n# Head & bold\n\n| ")
    assert "| a | b |\n| --- | --- |\n| 1 | 2 3 |\n\n" in found.markdown
    assert found.text.endswith("tail")


@given(st.lists(st.sampled_from(HTML_PIECES)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_html_however_unbalanced_loses_text(tmp_path: Path, pieces: list[str]) -> None:
    numbered = [f"word{number}." if piece == "@" else piece for number, piece in enumerate(["@", *pieces])]
    source = "".join(f"{piece}>" if piece == "<![odd" else piece for piece in numbered)
    found = "".join(page.text for page in read(tmp_path / "a.html", source).pages)
    assert [word for word in numbered if word.startswith("word") and word not in found] == []


def test_an_xml_bomb_is_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><w>&b;</w>'
    with zipfile.ZipFile(tmp_path / "a.docx", "w") as archive:
        archive.writestr("word/document.xml", bomb)
    with pytest.raises(Unreadable, match="UNSUPPORTED_FILE_TYPE"):
        read(tmp_path / "a.docx")


def test_a_part_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.docx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b" " * (65 * 1024 * 1024))
    assert (tmp_path / "a.docx").stat().st_size < 100_000
    with pytest.raises(Unreadable, match="DOCUMENT_TOO_LARGE"):
        read(tmp_path / "a.docx")


def test_a_file_that_is_gone_is_no_document(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "a.txt")


@given(content=st.binary(max_size=300), name=st.sampled_from(["a.pdf", "a.txt", "a.csv", "a.html", "a.docx", "a.xlsx"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_either_read_or_refused_with_a_reason(tmp_path: Path, content: bytes, name: str) -> None:
    with suppress(Unreadable):
        assert read(tmp_path / name, content).pages
