"""Makes varied documents of random words, each word in one document only: a mixed-up result would be noticed."""

from __future__ import annotations

import csv
import io
import random
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import ClassVar, Final

import docx
import openpyxl
from fpdf import FPDF
from PIL import Image, ImageDraw, ImageFont

MADE_AT: Final = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
_ZIP_TIME: Final = (2026, 1, 5, 9, 0, 0)
_MODIFIED: Final = re.compile(rb"(<dcterms:(created|modified)[^>]*>)[^<]*")
_ONSETS: Final = (
    "b",
    "br",
    "d",
    "dr",
    "f",
    "g",
    "gl",
    "h",
    "j",
    "k",
    "kr",
    "l",
    "m",
    "n",
    "p",
    "pl",
    "r",
    "s",
    "t",
    "v",
    "z",
)
_VOWELS: Final = ("a", "e", "i", "o", "u", "é", "ü", "ö", "ñe", "å")

Pages = tuple[tuple[str, ...], ...]
Maker = Callable[["_Words"], tuple[bytes, Pages]]


@dataclass(frozen=True)
class TestDocument:
    """A document and what must become of it.

    Args:
        tokens: the words that must be found, in order, for each page; a format without pages has one.
        kind: "pdf", "table_pdf", "column_pdf", "csv", "html", "text", "markdown", "docx", "xlsx", "broken",
            "protected" or "scan".
        failure: the provider's reason that parsing it must fail with, or None.
    """

    __test__: ClassVar[bool] = False

    filename: str
    path: Path
    tokens: Pages
    kind: str
    failure: str | None = None

    @property
    def pages(self) -> int:
        """Its number of pages; 1 where it can't be read."""
        return max(1, len(self.tokens))

    @property
    def words(self) -> tuple[str, ...]:
        """All its tokens."""
        return tuple(word for page in self.tokens for word in page)


def make_documents(count: int, folder: Path, seed: int) -> list[TestDocument]:
    """Write `count` documents into `folder`: the same bytes for the same seed.

    The first of every twelve kinds come in turn, so that 12 documents hold each kind once, three of which must fail.
    """
    words = _Words(random.Random(seed))
    documents = []
    for number in range(count):
        kind, (suffix, failure, make) = list(_MAKERS.items())[number % len(_MAKERS)]
        content, tokens = make(words)
        path = folder / f"{number:03}-{kind.replace('_', '-')}{suffix}"
        path.write_bytes(content)
        documents.append(TestDocument(path.name, path, tokens, kind, failure))
    return documents


def new_pdf() -> FPDF:
    """An empty PDF with a fixed date, so that the same content gives the same bytes."""
    pdf = FPDF()
    pdf.set_creation_date(MADE_AT)
    return pdf


def repacked(archive: bytes) -> bytes:
    """An Office file with fixed dates."""
    output = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            part = old.read(entry)
            if entry.filename == "docProps/core.xml":
                part = _MODIFIED.sub(rb"\g<1>2026-01-05T09:00:00Z", part)
            new.writestr(zipfile.ZipInfo(entry.filename, _ZIP_TIME), part, zipfile.ZIP_DEFLATED)
    return output.getvalue()


class _Words:
    """Words that no one has had before."""

    def __init__(self, source: random.Random) -> None:
        self.source = source
        self._used: set[str] = set()

    def some(self, fewest: int, most: int) -> list[str]:
        return [self.one() for _ in range(self.source.randint(fewest, most))]

    def one(self) -> str:
        while True:
            word = "".join(self.source.choice(_ONSETS) + self.source.choice(_VOWELS) for _ in range(4))
            # No word may stand inside another either: tokens are looked for as parts of a text.
            word += f"{self.source.randrange(100):02}x"
            if word not in self._used:
                self._used.add(word)
                return word


def _text_pdf(words: _Words) -> tuple[bytes, Pages]:
    pdf = new_pdf()
    pages = []
    for number in range(1, words.source.randint(1, 12) + 1):
        title, *body = tokens = words.some(20, 90)
        pdf.add_page()
        pdf.set_font("Helvetica", "B", 16)
        pdf.cell(0, 12, f"{number} {title}", new_x="LMARGIN", new_y="NEXT")
        pdf.set_font("Times", size=11)
        pdf.multi_cell(0, 6, " ".join(body), align="L")
        pages.append(tuple(tokens))
    return bytes(pdf.output()), tuple(pages)


def _table_pdf(words: _Words) -> tuple[bytes, Pages]:
    pdf = new_pdf()
    pages = []
    for _ in range(words.source.randint(1, 3)):
        rows = [[words.one() for _ in range(3)] for _ in range(words.source.randint(3, 20))]
        pdf.add_page()
        pdf.set_font("Helvetica", size=10)
        with pdf.table() as table:
            for row in rows:
                table.row(row)
        pages.append(tuple(word for row in rows for word in row))
    return bytes(pdf.output()), tuple(pages)


def _column_pdf(words: _Words) -> tuple[bytes, Pages]:
    pdf = new_pdf()
    pages = []
    for _ in range(words.source.randint(1, 4)):
        left, right = words.some(30, 60), words.some(30, 60)
        pdf.add_page()
        pdf.set_font("Times", size=10)
        for place, column in ((10, left), (110, right)):
            pdf.set_xy(place, 20)
            pdf.multi_cell(90, 5, " ".join(column), align="L")
        pages.append((*left, *right))
    return bytes(pdf.output()), tuple(pages)


def _csv(words: _Words) -> tuple[bytes, Pages]:
    rows = [[words.one() for _ in range(4)] for _ in range(words.source.randint(3, 30))]
    output = io.StringIO(newline="")
    # A comma and a quotation mark in a cell, so that quoting matters.
    csv.writer(output).writerows([first, f'{second}, "so"', third, fourth] for first, second, third, fourth in rows)
    return output.getvalue().encode(), (tuple(word for row in rows for word in row),)


def _html(words: _Words) -> tuple[bytes, Pages]:
    title, *body = tokens = words.some(20, 80)
    middle = len(body) // 2
    items = "".join(f"<li>{escape(word)}</li>" for word in body[middle:])
    page = (
        f"<!DOCTYPE html><html><head><meta charset='utf-8'><style>p {{ margin: 0 }}</style></head><body>"
        f"<h1>{title}</h1><p>{' '.join(body[:middle])}</p><ul>{items}</ul><script>var none = 1;</script></body></html>"
    )
    return page.encode(), (tuple(tokens),)


def _plain(words: _Words) -> tuple[bytes, Pages]:
    tokens = words.some(20, 120)
    lines = [" ".join(tokens[start : start + 9]) for start in range(0, len(tokens), 9)]
    return "\n".join(lines).encode(), (tuple(tokens),)


def _markdown(words: _Words) -> tuple[bytes, Pages]:
    title, second, *body = tokens = words.some(20, 80)
    items = "\n".join(f"- {word}" for word in body[10:])
    return f"# {title}\n\n## {second}\n\n{' '.join(body[:10])}\n\n{items}\n".encode(), (tuple(tokens),)


def _docx(words: _Words) -> tuple[bytes, Pages]:
    title, *body = tokens = words.some(20, 60)
    document = docx.Document()
    document.add_heading(title, level=1)
    document.add_paragraph(" ".join(body[:-4]))
    table = document.add_table(rows=2, cols=2)
    for place, word in enumerate(body[-4:]):
        table.rows[place // 2].cells[place % 2].text = word
    output = io.BytesIO()
    document.save(output)
    return repacked(output.getvalue()), (tuple(tokens),)


def _xlsx(words: _Words) -> tuple[bytes, Pages]:
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    pages = []
    for number in range(1, words.source.randint(1, 3) + 1):
        rows = [[words.one() for _ in range(3)] for _ in range(words.source.randint(2, 15))]
        sheet = workbook.create_sheet(f"Sheet {number}")
        for row in rows:
            sheet.append(row)
        pages.append(tuple(word for row in rows for word in row))
    output = io.BytesIO()
    workbook.save(output)
    workbook.close()
    return repacked(output.getvalue()), tuple(pages)


def _broken(words: _Words) -> tuple[bytes, Pages]:
    return b"%PDF-1.7\n" + words.source.randbytes(600) + words.one().encode(), ()


def _protected(words: _Words) -> tuple[bytes, Pages]:
    pdf = new_pdf()
    pdf.set_encryption(owner_password=words.one(), user_password=words.one())
    pdf.add_page()
    pdf.set_font("Helvetica", size=12)
    pdf.cell(0, 10, " ".join(words.some(5, 10)))
    return bytes(pdf.output()), ()


def _scan(words: _Words) -> tuple[bytes, Pages]:
    picture = Image.new("1", (500, 120), 1)
    ImageDraw.Draw(picture).text((20, 40), " ".join(words.some(2, 3)), font=ImageFont.load_default(24), fill=0)
    pdf = new_pdf()
    pdf.add_page()
    pdf.image(picture, x=20, y=20, w=150)
    return bytes(pdf.output()), ()


_MAKERS: Final[dict[str, tuple[str, str | None, Maker]]] = {
    "pdf": (".pdf", None, _text_pdf),
    "csv": (".csv", None, _csv),
    "html": (".html", None, _html),
    "table_pdf": (".pdf", None, _table_pdf),
    "text": (".txt", None, _plain),
    "broken": (".pdf", "PDF_IS_BROKEN", _broken),
    "docx": (".docx", None, _docx),
    "column_pdf": (".pdf", None, _column_pdf),
    "markdown": (".md", None, _markdown),
    "protected": (".pdf", "PDF_IS_PROTECTED", _protected),
    "xlsx": (".xlsx", None, _xlsx),
    "scan": (".pdf", "NO_DATA_FOUND_IN_FILE", _scan),
}
