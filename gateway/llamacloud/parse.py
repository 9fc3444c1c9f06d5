"""``/api/v2/parse``: create, list, get, cancel, delete, and the versions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Final, NotRequired
from uuid import UUID

import falcon.asgi
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from domain.errors import NotFound, OrderConflict, OrderRefused
from domain.job_state import FINAL, JobState
from domain.orders import pages_path
from gateway.amounts import Id, Time
from gateway.auth import bearer_of
from gateway.bodies import parse_json, read_json
from gateway.dependencies import Dependencies
from gateway.erasure import Eraser
from gateway.listing import cursor_of, place_at
from gateway.llamacloud.asked import PAGES, ids, moment, page_size, text, texts
from gateway.llamacloud.create import ByFile, ByUrl, Creation
from gateway.llamacloud.links import LIFETIME_S, Links
from gateway.llamacloud.views import (
    STATES,
    Expansion,
    ParseJobSaid,
    Status,
    checked_expansions,
    expanded,
    job_view,
    parsed_id,
    project_of,
    told_credits,
)
from gateway.openapi.description import FORM, JSON, Operation, Parameter, answer
from gateway.orders import FILE
from gateway.pool import run_in
from gateway.problems import Problem
from gateway.uploads import UploadDesk
from models import attempts
from models.cancel import cancel_job
from models.control import instance_id
from models.jobs import find_job
from models.listing import Wanted, list_jobs
from models.redo import with_result
from models.tables import Job
from models.tokens import Scope

MAX_JSON: Final = 1024 * 1024
USAGE: Final = 'send JSON: {"tier": "cost_effective", "version": "latest", "file_id": "..."}'
LIFETIME: Final = timedelta(seconds=LIFETIME_S)
VERSIONS: Final[Mapping[str, Sequence[str]]] = {
    "fast": ("latest",),
    "cost_effective": ("latest",),
    "agentic": ("latest",),
    "agentic_plus": ("latest",),
}
_STATE: Final = {"Parsegate_State": "The job's state as `/v1` has it."}


class UploadForm(BaseModel):
    """A file, and its order as a JSON string."""

    model_config = ConfigDict(extra="forbid")

    file: FILE
    configuration: Annotated[
        str,
        Field(
            json_schema_extra={"contentMediaType": "application/json"},
            examples=['{"tier": "cost_effective", "version": "latest"}'],
        ),
    ]


class ParseJobsSaid(TypedDict):
    """A page of jobs; `next_page_token` is null on the last one."""

    items: list[ParseJobSaid]
    next_page_token: str | None
    total_size: None


class ExpandedJob(TypedDict):
    """A job, and what was asked for with `expand`: each null while there is none."""

    job: ParseJobSaid
    markdown: NotRequired[dict[str, Any] | None]
    text: NotRequired[dict[str, Any] | None]
    items: NotRequired[dict[str, Any] | None]
    metadata: NotRequired[dict[str, Any] | None]
    job_metadata: NotRequired[dict[str, Any] | None]
    markdown_full: NotRequired[str | None]
    text_full: NotRequired[str | None]
    images_content_metadata: NotRequired[dict[str, Any] | None]
    result_content_metadata: NotRequired[dict[str, Any] | None]


class ParseJobs:
    """``POST``, ``GET /api/v2/parse``."""

    scopes: Mapping[str, Scope] | None = {"POST": Scope.SUBMIT, "GET": Scope.READ}
    operations: Mapping[str, Operation] = {
        "POST": Operation(
            "createParseJob",
            {200: answer(ParseJobSaid, **_STATE)},
            fails=(402, 404, 415, 422),
            body={JSON: ByFile | ByUrl},
        ),
        "GET": Operation(
            "listParseJobs",
            {200: answer(ParseJobsSaid)},
            fails=(422,),
            parameters=[
                Parameter("status", Status, "In this state."),
                Parameter("job_ids", list[str], "With one of these ids."),
                Parameter("created_at_on_or_after", Time, "Not before this moment."),
                Parameter("created_at_on_or_before", Time, "Not after this moment."),
                *PAGES,
            ],
        ),
    }

    def __init__(self, dependencies: Dependencies, creation: Creation) -> None:
        self._pool, self._creation = dependencies.pool, creation

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """The job, which waits for its turn, its budget and its slot like every other one.

        Raises:
            Problem: 400, 415.
            NotFound: 404, no such file.
            OrderRefused: 422.
        """
        _answer(resp, await self._creation.by_reference(req, await read_json(req, MAX_JSON, USAGE)))

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """A page of the tenant's jobs, newest first.

        Raises:
            Problem: 422.
        """
        status = text(req, "status")
        if status is not None and status not in STATES:
            raise Problem(422, "bad_parameter", f"status should be one of {', '.join(STATES)}")
        wanted = Wanted(
            tenant=bearer_of(req).tenant,
            states=None if status is None else STATES[status],
            job_ids=ids(req, "job_ids"),
            since=moment(req, "created_at_on_or_after"),
            until=moment(req, "created_at_on_or_before"),
        )
        size, token = page_size(req), text(req, "page_token")
        place = None if token is None else place_at(token)
        if token is not None and place is None:
            raise Problem(422, "bad_parameter", "page_token is not one of these pages'")
        found = await run_in(self._pool, lambda: list_jobs(wanted, size + 1, place))
        following = cursor_of(found[size - 1]) if len(found) > size else None
        said: ParseJobsSaid = {
            "items": [job_view(job) for job in found[:size]],
            "next_page_token": following,
            "total_size": None,
        }
        resp.media = said


class ParseUpload:
    """``POST /api/v2/parse/upload``."""

    scopes: Mapping[str, Scope] | None = {"POST": Scope.SUBMIT}
    operations: Mapping[str, Operation] = {
        "POST": Operation(
            "createParseJobOfUpload",
            {200: answer(ParseJobSaid, **_STATE)},
            fails=(402, 415, 422),
            body={FORM: UploadForm},
        )
    }

    def __init__(self, dependencies: Dependencies, creation: Creation) -> None:
        fields, most = frozenset({"configuration"}), dependencies.settings.max_file_bytes
        self._uploads = UploadDesk(dependencies.store, dependencies.pool, most, fields)
        self._creation = creation

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """The job of a file that comes with its order, in one call.

        Raises:
            Problem: 400.
            OrderRefused: 413, 422.
        """
        async with self._uploads.receive(req) as upload:
            said = upload.fields.get("configuration")
            if said is None or len(said) != 1:
                raise OrderRefused("configuration is missing: the order as a JSON string")
            try:
                order = parse_json(said[0])
            except ValueError as error:
                raise OrderRefused(f"configuration can't be read: {error}") from None
            _answer(resp, await self._creation.by_upload(req, upload, order))


class DeletedSaid(TypedDict):
    """A job that is gone."""

    id: Id
    project_id: Id


class ParseJob:
    """``GET``, ``DELETE /api/v2/parse/{job_id}``."""

    scopes: Mapping[str, Scope] | None = {"GET": Scope.READ, "DELETE": Scope.SUBMIT}
    operations: Mapping[str, Operation] = {
        "GET": Operation(
            "getParseJob",
            {200: answer(ExpandedJob, **_STATE)},
            fails=(400, 404),
            parameters=[Parameter("expand", list[Expansion], "What is told beside the job.")],
        ),
        "DELETE": Operation("deleteParseJob", {200: answer(DeletedSaid)}, fails=(400, 404)),
    }

    def __init__(self, dependencies: Dependencies, links: Links) -> None:
        self._eraser = Eraser(dependencies)
        self._pool, self._store, self._links = dependencies.pool, dependencies.store, links
        self._host_clock = dependencies.host_clock

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, job_id: str) -> None:
        """The job, and what was asked for with `expand`.

        Raises:
            NotFound: 404.
            Problem: 400, an expansion that is not to be had.
        """
        asked, ends_at = texts(req, "expand"), self._host_clock() + LIFETIME

        def link(kind: str, job_id: UUID) -> str:
            return self._links.to(req, kind, job_id, ends_at)

        job, content = await run_in(self._pool, self._view, parsed_id(job_id), bearer_of(req).tenant, asked, link)
        resp.data, resp.content_type = content, falcon.MEDIA_JSON
        _tell_provenance(resp, job)

    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, job_id: str) -> None:
        """The job and its result are gone, here and at the provider.

        Raises:
            NotFound: 404.
            Problem: 400, it has not ended.
        """
        job = await run_in(self._pool, _visible, parsed_id(job_id), bearer_of(req).tenant)
        if job.state not in FINAL:
            raise Problem(400, "job_has_not_ended", "Job is not in a terminal state and can't be deleted")
        await self._eraser.delete(req, job.job_id)
        said: DeletedSaid = {"id": str(job.job_id), "project_id": project_of(job.tenant)}
        resp.media = said

    def _view(
        self, job_id: UUID | None, tenant: str, asked: Sequence[str], link: Callable[[str, UUID], str]
    ) -> tuple[Job, bytes]:
        """The job and the whole answer; made here, since a result may be large."""
        job = _visible(job_id, tenant)
        names, result = checked_expansions(asked, job.tier), None
        if job.state == JobState.COMPLETED:
            # What was done again for real is in the place of the earlier result.
            job.provenance = with_result(job).provenance
            if set(names) - {"usage"}:
                result = json.loads(self._store.read(pages_path(job.document.user_id, job.document_id)))
        settled = job.state in FINAL and attempts.is_settled(job.job_id)
        said = expanded(job, result, names, told_credits(job, settled), lambda kind: link(kind, job.job_id))
        return job, json.dumps(said).encode()


class ParseCancel:
    """``POST /api/v2/parse/{job_id}/cancel``."""

    scopes: Mapping[str, Scope] | None = {"POST": Scope.SUBMIT}
    operations: Mapping[str, Operation] = {
        "POST": Operation("cancelParseJob", {200: answer(ParseJobSaid, **_STATE)}, fails=(400, 404))
    }

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool, self._clock = dependencies.pool, dependencies.clock
        self._has_exchange = dependencies.settings.amqp_url is not None

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, job_id: str) -> None:
        """The job, cancelled.

        Raises:
            NotFound: 404.
            Problem: 400, it has ended.
        """
        bearer = bearer_of(req)
        _answer(resp, await run_in(self._pool, self._cancel, parsed_id(job_id), bearer.tenant, bearer.name))

    def _cancel(self, job_id: UUID | None, tenant: str, who: str) -> Job:
        job, now = _visible(job_id, tenant), self._clock()
        if job.state in FINAL:
            raise Problem(400, "job_has_ended", "Job is already in a terminal state and can't be cancelled")
        try:
            return cancel_job(job.job_id, who=who, now=now, instance=instance_id(now), exchange=self._has_exchange)
        except OrderConflict as error:
            raise Problem(400, "job_has_ended", str(error)) from None


class VersionsSaid(TypedDict):
    """The versions by tier, the newest first, and the newest of each."""

    fast: list[str]
    cost_effective: list[str]
    agentic: list[str]
    agentic_plus: list[str]
    latest: dict[str, str]


class ParseVersions:
    """``GET /api/v2/parse/versions``."""

    scopes: Mapping[str, Scope] | None = {"GET": Scope.READ}
    operations: Mapping[str, Operation] = {"GET": Operation("listParseVersions", {200: answer(VersionsSaid)})}

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """The versions by tier, the newest first; any that the provider knows may be asked for."""
        resp.media = {**VERSIONS, "latest": {tier: versions[0] for tier, versions in VERSIONS.items()}}


def _visible(job_id: UUID | None, tenant: str) -> Job:
    job = None if job_id is None else find_job(job_id)
    if job is None or job.tenant != tenant or job.document.deleted_at is not None:
        raise NotFound("Job not found")
    return job


def _answer(resp: falcon.asgi.Response, job: Job) -> None:
    resp.media = job_view(job)
    _tell_provenance(resp, job)


def _tell_provenance(resp: falcon.asgi.Response, job: Job) -> None:
    resp.set_header("Parsegate-State", str(job.state))
    if job.provenance is not None:
        resp.set_header("Parsegate-Provenance", str(job.provenance))
