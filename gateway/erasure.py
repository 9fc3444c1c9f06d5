"""Deleting a job's document, and the record of what was removed where and when."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import falcon.asgi
from typing_extensions import TypedDict

from domain.errors import NotFound
from domain.messages import Message
from gateway.amounts import Id, Time, time_text
from gateway.auth import bearer_of
from gateway.dependencies import Dependencies
from gateway.openapi.description import Operation, answer
from gateway.pool import run_in
from gateway.visibility import job_or_remains
from models.control import instance_id
from models.erasures import get_erasure, open_erasure, remove_stored, things_of
from models.tables import Erasure, Job
from models.tokens import Bearer, Scope


class RemovedSaid(TypedDict):
    """What was removed. `where` is a path in the store, a URL at the provider, or ``database``."""

    what: str
    where: str
    outcome: str | None
    at: Time | None


class ErasureSaid(TypedDict):
    """The record of an erasure; `finished_at` is null while something is left, and `waits_for` says what keeps it."""

    job_id: Id
    document_id: Id
    asked_at: Time
    asked_by: str
    why: str
    finished_at: Time | None
    due_at: Time | None
    waits_for: str | None
    removed: list[RemovedSaid]


class Eraser:
    """Deletes documents by their jobs: our own files at once, what the provider has as soon as that is possible."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool, self._store, self._clock = dependencies.pool, dependencies.store, dependencies.clock
        self._publisher, self._host_clock = dependencies.publisher, dependencies.host_clock
        self._has_exchange = dependencies.settings.amqp_url is not None

    async def delete(self, req: falcon.asgi.Request, job_id: UUID) -> ErasureSaid:
        """Delete a job's document; answers the record of the erasure. Asked again, the same.

        Raises:
            NotFound: there is no job that the token may see.
            StoreUnavailable: 503; what is left is removed later all the same.
        """
        job, erasure = await run_in(self._pool, self._delete, job_id, bearer_of(req))
        if erasure.due_at is not None:
            message = Message.nudge("erase_document", self._host_clock(), document_id=job.document_id)
            await self._publisher.nudge(message)
        return await run_in(self._pool, erasure_view, job, erasure)

    def _delete(self, job_id: UUID, bearer: Bearer) -> tuple[Job, Erasure]:
        job, now = job_or_remains(job_id, bearer), self._clock()
        open_erasure(
            job.document_id,
            who=bearer.name,
            why="asked for",
            now=now,
            instance=instance_id(now),
            exchange=self._has_exchange,
        )
        erasure = _erasure_of(job)
        remove_stored(self._store, erasure.document, now)
        return job, erasure


class JobErasure:
    """``GET /v1/documents/{job_id}/erasure``."""

    scopes: Mapping[str, Scope] | None = {"GET": Scope.READ}
    operations: Mapping[str, Operation] = {"GET": Operation("getErasure", {200: answer(ErasureSaid)}, fails=(404,))}

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool = dependencies.pool

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, job_id: UUID) -> None:
        """What was removed of the job's document, where and when; `finished_at` is null while something is left.

        Raises:
            NotFound: there is no such job that the token may see, or its document was not deleted.
        """
        resp.media = await run_in(self._pool, _view, job_id, bearer_of(req))


def _view(job_id: UUID, bearer: Bearer) -> ErasureSaid:
    job = job_or_remains(job_id, bearer)
    return erasure_view(job, _erasure_of(job))


def _erasure_of(job: Job) -> Erasure:
    erasure = get_erasure(job.document_id)
    if erasure is None:
        raise NotFound(f"the document of job {job.job_id} was not deleted", reason="not_deleted")
    return erasure


def erasure_view(job: Job, erasure: Erasure) -> ErasureSaid:
    """An erasure as JSON."""
    return {
        "job_id": str(job.job_id),
        "document_id": str(job.document_id),
        "asked_at": time_text(erasure.asked_at),
        "asked_by": erasure.asked_by,
        "why": erasure.why,
        "finished_at": time_text(erasure.finished_at),
        "due_at": time_text(erasure.due_at),
        "waits_for": erasure.last_error,
        "removed": [
            {"what": thing.what, "where": thing.place, "outcome": thing.outcome, "at": time_text(thing.at)}
            for thing in things_of(job.document_id)
        ],
    }
