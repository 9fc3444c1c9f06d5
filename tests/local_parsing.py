"""Calls of the local parser, as its tests make them."""

from __future__ import annotations

import io
from typing import Any

import pytest

from domain.documents import ParsedDocument, ParsedPage
from domain.errors import PERMANENT_FAILURES, DocumentRefused
from llamaparse.local_parser import parse_locally


def parse(content: bytes | str, name: str = "a.txt", **pages: Any) -> ParsedDocument:
    """Parse a document from memory; text is sent as UTF-8."""
    return parse_locally(io.BytesIO(content.encode() if isinstance(content, str) else content), name, **pages)


def one_page(content: bytes | str, name: str = "a.txt") -> ParsedPage:
    """The only page of a document, which can be read."""
    (page,) = parse(content, name).pages
    assert page.success
    return page


def refused(content: bytes | str, name: str = "a.txt", **pages: Any) -> str:
    """The provider's word with which a document is refused."""
    with pytest.raises(DocumentRefused) as refusal:
        parse(content, name, **pages)
    assert refusal.value.reason in PERMANENT_FAILURES
    assert str(refusal.value).endswith(".")
    return refusal.value.reason


def saved(document: Any) -> bytes:
    """The bytes of a Word, Excel or PowerPoint document."""
    output = io.BytesIO()
    document.save(output)
    return output.getvalue()
