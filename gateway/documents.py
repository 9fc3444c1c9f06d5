"""``/v1/documents``: order a document, look at its job."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import falcon.asgi
from typing_extensions import TypedDict

from domain.errors import OrderConflict
from domain.job_state import STATUS_003, JobState, Provenance
from domain.messages import Message
from domain.orders import Order, raw_path
from domain.pace import limits_of
from domain.settings import Mode, Settings
from gateway.amounts import Id, Time, credits_number, time_text, usd_number
from gateway.auth import bearer_of
from gateway.bodies import media_type, read_body
from gateway.dependencies import Dependencies
from gateway.erasure import Eraser, ErasureSaid
from gateway.idempotency import KEY, InFlight
from gateway.listing import DESCRIBED, cursor_of, limit_of, place_of, wanted_by
from gateway.openapi.description import FORM, JSON, Operation, answer
from gateway.orders import FormOrder, JsonOrder, OrderDesk, form_values, order_fields
from gateway.pool import run_in
from gateway.problems import Problem
from gateway.requests import raw_headers
from gateway.uploads import Upload, UploadDesk
from gateway.visibility import visible_job
from models.database import transaction
from models.jobs import Accepted, accept_order, history
from models.listing import list_jobs
from models.standing import queue_place_of
from models.store import Store
from models.tables import History, Job
from models.tokens import Bearer, Scope

FIRST_LOOK: Final = timedelta(seconds=60)
"""When the clock looks at a new job if the nudge got lost."""
MAX_JSON: Final = 1024 * 1024

LOCATION: Final = "Where the job is looked at."


class Ordered(TypedDict):
    """A job that was made, or was there already for the same order."""

    job_id: Id
    document_id: Id
    state: JobState


class JobSaid(TypedDict):
    """A job. Credits and dollars are numbers; `provenance` says where its result came from."""

    job_id: Id
    document_id: Id
    user_id: Id
    tenant: str
    filename: str
    state: JobState
    status_003: str
    tier: str
    pages: int | None
    pages_guessed: bool
    parsed_pages: int | None
    estimate_credits: float | None
    credits: float
    usd: float
    provenance: Provenance | None
    truncated: bool
    reason: str | None
    message: str | None
    tags: list[str]
    priority: int
    correlation_id: Id
    due_at: Time | None
    created_at: Time
    updated_at: Time
    finished_at: Time | None
    parsed_path: str | None
    parsed_sha256: str | None
    mode: Mode | None
    reused_from: Id | None
    redoes: Id | None
    batch_id: Id | None


class StepSaid(TypedDict):
    """A change of a job, or of an attempt of it."""

    at: Time
    attempt_id: Id | None
    before: str | None
    after: str
    who: str
    why: str


class JobInFull(JobSaid):
    """A job with its history, and, before it has started, its place in the queue and its expected start."""

    queue_position: int | None
    expected_start_at: Time | None
    history: list[StepSaid]


class JobsSaid(TypedDict):
    """A page of jobs; `next_cursor` is null on the last one."""

    items: list[JobSaid]
    next_cursor: str | None


class Documents:
    """``POST /v1/documents``, ``GET /v1/documents``."""

    scopes: Mapping[str, Scope] | None = {"POST": Scope.SUBMIT, "GET": Scope.READ}
    operations: Mapping[str, Operation] = {
        "GET": Operation("listJobs", {200: answer(JobsSaid)}, fails=(400,), parameters=DESCRIBED),
        "POST": Operation(
            "orderDocument",
            {202: answer(Ordered, Location=LOCATION)},
            fails=(409, 415, 422),
            parameters=[KEY],
            body={FORM: FormOrder, JSON: JsonOrder},
        ),
    }

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool, self._store, self._clock = dependencies.pool, dependencies.store, dependencies.clock
        self._publisher, self._host_clock = dependencies.publisher, dependencies.host_clock
        self._settings, self._orders = dependencies.settings, OrderDesk(dependencies.settings)
        self._uploads = UploadDesk(self._store, self._pool, dependencies.settings.max_file_bytes)
        self._in_flight = InFlight()

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Jobs, newest first, a page at a time; `next_cursor` is null on the last one.

        Raises:
            Problem: 400, 403.
        """
        wanted, limit, place = wanted_by(req), limit_of(req), place_of(req)
        # One more than is shown: whether there is a next page.
        found = await run_in(self._pool, lambda: list_jobs(wanted, limit + 1, place))
        shown = found[:limit]
        said: JobsSaid = {
            "items": [job_view(job, self._settings) for job in shown],
            "next_cursor": cursor_of(shown[-1]) if len(found) > limit else None,
        }
        resp.media = said

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """202 and the job, once its row is committed and its bytes, if they were sent, are in the store.

        Raises:
            Problem: 400, 403, 415.
            OrderRefused: 413, 422.
            OrderConflict: 409; 422 where the id was made from the `Idempotency-Key`, 409 while that is in flight.
            StoreUnavailable: 503.
        """
        try:
            with self._in_flight.hold(req):
                accepted = await self._accept(req)
        except OrderConflict as error:
            if not raw_headers(req, b"idempotency-key"):
                raise
            raise Problem(422, "idempotency_key_reused", f"{error}, or another Idempotency-Key") from None
        job = accepted.job
        resp.status = falcon.HTTP_202
        resp.location = f"/v1/documents/{job.job_id}"
        said: Ordered = {"job_id": str(job.job_id), "document_id": str(job.document_id), "state": JobState(job.state)}
        resp.media = said

    async def _accept(self, req: falcon.asgi.Request) -> Accepted:
        who = bearer_of(req).name
        match media_type(req):
            case "multipart/form-data":
                async with self._uploads.receive(req) as upload:
                    order = self._orders.order(req, _uploaded_fields(upload))
                    accepted = await run_in(self._pool, self._place, order, upload, who)
                actor = "check_budget"
            case "application/json":
                order = self._orders.order(req, order_fields(await read_body(req, MAX_JSON)))
                accepted = await run_in(self._pool, self._note, order, who)
                actor = "fetch_source"
            case _:
                raise Problem(
                    415, "unsupported_media_type", "send multipart/form-data with a file, or JSON with source_url"
                )
        if accepted.created:
            await self._publisher.nudge(Message.nudge(actor, self._host_clock(), job_id=accepted.job.job_id))
        return accepted

    def _place(self, order: Order, upload: Upload, who: str) -> Accepted:
        return place(order, upload, self._store, who=who, now=self._clock())

    def _note(self, order: Order, who: str) -> Accepted:
        now = self._clock()
        return accept_order(order, who=who, now=now, due_at=now + FIRST_LOOK)


class DocumentJob:
    """``GET``, ``DELETE /v1/documents/{job_id}``."""

    scopes: Mapping[str, Scope] | None = {"GET": Scope.READ, "DELETE": Scope.SUBMIT}
    operations: Mapping[str, Operation] = {
        "GET": Operation("getJob", {200: answer(JobInFull)}, fails=(404, 410)),
        "DELETE": Operation("deleteDocument", {200: answer(ErasureSaid)}, fails=(404,)),
    }

    def __init__(self, dependencies: Dependencies) -> None:
        self._eraser = Eraser(dependencies)
        self._pool, self._settings, self._clock = dependencies.pool, dependencies.settings, dependencies.clock
        self._limits = limits_of(dependencies.settings)

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, job_id: UUID) -> None:
        """The job, with its history, and, before it has started, its place in the queue and its expected start.

        Raises:
            NotFound: there is none that the token may see.
            Problem: 410, it was deleted.
        """
        resp.media = await run_in(self._pool, self._view, job_id, bearer_of(req))

    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, job_id: UUID) -> None:
        """The job's document is deleted, with all of its jobs; what has not ended is cancelled. Answers the record.

        Raises:
            NotFound: there is none that the token may see.
            StoreUnavailable: 503; what is left is removed later all the same.
        """
        resp.media = await self._eraser.delete(req, job_id)

    def _view(self, job_id: UUID, bearer: Bearer) -> JobInFull:
        # The history is read last, so that it is never behind the state.
        job = visible_job(job_id, bearer)
        place = queue_place_of(job, self._limits, self._clock())
        return {
            **job_view(job, self._settings),
            "queue_position": place.before,
            "expected_start_at": time_text(place.starts_at),
            "history": [step_view(step) for step in history(job_id)],
        }


def place(
    order: Order,
    upload: Upload,
    store: Store,
    *,
    who: str,
    now: datetime,
    user_metadata: Mapping[str, str] | None = None,
) -> Accepted:
    """Accept an order whose bytes were uploaded, and put them in their place, or do neither.

    The file is moved inside the transaction, between the insert that only one order of a `document_id` survives and
    its commit: so an order that was here before keeps its bytes, and there is never a job whose bytes are missing. On
    a local disk that is one rename; elsewhere it is a copy on the server's side.

    Raises:
        OrderConflict: the same `document_id` was used with another order.
        StoreUnavailable: the database or the store is away.
    """
    with transaction():
        accepted = accept_order(
            order,
            who=who,
            now=now,
            due_at=now + FIRST_LOOK,
            content=upload.content,
            user_metadata=user_metadata,
        )
        if accepted.created:
            store.move(upload.path, raw_path(order.user_id, order.document_id, order.display_name))
    return accepted


def job_view(job: Job, settings: Settings) -> JobSaid:
    """A job as JSON. Credits and dollars (at the price of its last day) are numbers, times RFC 3339 in UTC."""
    prices = settings.prices_at(job.finished_at or job.updated_at)
    return {
        "job_id": str(job.job_id),
        "document_id": str(job.document_id),
        "user_id": str(job.document.user_id),
        "tenant": job.tenant,
        "filename": job.document.filename,
        "state": JobState(job.state),
        "status_003": STATUS_003[JobState(job.state)],
        "tier": job.tier,
        "pages": job.pages,
        "pages_guessed": job.pages_guessed,
        "parsed_pages": job.parsed_pages,
        "estimate_credits": None if job.estimate is None else credits_number(job.estimate),
        "credits": credits_number(job.cost),
        "usd": usd_number(job.cost, prices.usd_per_credit),
        "provenance": None if job.provenance is None else Provenance(job.provenance),
        "truncated": job.truncated,
        "reason": job.reason,
        "message": job.message,
        "tags": job.tags,
        "priority": job.priority,
        "correlation_id": str(job.correlation_id),
        "due_at": time_text(job.due_at),
        "created_at": time_text(job.created_at),
        "updated_at": time_text(job.updated_at),
        "finished_at": time_text(job.finished_at),
        "parsed_path": job.parsed_path,
        "parsed_sha256": job.parsed_sha256,
        "mode": None if job.mode is None else Mode(job.mode),
        "reused_from": None if job.reused_from is None else str(job.reused_from),
        "redoes": None if job.redoes is None else str(job.redoes),
        "batch_id": None if job.batch_id is None else str(job.batch_id),
    }


def step_view(step: History) -> StepSaid:
    """Who changed a job, or an attempt of it, when, from what to what, and why."""
    return {
        "at": time_text(step.at),
        "attempt_id": None if step.attempt_id is None else str(step.attempt_id),
        "before": step.before,
        "after": step.after,
        "who": step.who,
        "why": step.why,
    }


def _uploaded_fields(upload: Upload) -> dict[str, Any]:
    named = {} if upload.filename is None else {"filename": upload.filename}
    return named | form_values(upload.fields)
