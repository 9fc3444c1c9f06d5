"""Text and simple Markdown from PDFs, page by page, with PDFium.

PDFium gives the text in the order in which the document draws it. Lines much larger than the page's body text become
headings, gaps and indents make paragraphs, bullets make lists. Tables stay lines of text. A page without a text layer
is a failed page: nothing is guessed from its picture.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isfinite
from statistics import median
from typing import BinaryIO, Final

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from domain.documents import ParsedPage
from domain.errors import DocumentRefused
from llamaparse.clean_text import clean, literal_line
from llamaparse.pdfium import PDFIUM_LOCK

MAX_PAGES: Final = 20_000
OUTLINES: Final = 50
"""So many drawn paths on a page without text are taken for letters drawn as shapes, fewer for decoration."""

_HYPHEN: Final = "\ufffe"
"""PDFium's mark for a hyphen at a line's end; it leaves out the line break after it."""
_BROKEN_WORD: Final = re.compile(rf"(?:(?<!\w)(\w*+)|){_HYPHEN}(\w*)")
_WORD: Final = re.compile(r"[^\W\d_]{4,}")
_MAX_WORDS: Final = 50_000
_FOOT_HEIGHTS: Final = 4
_BULLET: Final = re.compile(
    r"[\u2022\u2023\u25e6\u25aa\u25ab\u25cf\u25cb\u25a0\u2043\u2219\u00b7\u2013\u2014*-]\s+(?=\S)"
)
_NUMBERED: Final = re.compile(r"(?:\d{1,3}|[a-z]|[ivx]{1,4})[.)]\s|\((?:\d{1,3}|[a-z]|[ivx]{1,4})\)\s", re.I)
_SENTENCE_END: Final = re.compile(r"[.!?:;][\"'\u2019\u201d)]?$")
_HEADING_CHARS: Final = 150
_HEADING_RATIOS: Final = ((1.7, "# "), (1.35, "## "), (1.15, "### "))
_UNDECODABLE: Final = re.compile(r"[\ufffd\ue000-\uf8ff]")


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of text; in points, 0 where PDFium doesn't know.

    Args:
        bottom: of its first character.
        end_bottom: of its last one: below `bottom` where PDFium joined a hyphenated word's two lines.
    """

    text: str
    left: float
    bottom: float
    end_bottom: float
    height: float


def count_pdf_pages(content: BinaryIO) -> int:
    """The number of pages.

    Raises:
        DocumentRefused: PDF_IS_BROKEN or PDF_IS_PROTECTED.
    """
    with PDFIUM_LOCK:
        document = _open(content)
        try:
            return len(document)
        finally:
            document.close()


def read_pdf(content: BinaryIO, wanted: Callable[[int], list[int]]) -> Iterator[ParsedPage]:
    """Read the pages, one at a time; between pages other threads may use PDFium.

    Args:
        content: seekable; read in pieces, so that memory doesn't grow with the file.
        wanted: given the number of pages, the page numbers (from 1) to read.

    Raises:
        DocumentRefused: PDF_IS_BROKEN, PDF_IS_PROTECTED or TOO_MANY_PAGES.
    """
    with PDFIUM_LOCK:
        document = _open(content)
        pages = len(document)
    try:
        if pages > MAX_PAGES:
            raise DocumentRefused(f"The PDF has more than {MAX_PAGES} pages.", reason="TOO_MANY_PAGES")
        words: set[str] = set()
        for number in wanted(pages):
            yield _read_page(document, number, words)
    finally:
        with PDFIUM_LOCK:
            document.close()


def _open(content: BinaryIO) -> pdfium.PdfDocument:
    content.seek(0)
    try:
        return pdfium.PdfDocument(content)
    except pdfium.PdfiumError as error:
        if error.err_code in {pdfium_c.FPDF_ERR_PASSWORD, pdfium_c.FPDF_ERR_SECURITY}:
            raise DocumentRefused("The PDF is protected by a password.", reason="PDF_IS_PROTECTED") from error
        raise DocumentRefused("The PDF is broken and can't be opened.", reason="PDF_IS_BROKEN") from error


def _read_page(document: pdfium.PdfDocument, number: int, words: set[str]) -> ParsedPage:
    with PDFIUM_LOCK:
        try:
            page = document[number - 1]
        except pdfium.PdfiumError:
            return ParsedPage(number, success=False, error=f"Page {number} is broken and can't be read.")
        try:
            lines = _lines(page)
            unreadable = None if lines else _why_empty(page)
        except pdfium.PdfiumError:
            return ParsedPage(number, success=False, error=f"Page {number} is broken and can't be read.")
        finally:
            page.close()
    if unreadable:
        return ParsedPage(number, success=False, error=f"Page {number} {unreadable}.")
    lines = _mend_hyphens(lines, words)
    text = "\n".join(line.text for line in lines)
    if len(_UNDECODABLE.findall(text)) * 2 > len(text.replace(" ", "")):
        return ParsedPage(number, success=False, error=f"Page {number} has text in a font that can't be decoded.")
    return ParsedPage(number, markdown=_markdown(lines), text=text)


def _lines(page: pdfium.PdfPage) -> list[_Line]:
    textpage = page.get_textpage()
    try:
        lines = []
        position = 0
        for raw in textpage.get_text_range().split("\r\n"):
            for part in _parts(textpage, raw, position):
                text = clean(part.replace(_HYPHEN, "\ue0ff")).replace("\ue0ff", _HYPHEN).strip()
                if text:
                    lines.append(_measured(textpage, text, position, part))
                position += _length(part)
            position += 2
        return lines
    finally:
        textpage.close()


def _parts(textpage: pdfium.PdfTextPage, raw: str, position: int) -> Iterator[str]:
    """A line, cut where PDFium joined a word that goes on overleaf with the page's foot, too far below to be a line."""
    part = ""
    for piece in re.split(f"(?<={_HYPHEN})", raw):
        before, after = _box(textpage, position - 2), _box(textpage, position)
        if part and before.bottom - after.bottom > _FOOT_HEIGHTS * (before.top - before.bottom) > 0:
            yield part
            part = ""
        part += piece
        position += _length(piece)
    yield part


def _length(text: str) -> int:
    """In PDFium's characters, which are UTF-16's."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _measured(textpage: pdfium.PdfTextPage, text: str, position: int, raw: str) -> _Line:
    """A line with its place, and the middle of the heights of a few of its characters."""
    visible = [position + offset for offset, character in enumerate(raw) if not character.isspace()]
    first, *inner, last = (
        _box(textpage, visible[index]) for index in (0, len(visible) // 3, 2 * len(visible) // 3, len(visible) - 1)
    )
    height = median(box.top - box.bottom for box in (first, *inner))
    place = (first.left, first.bottom, min(first.bottom, last.bottom), height)
    return _Line(text, *(place if all(map(isfinite, place)) else (0.0, 0.0, 0.0, 0.0)))


def _box(textpage: pdfium.PdfTextPage, text_index: int) -> pdfium_c.FS_RECTF:
    """The character's box, as high as its font; all zero where PDFium has none."""
    box = pdfium_c.FS_RECTF()
    index = pdfium_c.FPDFText_GetCharIndexFromTextIndex(textpage, text_index)
    if index >= 0:
        pdfium_c.FPDFText_GetLooseCharBox(textpage, index, box)
    return box


def _why_empty(page: pdfium.PdfPage) -> str | None:
    """Why a page has no text, or None for a page that is simply blank."""
    kinds = Counter(item.type for item in page.get_objects(max_depth=5))
    if kinds[pdfium_c.FPDF_PAGEOBJ_IMAGE]:
        return "is a picture without a text layer, and pictures are not read here"
    if kinds[pdfium_c.FPDF_PAGEOBJ_PATH] > OUTLINES or kinds[pdfium_c.FPDF_PAGEOBJ_TEXT]:
        return "has no readable text layer"
    return None


def _mend_hyphens(lines: list[_Line], words: set[str]) -> list[_Line]:
    """Join a word broken at a line's end if the whole word stands elsewhere in the pages read; else keep its hyphen.

    Args:
        words: the words seen so far, in lower case; grows.
    """
    for line in lines:
        if len(words) < _MAX_WORDS:
            words.update(word.lower() for word in _WORD.findall(_BROKEN_WORD.sub(" ", line.text)))

    def mended(match: re.Match[str]) -> str:
        first, second = match[1] or "", match[2]
        return first + second if second and (first + second).lower() in words else f"{first}-{second}"

    return [replace(line, text=_BROKEN_WORD.sub(mended, line.text)) for line in lines]


def _markdown(lines: list[_Line]) -> str:
    if not lines:
        return ""
    body = _body_height(lines)
    leading = _usual_leading(lines)
    left = min(line.left for line in lines)
    blocks: list[list[str]] = []
    before: _Line | None = None
    above = ""
    for line in lines:
        heading = _heading_mark(line, body)
        bullet = None if heading else _BULLET.match(line.text)
        near = before is not None and not _starts_paragraph(before, line, leading, left)
        if heading and heading == above and near:
            blocks[-1][0] += " " + line.text
        elif heading:
            blocks.append([heading + line.text])
        elif above or not near or (bullet and not blocks[-1][0].startswith("- ")):
            blocks.append([_as_markdown(line.text, bullet)])
        else:
            blocks[-1].append(_as_markdown(line.text, bullet))
        before, above = line, heading
    return "\n\n".join("\n".join(block) for block in blocks)


def _as_markdown(text: str, bullet: re.Match[str] | None) -> str:
    return "- " + text[bullet.end() :] if bullet else literal_line(text)


def _body_height(lines: list[_Line]) -> float:
    """The height in which most of the page's characters are set."""
    weights: Counter[float] = Counter()
    for line in lines:
        weights[round(line.height * 2) / 2] += len(line.text)
    return weights.most_common(1)[0][0]


def _usual_leading(lines: list[_Line]) -> float:
    """The distance in points between lines of a paragraph; 0 where the page has no two lines below each other.

    Nearer to the least than to the middle: a letter or a form has more gaps between paragraphs than inside them.
    """
    gaps = [gap for above, below in pairwise(lines) if 0 < (gap := above.end_bottom - below.bottom) < 4 * above.height]
    return sorted(gaps)[len(gaps) // 4] if gaps else 0.0


def _heading_mark(line: _Line, body: float) -> str:
    letters = sum(character.isalpha() for character in line.text)
    if body <= 0 or len(line.text) > _HEADING_CHARS or letters < 2:  # one alone is an initial or a formula's
        return ""
    return next((mark for ratio, mark in _HEADING_RATIOS if line.height >= ratio * body), "")


def _starts_paragraph(before: _Line, line: _Line, leading: float, page_left: float) -> bool:
    gap = before.end_bottom - line.bottom
    if gap < -line.height or (leading and gap > max(1.35 * leading, 1.35 * line.height)):
        return True
    if _NUMBERED.match(line.text):
        return False
    indent = line.left - before.left
    return (
        indent > 0.8 * line.height and before.left - page_left < line.height and bool(_SENTENCE_END.search(before.text))
    )
