"""Jobs, files and results as LlamaCloud answers them."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal, NotRequired
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import Field
from typing_extensions import TypedDict

from domain.job_state import JobState
from domain.money import to_credits
from gateway.amounts import Id, Time, time_text
from gateway.problems import Problem
from models.tables import Job, UploadFile

Json = dict[str, Any]
Status = Literal["PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"]

STATUS: Final[Mapping[JobState, Status]] = {
    JobState.RECEIVED: "PENDING",
    JobState.DEFERRED: "PENDING",
    JobState.RESERVED: "PENDING",
    JobState.SUBMITTING: "PENDING",
    JobState.IN_DOUBT: "PENDING",
    JobState.PARSING: "RUNNING",
    JobState.INGESTING: "RUNNING",
    JobState.COMPLETED: "COMPLETED",
    JobState.FAILED: "FAILED",
    JobState.REJECTED: "FAILED",
    JobState.CANCELLED: "CANCELLED",
}
STATES: Final[Mapping[str, Sequence[JobState]]] = {
    status: [state for state, named in STATUS.items() if named == status] for status in STATUS.values()
}
CONTENT_METADATA: Final[Mapping[str, str]] = {
    "text_content_metadata": "text",
    "markdown_content_metadata": "markdown",
    "items_content_metadata": "items",
    "metadata_content_metadata": "metadata",
    "forms_content_metadata": "forms",
    "raw_words_content_metadata": "raw_words",
    "xlsx_content_metadata": "xlsx",
    "output_pdf_content_metadata": "outputPDF",
    "stripped_markdown_content_metadata": "stripped_markdown",
    "concatenated_stripped_markdown_content_metadata": "concatenated_stripped_markdown",
}
"""Expansions that answer with sizes and links, and their names in `result_content_metadata`."""
DOWNLOADS: Final = ("text", "markdown", "items", "metadata")
"""What is kept, and so can be had by a link."""
NOT_ON_FAST: Final[Mapping[str, str]] = {"markdown": "Markdown", "markdown_full": "Markdown", "items": "Items"}
MOST_METADATA: Final = 16
"""Entries of `user_metadata`."""
JOINT: Final = "\n\n"
UNKNOWN: Final = 0.0
"""A page's size, which is not kept; the SDK wants a number."""


class FileSaid(TypedDict):
    """A file."""

    id: Id
    name: str
    project_id: Id
    external_file_id: str | None
    file_type: str | None
    last_modified_at: Time
    expires_at: None
    purpose: str


class CreditsSaid(TypedDict):
    """What a job cost; null while that is not known."""

    credits: float | None


class ParseJobSaid(TypedDict):
    """A job; `usage` comes only where it is asked for."""

    id: Id
    project_id: Id
    status: Status
    created_at: Time
    updated_at: Time
    error_message: str | None
    name: str
    tier: str
    user_metadata: dict[str, str] | None
    usage: NotRequired[CreditsSaid]


def project_of(tenant: str) -> str:
    """The project that a tenant is to the SDK."""
    return str(uuid5(NAMESPACE_URL, f"parsegate-tenant:{tenant}"))


def file_view(file: UploadFile) -> FileSaid:
    """A file."""
    return {
        "id": str(file.file_id),
        "name": file.name,
        "project_id": project_of(file.tenant),
        "external_file_id": file.external_file_id,
        "file_type": PurePosixPath(file.name).suffix.lstrip(".").lower() or None,
        "last_modified_at": time_text(file.created_at),
        "expires_at": None,
        "purpose": file.purpose,
    }


def job_view(job: Job) -> ParseJobSaid:
    """A job as it is created, listed, got and cancelled; `usage` comes only where it is asked for."""
    status = STATUS[JobState(job.state)]
    return {
        "id": str(job.job_id),
        "project_id": project_of(job.tenant),
        "status": status,
        "created_at": time_text(job.created_at),
        "updated_at": time_text(job.updated_at),
        "error_message": _error(job) if status == "FAILED" else None,
        "name": job.document.filename,
        "tier": job.tier,
        "user_metadata": job.user_metadata,
    }


def _error(job: Job) -> str:
    """The provider's reasons are words in capitals; our own come with their sentence."""
    reason = job.reason or "INTERNAL_ERROR"
    if reason.startswith("source_"):
        return "SOURCE_URL_UNREACHABLE"
    return reason if reason.isupper() or not job.message else f"{reason}: {job.message}"


def with_provenance(view: ParseJobSaid, job: Job) -> ParseJobSaid:
    """A job, with where its result came from among its `user_metadata`, if there is room for that."""
    said = view["user_metadata"] or {}
    if job.provenance is None or len(said) >= MOST_METADATA:
        return view
    return {**view, "user_metadata": {**said, "parsegate_provenance": job.provenance}}


def checked_expansions(asked: Iterable[str], tier: str) -> list[str]:
    """The expansions, each once.

    Raises:
        Problem: 400, one is unknown, or not to be had on the tier `fast`.
    """
    names = list(dict.fromkeys(asked))
    if unknown := [name for name in names if name not in EXPANSIONS]:
        raise Problem(400, "unknown_expansion", f"Invalid expand values: {', '.join(unknown)[:200]}")
    if tier == "fast" and (refused := next((name for name in names if name in NOT_ON_FAST), None)):
        words = f"{NOT_ON_FAST[refused]} expansion is not available for FAST tier jobs."
        raise Problem(400, "not_on_fast", words)
    return names


def expanded(
    job: Job, result: Json | None, names: Sequence[str], told: float | None, link: Callable[[str], str]
) -> Json:
    """The answer to ``GET /api/v2/parse/{id}``: the job and what was asked for, null while there is none.

    Args:
        result: `domain.results` as it is stored.
        told: credits, for the expansion `usage`; None while they are not known.
        link: makes a URL from a name of `DOWNLOADS`.
    """
    view = with_provenance(job_view(job), job)
    answer: Json = {"job": view}
    contents: Json = {}
    for name in names:
        if name == "usage":
            view["usage"] = {"credits": told}
        elif name in INLINE:
            answer[name] = INLINE[name](job, result) if result is not None else None
        elif name == "images_content_metadata":
            answer[name] = {"images": [], "total_count": 0} if result is not None else None
        else:
            answer["result_content_metadata"] = contents if result is not None else None
            for kind in [CONTENT_METADATA[name]] if name in CONTENT_METADATA else DOWNLOADS:
                contents[kind] = _content_metadata(job, result, kind, link)
    return answer


def download(job: Job, result: Json, kind: str) -> Json | None:
    """What is behind a link; None where there is nothing."""
    if kind not in DOWNLOADS or (job.tier == "fast" and kind in NOT_ON_FAST):
        return None
    content: Json = INLINE[kind](job, result)
    return content


def _content_metadata(job: Job, result: Json | None, kind: str, link: Callable[[str], str]) -> Json:
    content = None if result is None else download(job, result, kind)
    if content is None:
        return {"size_bytes": 0, "exists": False, "presigned_url": None}
    return {"size_bytes": len(json.dumps(content).encode()), "exists": True, "presigned_url": link(kind)}


def _markdown(_job: Job, result: Json) -> Json:
    return {"pages": [_page(page, {"markdown": page["markdown"]}) for page in result["pages"]]}


def _text(_job: Job, result: Json) -> Json:
    return {"pages": [{"page_number": page["page_number"], "text": page["text"]} for page in result["pages"]]}


def _items(_job: Job, result: Json) -> Json:
    pages = [
        _page(page, {"items": _items_of(page["markdown"]), "page_width": UNKNOWN, "page_height": UNKNOWN})
        for page in result["pages"]
    ]
    return {"pages": pages}


def _page(page: Json, content: Json) -> Json:
    number = page["page_number"]
    if not page.get("success", True):
        return {"page_number": number, "success": False, "error": page.get("error")}
    return {"page_number": number, "success": True, **content}


def _metadata(_job: Job, result: Json) -> Json:
    pages = [
        {"page_number": page["page_number"], "confidence": None, "triggered_auto_mode": False}
        for page in result["pages"]
    ]
    return {"pages": pages, "document": None}


def _job_metadata(job: Job, result: Json) -> Json:
    return {
        "job_pages": len(result["pages"]),
        "job_is_cache_hit": job.provenance == "cached",
        "tier": job.tier,
        "version": job.options.get("version", "latest"),
        "parsegate_provenance": job.provenance,
    }


def _markdown_full(_job: Job, result: Json) -> str:
    return JOINT.join(page["markdown"] for page in result["pages"] if page.get("success", True))


def _text_full(_job: Job, result: Json) -> str:
    return JOINT.join(page["text"] for page in result["pages"] if page.get("success", True))


INLINE: Final[Mapping[str, Callable[[Job, Json], Any]]] = {
    "markdown": _markdown,
    "text": _text,
    "items": _items,
    "metadata": _metadata,
    "job_metadata": _job_metadata,
    "markdown_full": _markdown_full,
    "text_full": _text_full,
}
"""Expansions that carry the content itself."""
EXPANSIONS: Final = (
    *INLINE,
    *CONTENT_METADATA,
    *("usage", "images_content_metadata", "result_content_metadata"),
)
_EXPANSION: Final = f"({'|'.join(EXPANSIONS)})?"
Expansion = Annotated[str, Field(pattern=f"^{_EXPANSION}(,{_EXPANSION})*$")]
"""One, or several, comma-separated."""


def _items_of(markdown: str) -> list[Json]:
    """Headings, tables and paragraphs, as the page's Markdown tells them apart; nothing else of them is kept."""
    blocks = (block.strip("\n") for block in re.split(r"\n{2,}", markdown))
    return [_item(block) for block in blocks if block]


def _item(block: str) -> Json:
    heading = re.fullmatch(r"(#{1,6}) (.+)", block)
    if heading is not None:
        return {"type": "heading", "level": len(heading[1]), "md": block, "value": heading[2]}
    if block.startswith("| ") and "\n| --- " in block:
        rows = [_cells(line) for line in block.splitlines() if not line.startswith("| --- ")]
        return {"type": "table", "md": block, "rows": rows, "csv": _csv(rows), "html": _html_table(rows)}
    return {"type": "text", "md": block, "value": block}


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def _csv(rows: Sequence[Sequence[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _html_table(rows: Sequence[Sequence[str]]) -> str:
    lines = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def told_credits(job: Job, settled: bool) -> float | None:
    """What a job cost, once that is known."""
    return float(to_credits(job.cost)) if settled else None


def parsed_id(text: str) -> UUID | None:
    """A job's or file's id out of a path; None for what can be none of ours."""
    try:
        return UUID(text) if len(text) == 36 else None
    except ValueError:
        return None
