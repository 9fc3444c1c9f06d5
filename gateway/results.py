"""``GET /v1/documents/{job_id}/result``: what came out of a document, as Markdown, text or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, Literal
from uuid import UUID

import falcon.asgi
from typing_extensions import TypedDict

from domain.errors import NotFound
from domain.job_state import FINAL, JobState, Provenance
from domain.orders import pages_path
from domain.results import decode_pages
from gateway.amounts import Id
from gateway.auth import bearer_of
from gateway.dependencies import Dependencies
from gateway.openapi.description import Answer, Operation, Parameter
from gateway.pool import run_in
from gateway.problems import Problem
from gateway.ranges import asked_range
from gateway.requests import header_text
from gateway.visibility import visible_job
from models.redo import with_result
from models.store import Store
from models.tables import Job
from models.tokens import Bearer, Scope

MEDIA_TYPES: Final[Mapping[str, str]] = {
    "markdown": "text/markdown; charset=utf-8",
    "text": "text/plain; charset=utf-8",
    "json": "application/json",
}
"""By format."""
_ABOUT: Final[Mapping[str, str]] = {
    "ETag": "Of this format of this result.",
    "Parsegate-Provenance": "Where the result came from.",
}
_RANGES: Final[Mapping[str, str]] = {**_ABOUT, "Accept-Ranges": "That a part of it can be asked for."}
_HEADERS: Final = (
    Parameter("If-None-Match", str, "The `ETag` of what is known already: 304 if that is still right.", "header"),
    Parameter("Range", str, "One range of bytes; what is no such range is ignored.", "header"),
    Parameter("If-Range", str, "The `ETag` that the range is meant for.", "header"),
)


class PageSaid(TypedDict):
    """A page of a result."""

    page_number: int
    markdown: str
    text: str
    success: bool
    error: str | None


class ResultSaid(TypedDict):
    """A result, page by page."""

    job_id: Id
    document_id: Id
    provenance: Provenance
    truncated: bool
    pages: list[PageSaid]


_CONTENT: Final[Mapping[str, object]] = {
    media: ResultSaid if name == "json" else str for name, media in MEDIA_TYPES.items()
}


class Result:
    """A finished job's result."""

    scopes: Mapping[str, Scope] | None = {"GET": Scope.READ}
    operations: Mapping[str, Operation] = {
        "GET": Operation(
            "getResult",
            {
                200: Answer(_CONTENT, _RANGES),
                206: Answer(
                    dict.fromkeys(MEDIA_TYPES.values()),
                    {**_RANGES, "Content-Range": "Which part of how many bytes."},
                ),
                304: Answer(headers=_ABOUT),
            },
            fails=(404, 409, 410, 416, 422),
            parameters=[
                Parameter("format", Literal["markdown", "text", "json"], "As what; Markdown if it is left out."),
                *_HEADERS,
            ],
        )
    }

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool = dependencies.pool
        self._store = dependencies.store

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, job_id: UUID) -> None:
        """The result; `Parsegate-Provenance` says where it came from.

        Raises:
            NotFound: there is no such job, or its result is not kept any more.
            Problem: 409 not finished, 416 no such bytes, 422 ended without a result, 422 unknown format.
        """
        wanted = req.get_param("format", default="markdown")
        if wanted not in MEDIA_TYPES:
            raise Problem(422, "unknown_format", f"format must be one of {', '.join(MEDIA_TYPES)}")
        job = await run_in(self._pool, _job_with_result, job_id, bearer_of(req))
        _check_finished(job)
        # One hash, three representations: a strong ETag tells them apart (RFC 9110, 8.8.3).
        etag = str(job.parsed_sha256) if wanted == "markdown" else f"{job.parsed_sha256}-{wanted}"
        if any(tag in ("*", etag) for tag in req.if_none_match or ()):
            resp.status = falcon.HTTP_304
        else:
            content = await run_in(self._pool, render, job, wanted, self._store)
            _send(req, resp, content, etag)
            resp.content_type = MEDIA_TYPES[wanted]
        resp.etag = etag
        resp.set_header("Parsegate-Provenance", str(job.provenance))
        # Whoever keeps it asks first whether it is still the same, which costs an ETag.
        resp.set_header("Cache-Control", "private, no-cache")


def _send(req: falcon.asgi.Request, resp: falcon.asgi.Response, content: bytes, etag: str) -> None:
    """The content, or the range of it that was asked for, unless that was asked of an older one (`If-Range`)."""
    resp.set_header("Accept-Ranges", "bytes")
    condition = header_text(req, "If-Range")
    is_current = condition is None or condition == f'"{etag}"'
    part = asked_range(header_text(req, "Range"), len(content)) if is_current else None
    if part is None:
        resp.data = content
        return
    first, last = part
    resp.status = falcon.HTTP_206
    resp.set_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
    resp.data = content[first : last + 1]


def _job_with_result(job_id: UUID, bearer: Bearer) -> Job:
    return with_result(visible_job(job_id, bearer))


def render(job: Job, wanted: str, store: Store) -> bytes:
    """A completed job's result in one of `MEDIA_TYPES`.

    Raises:
        NotFound: the store has it no more.
        StoreUnavailable: it can't be read now.
    """
    try:
        if wanted == "markdown":
            return store.read(str(job.parsed_path))
        stored = store.read(pages_path(job.document.user_id, job.document_id))
    except NotFound:
        raise NotFound(f"the result of job {job.job_id} is not kept any more", reason="result_gone") from None
    if wanted == "text":
        return decode_pages(stored).text.encode()
    said = {"job_id": str(job.job_id), "document_id": str(job.document_id)}
    return json.dumps(said | json.loads(stored), ensure_ascii=False).encode()


def _check_finished(job: Job) -> None:
    if job.state == JobState.COMPLETED:
        return
    if job.state not in FINAL:
        raise Problem(409, "not_finished", f"the job is {job.state}: ask again later", members={"state": job.state})
    why = f": {job.message}" if job.message else ""
    members = {"state": job.state, "reason": job.reason}
    raise Problem(422, "no_result", f"the job ended as {job.state}{why}", members=members)
