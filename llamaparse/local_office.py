"""Word, Excel and PowerPoint documents, with the libraries of the extra ``parsegate[office]``.

A Word document is one page (its pages exist only once it is laid out), a sheet is one, and a slide is one. Hidden
sheets and slides are left out, as the provider does unless it is told otherwise.
"""

from __future__ import annotations

import datetime
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final

from domain.documents import ParsedPage
from domain.errors import DocumentRefused
from llamaparse.archives import ARCHIVE_ERRORS, check_unpacking, open_archive
from llamaparse.clean_text import clean, literal_line, plain_table, table
from llamaparse.file_kind import FileKind

try:
    import docx
    import openpyxl
    import pptx
    from docx.opc.exceptions import OpcError
    from openpyxl.utils.exceptions import CellCoordinatesException, InvalidFileException
    from pptx.exc import PythonPptxError
    from pptx.shapes.group import GroupShape
    from pptx.shapes.picture import Picture
except ImportError:
    OFFICE_INSTALLED = False
    _LIBRARY_ERRORS: tuple[type[Exception], ...] = ()
else:
    OFFICE_INSTALLED = True
    _LIBRARY_ERRORS = (OpcError, PythonPptxError, InvalidFileException, CellCoordinatesException)

MAX_CELLS: Final = 2_000_000
"""Cells of a workbook, empty ones inside a row included: a row's last cell says how wide it is read."""
MAX_ROWS: Final = 1_048_576
"""Excel's own limit; a row may claim any number."""

_BROKEN: Final[tuple[type[Exception], ...]] = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, SyntaxError, TypeError, ValueError),
    *ARCHIVE_ERRORS,
    *_LIBRARY_ERRORS,
)
"""What the libraries raise for parts that are missing or aren't what the format says; bad XML is a SyntaxError."""

_W: Final = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_SKIPPED: Final = {
    # The same text once more, for old programs.
    "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",
    _W + "moveFrom",
    _W + "del",
    _W + "pPr",  # its tabs are places, not characters
}
_INLINE: Final = {_W + "tab": "\t", _W + "br": "\n", _W + "cr": "\n", _W + "noBreakHyphen": "-", _W + "p": "\n"}
_CONTAINERS: Final = {_W + name for name in ("sdt", "sdtContent", "ins", "moveTo", "customXml", "smartTag")}
_HEADING: Final = re.compile(r"heading ([1-6])", re.I)
_LIST: Final = re.compile(r"list (?:bullet|number|paragraph)", re.I)
_MAX_SPAN: Final = 63
"""Word's own limit of columns."""

Wanted = Callable[[int], list[int]]
"""Given how many pages there are, the page numbers (from 1) to read."""


def read_office(content: BinaryIO, kind: FileKind, wanted: Wanted) -> list[ParsedPage]:
    """Read a Word, Excel or PowerPoint document.

    Raises:
        DocumentRefused: UNSUPPORTED_FILE_TYPE (broken, or the extra isn't installed) or DOCUMENT_TOO_LARGE.
    """
    if not OFFICE_INSTALLED:
        raise DocumentRefused(
            "The local parser reads Office documents only with its extra: pip install 'parsegate[office]'.",
            reason="UNSUPPORTED_FILE_TYPE",
        )
    with open_archive(content) as archive:
        check_unpacking(archive)
    content.seek(0)
    readers: dict[str, Callable[[BinaryIO, Wanted], list[ParsedPage]]]
    readers = {"docx": _read_docx, "xlsx": _read_xlsx, "pptx": _read_pptx}
    try:
        with warnings.catch_warnings():  # where threads undo each other's filters, only this one can stay
            warnings.filterwarnings("ignore", module=r"openpyxl\.")  # of what it leaves out when writing again
            return readers[kind](content, wanted)
    except _BROKEN as error:
        raise _broken() from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise _broken() from error  # openpyxl's word for a workbook without a workbook part


def _broken() -> DocumentRefused:
    return DocumentRefused("The Office file is broken and can't be read.", reason="UNSUPPORTED_FILE_TYPE")


def _read_docx(content: BinaryIO, wanted: Wanted) -> list[ParsedPage]:
    if not wanted(1):
        return []
    document = docx.Document(content)
    names = {style.style_id: str(style.name) for style in document.styles}
    markdown, text = [], []
    for element in _blocks(document.element.body):
        if element.tag == _W + "tbl":
            rows = [_table_cells(row) for row in element.iter(_W + "tr") if _inside(row, "tbl") is element]
            markdown.append(table(rows))
            text.append(plain_table(rows))
        elif content_text := _words(element):
            markdown.append(_paragraph_mark(element, names) + "\n".join(map(literal_line, content_text.split("\n"))))
            text.append(content_text)
    return [ParsedPage(1, markdown=_with_lists_joined(markdown), text="\n".join(text))]


def _blocks(body: Any) -> Iterator[Any]:
    """Paragraphs and tables in order, also those inside content controls and tracked insertions."""
    waiting = list(reversed(body))
    while waiting:
        element = waiting.pop()
        if element.tag in {_W + "p", _W + "tbl"}:
            yield element
        elif element.tag in _CONTAINERS:
            waiting.extend(reversed(element))


def _table_cells(row: Any) -> list[str]:
    cells = []
    for cell in row.iter(_W + "tc"):
        if _inside(cell, "tr") is not row:
            continue  # of a table inside the cell, whose text is in the cell's
        span = cell.find(f"{_W}tcPr/{_W}gridSpan")
        width = int(span.get(_W + "val", "1")) if span is not None else 1
        cells += [_words(cell)] + [""] * (min(width, _MAX_SPAN) - 1)
    return cells


def _inside(element: Any, name: str) -> Any:
    """The nearest element of that name around this one; content controls may stand between them."""
    return next(element.iterancestors(_W + name), None)


def _words(element: Any) -> str:
    """All text inside an element, deleted and moved-away text left out. Walks without recursion."""
    parts = []
    waiting = [element]
    while waiting:
        inner = waiting.pop()
        if inner.tag in _SKIPPED:
            continue
        parts.append((inner.text or "") if inner.tag == _W + "t" else _INLINE.get(inner.tag, ""))
        waiting.extend(reversed(inner))
    return clean("".join(parts)).strip()


def _paragraph_mark(paragraph: Any, names: dict[str, str]) -> str:
    style = paragraph.find(f"{_W}pPr/{_W}pStyle")
    name = names.get(style.get(_W + "val", ""), "") if style is not None else ""
    if heading := _HEADING.fullmatch(name):
        return "#" * int(heading[1]) + " "
    if name == "Title":
        return "# "
    level = paragraph.find(f"{_W}pPr/{_W}numPr/{_W}ilvl")
    if level is None and not _LIST.match(name):
        return ""
    depth = int(level.get(_W + "val", "0")) if level is not None else 0
    return "  " * max(0, min(depth, 8)) + "- "


def _with_lists_joined(blocks: list[str]) -> str:
    """Blocks with a blank line between them, but none between the items of a list."""
    parts: list[str] = []
    item_before = False
    for block in blocks:
        item = block.lstrip(" ").startswith("- ")
        parts += ["" if not parts else "\n" if item and item_before else "\n\n", block]
        item_before = item
    return "".join(parts)


def _read_xlsx(content: BinaryIO, wanted: Wanted) -> list[ParsedPage]:
    workbook = openpyxl.load_workbook(content, read_only=True, data_only=True)
    try:
        budget = MAX_CELLS
        pages = []
        sheets = [sheet for sheet in workbook.worksheets if sheet.sheet_state == "visible"]
        for number in wanted(len(sheets)):
            sheet = sheets[number - 1]
            rows, used = _sheet_rows(sheet, budget)
            budget -= used
            name = clean(str(sheet.title))
            if rows:
                pages.append(ParsedPage(number, f"## {name}\n\n{table(rows)}", f"{name}\n{plain_table(rows)}"))
            else:
                pages.append(ParsedPage(number))
        return pages
    finally:
        workbook.close()


def _sheet_rows(sheet: Any, budget: int) -> tuple[list[list[str]], int]:
    """The rows that hold something, without the empty columns at the left, and how many cells were looked at."""
    sheet.reset_dimensions()  # the sheet's own word on its size may be anything
    rows: list[list[str]] = []
    used = 0
    for index, values in enumerate(sheet.iter_rows(values_only=True)):
        used += len(values)
        if used > budget or index >= MAX_ROWS:
            raise DocumentRefused(
                f"The workbook has more than {MAX_CELLS} cells; the local parser does not read it.",
                reason="DOCUMENT_TOO_LARGE",
            )
        row = [_cell_text(value) for value in values]
        while row and not row[-1]:
            row.pop()
        if row:
            rows.append(row)
    margin = min((next(place for place, cell in enumerate(row) if cell) for row in rows), default=0)
    return [row[margin:] for row in rows], used


def _cell_text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "TRUE" if value else "FALSE"
        case float():
            return f"{value:.15g}"
        case datetime.datetime():
            return value.isoformat(sep=" ").removesuffix(" 00:00:00")
        case datetime.date() | datetime.time():
            return value.isoformat()
    return clean(str(value)).strip()


def _read_pptx(content: BinaryIO, wanted: Wanted) -> list[ParsedPage]:
    slides = [slide for slide in pptx.Presentation(content).slides if slide.element.get("show") not in {"0", "false"}]
    return [_read_slide(slides[number - 1], number) for number in wanted(len(slides))]


def _read_slide(slide: Any, number: int) -> ParsedPage:
    title = slide.shapes.title
    markdown, text = [], []
    pictures = False
    waiting = [shape for shape in reversed(slide.shapes) if title is None or shape.element is not title.element]
    waiting += [title] if title is not None else []
    while waiting:
        shape = waiting.pop()
        if isinstance(shape, GroupShape):
            waiting.extend(reversed(shape.shapes))
        elif shape.has_table if hasattr(shape, "has_table") else False:
            rows = [[clean(cell.text) for cell in row.cells] for row in shape.table.rows]
            markdown.append(table(rows))
            text.append(plain_table(rows))
        elif shape.has_text_frame and shape.text_frame.text.strip():
            mark = "# " if shape is title else ""
            markdown.append(_slide_text(shape, mark))
            text.append(clean(shape.text_frame.text).strip())
        pictures = pictures or isinstance(shape, Picture)
    if pictures and not text:
        return ParsedPage(number, success=False, error=f"Slide {number} has only pictures, which are not read here.")
    return ParsedPage(number, markdown="\n\n".join(markdown), text="\n".join(text))


def _slide_text(shape: Any, mark: str) -> str:
    """A title as a heading, a body with several paragraphs as a list, anything else line by line."""
    paragraphs = [(clean(item.text).strip().replace("\n", " "), item.level) for item in shape.text_frame.paragraphs]
    paragraphs = [(text, level) for text, level in paragraphs if text]
    if mark:
        return mark + " ".join(text for text, _ in paragraphs)
    if shape.is_placeholder and len(paragraphs) > 1:
        return "\n".join("  " * level + "- " + text for text, level in paragraphs)
    return "\n\n".join(literal_line(text) for text, _ in paragraphs)
