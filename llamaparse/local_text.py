"""Text, Markdown, CSV and HTML, each as one page (a form feed in a plain text starts the next).

The whole document is held in memory, so larger ones than the limits below are refused.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from itertools import islice
from typing import BinaryIO, Final

from bs4 import BeautifulSoup
from bs4.dammit import EncodingDetector
from bs4.element import PageElement, PreformattedString, Tag
from bs4.exceptions import ParserRejectedMarkup
from charset_normalizer import from_bytes
from markdownify import MarkdownConverter

from domain.documents import ParsedPage
from domain.errors import DocumentRefused
from llamaparse.clean_text import clean, literal_line, plain_table, table
from llamaparse.file_kind import size_of, suffix_of

MAX_TEXT_BYTES: Final = 32 * 1024 * 1024
MAX_HTML_BYTES: Final = 4 * 1024 * 1024
"""A parsed page takes about fifty times its size in memory."""
MAX_DEPTH: Final = 80
"""Tags inside each other; markdownify goes down by recursion. Deeper pages give their text instead of Markdown."""

_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DETECTION_BYTES: Final = 256 * 1024
_FEW_FOREIGN_BYTES: Final = 12
"""With fewer bytes beyond ASCII than this, guessing a code page is a lottery: Windows Latin 1 it is."""
_NEVER_DECLARED: Final = re.compile(r"utf-?(?:7|16|32)|.*escape|punycode|idna", re.I)
"""Not to be believed: UTF-16 and 32 would have been seen by their marks, and the rest are no web page's encodings."""
_FOREIGN: Final = re.compile(rb"[\x80-\xff]")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")

_DELIMITERS: Final = ",;\t|"
_SAMPLE_ROWS: Final = 50
_SAMPLE_CHARS: Final = 64 * 1024

_DROPPED_TAGS: Final = frozenset({"script", "style", "template"})
_BLOCK_TAGS: Final = frozenset(
    {
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "br",
        "caption",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "fieldset",
    }
    | {
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "li",
        "main",
        "nav",
    }
    | {"ol", "option", "p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead", "title", "tr", "ul"}
)
_CELL_TAGS: Final = frozenset({"td", "th"})
_WHITESPACE: Final = re.compile(r"\s+")
_XML_DECLARATION: Final = re.compile(r"<\?xml", re.I)
_MARKED_SECTION: Final = re.compile(r"<!\[[^>]*>?")
_COMMENT_END: Final = re.compile(r"--\s*>")
_ODD_ADDRESS: Final = re.compile(r"\s*(?:javascript|vbscript|data):", re.I)


class _Converter(MarkdownConverter):
    def convert_template(self, *_: object) -> str:
        """Markdownify drops scripts and styles by itself, but not this."""
        return ""


def read_text(content: BinaryIO) -> list[ParsedPage]:
    """Plain text. Its Markdown is the same text with what looks like Markdown's block signs escaped.

    Raises:
        DocumentRefused: DOCUMENT_TOO_LARGE or UNSUPPORTED_FILE_TYPE (binary).
    """
    pages = _decoded(_whole(content, MAX_TEXT_BYTES)).split("\f")
    if len(pages) > 1 and not pages[-1].strip():
        pages.pop()
    return [_text_page(number, clean(text)) for number, text in enumerate(pages, start=1)]


def read_markdown(content: BinaryIO) -> list[ParsedPage]:
    """Markdown, as it is. Raises as `read_text`."""
    text = clean(_decoded(_whole(content, MAX_TEXT_BYTES))).strip("\n")
    return [ParsedPage(1, markdown=text, text=text)]


def read_csv(content: BinaryIO, filename: str) -> list[ParsedPage]:
    """A table from comma-, semicolon-, tab- or bar-separated values. Raises as `read_text`.

    What the CSV reader can't take (a field over 128 KiB, mostly after a quote that is never closed) is given as text.
    """
    text = clean(_decoded(_whole(content, MAX_TEXT_BYTES)))
    delimiter = _delimiter(text[:_SAMPLE_CHARS], "\t" if suffix_of(filename) in {".tsv", ".tab"} else ",")
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(row)]
    except csv.Error:
        return [_text_page(1, text)]
    return [ParsedPage(1, markdown=table(rows), text=plain_table(rows))]


def read_html(content: BinaryIO) -> list[ParsedPage]:
    """A web page without its scripts and styles. Raises as `read_text`."""
    raw = _whole(content, MAX_HTML_BYTES)
    declared = EncodingDetector.find_declared_encoding(raw, is_html=True)
    if declared is not None and _NEVER_DECLARED.match(declared):
        declared = None
    try:
        soup = BeautifulSoup(_parseable(_decoded(raw, declared)), "html.parser")
    except ParserRejectedMarkup as error:
        raise DocumentRefused("The HTML is broken and can't be read.", reason="UNSUPPORTED_FILE_TYPE") from error
    _drop_odd_addresses(soup)
    text, depth = _visible_text(soup)
    if depth > MAX_DEPTH:
        return [_text_page(1, text)]
    converter = _Converter(heading_style="ATX", bullets="-", escape_underscores=False)
    return [ParsedPage(1, markdown=_tidy(clean(converter.convert_soup(soup))), text=text)]


def _whole(content: BinaryIO, limit: int) -> bytes:
    size = size_of(content)
    if size > limit:
        raise DocumentRefused(
            f"The document has {size} bytes; the local parser takes at most {limit} of this type.",
            reason="DOCUMENT_TOO_LARGE",
        )
    content.seek(0)
    return content.read()


def _decoded(raw: bytes, declared: str | None = None) -> str:
    """The text, by byte-order mark, then UTF-8, then the document's own word, then statistics."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if raw.startswith(mark):
            return raw.decode(encoding, errors="replace")
    text = _attempt(raw, "utf-8")
    if text is None:
        text = _attempt(raw, declared)
    if text is None:
        text = _attempt(raw, _detected(raw))
    if text is None:
        raise DocumentRefused("The file is neither text nor a known type of document.", reason="UNSUPPORTED_FILE_TYPE")
    return text


def _attempt(raw: bytes, encoding: str | None) -> str | None:
    if encoding is None:
        return None
    try:
        text = raw.decode(encoding)
    except (LookupError, UnicodeError, ValueError):
        return None
    return None if len(_CONTROLS.findall(text)) * 20 > len(text) else text


def _detected(raw: bytes) -> str | None:
    """The likeliest code page, or None for what is no text."""
    sample = raw[:_DETECTION_BYTES]
    if len(raw) > len(sample):
        sample = sample[: sample.rfind(b"\n") + 1] or sample
    if len(_FOREIGN.findall(sample)) < _FEW_FOREIGN_BYTES and _attempt(raw, "cp1252") is not None:
        return "cp1252"
    best = from_bytes(sample).best()
    return best.encoding if best is not None else None


def _text_page(number: int, text: str) -> ParsedPage:
    text = text.strip("\n")
    return ParsedPage(number, markdown="\n".join(literal_line(line) for line in text.split("\n")), text=text)


def _delimiter(sample: str, usual: str) -> str:
    """The delimiter that divides the most rows into the same number of fields, the usual one where none does."""
    best, best_score = usual, (0.0, 0)
    for delimiter in sorted(_DELIMITERS, key=lambda mark: mark != usual):
        try:
            widths = Counter(
                len(row) for row in islice(csv.reader(io.StringIO(sample), delimiter=delimiter), _SAMPLE_ROWS)
            )
        except csv.Error:
            continue
        width, rows = max(((w, n) for w, n in widths.items() if w > 1), key=lambda item: item[1], default=(0, 0))
        score = (rows / max(1, widths.total()), width)
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _parseable(markup: str) -> str:
    """The markup without what Python's parser takes time for with the square of its length, or BeautifulSoup warns of.

    A tag or comment that never ends is text to that parser, but only after it has looked for the end, each time.
    """
    markup = _MARKED_SECTION.sub("", _XML_DECLARATION.sub("<?x", markup))
    comments_end = max((match.start() for match in _COMMENT_END.finditer(markup)), default=0)
    markup = markup[:comments_end] + markup[comments_end:].replace("<!--", "&lt;!--")
    tags_end = markup.rfind(">") + 1
    return markup[:tags_end] + markup[tags_end:].replace("<", "&lt;") + "\n"


def _drop_odd_addresses(soup: BeautifulSoup) -> None:
    """Pictures within the page are megabytes of no text, and addresses that are programs have no place in a result.

    Only attributes are taken off: taking out tags costs time with the square of their number.
    """
    for tag in soup.find_all(["a", "img"]):
        for name in ("href", "src"):
            if _ODD_ADDRESS.match(str(tag.get(name, ""))):
                del tag[name]


def _visible_text(soup: BeautifulSoup) -> tuple[str, int]:
    """The text, a line for each block and a tab after each cell, and how deep the tags lie. Walks without recursion."""
    parts: list[str] = []
    depth = 0
    waiting: list[tuple[PageElement | str, int, bool]] = [(soup, 0, False)]
    while waiting:
        element, level, as_is = waiting.pop()
        depth = max(depth, level)
        if isinstance(element, Tag):
            if element.name in _DROPPED_TAGS:
                continue
            after = "\n" if element.name in _BLOCK_TAGS else "\t" if element.name in _CELL_TAGS else ""
            parts.append("\n" if after == "\n" else "")
            waiting.append((after, level, True))
            inner = as_is or element.name == "pre"
            waiting.extend((child, level + 1, inner) for child in reversed(element.contents))
        elif isinstance(element, str) and not isinstance(element, PreformattedString):  # no comments, no declarations
            parts.append(str(element) if as_is else _WHITESPACE.sub(" ", element))
    return _tidy("\n".join(line.strip() for line in clean("".join(parts)).split("\n"))), depth


def _tidy(text: str) -> str:
    """At most one blank line at a time, and none around."""
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip()
