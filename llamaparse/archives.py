"""Opens Office files (zip archives) only after checking that unpacking them can't exhaust the machine.

The checks read the archive's own directory, never the file's name, and happen before any library sees the file.
"""

from __future__ import annotations

import os
import re
import struct
import zipfile
import zlib
from typing import BinaryIO, Final

from domain.errors import DocumentRefused

MAX_ENTRIES: Final = 10_000
MAX_DIRECTORY_BYTES: Final = 2 * 1024 * 1024
"""The archive's directory is read into memory as a whole, whatever number of entries it claims."""
MAX_UNPACKED_BYTES: Final = 256 * 1024 * 1024
MAX_XML_BYTES: Final = 64 * 1024 * 1024
"""One XML part; its tree takes several times as much memory."""
MAX_RATIO: Final = 250
"""How many times its packed size a part over `RATIO_FREE_BYTES` may have; Word and Excel reach 20 to 60."""
RATIO_FREE_BYTES: Final = 1024 * 1024

ARCHIVE_ERRORS: Final = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError)
"""What `zipfile` raises for a broken archive, an unknown packing method or a part with a password."""

_END: Final = b"PK\x05\x06"
_END_BYTES: Final = 22
_ZIP64_LOCATOR: Final = b"PK\x06\x07"
_ZIP64_LOCATOR_BYTES: Final = 20
_MAX_COMMENT_BYTES: Final = 65_535
_CHUNK: Final = 64 * 1024
_DOCTYPE: Final = re.compile(rb"<\0?!\0?D\0?O\0?C\0?T\0?Y\0?P\0?E")
"""Also in UTF-16, whichever byte comes first."""
_DOCTYPE_SPAN: Final = 20


def open_archive(content: BinaryIO) -> zipfile.ZipFile:
    """Open a zip archive whose directory is of a sane size. The caller closes it; `content` stays open.

    Raises:
        DocumentRefused: not an archive, broken, or with a directory made to exhaust memory.
    """
    _check_directory_size(content)
    content.seek(0)
    try:
        return zipfile.ZipFile(content)
    except (*ARCHIVE_ERRORS, ValueError) as error:
        raise _broken() from error


def check_unpacking(archive: zipfile.ZipFile) -> None:
    """Refuse what is too big unpacked, packed too well to be true or in a way no Office packs, or declares entities.

    Raises:
        DocumentRefused: DOCUMENT_TOO_LARGE or UNSUPPORTED_FILE_TYPE.
    """
    total = 0
    for entry in archive.infolist():
        if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED} or entry.header_offset < 0:
            raise _broken()
        total += entry.file_size
        xml = _is_xml(entry.filename)
        squeezed = entry.file_size > RATIO_FREE_BYTES and entry.file_size > MAX_RATIO * max(1, entry.compress_size)
        if total > MAX_UNPACKED_BYTES or squeezed or (xml and entry.file_size > MAX_XML_BYTES):
            raise DocumentRefused(
                "The Office file is too large when it is unpacked; the local parser does not open it.",
                reason="DOCUMENT_TOO_LARGE",
            )
    for entry in archive.infolist():
        if _is_xml(entry.filename):
            _refuse_doctype(archive, entry)


def _check_directory_size(content: BinaryIO) -> None:
    """Read the end record as `zipfile` finds it. Zip64 is refused: no Office file within the limits needs it."""
    size = content.seek(0, os.SEEK_END)
    start = max(0, size - _END_BYTES - _MAX_COMMENT_BYTES - _ZIP64_LOCATOR_BYTES)
    content.seek(start)
    tail = content.read(size - start)
    end = len(tail) - _END_BYTES
    if end < 0 or tail[end : end + 4] != _END or tail[-2:] != b"\0\0":
        end = tail.rfind(_END)
    if end < 0 or end + _END_BYTES > len(tail):
        raise _broken()
    entries, directory_bytes = struct.unpack_from("<HI", tail, end + 10)
    zip64 = tail[max(0, end - _ZIP64_LOCATOR_BYTES) : end].startswith(_ZIP64_LOCATOR)
    if zip64 or entries > MAX_ENTRIES or directory_bytes > MAX_DIRECTORY_BYTES:
        raise DocumentRefused(
            f"The Office file has more than {MAX_ENTRIES} parts; the local parser does not open it.",
            reason="DOCUMENT_TOO_LARGE",
        )


def _refuse_doctype(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Office's XML has no document type, and without one there are no entities to expand or to fetch."""
    try:
        with archive.open(entry) as part:
            seen = b""
            while chunk := part.read(_CHUNK):
                seen = seen[-_DOCTYPE_SPAN:] + chunk
                if _DOCTYPE.search(seen):
                    raise DocumentRefused(
                        f"The Office file's part {entry.filename[:80]!r} declares XML entities; it is not opened.",
                        reason="UNSUPPORTED_FILE_TYPE",
                    )
    except ARCHIVE_ERRORS as error:
        raise _broken() from error


def _is_xml(name: str) -> bool:
    return name.lower().endswith((".xml", ".rels", ".vml"))


def _broken() -> DocumentRefused:
    return DocumentRefused("The Office file is broken and can't be opened.", reason="UNSUPPORTED_FILE_TYPE")
