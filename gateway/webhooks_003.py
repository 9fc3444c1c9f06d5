"""The older "003" webhooks: ``POST /api/v1/webhooks/llamaparse`` and ``POST /webhook/llamaparse/{job_id}``.

One secret signs all of them, so a body that does not name its job could be replayed on any other: it only makes us ask
the provider. What a body that names its job carries is taken in by `actors.ingest_003`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any, Final, Literal
from uuid import UUID, uuid4, uuid5

import falcon.asgi
from pydantic import Field
from typing_extensions import TypedDict

from domain.clock import format_utc
from domain.errors import NotFound
from domain.job_state import FINAL, Provenance
from domain.messages import STAGED_003, Message
from domain.results import encode_pages
from domain.signatures import HEX_FORM, BadSignature, check_003_form, verify_003
from domain.webhook_003 import Event003, Malformed003, parse_003
from gateway.amounts import Id, Time
from gateway.bodies import Allowance, read_body
from gateway.dependencies import Dependencies
from gateway.openapi.description import JSON, Operation, Parameter, answer
from gateway.pool import run_in
from gateway.problems import Problem
from gateway.rejections import Rejections
from gateway.requests import UUID_TEXT, raw_headers
from gateway.webhooks import JOB, Event, in_time
from models.jobs import find_job
from models.store import Store
from models.tables import Job
from models.tokens import Scope

READ_AT_ONCE: Final = 2
MAX_BODY: Final = 8 * 1024 * 1024
"""Bytes. These events carry the whole result, and anybody may send one before its signature is looked at: a result that
is larger is fetched from the provider."""


_SIGNATURE: Final = Parameter(
    "X-Webhook-Signature",
    Annotated[str, Field(pattern=f"^{HEX_FORM}$")],
    "The HMAC-SHA256 of the body, with `LLAMAPARSE_WEBHOOK_SECRET`.",
    "header",
    required=True,
)


class Taken(TypedDict):
    """An event that is safe."""

    success: Literal[True]
    message: str
    job_id: Id
    document_id: Id
    processed_at: Time


class Webhook003:
    """Takes an event in, with the job in the route or without."""

    scopes: Mapping[str, Scope] | None = None
    operations: Mapping[str, Operation] = {
        "POST": Operation(
            "takeEvent003",
            {200: answer(Taken)},
            fails=(401, 404, 422),
            parameters=[JOB, _SIGNATURE],
            body={JSON: Event},
        )
    }

    def __init__(self, dependencies: Dependencies, rejections: Rejections, allowance: Allowance) -> None:
        self._secrets = [secret.get_secret_value() for secret in dependencies.settings.webhook_secrets_003]
        self._pool, self._store, self._clock = dependencies.pool, dependencies.store, dependencies.host_clock
        self._publisher, self._rejections, self._allowance = dependencies.publisher, rejections, allowance
        # A result of many pages takes a thread, and memory, for a while.
        self._places = asyncio.Semaphore(READ_AT_ONCE)

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, job_id: str | None = None) -> None:
        """Takes an event of the older kind in; 200 once it is safe, with the answer that these routes always gave.

        Raises:
            Problem: 404, 413, 422.
            BadSignature: 401, whatever is wrong with it.
            StoreUnavailable: 503.
        """
        body = None
        try:
            if job_id is not None and not UUID_TEXT.fullmatch(job_id):
                raise Problem(404, "not_found", "there is no such route")
            signatures = raw_headers(req, b"x-webhook-signature")
            check_003_form(signatures)
            body = await read_body(req, MAX_BODY, self._allowance)
            verify_003(self._secrets, signatures, body)
            async with in_time():
                async with self._places:
                    taken = await run_in(self._pool, _take, body, None if job_id is None else UUID(job_id), self._store)
                status, job, actor, said = taken
                now_ms = int(self._clock().timestamp() * 1000)
                await self._publisher.send(Message(actor, said, str(uuid4()), now_ms))
        except (BadSignature, Problem) as error:
            self._rejections.note(req, getattr(error, "fault", error.reason), job_id=job_id, body=body)
            raise
        except (Malformed003, NotFound) as error:
            self._rejections.note(req, error.reason, job_id=job_id, body=body)
            # Which part was wrong is for our own record: it would tell which jobs and documents there are.
            raise Problem(422, "event_refused", "the event can't be accepted") from None
        taken_in: Taken = {
            "success": True,
            "message": f"event {status} received",
            "job_id": str(job.job_id),
            "document_id": str(job.document_id),
            "processed_at": format_utc(self._clock()),
        }
        resp.media = taken_in


def _take(body: bytes, in_route: UUID | None, store: Store) -> tuple[str, Job, str, dict[str, Any]]:
    """An event's status, its job, the actor that takes it in, and what that is told; a result waits in the store.

    Raises:
        Malformed003, NotFound: it can't be meant.
        StoreUnavailable: the database or the store is away.
    """
    event = parse_003(body)
    job = _job_of(event, in_route)
    return event.status.value, job, *_message(event, job, store, body)


def _job_of(event: Event003, in_route: UUID | None) -> Job:
    """The job that an event is about.

    Raises:
        Malformed003: it names none, another than the route, or another document than the job's.
        NotFound: there is none.
    """
    if event.job_id is not None and in_route is not None and event.job_id != in_route:
        raise Malformed003("job_id is not the route's", reason="job_mismatch")
    named = event.job_id or in_route
    if named is None:
        raise Malformed003("job_id is missing", reason="job_missing")
    job = find_job(named)
    if job is None:
        raise NotFound(f"there is no job {named}", reason="unknown_job")
    if event.document_id is not None and event.document_id != job.document_id:
        raise Malformed003("document_id is not the job's", reason="document_mismatch")
    return job


def _message(event: Event003, job: Job, store: Store, body: bytes) -> tuple[str, dict[str, Any]]:
    said: dict[str, Any] = {"job_id": str(job.job_id)}
    if event.job_id is None:
        return "ingest_result", said
    said |= {"status": event.status.value, "parse_job_id": event.parse_job_id, "error": event.error}
    if event.result is not None and job.state not in FINAL:
        # However often an event is sent, it lies here once.
        path = f"{STAGED_003}{uuid5(job.job_id, sha256(body).hexdigest())}"
        store.write_bytes(path, encode_pages(event.result, Provenance.REAL, truncated=False))
        said["result_path"] = path
    return "ingest_003", {name: value for name, value in said.items() if value is not None}
