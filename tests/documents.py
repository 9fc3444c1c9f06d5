"""Documents of several kinds for the acceptance tests, each with words of its own, so that a mix-up is noticed."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import docx
import openpyxl
from fpdf import FPDF
from fpdf.enums import AccessPermission
from PIL import Image

SYLLABLES: Final = ("ba", "ce", "di", "fo", "gu", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo", "zu")


@dataclass(frozen=True)
class TestDocument:
    """One document.

    Args:
        words: texts that its result must hold, some from each page.
        failure: why it must fail, or None.
    """

    __test__ = False

    path: Path
    kind: str
    pages: int
    words: tuple[str, ...]
    failure: str | None = None

    @property
    def filename(self) -> str:
        return self.path.name


def _words(dice: random.Random, count: int) -> list[str]:
    return ["".join(dice.choices(SYLLABLES, k=5)) for _ in range(count)]


def _pdf(pages: list[list[str]]) -> FPDF:
    pdf = FPDF(format="A4")
    pdf.set_creation_date(datetime(2026, 1, 1, tzinfo=UTC))
    pdf.set_font("helvetica", size=12)
    for number, words in enumerate(pages, 1):
        pdf.add_page()
        pdf.cell(0, 10, f"Page {number}", new_x="LMARGIN", new_y="NEXT")
        for word in words:
            pdf.cell(0, 8, word, new_x="LMARGIN", new_y="NEXT")
    return pdf


def _make_pdf(path: Path, dice: random.Random) -> TestDocument:
    pages = [_words(dice, 6) for _ in range(dice.randint(1, 12))]
    path.write_bytes(bytes(_pdf(pages).output()))
    return TestDocument(path, "pdf", len(pages), tuple(word for page in pages for word in page))


def _make_csv(path: Path, dice: random.Random) -> TestDocument:
    words = _words(dice, 20)
    rows = ["name,amount", *(f"{word},{dice.randint(1, 999)}" for word in words)]
    path.write_text("\n".join(rows) + "\n")
    return TestDocument(path, "csv", 1, tuple(words))


def _make_html(path: Path, dice: random.Random) -> TestDocument:
    words = _words(dice, 10)
    body = "".join(f"<p>The word {word} stands here.</p>" for word in words)
    path.write_text(f"<!doctype html><html><head><title>T</title></head><body><h1>Words</h1>{body}</body></html>")
    return TestDocument(path, "html", 1, tuple(words))


def _make_text(path: Path, dice: random.Random) -> TestDocument:
    words = _words(dice, 10)
    path.write_text("\n\n".join(f"A paragraph about {word}, and no more." for word in words))
    return TestDocument(path, "txt", 1, tuple(words))


def _make_markdown(path: Path, dice: random.Random) -> TestDocument:
    words = _words(dice, 10)
    path.write_text("# Words\n\n" + "\n".join(f"- {word}" for word in words) + "\n")
    return TestDocument(path, "md", 1, tuple(words))


def _make_docx(path: Path, dice: random.Random) -> TestDocument:
    words, document = _words(dice, 8), docx.Document()
    for word in words:
        document.add_paragraph(f"A paragraph about {word}.")
    document.save(str(path))
    return TestDocument(path, "docx", 1, tuple(words))


def _make_xlsx(path: Path, dice: random.Random) -> TestDocument:
    words, book = _words(dice, 8), openpyxl.Workbook()
    sheet = book.active
    for number, word in enumerate(words):
        sheet.append([word, number])
    book.save(path)
    return TestDocument(path, "xlsx", 1, tuple(words))


def _make_broken(path: Path, dice: random.Random) -> TestDocument:
    whole = bytes(_pdf([_words(dice, 3)]).output())
    path.write_bytes(whole[: len(whole) // 3])
    return TestDocument(path, "broken", 0, (), "PDF_IS_BROKEN")


def _make_locked(path: Path, dice: random.Random) -> TestDocument:
    pdf = _pdf([_words(dice, 3)])
    pdf.set_encryption(owner_password="owner", user_password="reader", permissions=AccessPermission.none())
    path.write_bytes(bytes(pdf.output()))
    return TestDocument(path, "locked", 0, (), "PDF_IS_PROTECTED")


def _make_scan(path: Path, dice: random.Random) -> TestDocument:
    picture = io.BytesIO()
    Image.new("L", (80, 80), dice.randint(0, 255)).save(picture, "PNG")
    pdf = _pdf([])
    pdf.add_page()
    pdf.image(picture, x=10, y=10, w=dice.randint(50, 150))
    path.write_bytes(bytes(pdf.output()))
    return TestDocument(path, "scan", 1, (), "NO_DATA_FOUND_IN_FILE")


_MAKERS: Final[tuple[tuple[str, Callable[[Path, random.Random], TestDocument]], ...]] = (
    ("pdf", _make_pdf),
    ("csv", _make_csv),
    ("pdf", _make_pdf),
    ("html", _make_html),
    ("txt", _make_text),
    ("pdf", _make_pdf),
    ("docx", _make_docx),
    ("md", _make_markdown),
    ("pdf", _make_broken),
    ("xlsx", _make_xlsx),
    ("pdf", _make_pdf),
    ("pdf", _make_locked),
    ("pdf", _make_scan),
)


def make_documents(count: int, folder: Path, seed: int) -> list[TestDocument]:
    """`count` documents in `folder`, every kind in turn, the same words for the same seed."""
    dice = random.Random(seed)
    made = []
    for number in range(count):
        ending, make = _MAKERS[number % len(_MAKERS)]
        made.append(make(folder / f"document-{number:03}.{ending}", dice))
    return made
