"""Events of the older "003" pipeline (facts page, "The 003 upload pipeline"): their forms, and what they carry.

They are signed with one secret for all jobs, so only what is inside the signed body binds an event to a job.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from domain.documents import ParsedDocument, ParsedPage
from domain.errors import OrderRefused
from domain.json_text import parse_json

MARKDOWN_TYPES: Final = frozenset({"markdown", "md"})
TEXT_TYPES: Final = frozenset({"text", "txt"})
MOST_WORDS: Final = 500
MOST_PAGES: Final = 10_000
UUID_TEXT: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Status003(StrEnum):
    """What an event says of a job."""

    PARSED = "parsed"
    FAILED = "failed"
    PROCESSING = "processing"


_STATUS: Final[Mapping[str | None, Status003]] = {
    None: Status003.PARSED,
    "parsed": Status003.PARSED,
    "completed": Status003.PARSED,
    "failed": Status003.FAILED,
    "processing": Status003.PROCESSING,
}


class Malformed003(OrderRefused):
    """An event whose signature is right and whose body can't be meant."""

    reason = "malformed_event"


@dataclass(frozen=True)
class Event003:
    """An event.

    Args:
        job_id: the job that the signed body names; None if it names none.
        parse_job_id: the parser's own id of its job.
        result: what came out, if the event carries it.
        error: why it failed, if it says so.
    """

    status: Status003
    job_id: UUID | None
    document_id: UUID | None
    parse_job_id: str | None
    result: ParsedDocument | None
    error: str | None


def parse_003(body: bytes) -> Event003:
    """The event in a body: a JSON object, or a JSON string that holds one.

    Raises:
        Malformed003: it is none, or an artifact is not what its `sha256` and `bytes` say.
    """
    try:
        said = parse_json(body)
        if isinstance(said, str):
            said = parse_json(said)
    except ValueError as error:
        raise Malformed003(f"the body can't be read: {error}") from None
    if not isinstance(said, dict):
        raise Malformed003("the body is neither a JSON object nor a JSON string that holds one")
    word = said.get("status")
    if not isinstance(word, str | None) or word not in _STATUS:
        raise Malformed003("status must be parsed, completed, failed or processing")
    status = _STATUS[word]
    return Event003(
        status,
        _uuid(said, "job_id"),
        _uuid(said, "document_id"),
        _words(said.get("parse_job_id")),
        _worth(_result(said)) if status is Status003.PARSED else None,
        _words(said.get("error")),
    )


def _worth(result: ParsedDocument | None) -> ParsedDocument | None:
    """A result without any text is none: the provider is asked for what was paid."""
    is_empty = result is None or not any(page.markdown or page.text for page in result.pages)
    return None if is_empty else result


def _words(value: object) -> str | None:
    return value[:MOST_WORDS] if isinstance(value, str) else None


def _uuid(said: Mapping[str, Any], name: str) -> UUID | None:
    value = said.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not UUID_TEXT.fullmatch(value.lower()):
        raise Malformed003(f"{name} must be a UUID")
    return UUID(value)


def _result(said: Mapping[str, Any]) -> ParsedDocument | None:
    """The result in any of the forms that there were: artifacts, an object, a list of pages, or at the top."""
    if said.get("artifacts") is not None:
        return _of_artifacts(said["artifacts"])
    given = said["result"] if said.get("result") is not None else said
    if isinstance(given, list):
        return _of_pages(given)
    if not isinstance(given, dict):
        raise Malformed003("result must be an object or a list of pages")
    if isinstance(given.get("json"), list) and given["json"]:
        return _of_pages(given["json"])
    markdown, text = given.get("md"), given.get("txt")
    if markdown is None and text is None:
        return None
    return _one_page(markdown, text)


def _of_artifacts(artifacts: Any) -> ParsedDocument | None:
    if not isinstance(artifacts, list) or not all(isinstance(artifact, dict) for artifact in artifacts):
        raise Malformed003("artifacts must be a list of objects")
    found: dict[str, str] = {}
    for artifact in artifacts:
        kind, content = artifact.get("type"), artifact.get("content")
        if not isinstance(kind, str) or not isinstance(content, str):
            raise Malformed003("an artifact must have a type and its content as text")
        raw = content.encode()
        if artifact.get("sha256") != sha256(raw).hexdigest() or not _is_length(artifact.get("bytes"), raw):
            raise Malformed003("an artifact is not what its sha256 and bytes say", reason="digest_mismatch")
        found.setdefault(kind, content)
    markdown = next((found[kind] for kind in found if kind in MARKDOWN_TYPES), None)
    text = next((found[kind] for kind in found if kind in TEXT_TYPES), None)
    return None if markdown is None and text is None else _one_page(markdown, text)


def _is_length(said: object, raw: bytes) -> bool:
    return isinstance(said, int) and not isinstance(said, bool) and said == len(raw)


def _of_pages(pages: list[Any]) -> ParsedDocument:
    if not pages:
        raise Malformed003("the result has no pages")
    if len(pages) > MOST_PAGES:
        raise Malformed003(f"the result has more than {MOST_PAGES:,} pages")
    found: list[ParsedPage] = []
    for place, page in enumerate(pages, 1):
        if not isinstance(page, dict):
            raise Malformed003("each page of a result must be an object")
        number = page.get("page", place)
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise Malformed003("the number of a page must be a whole number from 1")
        found.append(ParsedPage(number, markdown=_text(page.get("md")), text=_text(page.get("text", page.get("txt")))))
    if len({page.page_number for page in found}) != len(found):
        raise Malformed003("the result has the same page twice")
    return ParsedDocument(tuple(sorted(found, key=lambda page: page.page_number)))


def _one_page(markdown: Any, text: Any) -> ParsedDocument:
    return ParsedDocument((ParsedPage(1, markdown=_text(markdown), text=_text(text)),))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Malformed003("a result's Markdown and text must be texts")
    return value
