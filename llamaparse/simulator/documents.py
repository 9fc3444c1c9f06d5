"""Opens a document and reads the pages that were asked for. Blocking: call it in a thread.

The kind is told from the bytes first and from the name only where the bytes are plain text, as a wrong extension is
common and a wrong magic number is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pypdfium2
import pypdfium2.raw

from llamaparse.pdfium import PDFIUM_LOCK
from llamaparse.simulator.markup import csv_pages, html_pages, text_pages
from llamaparse.simulator.office import office_pages
from llamaparse.simulator.orders import PageSelection, ParseOrder
from llamaparse.simulator.pages import CHARS_PER_PAGE, NO_TEXT_LAYER, Page, Unreadable

HEAD_BYTES: Final = 1024
IMAGES: Final = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\x00", b"MM\x00*", b"BM")
BYTE_ORDER_MARKS: Final = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
NOT_TEXT: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
MAX_BYTES_PER_CHAR: Final = 4


@dataclass(frozen=True)
class Reading:
    """What was asked for, of a document of `total_pages`."""

    total_pages: int
    pages: tuple[Page, ...]

    @property
    def failed(self) -> int:
        return sum(page.error is not None for page in self.pages)


@dataclass(frozen=True)
class Reader:
    """Reads documents within the limits of the settings.

    Attributes:
        max_pages: more pages than that in one job are `TOO_MANY_PAGES`.
        max_page_text_bytes: text and Markdown of a page beyond it are cut (the provider: 64 KB).
    """

    max_pages: int
    max_page_text_bytes: int

    def read(self, path: Path, name: str, order: ParseOrder) -> Reading:
        """The chosen pages.

        Raises:
            Unreadable: with the provider's reason.
            OSError: the file is gone.
        """
        size = path.stat().st_size
        if size == 0:
            raise Unreadable("NO_DATA_FOUND_IN_FILE")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        selection = order.page_ranges.selection()
        if b"%PDF-" in head or (name.lower().endswith(".pdf") and not head.startswith(IMAGES)):
            reading = self._pdf(path, selection)
        else:
            reading = self._selected(self._pages(path, name, head, size, order), selection)
        if not any(page.text.strip() or page.error for page in reading.pages):
            raise Unreadable("NO_DATA_FOUND_IN_FILE")
        return reading

    def _pages(self, path: Path, name: str, head: bytes, size: int, order: ParseOrder) -> Iterable[Page]:
        if head.startswith(b"PK\x03\x04"):
            return office_pages(
                path,
                hidden_sheets=bool(order.input_options.spreadsheet.include_hidden_sheets),
                hidden_slides=bool(order.input_options.presentation.include_hidden_slides),
            )
        if head.startswith(IMAGES) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP"):
            return [Page(1, error=NO_TEXT_LAYER)]
        if size > self.max_pages * CHARS_PER_PAGE * MAX_BYTES_PER_CHAR:
            raise Unreadable("DOCUMENT_TOO_LARGE")
        text = _decoded(path.read_bytes())
        match _text_kind(name, text):
            case "html":
                return html_pages(text)
            case "csv":
                return csv_pages(text, "\t" if name.lower().endswith(".tsv") else None)
            case _:
                return text_pages(text)

    def _selected(self, pages: Iterable[Page], selection: PageSelection) -> Reading:
        every = list(pages)
        self._check_count(selection.count(len(every)))
        return Reading(len(every), tuple(self._cut(every[number - 1]) for number in selection.of(len(every))))

    def _pdf(self, path: Path, selection: PageSelection) -> Reading:
        document = _open_pdf(path)
        try:
            with PDFIUM_LOCK:
                total = len(document)
            self._check_count(selection.count(total))
            return Reading(total, tuple(self._cut(page) for page in _pdf_pages(document, selection.of(total))))
        finally:
            with PDFIUM_LOCK:
                document.close()

    def _check_count(self, chosen: int) -> None:
        if chosen > self.max_pages:
            raise Unreadable("TOO_MANY_PAGES")

    def _cut(self, page: Page) -> Page:
        limit = self.max_page_text_bytes
        if max(len(page.text), len(page.markdown)) * MAX_BYTES_PER_CHAR <= limit:
            return page
        text, markdown = (whole.encode()[:limit].decode(errors="ignore") for whole in (page.text, page.markdown))
        return replace(page, text=text, markdown=markdown)


def _open_pdf(path: Path) -> Any:
    try:
        with PDFIUM_LOCK:
            return pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        locked = error.err_code in (pypdfium2.raw.FPDF_ERR_PASSWORD, pypdfium2.raw.FPDF_ERR_SECURITY)
        raise Unreadable("PDF_IS_PROTECTED" if locked else "PDF_IS_BROKEN") from error


def _pdf_pages(document: Any, numbers: Iterator[int]) -> Iterator[Page]:
    for number in numbers:
        with PDFIUM_LOCK:
            page = _pdf_page(document, number)
        yield page


def _pdf_page(document: Any, number: int) -> Page:
    """Everything that is opened is closed before the lock is given back: PDFium's destructors need it too."""
    try:
        page = document[number - 1]
        try:
            width, height = page.get_size()
            textpage = page.get_textpage()
            try:
                raw: str = textpage.get_text_range()
            finally:
                textpage.close()
            drawn = any(True for _ in page.get_objects(max_depth=1))
        finally:
            page.close()
    except pypdfium2.PdfiumError as error:
        return Page(number, error=f"the page is damaged: {error}")
    # U+FFFE is how PDFium reports a hyphen at the end of a line.
    lines = [line.rstrip() for line in raw.replace("\ufffe", "-").replace("\x00", "").splitlines()]
    text = "\n".join(lines).strip("\n")
    if drawn and not text:  # a page with nothing on it is blank, and blank is a good result
        return Page(number, error=NO_TEXT_LAYER, width=width, height=height)
    return Page(number, text=text, markdown=text, width=width, height=height)


def _decoded(raw: bytes) -> str:
    """Text in UTF-8, UTF-16 with its mark, or Windows-1252.

    Raises:
        Unreadable: it holds control characters, and so is no text.
    """
    encoding = next((name for mark, name in BYTE_ORDER_MARKS.items() if raw.startswith(mark)), "utf-8")
    if encoding != "utf-16" and NOT_TEXT.search(raw):
        raise Unreadable("UNSUPPORTED_FILE_TYPE")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def _text_kind(name: str, text: str) -> str:
    suffix = Path(name).suffix.lower()
    if suffix in (".html", ".htm", ".xhtml") or text[:HEAD_BYTES].lstrip().lower().startswith(
        ("<!doctype html", "<html")
    ):
        return "html"
    return "csv" if suffix in (".csv", ".tsv") else "text"
