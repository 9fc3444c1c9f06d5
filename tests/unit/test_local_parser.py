"""The local parser reads PDFs, text, CSV and HTML: whole, in order, and without anything that is not in them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import openpyxl
import pytest
from fpdf import FPDF
from PIL import Image

from domain.errors import DocumentRefused, OrderRefused
from tests.documents import TestDocument, make_documents, new_pdf
from tests.local_parsing import one_page, parse, refused, saved

KINDS: Final = 12
TEXTS: Final = {
    "French": "Crème brûlée à la façon de l'hôtel : déjà goûté, très agréable, été passé à Besançon. Noël",
    "German": "Die Grüße der Gäste wären möglich gewesen; außerdem müssen die Schlüssel zurück. Größe über Köln.",
    "one German word": "Grüße",
    "Spanish": "El niño pidió más información sobre la póliza; ¿cuándo llegará el año próximo? La señora García",
    "Swedish": "Försäkringen gäller från måndag; skada på båten ersätts inte. Återkom före påsk, så går det.",
    "Polish": "Zażółć gęślą jaźń. Ubezpieczenie nie obejmuje szkód wyrządzonych przez powódź; płatność w styczniu.",
    "Czech": "Příliš žluťoučký kůň úpěl ďábelské ódy. Pojištění nekryje škody způsobené povodní.",
    "Russian": "Полис действует двенадцать месяцев. Страховая сумма составляет сто тысяч евро.",
    "Greek": "Το συμβόλαιο καλύπτει πυρκαγιά, πλημμύρα και κλοπή. Η ετήσια δόση είναι 240 ευρώ.",
    "Japanese": "これは文字コードの検出を確認するための日本語の文章です。",
    "Chinese": "这是一个用于检测字符编码的中文文本文件，内容很简单。",
}


def typed(pdf: FPDF, *lines: str, size: float = 11, gap: float = 0) -> None:
    """Write lines below each other, and leave a gap."""
    pdf.set_font("Helvetica", size=size)
    for line in lines:
        pdf.cell(0, size * 0.55, line, new_x="LMARGIN", new_y="NEXT")
    pdf.ln(gap)


def pdf_of(*pages: tuple[str, ...]) -> bytes:
    pdf = new_pdf()
    for lines in pages:
        pdf.add_page()
        typed(pdf, *lines)
    return bytes(pdf.output())


def bare_pdf(drawing: bytes) -> bytes:
    """A page of these drawing commands; without a table of objects, which PDFium makes by itself."""
    return (
        b"%%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Count 1/Kids[3 0 R]>>endobj\n"
        b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>endobj"
        b"\n4 0 obj<</Length %d>>stream\n%b\nendstream endobj\n"
        b"5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj\ntrailer<</Size 6/Root 1 0 R>>\n"
    ) % (len(drawing), drawing)


def workbook_of(*cells: str) -> bytes:
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    for cell in cells:
        workbook.create_sheet(f"sheet of {cell}")["A1"] = cell
    return saved(workbook)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[TestDocument]:
    return make_documents(3 * KINDS, tmp_path_factory.mktemp("documents"), seed=7)


@pytest.mark.parametrize("kind", range(KINDS))
def test_every_word_comes_out_in_order_page_by_page(kind: int, documents: list[TestDocument]) -> None:
    for document in documents[kind::KINDS]:
        if document.failure is not None:
            assert refused(document.path.read_bytes(), document.filename) == document.failure
            continue
        pages = parse(document.path.read_bytes(), document.filename).pages
        assert [page.page_number for page in pages] == list(range(1, document.pages + 1))
        for page, tokens in zip(pages, document.tokens, strict=True):
            for text in (page.text, page.markdown):
                places = [text.find(token) for token in tokens]
                assert -1 not in places, document.filename
                assert places == sorted(places), document.filename


def test_pdf_headings_paragraphs_and_lists() -> None:
    pdf = new_pdf()
    pdf.add_page()
    typed(pdf, "The whole", size=22, gap=3)
    typed(pdf, "A part", size=16, gap=3)
    typed(pdf, "The first paragraph has a line", "and another one.", gap=6)
    typed(pdf, "The second one has one line.", gap=5)
    typed(pdf, "- apples", "- pears", gap=5)
    typed(pdf, "A small part", size=13.5, gap=3)
    typed(pdf, "# not a heading", "1. first", "2. second")
    page = one_page(bytes(pdf.output()), "a.pdf")
    assert page.markdown == (
        "# The whole\n\n## A part\n\nThe first paragraph has a line\nand another one.\n\nThe second one has one line."
        "\n\n- apples\n- pears\n\n### A small part\n\n\\# not a heading\n1. first\n2. second"
    )
    assert page.text.split("\n")[:3] == ["The whole", "A part", "The first paragraph has a line"]


def test_a_pdf_initial_is_no_heading() -> None:
    pdf = new_pdf()
    pdf.add_page()
    typed(pdf, "E", size=30, gap=10)
    typed(pdf, "very beginning is hard,", "they say.")
    assert one_page(bytes(pdf.output()), "a.pdf").markdown == "E\n\nvery beginning is hard,\nthey say."


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (("A hyphen-", "ated word, as hyphenated as"), "A hyphenated word, as hyphenated as"),
        (("A well-", "known word"), "A well-known word"),
        (("In ILSVRC-", "2010 it won"), "In ILSVRC-2010 it won"),
        (("state-", "of-", "the-", "art"), "state-of-the-art"),
    ],
)
def test_a_pdf_word_is_joined_only_if_it_stands_elsewhere(lines: tuple[str, ...], text: str) -> None:
    assert one_page(pdf_of(lines), "a.pdf").text == text


def test_a_pdf_word_that_goes_on_overleaf_does_not_take_the_page_number() -> None:
    pdf = new_pdf()
    pdf.add_page()
    pdf.set_font("Helvetica", size=11)
    pdf.text(20, 200, "Every position is a simple, position-")
    pdf.text(100, 280, "2")
    assert one_page(bytes(pdf.output()), "a.pdf").text == "Every position is a simple, position-\n2"


def test_a_scanned_page_is_a_failed_page_and_a_blank_one_is_blank() -> None:
    pdf = new_pdf()
    pdf.add_page()
    typed(pdf, "readable")
    pdf.add_page()
    pdf.image(Image.new("L", (60, 20), 90), x=20, y=20, w=100)
    pdf.add_page()
    document = parse(bytes(pdf.output()), "a.pdf")
    first, second, third = document.pages
    assert (first.success, first.text, first.error) == (True, "readable", None)
    assert (second.success, second.text, second.markdown) == (False, "", "")
    assert second.error == "Page 2 is a picture without a text layer, and pictures are not read here."
    assert (third.success, third.text, third.error) == (True, "", None)
    assert (document.failed_pages, document.text, document.markdown) == ((second,), "readable", "readable")
    assert refused(bytes(pdf.output()), "a.pdf", target_pages="2-3") == "NO_DATA_FOUND_IN_FILE"


def test_a_pdf_that_only_its_owner_may_change_is_read() -> None:
    pdf = new_pdf()
    pdf.set_encryption(owner_password="the owner")
    pdf.add_page()
    typed(pdf, "for all to read")
    assert one_page(bytes(pdf.output()), "a.pdf").text == "for all to read"


def test_a_pdf_whose_letters_lie_nowhere_is_read() -> None:
    """A letter spacing beyond all numbers makes the letters' places no numbers."""
    large, small = b"3" + b"0" * 38, b"0." + b"0" * 31 + b"1"
    nowhere = b"BT /F1 12 Tf %b Tc 1 100 2%b %b 1000000 700 Tm (some words) Tj ET" % (large, b"0" * 19, small)
    assert one_page(bare_pdf(b"BT /F1 12 Tf 50 700 Td (some words) Tj ET"), "a.pdf").text == "some words"
    assert one_page(bare_pdf(nowhere), "a.pdf").text.replace(" ", "") == "somewords"


def test_a_pdf_line_does_not_take_time_with_the_square_of_its_length() -> None:
    before = time.process_time()
    page = one_page(bare_pdf(b"BT /F1 1 Tf 5 700 Td " + (b"(" + b"a" * 30_000 + b") Tj ") * 4 + b"ET"), "a.pdf")
    assert len(page.text) >= 120_000
    assert time.process_time() - before < 12.0


PAGED: Final[dict[str, Callable[[], bytes]]] = {
    "a.pdf": lambda: pdf_of(("one",), ("two",), ("three",)),
    "a.txt": lambda: b"one\ftwo\fthree\f",
    "a.xlsx": lambda: workbook_of("one", "two", "three"),
}


@pytest.mark.parametrize("name", PAGED)
@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ({}, [1, 2, 3]),
        ({"max_pages": 2}, [1, 2]),
        ({"max_pages": 9}, [1, 2, 3]),
        ({"target_pages": "3,1"}, [1, 3]),
        ({"target_pages": "2-99"}, [2, 3]),
        ({"target_pages": "3", "max_pages": 1}, [3]),
    ],
)
def test_only_the_pages_asked_for_are_read(name: str, asked: dict[str, Any], numbers: list[int]) -> None:
    pages = parse(PAGED[name](), name, **asked).pages
    assert [page.page_number for page in pages] == numbers
    for page in pages:
        assert page.text.split()[-1] == ("one", "two", "three")[page.page_number - 1]


@pytest.mark.parametrize("name", PAGED)
def test_pages_that_are_not_there(name: str) -> None:
    with pytest.raises(DocumentRefused, match="none of the pages asked for") as refusal:
        parse(PAGED[name](), name, target_pages="4")
    assert refusal.value.reason == "NO_DATA_FOUND_IN_FILE"
    with pytest.raises(OrderRefused):
        parse(PAGED[name](), name, target_pages="3-1")


@pytest.mark.parametrize(
    ("language", "encoding"),
    [
        *(("French", encoding) for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "cp1252")),
        *((language, "latin-1") for language in ("German", "one German word", "Spanish", "Swedish")),
        *((language, "cp1250") for language in ("Polish", "Czech")),
        *(("Russian", "cp1251"), ("Russian", "koi8-r"), ("Greek", "cp1253")),
        *(("Japanese", "shift_jis"), ("Japanese", "euc-jp"), ("Chinese", "gb18030")),
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.html", "a.md"])
def test_text_in_the_usual_encodings(language: str, encoding: str, name: str) -> None:
    written = TEXTS[language].replace(",", "").replace(";", "")  # or they would divide a CSV
    page = one_page((f"<p>{written}</p>" if name == "a.html" else f"{written}\n").encode(encoding), name)
    assert page.text == written


def test_a_cut_character_does_not_change_the_others() -> None:
    assert one_page("Grüße aus Köln, ü".encode()[:-1]).text == "Grüße aus Köln, \ufffd"


@pytest.mark.parametrize("declared", ["iso-8859-1", "latin1", "us-ascii", "windows-1252", "UTF-16", "nonsense", "idna"])
def test_a_web_page_in_western_windows_whatever_it_says(declared: str) -> None:
    page = f'<html><meta charset="{declared}"><p>don’t, Grüße</p>'.encode("cp1252")
    assert one_page(page, "a.html").text == "don’t, Grüße"


def test_plain_text_keeps_its_lines_and_invents_no_markdown() -> None:
    written = "A line\n# hash\n  > quoted\nTotal\n--\n===\n***\n+ plus\n- item\n1. one\n    #5"
    page = one_page(written + "\n")
    assert page.text == written
    assert page.markdown == (
        "A line\n\\# hash\n  \\> quoted\nTotal\n\\--\n\\===\n\\***\n\\+ plus\n- item\n1. one\n    #5"
    )


def test_markdown_stays_as_it_is() -> None:
    written = "# Title\n\n> quoted\n\n| a | b |\n| --- | --- |\n\n```\ncode\n```"
    page = one_page(written, "a.md")
    assert (page.text, page.markdown) == (written, written)


def test_characters_without_a_place_in_a_text_are_spelled_out_or_left_out() -> None:
    assert one_page("\ufeffof\ufb01ce\u00a0hours co\u00adop\r\nnext\vline\u2028last\x01\u200b").text == (
        "office hours coop\nnext\nline\nlast"
    )


@pytest.mark.parametrize(
    ("written", "rows"),
    [
        ("a,b\n1,2\n", [["a", "b"], ["1", "2"]]),
        ("a;b\n1,5;2,5\n", [["a", "b"], ["1,5", "2,5"]]),
        ("a\tb\n1, 2\t3\n", [["a", "b"], ["1, 2", "3"]]),
        ("a|b\r\n1|2\r\n", [["a", "b"], ["1", "2"]]),
        ('a,b\n"x, ""y""",z\n', [["a", "b"], ['x, "y"', "z"]]),
        ("a,b\n\n,\n1,2,3\n4\n", [["a", "b"], ["1", "2", "3"], ["4"]]),
        ('a,b\n1,"it never ends\n2,3\n', [["a", "b"], ["1", "it never ends 2,3"]]),
        ("only\none\ncolumn", [["only"], ["one"], ["column"]]),
    ],
)
def test_csv_cells(written: str, rows: list[list[str]]) -> None:
    assert one_page(written, "a.csv").text == "\n".join("\t".join(row) for row in rows)


def test_csv_as_a_table() -> None:
    written = '"name; short",value\n"two\nlines",a|b\nx\n'
    assert one_page(written, "a.csv").markdown == (
        "| name; short | value |\n| --- | --- |\n| two<br>lines | a\\|b |\n| x |"
    )
    assert one_page("x, y\tz\n1, 2\t3\n", "a.tsv").text == "x, y\tz\n1, 2\t3"


def test_a_csv_field_beyond_the_limit_is_given_as_text() -> None:
    page = one_page("x" * 140_000 + "\n# y", "a.csv")
    assert page.text == "x" * 140_000 + "\n# y"
    assert page.markdown.endswith("\n\\# y")


@pytest.mark.parametrize(
    ("written", "markdown"),
    [
        ("<h1>A &amp; B</h1><h3>C</h3><p>x <b>y</b> <i>z</i>&nbsp;&lt;&#8364;&gt; &bogus</p>", None),
        ("<ul><li>a<ul><li>b</ul><li>c</ul><ol><li>x<li>y</ol>", "- a\n  - b\n- c\n\n1. x\n2. y"),
        ("<table><tr><th>a|b<th>c<tr><td>1|2<td><p>3<p>4</table>", "| a\\|b | c |\n| --- | --- |\n| 1\\|2 | 3  4 |"),
        ("<dl><dt>T<dd>D<dt>U<dd>E</dl>", "T\n:   D\n\nU\n:   E"),
        ("<table><tr><td>1<td colspan=2>2</table>", "|  |  |  |\n| --- | --- | --- |\n| 1 | 2 | |"),
        ("<p>one<p>two<div>three</span></div></b>", "one\n\ntwo\n\nthree"),
        ("<p>un<b>closed <i>mis</b>nested</i></p>after", "un**closed *mis***nested\n\nafter"),
        ("<title>T</title>a<header>b</header><main>c</main><nav>d</nav>", "T\n\na\n\nb\n\nc\n\nd"),
        ("<pre>\n  code\n    more\n\n</pre>", "```\n  code\n    more\n```"),
        ("<a href='x.html'>link</a> <img src='y.png' alt='seen'>", "[link](x.html) ![seen](y.png)"),
        (
            "<a href='javascript:x()'>a</a><a href='&#1;java&shy;script:x()'>b</a><img src='data:,z' alt='c'>",
            "ab![c]()",
        ),
        ("<video src='javascript:x()' poster='data:,z'>film</video>", "film"),
        ("no < tag, 1<2, <!-- <p>comment</p> --><![CDATA[cut]]>end <", "no < tag, 1<2, end <"),
        ("<?xml version='1.0'?><p>x</p><?php echo 1 ?>", "x"),
        ("<table><tr><th colspan='²'>a</table><ol start='½'><li>b</ol>", "| a |\n| --- |\n\n1. b"),
        (f"<h{'1' * 5000}># a</h>", "\\# a"),
    ],
)
def test_html_as_markdown(written: str, markdown: str | None) -> None:
    whole = "# A & B\n\n### C\n\nx **y** *z* <€> &bogus"
    assert one_page(written, "a.html").markdown == (whole if markdown is None else markdown)


def test_html_without_what_is_not_shown() -> None:
    page = one_page(
        "<!DOCTYPE html><html><head><title>Seen</title><style>p {color: red}</style><script>a = '<p>no</p>'</script>"
        "</head><body><template><p>no</p></template><!-- no --><p>also seen</p><script>no()</script></body></html>"
    )
    assert page.text == page.markdown == "Seen\n\nalso seen"


def test_html_text_has_a_line_for_a_block_and_a_tab_for_a_cell() -> None:
    page = one_page("<h1>A</h1><p>b <b>c</b>\n d</p><table><tr><td>1</td><td>2</td></tr></table>", "a.htm")
    assert page.text == "A\n\nb c d\n\n1\t2"


@pytest.mark.parametrize("tag", ["p", "li", "tr", "td", "dd", "option"])
def test_html_without_end_tags_does_not_grow_deep(tag: str) -> None:
    """Deeper than the limit it would be given as text."""
    page = one_page("".join(f"<{tag}>{number}" for number in range(2 * 80)) + "<p><b>end</b>", "a.html")
    assert "**end**" in page.markdown


def test_html_too_deep_for_markdown_is_given_as_text() -> None:
    page = one_page("<div>" * 500 + "# deep", "a.html")
    assert (page.text, page.markdown) == ("# deep", "\\# deep")
