"""``GET /v1/documents/{job_id}/events``: a job's progress as server-sent events (HTML Standard, 9.2).

Each is a transition, by its number in the history: who reconnects with `Last-Event-ID` misses none. The last one is
`end`, with the whole job; who comes again after that is answered 204, which tells a browser to stop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Final, Literal
from uuid import UUID

import falcon.asgi
from falcon.asgi import SSEvent
from pydantic import Field
from typing_extensions import TypedDict

from domain.errors import StoreUnavailable
from domain.job_state import FINAL
from gateway.auth import bearer_of
from gateway.dependencies import Dependencies
from gateway.documents import job_view, step_view
from gateway.openapi.description import EMPTY, Answer, Operation, Parameter
from gateway.pool import run_in
from gateway.problems import Problem
from gateway.requests import header_text
from gateway.visibility import visible_job
from models.jobs import get_job, history
from models.tables import History, Job
from models.tokens import Scope

LOOK_S: Final = 0.5
"""Seconds between two looks."""
QUIET_S: Final = 2.0
"""After so long without news a comment goes out, which shows whether somebody listens still."""
MOST_S: Final = 600.0
"""Then the stream ends, and the sender comes again: its token may have been revoked meanwhile."""
MOST_OPEN: Final = 200
MOST_A_TOKEN: Final = 50
"""So that no tenant's streams keep another one's out."""


class EventSaid(TypedDict):
    """An event of the stream: `step` has a transition in its data, as JSON, and `end`, which is the last, the job."""

    event: Literal["step", "end"]
    id: str
    data: str


class JobEvents:
    """Follows a job."""

    scopes: Mapping[str, Scope] | None = {"GET": Scope.READ}
    operations: Mapping[str, Operation] = {
        "GET": Operation(
            "followJob",
            {200: Answer({"text/event-stream": EventSaid}), 204: EMPTY},
            fails=(400, 404, 410),
            parameters=[
                Parameter(
                    "Last-Event-ID",
                    Annotated[str, Field(pattern="^[0-9]{1,18}$")],
                    "The id of the last event that was seen: those after it are told.",
                    "header",
                )
            ],
        )
    }

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool, self._settings = dependencies.pool, dependencies.settings
        self._monotonic, self._open = dependencies.monotonic, Counter[UUID]()

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, job_id: UUID) -> None:
        """The transitions that there were, and those that come, until the job has ended.

        Raises:
            NotFound: there is none that the token may see.
            Problem: 400 a malformed `Last-Event-ID`, 503 too many are following already.
        """
        after = _last_event(req)
        job = await run_in(self._pool, visible_job, job_id, bearer_of(req))
        if job.state in FINAL and not await run_in(self._pool, history, job_id, after):
            resp.status = falcon.HTTP_204
            return
        token_id = bearer_of(req).token_id
        if self._open.total() >= MOST_OPEN or self._open[token_id] >= MOST_A_TOKEN:
            raise Problem(503, "too_many_streams", "too many follow jobs already: ask now and then instead")
        resp.set_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        resp.sse = self._follow(job_id, after, token_id)

    async def _follow(self, job_id: UUID, after: int, token_id: UUID) -> AsyncIterator[SSEvent | None]:
        self._open[token_id] += 1
        try:
            begun = spoken = self._monotonic()
            while (now := self._monotonic()) - begun < MOST_S:
                try:
                    job, steps = await run_in(self._pool, _news, job_id, after)
                except StoreUnavailable:
                    steps, job = [], None
                for step in steps:
                    after, spoken = step.history_id, now
                    yield SSEvent(event="step", event_id=str(after), json=step_view(step))
                if job is not None and job.state in FINAL:
                    yield SSEvent(event="end", event_id=str(after), json=job_view(job, self._settings))
                    return
                if now - spoken >= QUIET_S:
                    spoken = now
                    yield SSEvent(comment="nothing new")
                await asyncio.sleep(LOOK_S)
        finally:
            self._open[token_id] -= 1
            self._open += Counter()  # forgets who follows nothing any more


def _news(job_id: UUID, after: int) -> tuple[Job, Sequence[History]]:
    # The history is read last, so that it is never behind the state.
    return get_job(job_id), history(job_id, after)


def _last_event(req: falcon.asgi.Request) -> int:
    said = header_text(req, "Last-Event-ID")
    if said is None:
        return 0
    if not said.isascii() or not said.isdigit() or len(said) > 18:
        raise Problem(400, "bad_last_event_id", "Last-Event-ID must be the id of an event of this stream")
    return int(said)
