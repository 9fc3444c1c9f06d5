"""What a file is: by its first bytes, and only where they leave it open by its name."""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath
from typing import BinaryIO, Final, Literal

from domain.errors import DocumentRefused
from llamaparse.archives import open_archive

FileKind = Literal[
    "empty", "pdf", "image", "tiff", "html", "markdown", "csv", "text", "docx", "xlsx", "pptx", "old_office", "unknown"
]

HEAD_BYTES: Final = 8192
_PDF_MAGIC: Final = b"%PDF-"
_PDF_SEARCH_BYTES: Final = 1024
"""PDF readers accept this much in front of the header."""

_PICTURES: Final = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"\0\0\0\x0cJXL ", b"\0\0\0\x0cjP  ")
_TIFF: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BITMAP_HEADER_BYTES: Final = {b"\x0c\0\0\0", b"\x28\0\0\0", b"\x6c\0\0\0", b"\x7c\0\0\0"}
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_BYTE_ORDER_MARKS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
_PROLOG: Final = rb"(?>\s*)(?><\?xml[^>]*>)?(?>(?>\s*<!--.*?-->)*)(?>\s*)"
"""What may stand before the first tag. The groups are atomic: nested comments can't make the search exponential."""
_HTML: Final = re.compile(_PROLOG + rb"<(?:!doctype\s+html|html)\b", re.I | re.S)
_SVG: Final = re.compile(_PROLOG + rb"(?:<!doctype\s+svg[^>]*>\s*)?<svg\b", re.I | re.S)
_BINARY: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")

_OFFICE_PARTS: Final[tuple[tuple[str, FileKind], ...]] = (
    ("word/document.xml", "docx"),
    ("xl/workbook.xml", "xlsx"),
    ("ppt/presentation.xml", "pptx"),
)
_OFFICE_SUFFIXES: Final[dict[str, FileKind]] = {".docx": "docx", ".xlsx": "xlsx", ".pptx": "pptx"}
_TEXT_SUFFIXES: Final[dict[str, FileKind]] = {
    ".htm": "html",
    ".html": "html",
    ".xhtml": "html",
    ".md": "markdown",
    ".markdown": "markdown",
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
}


def file_kind(content: BinaryIO, filename: str) -> FileKind:
    """The kind of a document.

    Args:
        content: seekable; left at an arbitrary position.
        filename: the name it was sent under; only its suffix matters.
    """
    content.seek(0)
    head = content.read(HEAD_BYTES)
    if not head:
        return "empty"
    found = _by_magic(head) or _by_container(content, head, filename)
    if found is not None:
        return found
    suffix = suffix_of(filename)
    if suffix == ".pdf" or (_PDF_MAGIC in head[:_PDF_SEARCH_BYTES] and _is_binary(head)):
        return "pdf"
    if _is_binary(head):
        return "unknown"
    return _TEXT_SUFFIXES.get(suffix, "text")


def suffix_of(filename: str) -> str:
    """The name's suffix in lower case, with its dot; empty if it has none."""
    return PurePosixPath(filename.replace("\\", "/")).suffix.lower()


def size_of(content: BinaryIO) -> int:
    """Bytes in `content`; leaves it at its end."""
    return content.seek(0, os.SEEK_END)


def _by_magic(head: bytes) -> FileKind | None:
    if head.lstrip(b"\xef\xbb\xbf\0\t\n\f\r ").startswith(_PDF_MAGIC):
        return "pdf"
    if head.startswith(_TIFF):
        return "tiff"
    if head.startswith(_PICTURES) or _is_riff_or_heif(head) or _is_bitmap(head) or _SVG.match(head):
        return "image"
    if head.startswith(_OLE):
        return "old_office"
    if head.startswith(b"{\\rtf"):
        return "unknown"
    return "html" if _HTML.match(head.removeprefix(b"\xef\xbb\xbf")) else None


def _by_container(content: BinaryIO, head: bytes, filename: str) -> FileKind | None:
    if not head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return None
    try:
        with open_archive(content) as archive:
            names = set(archive.namelist())
    except DocumentRefused:
        return _OFFICE_SUFFIXES.get(suffix_of(filename), "unknown")
    return next((kind for part, kind in _OFFICE_PARTS if part in names), "unknown")


def _is_riff_or_heif(head: bytes) -> bool:
    heif = head[4:8] == b"ftyp" and head[8:12] in {b"heic", b"heix", b"mif1", b"msf1", b"avif"}
    return heif or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")


def _is_bitmap(head: bytes) -> bool:
    """ "BM" alone could start a text: the header's reserved bytes and its size must fit as well."""
    return (
        head.startswith(b"BM")
        and head[6:10] == b"\0\0\0\0"
        and head[14:18] in {b"\x0c\0\0\0", b"\x28\0\0\0", b"\x7c\0\0\0"}
    )


def _is_binary(head: bytes) -> bool:
    return not head.startswith(_BYTE_ORDER_MARKS) and _BINARY.search(head) is not None
