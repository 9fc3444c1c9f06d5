"""The mock mode's parser: it really parses, on this machine, without the provider and without cost.

It reads what has text in it. It has no eyes: a scanned page is a failed page, never invented text.
"""

from __future__ import annotations

from typing import BinaryIO, Final

from domain.documents import ParsedDocument, ParsedPage
from domain.errors import PERMANENT_FAILURES, DocumentRefused
from domain.pricing import parse_target_pages
from llamaparse.file_kind import FileKind, file_kind
from llamaparse.local_office import Wanted, read_office
from llamaparse.local_text import read_csv, read_html, read_markdown, read_text
from llamaparse.pdf_text import read_pdf

_ALL: Final = 10**9
_PICTURE: Final = ("NO_DATA_FOUND_IN_FILE", "The file is a picture, and the local parser reads no pictures.")
_REFUSALS: Final[dict[FileKind, tuple[str, str]]] = {
    "empty": ("NO_DATA_FOUND_IN_FILE", "The file is empty."),
    "image": _PICTURE,
    "tiff": _PICTURE,
    "old_office": (
        "UNSUPPORTED_FILE_TYPE",
        "The file is an Office document of the old kind or with a password; the local parser can't read it.",
    ),
    "unknown": ("UNSUPPORTED_FILE_TYPE", "The file is of a type that the local parser can't read."),
}


def parse_locally(
    content: BinaryIO, filename: str, *, max_pages: int | None = None, target_pages: str | None = None
) -> ParsedDocument:
    """Parse a document into pages of text and simple Markdown.

    What it is, is decided by its bytes first and its name second. PDFs are read in pieces; other documents are held
    in memory up to a limit each.

    Args:
        content: seekable, in binary mode; stays open.
        filename: the name it was sent under.
        max_pages: read no more pages than these.
        target_pages: read only these, as ``1,3,5-8``; wins over `max_pages`, as at the provider.

    Returns:
        At least one readable page; the pages that could not be read are there too, marked as failed.

    Raises:
        DocumentRefused: with the provider's word as the reason: UNSUPPORTED_FILE_TYPE, PDF_IS_PROTECTED,
            PDF_IS_BROKEN, NO_DATA_FOUND_IN_FILE, DOCUMENT_TOO_LARGE or TOO_MANY_PAGES.
        OrderRefused: `target_pages` is malformed.
    """
    spans = parse_target_pages(target_pages) if target_pages is not None else [(1, max_pages or _ALL)]

    def wanted(pages: int) -> list[int]:
        return [number for first, last in spans for number in range(first, min(last, pages) + 1)]

    pages = _read(content, filename, file_kind(content, filename), wanted)
    if not pages:
        raise DocumentRefused("The document has none of the pages asked for.", reason="NO_DATA_FOUND_IN_FILE")
    if not any(page.success and page.text.strip() for page in pages):
        first = next((page.error for page in pages if page.error), None)
        raise DocumentRefused(first or PERMANENT_FAILURES["NO_DATA_FOUND_IN_FILE"], reason="NO_DATA_FOUND_IN_FILE")
    return ParsedDocument(tuple(pages))


def _read(content: BinaryIO, filename: str, kind: FileKind, wanted: Wanted) -> list[ParsedPage]:
    match kind:
        case "pdf":
            return list(read_pdf(content, wanted))
        case "docx" | "xlsx" | "pptx":
            return read_office(content, kind, wanted)
        case "html":
            return _chosen(read_html(content), wanted)
        case "csv":
            return _chosen(read_csv(content, filename), wanted)
        case "markdown":
            return _chosen(read_markdown(content), wanted)
        case "text":
            return _chosen(read_text(content), wanted)
        case _:
            reason, sentence = _REFUSALS[kind]
            raise DocumentRefused(sentence, reason=reason)


def _chosen(pages: list[ParsedPage], wanted: Wanted) -> list[ParsedPage]:
    return [pages[number - 1] for number in wanted(len(pages))]
