"""Plain text, Markdown, HTML and CSV: formats that are text themselves."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Final

from llamaparse.simulator.pages import Block, Page, paginate, table, table_head, table_row

HEADINGS: Final = {f"h{level}": "#" * level + " " for level in range(1, 7)}
ENDS_A_BLOCK: Final = {
    *HEADINGS,
    *("address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figcaption", "footer", "form"),
    *("header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "table", "title", "ul"),
}
TABLE_PARTS: Final = {"tr", "td", "th"}
INVISIBLE: Final = {"script", "style", "template", "noscript"}


def text_pages(text: str) -> Iterator[Page]:
    """Plain text or Markdown: what is written is what comes out."""
    return paginate(Block(line, line) for line in text.splitlines())


def csv_pages(text: str, delimiter: str | None) -> Iterator[Page]:
    """A table; each page's Markdown repeats the first row as its head.

    Args:
        text: the file.
        delimiter: None takes the commonest of ``, ; tab |`` in the first line.
    """
    first_line = text.partition("\n")[0]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter or max(",;\t|", key=first_line.count))
    try:
        cells = [row for row in rows if any(row)]
    except csv.Error:  # not CSV after all: a field of more than 128 KB, or a NUL
        return text_pages(text)
    if not cells:
        return iter(())
    head, width = cells[0], len(cells[0])
    blocks = [Block("\t".join(row), table_row(row, width)) for row in cells[1:]]
    # The head is a line of the text on the first page, and opens the Markdown table on every page.
    pages = paginate(blocks, markdown_head=table_head(head))
    return _with_first_line("\t".join(head), pages, table_head(head))


def _with_first_line(line: str, pages: Iterator[Page], markdown_if_empty: str) -> Iterator[Page]:
    first = next(pages, None)
    if first is None:
        yield Page(1, text=line, markdown=markdown_if_empty.strip("\n"))
        return
    yield Page(1, text=f"{line}\n{first.text}", markdown=first.markdown)
    yield from pages


def html_pages(text: str) -> Iterator[Page]:
    """HTML without its tags; headings, list items and tables keep their form in the Markdown."""
    reader = _HtmlReader()
    reader.feed(text.replace("<![", "<! ["))  # a marked section of an unknown kind makes the parser raise
    reader.close()
    reader.end_table()
    return paginate(reader.blocks, joint="\n\n")


class _HtmlReader(HTMLParser):
    """Collects blocks. Unbalanced tags are taken as they come; nothing in a page can make it fail."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[Block] = []
        self._words: list[str] = []
        self._prefix = ""
        self._hidden = 0
        self._rows: list[list[str]] | None = None
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in INVISIBLE:
            self._hidden += 1
        elif tag in TABLE_PARTS and self._rows is not None:
            self._end_cell()
            self._in_cell = tag != "tr"
            if tag == "tr" or not self._rows:
                self._rows.append([])
        elif tag in ENDS_A_BLOCK:
            self.end_block()
        if tag in HEADINGS:
            self._prefix = HEADINGS[tag]
        elif tag == "li":
            self._prefix = "- "
        elif tag == "table" and self._rows is None:
            self._rows = []

    def handle_endtag(self, tag: str) -> None:
        if tag in INVISIBLE:
            self._hidden = max(0, self._hidden - 1)
        elif tag in TABLE_PARTS:
            self._end_cell()
        elif tag == "table":
            self.end_table()
        elif tag in ENDS_A_BLOCK:
            self.end_block()

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._words.append(data)

    def end_block(self) -> None:
        if self._in_cell:  # a paragraph inside a cell does not end the cell
            self._words.append(" ")
            return
        prefix, self._prefix = self._prefix, ""
        if text := self._taken():
            self.blocks.append(Block(text, prefix + text))

    def end_table(self) -> None:
        self._end_cell()
        rows = [row for row in self._rows or () if row]
        self._rows = None
        if rows:
            self.blocks.append(Block("\n".join("\t".join(row) for row in rows), table(rows)))
        self.end_block()

    def _end_cell(self) -> None:
        if self._in_cell and self._rows:
            self._rows[-1].append(self._taken())
        self._in_cell = False

    def _taken(self) -> str:
        text = " ".join("".join(self._words).split())
        self._words = []
        return text
