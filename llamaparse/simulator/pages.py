"""What comes out of a document: pages of text and Markdown, or a reason why not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

CHARS_PER_PAGE: Final = 3000
"""Formats without pages of their own (text, Markdown, HTML, CSV) count as one page for each 3,000 characters begun."""

NO_TEXT_LAYER: Final = "no text layer; the simulator does not OCR"

LETTER_WIDTH: Final = 612.0
LETTER_HEIGHT: Final = 792.0
"""US Letter in points, for formats that do not say how large their pages are."""


class Unreadable(Exception):
    """The document gives nothing; `reason` is the provider's word for it, as it appears in `error_message`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Page:
    """One page. A failed page has an `error` and neither text nor Markdown."""

    number: int
    text: str = ""
    markdown: str = ""
    error: str | None = None
    width: float = LETTER_WIDTH
    height: float = LETTER_HEIGHT


@dataclass(frozen=True)
class Block:
    """A piece that stays on one page where it fits: a line, a paragraph, a row of a table."""

    text: str
    markdown: str


def paginate(blocks: Iterable[Block], *, joint: str = "\n", markdown_head: str = "") -> Iterator[Page]:
    """Fill pages of about `CHARS_PER_PAGE` characters; only a block that is longer than a page is cut.

    Args:
        blocks: in reading order.
        joint: what stands between two blocks in the Markdown. In the text it is always a line break.
        markdown_head: opens the Markdown of each page, for a table's head.
    """
    number, held, size = 1, list[Block](), 0
    for block in chain.from_iterable(map(_cut, blocks)):
        if held and size + len(block.text) > CHARS_PER_PAGE:
            yield _filled(number, held, joint, markdown_head)
            number, held, size = number + 1, [], 0
        held.append(block)
        size += len(block.text) + 1
    if held:
        yield _filled(number, held, joint, markdown_head)


def _cut(block: Block) -> Iterator[Block]:
    if len(block.text) <= CHARS_PER_PAGE:
        yield block
        return
    for start in range(0, len(block.text), CHARS_PER_PAGE):
        piece = block.text[start : start + CHARS_PER_PAGE]
        yield Block(piece, piece)


def _filled(number: int, blocks: Sequence[Block], joint: str, markdown_head: str) -> Page:
    text = "\n".join(block.text for block in blocks)
    markdown = joint.join(block.markdown for block in blocks)
    return Page(number, text=text.strip("\n"), markdown=(markdown_head + markdown).strip("\n"))


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown pipe table; the first row is its head."""
    if not rows:
        return ""
    body = "\n".join(table_row(row, len(rows[0])) for row in rows[1:])
    return (table_head(rows[0]) + body).rstrip("\n")


def table_head(row: Sequence[str]) -> str:
    return f"{table_row(row, len(row))}\n|{' --- |' * max(1, len(row))}\n"


def table_row(row: Sequence[str], width: int) -> str:
    """One row, filled up to `width` cells. Bars and line breaks inside a cell are escaped."""
    cells = [*row, *[""] * (width - len(row))]
    return "| " + " | ".join(re.sub(r"\s*[\r\n]+\s*", "<br>", cell).replace("|", "\\|") for cell in cells) + " |"
