"""Characters that have no place in a result are taken out or spelled out; nothing is ever added."""

from __future__ import annotations

import re
from typing import Final

_SPELLED: Final = str.maketrans(
    {
        "\ufb00": "ff",
        "\ufb01": "fi",
        "\ufb02": "fl",
        "\ufb03": "ffi",
        "\ufb04": "ffl",
        "\ufb05": "st",
        "\ufb06": "st",
        "\u00a0": " ",
        "\u00ad": None,  # a soft hyphen is only a place where a word may be broken
        "\u200b": None,
        "\u2060": None,
        "\ufeff": None,
        "\uf0b7": "\u2022",  # the bullet of the Symbol font
        **dict.fromkeys("\r\v\f\x85\u2028\u2029", "\n"),
    }
)
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f\ud800-\udfff\ufff9-\ufffb\ufffe\uffff]")
_BLOCK_START: Final = re.compile(r" {0,3}(?=#{1,6}(?:\s|$)|>|\+\s|```|~~~|(?:-+|=+)\s*$|(?:[-_*]\s*){3,}$)")


def clean(text: str) -> str:
    """Without control characters, byte-order marks and soft hyphens; ligatures spelled out; lines end in newlines."""
    return _UNPRINTABLE.sub("", text.replace("\r\n", "\n").translate(_SPELLED))


def literal_line(line: str) -> str:
    """A line of plain text as Markdown: what would make it a heading, quotation or rule is escaped."""
    sign = _BLOCK_START.match(line)
    return f"{sign[0]}\\{line[sign.end() :]}" if sign else line


def table(rows: list[list[str]]) -> str:
    """Rows as a Markdown table whose first row is the heading. Shorter rows stay short, as Markdown allows."""
    if not rows:
        return ""
    width = max(len(row) for row in rows)
    head = rows[0] + [""] * (width - len(rows[0]))
    lines = [_table_row(head), "|" + " --- |" * width, *(_table_row(row) for row in rows[1:])]
    return "\n".join(lines)


def plain_table(rows: list[list[str]]) -> str:
    """Rows as lines, cells separated by tabs."""
    return "\n".join("\t".join(" ".join(cell.split()) for cell in row) for row in rows)


def _table_row(cells: list[str]) -> str:
    escaped = (cell.strip().replace("|", "\\|").replace("\n", "<br>") for cell in cells)
    return "| " + " | ".join(escaped) + " |"
