"""What the provider says of a job or a file: the shapes of SDK 2.19.0 (`parsing_get_response`, `file_*_response`)."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Final

from llamaparse.simulator.errors import ApiError
from llamaparse.simulator.files import StoredFile
from llamaparse.simulator.job import Job, Result
from llamaparse.simulator.orders import ParseOrder
from llamaparse.simulator.pages import Page
from llamaparse.simulator.prices import resolved_version

Json = dict[str, object]

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
"""Expansions that answer with sizes and links, and the names they have in `result_content_metadata`."""
DOWNLOADS: Final = ("text", "markdown", "items", "metadata")
"""What a link leads to; the simulator makes none of the others, and says `exists: false` for them."""
NOT_ON_FAST: Final[Mapping[str, str]] = {"markdown": "Markdown", "markdown_full": "Markdown", "items": "Items"}
FULL_TEXT_JOINT: Final = "\n\n"


def job_view(job: Job) -> Json:
    """A job as it is created, listed, got and cancelled; `usage` comes only where it is asked for."""
    return {
        "id": job.id,
        "project_id": job.project_id,
        "status": job.status.value,
        "created_at": instant(job.created_at),
        "updated_at": instant(job.updated_at),
        "error_message": job.error_message,
        "name": job.name,
        "tier": job.order.tier,
        "user_metadata": job.order.user_metadata,
    }


def file_view(file: StoredFile) -> Json:
    return {
        "id": file.id,
        "name": file.name,
        "project_id": file.project_id,
        "external_file_id": file.external_file_id,
        "file_type": PurePosixPath(file.name).suffix.lstrip(".").lower() or None,
        "last_modified_at": instant(file.created_at),
        "expires_at": None,
        "purpose": file.purpose,
    }


def instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def checked_expansions(asked: Iterable[str], order: ParseOrder) -> list[str]:
    """The expansions, each once.

    Raises:
        ApiError: 400, one is unknown or not to be had on the tier `fast`.
    """
    names = list(dict.fromkeys(asked))
    known = {*INLINE, *CONTENT_METADATA, "usage", "images_content_metadata", "result_content_metadata"}
    if unknown := [name for name in names if name not in known]:
        raise ApiError(400, f"Invalid expand values: {', '.join(unknown)[:200]}")
    if order.tier == "fast" and (refused := next((name for name in names if name in NOT_ON_FAST), None)):
        raise ApiError(400, f"{NOT_ON_FAST[refused]} expansion is not available for FAST tier jobs.")
    return names


def expanded(job: Job, names: Sequence[str], credits_told: float | None, link: Callable[[str], str]) -> Json:
    """The answer to ``GET /api/v2/parse/{id}``: the job and what was asked for, null while there is none.

    Args:
        job: the job.
        names: from `checked_expansions`.
        credits_told: for the expansion `usage`.
        link: makes a presigned URL from a name of `DOWNLOADS`.
    """
    view = job_view(job)
    answer: Json = {"job": view}
    contents: Json = {}
    for name in names:
        if name == "usage":
            view["usage"] = {"credits": credits_told}
        elif name in INLINE:
            answer[name] = INLINE[name](job, job.result) if job.result else None
        elif name == "images_content_metadata":
            answer[name] = {"images": [], "total_count": 0} if job.result else None
        else:
            answer["result_content_metadata"] = contents if job.result else None
            for kind in [CONTENT_METADATA[name]] if name in CONTENT_METADATA else DOWNLOADS:
                contents[kind] = _content_metadata(job, kind, link)
    return answer


def download(job: Job, kind: str) -> bytes | None:
    """The file behind a link, or None where there is none."""
    if job.result is None or kind not in DOWNLOADS or (job.order.tier == "fast" and kind in NOT_ON_FAST):
        return None
    return json.dumps(INLINE[kind](job, job.result)).encode()


def _content_metadata(job: Job, kind: str, link: Callable[[str], str]) -> Json:
    content = download(job, kind)
    if content is None:
        return {"size_bytes": 0, "exists": False, "presigned_url": None}
    return {"size_bytes": len(content), "exists": True, "presigned_url": link(kind)}


def _markdown(_job: Job, result: Result) -> Json:
    return {"pages": [_page(page, {"markdown": page.markdown}) for page in result.reading.pages]}


def _text(_job: Job, result: Result) -> Json:
    return {"pages": [{"page_number": page.number, "text": page.text} for page in result.reading.pages]}


def _items(_job: Job, result: Result) -> Json:
    return {
        "pages": [
            _page(page, {"items": _items_of(page), "page_width": page.width, "page_height": page.height})
            for page in result.reading.pages
        ]
    }


def _forms(job: Job, result: Result) -> Json | None:
    if job.order.processing_options.forms != "enrich":
        return None
    return {"pages": [_page(page, {"forms": []}) for page in result.reading.pages]}


def _page(page: Page, content: Json) -> Json:
    if page.error is not None:
        return {"page_number": page.number, "success": False, "error": page.error}
    return {"page_number": page.number, "success": True, **content}


def _metadata(_job: Job, result: Result) -> Json:
    return {
        "pages": [
            {"page_number": page.number, "confidence": None, "triggered_auto_mode": page.number in result.escalated}
            for page in result.reading.pages
        ],
        "document": None,
    }


def _job_metadata(job: Job, result: Result) -> Json:
    return {
        "job_pages": len(result.reading.pages),
        "document_pages": result.reading.total_pages,
        "job_auto_mode_triggered_pages": len(result.escalated),
        "job_is_cache_hit": job.cache_hit,
        "tier": job.order.tier,
        "version": resolved_version(job.order.tier, job.order.version),
    }


def _markdown_full(_job: Job, result: Result) -> str:
    return FULL_TEXT_JOINT.join(page.markdown for page in result.reading.pages if page.error is None)


def _text_full(_job: Job, result: Result) -> str:
    return FULL_TEXT_JOINT.join(page.text for page in result.reading.pages if page.error is None)


INLINE: Final[Mapping[str, Callable[[Job, Result], object]]] = {
    "markdown": _markdown,
    "text": _text,
    "items": _items,
    "metadata": _metadata,
    "forms": _forms,
    "job_metadata": _job_metadata,
    "markdown_full": _markdown_full,
    "text_full": _text_full,
}
"""Expansions that carry the content itself."""


def _items_of(page: Page) -> list[Json]:
    """Headings, tables and paragraphs, as the page's Markdown tells them apart."""
    blocks = (block.strip("\n") for block in re.split(r"\n{2,}", page.markdown))
    return [_item(block) for block in blocks if block]


def _item(block: str) -> Json:
    if (heading := re.fullmatch(r"(#{1,6}) (.+)", block)) is not None:
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
