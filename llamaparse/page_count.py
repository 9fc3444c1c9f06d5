"""How many pages a document is priced for, before anything is sent.

PDFs and pictures are counted. For the rest, and for what can't be opened, it is a ceiling by size, always one page
above what the size suggests: a whole result then stays below its ceiling, and one that reaches it was cut.

| kind | ceiling |
| --- | --- |
| text, CSV, HTML | a page for each 1,500 bytes, one for each form feed of a plain text, and one |
| Word | a page for each 2,000 bytes of its main part's XML, one for each picture, and one |
| Excel | for each sheet a page and one for each 4,000 bytes of its XML; one for 1,500 bytes of shared text; and one |
| PowerPoint | its slides, and one |
| PDF that can't be opened, anything else | a page for each 2,000 bytes, and one, but no more than 1,000 |

No exception for a bad document: what is wrong with it is for the provider, or the local parser, to say.
"""

from __future__ import annotations

import re
import struct
from typing import BinaryIO, Final

from domain.documents import PageCount
from domain.errors import DocumentRefused
from llamaparse.archives import open_archive
from llamaparse.file_kind import FileKind, file_kind, size_of
from llamaparse.pdf_text import count_pdf_pages

TEXT_PAGE_BYTES: Final = 1_500
WORD_PAGE_BYTES: Final = 2_000
SHEET_PAGE_BYTES: Final = 4_000
UNKNOWN_PAGE_BYTES: Final = 2_000
UNKNOWN_MAX_PAGES: Final = 1_000
MAX_FRAMES: Final = 20_000

_KINDS: Final[dict[FileKind, str]] = {
    "pdf": "pdf",
    "image": "image",
    "tiff": "image",
    "html": "html",
    "csv": "csv",
    "markdown": "text",
    "text": "text",
    "docx": "office",
    "xlsx": "office",
    "pptx": "office",
    "old_office": "office",
}
_WORD_PICTURE: Final = re.compile(r"word/media/.+")
_SHEET: Final = re.compile(r"xl/(?:worksheets|chartsheets)/[^/]+\.xml")
_SLIDE: Final = re.compile(r"ppt/slides/[^/]+\.xml")
_CHUNK: Final = 1024 * 1024


def count_pages(content: BinaryIO, filename: str) -> PageCount:
    """The pages of a document, or a ceiling where they can't be counted.

    Args:
        content: seekable, in binary mode; stays open, at an arbitrary position. Read in pieces.
        filename: the name it was sent under; its suffix decides where the bytes leave it open.
    """
    kind = file_kind(content, filename)
    name = _KINDS.get(kind, "unknown")
    try:
        match kind:
            case "pdf":
                return PageCount(max(1, count_pdf_pages(content)), guessed=False, kind=name)
            case "image":
                return PageCount(1, guessed=False, kind=name)
            case "tiff":
                return PageCount(_count_frames(content), guessed=False, kind=name)
            case "docx" | "xlsx" | "pptx":
                return PageCount(_office_ceiling(content, kind) + 1, guessed=True, kind=name)
    except (DocumentRefused, struct.error):
        return PageCount(_unknown_ceiling(size_of(content)), guessed=True, kind=name)
    size = size_of(content)
    if kind in {"html", "csv", "markdown", "text"}:
        ends = _count_form_feeds(content) if kind == "text" else 0
        return PageCount(_pages(size, TEXT_PAGE_BYTES) + ends + 1, guessed=True, kind=name)
    return PageCount(_unknown_ceiling(size), guessed=True, kind=name)


def not_counted(content: BinaryIO, filename: str) -> PageCount:
    """The ceiling for a document that could not be counted, by its size alone."""
    kind = file_kind(content, filename)
    return PageCount(_unknown_ceiling(size_of(content)), guessed=True, kind=_KINDS.get(kind, "unknown"))


def _pages(size: int, page_bytes: int) -> int:
    return -(-size // page_bytes)


def _count_form_feeds(content: BinaryIO) -> int:
    """How many pages a plain text may end by itself."""
    content.seek(0)
    return sum(chunk.count(b"\f") for chunk in iter(lambda: content.read(_CHUNK), b""))


def _unknown_ceiling(size: int) -> int:
    return min(_pages(size, UNKNOWN_PAGE_BYTES) + 1, UNKNOWN_MAX_PAGES)


def _office_ceiling(content: BinaryIO, kind: FileKind) -> int:
    """By the archive's directory alone; nothing is unpacked."""
    with open_archive(content) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    if kind == "pptx":
        return max(1, sum(1 for name in sizes if _SLIDE.fullmatch(name)))
    if kind == "docx":
        pictures = sum(1 for name in sizes if _WORD_PICTURE.fullmatch(name))
        return max(1, _pages(sizes.get("word/document.xml", 0), WORD_PAGE_BYTES) + pictures)
    sheets = sum(1 + _pages(size, SHEET_PAGE_BYTES) for name, size in sizes.items() if _SHEET.fullmatch(name))
    return max(1, sheets + _pages(sizes.get("xl/sharedStrings.xml", 0), TEXT_PAGE_BYTES))


def _count_frames(content: BinaryIO) -> int:
    """Frames of a TIFF, by walking its chain of directories; each is looked at once.

    Raises:
        struct.error: the chain leaves the file.
        DocumentRefused: it runs in a circle, or is longer than any document.
    """
    content.seek(0)
    head = content.read(16)
    order = "<" if head.startswith(b"II") else ">"
    big = struct.unpack_from(order + "H", head, 2)[0] == 43
    count_format, entry_bytes, offset_format = ("Q", 20, "Q") if big else ("H", 12, "L")
    (offset,) = struct.unpack_from(order + offset_format, head, 8 if big else 4)
    seen: set[int] = set()
    while offset:
        if offset in seen or len(seen) >= MAX_FRAMES:
            raise DocumentRefused("The TIFF's pages run in a circle.", reason="UNSUPPORTED_FILE_TYPE")
        seen.add(offset)
        entries = _unpack_at(content, offset, order + count_format)
        offset = _unpack_at(
            content, offset + struct.calcsize(order + count_format) + entries * entry_bytes, order + offset_format
        )
    return max(1, len(seen))


def _unpack_at(content: BinaryIO, offset: int, layout: str) -> int:
    if offset >= size_of(content):
        raise struct.error("beyond the file")
    content.seek(offset)
    return int(struct.unpack(layout, content.read(struct.calcsize(layout)))[0])
