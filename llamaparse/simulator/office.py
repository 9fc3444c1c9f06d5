"""DOCX, XLSX and PPTX, read from their XML: one page for a document, one for each sheet or slide.

Minimal on purpose: text, headings and tables. Source: ECMA-376 (Office Open XML), part 1.
"""

from __future__ import annotations

import lzma
import posixpath
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from llamaparse.simulator.pages import Page, Unreadable, table

WORD: Final = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
DRAWING: Final = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
SHEET: Final = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
SLIDE: Final = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
RELATION: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
MAX_PART_BYTES: Final = 64 * 1024 * 1024
"""A part that unpacks to more is refused: a small archive must not fill the memory."""
DAMAGED: Final = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError),
    *(ElementTree.ParseError, KeyError, ValueError),
    *(NotImplementedError, RuntimeError),  # an unknown compression, an encrypted member
)
"""Everything that `zipfile` and the XML parser raise over a damaged or hostile archive."""
MAX_COLUMNS: Final = 16_384


def office_pages(path: Path, *, hidden_sheets: bool, hidden_slides: bool) -> list[Page]:
    """The pages of an Office file.

    Raises:
        Unreadable: it is an archive, but not one of the three formats, or a part is damaged or far too large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if "word/document.xml" in names:
                return [_document(archive)]
            if "xl/workbook.xml" in names:
                return list(_workbook(archive, hidden_sheets))
            if "ppt/presentation.xml" in names:
                return list(_presentation(archive, hidden_slides))
    except FileNotFoundError:
        raise
    except DAMAGED as error:
        raise Unreadable("UNSUPPORTED_FILE_TYPE") from error
    raise Unreadable("UNSUPPORTED_FILE_TYPE")


def _part(archive: zipfile.ZipFile, name: str) -> ElementTree.Element:
    with archive.open(name) as member:
        raw = member.read(MAX_PART_BYTES + 1)
    if len(raw) > MAX_PART_BYTES:
        raise Unreadable("DOCUMENT_TOO_LARGE")
    if b"<!DOCTYPE" in raw:  # Office never writes one, and without one no entity can be declared or expanded
        raise Unreadable("UNSUPPORTED_FILE_TYPE")
    return ElementTree.fromstring(raw)  # noqa: S314 - what makes untrusted XML dangerous was refused above


def _relations(archive: zipfile.ZipFile, part: str) -> dict[str, str]:
    """Relation ids of a part, and the names of the parts that they lead to."""
    folder, name = posixpath.split(part)
    root = _part(archive, f"{folder}/_rels/{name}.rels")
    return {
        relation.get("Id", ""): posixpath.normpath(posixpath.join(folder, relation.get("Target", ""))).lstrip("/")
        for relation in root
    }


def _document(archive: zipfile.ZipFile) -> Page:
    body = _part(archive, "word/document.xml").find(f"{WORD}body")
    text: list[str] = []
    markdown: list[str] = []
    for element in body if body is not None else ():
        if element.tag == f"{WORD}p" and (line := _word_text(element)):
            text.append(line)
            markdown.append(_heading_marks(element) + line)
        elif element.tag == f"{WORD}tbl":
            rows = [
                [" ".join(filter(None, map(_word_text, cell.iter(f"{WORD}p")))) for cell in row.iter(f"{WORD}tc")]
                for row in element.iter(f"{WORD}tr")
            ]
            text.extend("\t".join(row) for row in rows)
            markdown.append(table(rows))
    return Page(1, text="\n".join(text), markdown="\n\n".join(markdown))


def _word_text(paragraph: ElementTree.Element) -> str:
    spelled = {f"{WORD}tab": "\t", f"{WORD}br": "\n"}
    pieces = (
        element.text or "" if element.tag == f"{WORD}t" else spelled.get(element.tag, "")
        for element in paragraph.iter()
    )
    return "".join(pieces).strip()


def _heading_marks(paragraph: ElementTree.Element) -> str:
    style = paragraph.find(f"{WORD}pPr/{WORD}pStyle")
    match = re.fullmatch(r"Heading([1-6])", style.get(f"{WORD}val", "")) if style is not None else None
    return "#" * int(match[1]) + " " if match else ""


def _workbook(archive: zipfile.ZipFile, hidden_too: bool) -> Iterator[Page]:
    relations = _relations(archive, "xl/workbook.xml")
    strings: list[str] = []
    if "xl/sharedStrings.xml" in archive.namelist():
        strings = [_joined(item, SHEET) for item in _part(archive, "xl/sharedStrings.xml").iter(f"{SHEET}si")]
    number = 0
    for sheet in _part(archive, "xl/workbook.xml").iter(f"{SHEET}sheet"):
        if sheet.get("state", "visible") != "visible" and not hidden_too:
            continue
        number += 1
        rows = list(_rows(_part(archive, relations[sheet.get(RELATION, "")]), strings))
        text = "\n".join("\t".join(row) for row in rows)
        yield Page(number, text=text, markdown=f"# {sheet.get('name', '')}\n\n{table(rows)}".strip())


def _rows(sheet: ElementTree.Element, strings: list[str]) -> Iterator[list[str]]:
    for row in sheet.iter(f"{SHEET}row"):
        cells: list[str] = []
        for cell in row.iter(f"{SHEET}c"):
            column = _column(cell.get("r", "")) or len(cells) + 1
            cells.extend([""] * (min(column, MAX_COLUMNS) - len(cells) - 1))
            cells.append(_cell_text(cell, strings))
        if any(cells):
            yield cells


def _column(reference: str) -> int:
    """``C7`` is in column 3; 0 where the reference is missing."""
    column = 0
    for letter in re.match(r"[A-Z]{0,3}", reference)[0]:  # type: ignore[index] # it matches the empty string too
        column = column * 26 + ord(letter) - ord("A") + 1
    return column


def _cell_text(cell: ElementTree.Element, strings: list[str]) -> str:
    if cell.get("t") == "inlineStr":
        return _joined(cell, SHEET)
    value = cell.findtext(f"{SHEET}v", "")
    if cell.get("t") == "s":
        return strings[int(value)] if value.isdigit() and int(value) < len(strings) else ""
    return value


def _presentation(archive: zipfile.ZipFile, hidden_too: bool) -> Iterator[Page]:
    relations = _relations(archive, "ppt/presentation.xml")
    number = 0
    for entry in _part(archive, "ppt/presentation.xml").iter(f"{SLIDE}sldId"):
        slide = _part(archive, relations[entry.get(RELATION, "")])
        if slide.get("show") == "0" and not hidden_too:
            continue
        number += 1
        lines = [line for paragraph in slide.iter(f"{DRAWING}p") if (line := _joined(paragraph, DRAWING).strip())]
        yield Page(number, text="\n".join(lines), markdown="\n\n".join(lines))


def _joined(element: ElementTree.Element, namespace: str) -> str:
    return "".join(piece.text or "" for piece in element.iter(f"{namespace}t"))
