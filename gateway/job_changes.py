"""``POST /v1/documents/{job_id}/cancel`` and ``.../retry``."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import falcon.asgi

from domain.job_state import JobState
from domain.messages import Message
from gateway.amounts import Id
from gateway.auth import bearer_of
from gateway.dependencies import Dependencies
from gateway.documents import FIRST_LOOK, LOCATION, JobSaid, Ordered, job_view
from gateway.openapi.description import Operation, answer
from gateway.pool import run_in
from gateway.visibility import visible_job
from models.cancel import cancel_job
from models.control import instance_id
from models.redo import open_retry
from models.tables import Job
from models.tokens import Bearer, Scope


class Retried(Ordered):
    """A job that was made in place of another one."""

    redoes: Id


class JobCancel:
    """``POST /v1/documents/{job_id}/cancel``."""

    scopes: Mapping[str, Scope] | None = {"POST": Scope.SUBMIT}
    operations: Mapping[str, Operation] = {
        "POST": Operation("cancelJob", {200: answer(JobSaid)}, fails=(404, 409, 410))
    }

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool, self._clock, self._settings = dependencies.pool, dependencies.clock, dependencies.settings

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, job_id: UUID) -> None:
        """The job, cancelled. What the provider has begun is stopped there, and settled at what it bills.

        Raises:
            NotFound: there is none that the token may see.
            OrderConflict: 409, it has ended otherwise.
        """
        job = await run_in(self._pool, self._cancel, job_id, bearer_of(req))
        resp.media = job_view(job, self._settings)

    def _cancel(self, job_id: UUID, bearer: Bearer) -> Job:
        visible_job(job_id, bearer)
        now, has_exchange = self._clock(), self._settings.amqp_url is not None
        return cancel_job(job_id, who=bearer.name, now=now, instance=instance_id(now), exchange=has_exchange)


class JobRetry:
    """``POST /v1/documents/{job_id}/retry``."""

    scopes: Mapping[str, Scope] | None = {"POST": Scope.SUBMIT}
    operations: Mapping[str, Operation] = {
        "POST": Operation("retryJob", {202: answer(Retried, Location=LOCATION)}, fails=(404, 409, 410))
    }

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool, self._clock = dependencies.pool, dependencies.clock
        self._publisher, self._host_clock = dependencies.publisher, dependencies.host_clock

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, job_id: UUID) -> None:
        """202 and a new job for the document of one that ended without a result; the same one if asked twice.

        Raises:
            NotFound: there is none that the token may see.
            OrderConflict: 409, there is nothing to retry, or not yet.
        """
        job = await run_in(self._pool, self._retry, job_id, bearer_of(req))
        actor = "fetch_source" if job.document.raw_sha256 is None else "check_budget"
        await self._publisher.nudge(Message.nudge(actor, self._host_clock(), job_id=job.job_id))
        resp.status = falcon.HTTP_202
        resp.location = f"/v1/documents/{job.job_id}"
        said: Retried = {
            "job_id": str(job.job_id),
            "document_id": str(job.document_id),
            "state": JobState(job.state),
            "redoes": str(job_id),
        }
        resp.media = said

    def _retry(self, job_id: UUID, bearer: Bearer) -> Job:
        now = self._clock()
        return open_retry(visible_job(job_id, bearer), who=bearer.name, now=now, due_at=now + FIRST_LOOK)
