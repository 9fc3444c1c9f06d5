"""A result as the store keeps it: JSON, page by page."""

from __future__ import annotations

import json
from typing import Any

from domain.documents import ParsedDocument, ParsedPage
from domain.job_state import Provenance


def encode_pages(parsed: ParsedDocument, provenance: Provenance, truncated: bool) -> bytes:
    """The stored form."""
    pages = [
        {
            "page_number": page.page_number,
            "markdown": page.markdown,
            "text": page.text,
            "success": page.success,
            "error": page.error,
        }
        for page in parsed.pages
    ]
    body = {"provenance": provenance.value, "truncated": truncated, "pages": pages}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def decode_pages(stored: bytes) -> ParsedDocument:
    """The pages in a stored form.

    Raises:
        ValueError: it is none.
    """
    try:
        said: dict[str, Any] = json.loads(stored)
        return ParsedDocument(
            tuple(
                ParsedPage(page["page_number"], page["markdown"], page["text"], page["success"], page["error"])
                for page in said["pages"]
            )
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"no stored result: {type(error).__name__} {error}") from None
