"""What a parsed document is, whoever parsed it, and how many pages a document counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ParsedPage:
    """One page of a result.

    Args:
        page_number: in the original document, from 1.
        markdown: empty where the tier has none (`fast`).
        text: the page's plain text.
        success: False for a page that could not be read; then `error` says why and there is no text.
        error: one sentence, or None.
    """

    page_number: int
    markdown: str = ""
    text: str = ""
    success: bool = True
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A result, page by page, in the order of the pages."""

    pages: tuple[ParsedPage, ...]

    @property
    def markdown(self) -> str:
        """The Markdown of every readable page, a blank line between pages. A page without Markdown gives its text."""
        return _joined(page.markdown or page.text for page in self.pages if page.success)

    @property
    def text(self) -> str:
        """The text of every readable page, a blank line between pages."""
        return _joined(page.text for page in self.pages if page.success)

    @property
    def failed_pages(self) -> tuple[ParsedPage, ...]:
        """The pages that could not be read."""
        return tuple(page for page in self.pages if not page.success)


@dataclass(frozen=True, slots=True)
class PageCount:
    """How many pages a document is priced for.

    Args:
        pages: at least 1.
        guessed: True where `pages` is only a conservative ceiling; the document may well have fewer.
        kind: "pdf", "image", "html", "csv", "text", "office" or "unknown".
    """

    pages: int
    guessed: bool
    kind: str


def _joined(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in (part.strip("\n") for part in parts) if part)
