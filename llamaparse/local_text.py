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
from typing import Any, BinaryIO, Final

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
MAX_TEXT_PAGES: Final = 20_000
MAX_HTML_BYTES: Final = 4 * 1024 * 1024
"""A parsed page takes about fifty times its size in memory."""
MAX_DEPTH: Final = 80
"""Tags inside each other; markdownify goes down by recursion. Deeper pages give their text instead of Markdown."""
MAX_EFFORT: Final = 15_000_000
"""Steps of markdownify, as `_effort` counts them: a few seconds. Pages that take more give their text instead."""
MAX_CELLS: Final = 5_000_000
"""Cells of a CSV; each takes a hundred bytes of memory however short it is."""

_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DETECTION_BYTES: Final = 256 * 1024
_DECLARED_BYTES: Final = 16 * 1024
_FEW_FOREIGN_BYTES: Final = 12
"""With fewer bytes beyond ASCII than this, guessing a code page is a lottery: Windows Latin 1 it is."""
_CODE_PAGES: Final = (
    *("cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "iso8859_2", "koi8_r"),
    *("cp932", "euc_jp", "gb18030", "big5", "cp949"),
)
"""What texts without UTF-8 are written in; rarer ones are mostly wrong guesses."""
_WESTERN: Final = (
    *("àâæçéèêëîïôœùûüÿ", "äöüßé", "áéíóúüñªº", "áâãàçéêíóôõúªº", "àèéìíîòóùúªº", "åäöé", "æøåéèòôü"),
    *("ëïéöüèêáóç", "áéíóúýþæöð"),
)
"""French, German, Spanish, Portuguese, Italian, Swedish and Finnish, Danish and Norwegian, Dutch, Icelandic."""
_FOREIGN_LETTER: Final = re.compile(r"[^\W\d_a-zµ²³¹¼½¾]|(?<=[a-z])[^\x00-\x7f‘’–—·](?=[a-z])")
_WEB_NAMES: Final = {
    **{"ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254"},
    **{"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949"},
}
"""What browsers take these declared encodings for (https://encoding.spec.whatwg.org/#names-and-labels)."""
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
        *("address", "article", "aside", "blockquote", "body", "br", "caption", "center", "dd", "details", "div", "dl"),
        *("dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header"),
        *("hr", "li", "main", "nav", "ol", "option", "p", "pre", "section", "summary", "table", "tbody", "tfoot"),
        *("thead", "title", "tr", "ul"),
    }
)
_CELL_TAGS: Final = frozenset({"td", "th"})
_ENDS_PARAGRAPH: Final = _BLOCK_TAGS.difference(
    *(("body", "br", "caption", "dd", "dt", "li", "option", "summary", "title"), ("tbody", "tfoot", "thead", "tr"))
)
_IMPLIED_ENDS: Final[dict[str, tuple[frozenset[str], frozenset[str]]]] = {
    **dict.fromkeys(_ENDS_PARAGRAPH, (frozenset({"p"}), frozenset({"button", "caption", "object", "td", "th"}))),
    "li": (frozenset({"li"}), frozenset({"ol", "ul"})),
    **dict.fromkeys(("dd", "dt"), (frozenset({"dd", "dt"}), frozenset({"dl"}))),
    **dict.fromkeys(("td", "th"), (_CELL_TAGS, frozenset({"table", "tr"}))),
    "tr": (frozenset({"tr"}), frozenset({"table"})),
    **dict.fromkeys(("tbody", "tfoot", "thead"), (frozenset({"tbody", "tfoot", "thead"}), frozenset({"table"}))),
    "option": (frozenset({"option"}), frozenset({"select"})),
}
"""Start tags that end an open element whose end tag may be left out: which ones, and what stops the search for them."""
_WHITESPACE: Final = re.compile(r"\s+")
_LONG_BLANK: Final = re.compile(r"[ \t\r\n]{64,}")
_BAR: Final = re.compile(r"(?<!\\)\|")
_INSTRUCTION: Final = re.compile(r"<\?[^>]*>?")
_MARKED_SECTION: Final = re.compile(r"<!\[[^>]*>?")
_COMMENT_END: Final = re.compile(r"--\s*>")
_ODD_ADDRESS: Final = re.compile(r"\s*(?:javascript|vbscript|data):", re.I)
_SANE_NUMBERS: Final = {"colspan": re.compile(r"[0-9]|[1-5][0-9]"), "start": re.compile(r"[0-9]{1,9}")}
"""Of a cell and of a list. Markdownify repeats a cell's bar as often as it says, and fails over odd digits."""


class _Soup(BeautifulSoup):
    """Ends the elements whose end tags are left out, as HTML allows; Python's parser would put the next one inside."""

    def handle_starttag(self, name: str, *about: Any, **more: Any) -> Tag | None:
        ended, within = _IMPLIED_ENDS.get(name, (frozenset(), frozenset()))
        for tag in islice(reversed(self.tagStack), MAX_DEPTH) if any(map(self.open_tag_counter.get, ended)) else ():
            if tag.name in ended:
                self.handle_endtag(tag.name)
                break
            if tag.name in within:
                break
        return super().handle_starttag(name, *about, **more)

    def endData(self, *about: Any, **more: Any) -> None:  # noqa: N802 - BeautifulSoup's name
        """Markdownify takes time for blanks with the square of their number."""
        if self.current_data:
            text = "".join(self.current_data)
            self.current_data = [_LONG_BLANK.sub(lambda blank: "\n" if "\n" in blank[0] else " ", text)]
        super().endData(*about, **more)


_MARKDOWNIFY: Final[Any] = MarkdownConverter


class _Converter(MarkdownConverter):
    def convert_template(self, *_: object, **__: object) -> str:
        """Markdownify drops scripts and styles by itself, but not this."""
        return ""

    def convert_pre(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """As markdownify's, which takes time for blank lines with the square of their number."""
        lines = text.strip("\n").rstrip()
        return f"\n\n```\n{lines}\n```\n\n" if lines else ""

    def convert_td(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """A bar inside a cell would begin another one."""
        return str(_MARKDOWNIFY.convert_td(self, el, _BAR.sub(r"\\|", text), parent_tags))

    def convert_block(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """Markdownify knows few blocks, and joins the text of the others with what stands beside them."""
        return str(_MARKDOWNIFY.convert_div(self, el, text, parent_tags))

    convert_th = convert_td
    convert_address = convert_aside = convert_center = convert_details = convert_fieldset = convert_figure = (
        convert_block
    )
    convert_footer = convert_form = convert_header = convert_main = convert_nav = convert_option = convert_block
    convert_summary = convert_title = convert_block


def read_text(content: BinaryIO) -> list[ParsedPage]:
    """Plain text. Its Markdown is the same text with what looks like Markdown's block signs escaped.

    Raises:
        DocumentRefused: DOCUMENT_TOO_LARGE, TOO_MANY_PAGES or UNSUPPORTED_FILE_TYPE (binary).
    """
    text = _decoded(_whole(content, MAX_TEXT_BYTES))
    if text.count("\f") > MAX_TEXT_PAGES:
        raise DocumentRefused(f"The text has more than {MAX_TEXT_PAGES} pages.", reason="TOO_MANY_PAGES")
    pages = text.split("\f")
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
    rows: list[list[str]] = []
    cells = 0
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            cells += len(row)
            if cells > MAX_CELLS:
                raise DocumentRefused(
                    f"The table has more than {MAX_CELLS} cells; the local parser does not read it.",
                    reason="DOCUMENT_TOO_LARGE",
                )
            if any(row):
                rows.append(row)
    except csv.Error:
        return [_text_page(1, text)]
    return [ParsedPage(1, markdown=table(rows), text=plain_table(rows))]


def read_html(content: BinaryIO) -> list[ParsedPage]:
    """A web page without its scripts and styles. Raises as `read_text`."""
    raw = _whole(content, MAX_HTML_BYTES)
    markup = _parseable(_decoded(raw, _declared(raw)))
    try:
        soup = _Soup(markup, "html.parser")
    except ParserRejectedMarkup as error:
        raise DocumentRefused("The HTML is broken and can't be read.", reason="UNSUPPORTED_FILE_TYPE") from error
    _drop_odd_attributes(soup)
    text, depth, tags = _visible_text(soup)
    if depth > MAX_DEPTH or _effort(soup, depth, tags + markup.count("\n")) > MAX_EFFORT:
        return [_text_page(1, text)]
    converter = _Converter(heading_style="ATX", bullets="-", escape_underscores=False)
    try:
        markdown = converter.convert_soup(soup)
    except ValueError:  # a heading's number with thousands of digits
        return [_text_page(1, text)]
    return [ParsedPage(1, markdown=_tidy(clean(markdown)), text=text)]


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
        text = _damaged_utf8(raw)
    if text is None:
        text = _attempt(raw, declared)
    if text is None:
        text = _attempt(raw, _detected(raw))
    if text is None:
        raise DocumentRefused("The file is neither text nor a known type of document.", reason="UNSUPPORTED_FILE_TYPE")
    return text


def _attempt(raw: bytes, encoding: str | None, errors: str = "strict") -> str | None:
    if encoding is None:
        return None
    try:
        text = raw.decode(encoding, errors)
    except (LookupError, UnicodeError, ValueError):
        return None
    return None if len(_CONTROLS.findall(text)) * 20 > len(text) else text


def _damaged_utf8(raw: bytes) -> str | None:
    """The text if it is UTF-8 but for a few places, such as a last character that was cut."""
    text = _attempt(raw, "utf-8", errors="replace")
    if text is None:
        return None
    lost = text.count("\ufffd")
    foreign = len(text) - len(text.encode("ascii", errors="ignore"))
    return text if foreign > 3 * lost else None


def _declared(raw: bytes) -> str | None:
    """The encoding that a web page says it has, as browsers understand it."""
    name = EncodingDetector.find_declared_encoding(raw[:_DECLARED_BYTES], is_html=True)
    if name is None or _NEVER_DECLARED.match(name):
        return None
    try:
        known = codecs.lookup(name).name
    except (LookupError, ValueError):
        return None
    return _WEB_NAMES.get(known, known)


def _detected(raw: bytes) -> str | None:
    """The likeliest code page, or None for what is no text."""
    sample = raw[:_DETECTION_BYTES]
    if len(raw) > len(sample):
        sample = sample[: sample.rfind(b"\n") + 1] or sample
    western = _attempt(raw, "cp1252")
    if western is not None and (len(_FOREIGN.findall(sample)) < _FEW_FOREIGN_BYTES or _is_western(western)):
        return "cp1252"
    best = from_bytes(sample, cp_isolation=list(_CODE_PAGES)).best()
    return best.encoding if best is not None else None


def _is_western(text: str) -> bool:
    """True if nearly all letters beyond ASCII are those of one western language: statistics mix up their code pages."""
    letters = Counter(_FOREIGN_LETTER.findall(text[:_DETECTION_BYTES].lower()))
    return any(
        25 * sum(number for letter, number in letters.items() if letter not in alphabet) <= letters.total()
        for alphabet in _WESTERN
    )


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
    markup = _MARKED_SECTION.sub("", _INSTRUCTION.sub("", markup))
    comments_end = max((match.start() for match in _COMMENT_END.finditer(markup)), default=0)
    markup = markup[:comments_end] + markup[comments_end:].replace("<!--", "&lt;!--")
    tags_end = markup.rfind(">") + 1
    return markup[:tags_end] + markup[tags_end:].replace("<", "&lt;") + "\n"


def _drop_odd_attributes(soup: BeautifulSoup) -> None:
    """Pictures within the page are megabytes of no text, and addresses that are programs have no place in a result.

    Only attributes are taken off: taking out tags costs time with the square of their number.
    """
    for tag in soup.find_all(["a", "img", "source", "video"]):
        for name in ("href", "src", "poster"):
            if _ODD_ADDRESS.match(clean(str(tag.get(name, "")))):
                del tag[name]
    for tag in soup.find_all(["ol", "td", "th"]):
        for name, sane in _SANE_NUMBERS.items():
            if not sane.fullmatch(str(tag.get(name, "1"))):
                del tag[name]


def _effort(soup: BeautifulSoup, depth: int, pieces: int) -> int:
    """About how many steps markdownify takes; it looks again at a whole list or table for each of some parts of it.

    Args:
        depth: of tags inside each other.
        pieces: how many tags and lines there are.
    """
    effort = (50 + 4 * depth) * pieces
    for whole, part in (("ol", "li"), ("thead", "tr"), ("table", "tbody")):
        for tag in soup.find_all(whole) if effort <= MAX_EFFORT else ():
            parts = len(tag.find_all(part, recursive=False))
            if parts > 100 and effort <= MAX_EFFORT:
                effort += parts * len(tag.find_all(True))
    return effort


def _visible_text(soup: BeautifulSoup) -> tuple[str, int, int]:
    """The text, a line for each block and a tab after each cell; how deep the tags lie; how many they are.

    Walks without recursion.
    """
    parts: list[str] = []
    depth = tags = 0
    waiting: list[tuple[PageElement | str, int, bool]] = [(soup, 0, False)]
    while waiting:
        element, level, as_is = waiting.pop()
        depth = max(depth, level)
        if isinstance(element, Tag):
            if element.name in _DROPPED_TAGS:
                continue
            after = "\n" if element.name in _BLOCK_TAGS else "\t" if element.name in _CELL_TAGS else ""
            parts.append("\n" if after == "\n" else "")
            tags += 1
            waiting.append((after, level, True))
            inner = as_is or element.name == "pre"
            waiting.extend((child, level + 1, inner) for child in reversed(element.contents))
        elif isinstance(element, str) and not isinstance(element, PreformattedString):  # no comments, no declarations
            parts.append(str(element) if as_is else _WHITESPACE.sub(" ", element))
    return _tidy("\n".join(line.strip() for line in clean("".join(parts)).split("\n"))), depth, tags


def _tidy(text: str) -> str:
    """At most one blank line at a time, and none around."""
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip(" \t") for line in text.split("\n"))).strip()
