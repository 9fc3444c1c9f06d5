"""``POST /webhooks/llamaparse/{job_id}``: the provider's events, let in by their signature alone.

No database here: the key is derived from the job's id, and the event is safe when RabbitMQ has confirmed it (embedded:
when a commit has). What an event means is decided later, by asking the provider.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final
from uuid import uuid4

import falcon.asgi
from pydantic import Field

from domain.clock import Clock
from domain.errors import StoreUnavailable
from domain.messages import Message
from domain.signatures import LC_FORM, BadSignature, check_lc_form, verify_lc
from gateway.bodies import Allowance, parse_json, read_body
from gateway.openapi.description import EMPTY, JSON, Operation, Parameter
from gateway.problems import Problem
from gateway.publisher import Publisher
from gateway.rejections import Rejections
from gateway.requests import UUID_TEXT, raw_headers
from models.tokens import Scope

MAX_EVENT: Final = 1024 * 1024
"""Bytes."""
ANSWER_S: Final = 8.0
"""Seconds from the whole body to the answer."""
MAX_TEXT: Final = 200
"""Characters of an event's text that are passed on (`domain.messages.EventMessage`)."""
JOB: Final = Parameter(
    "job_id", Annotated[str, Field(pattern=f"^{UUID_TEXT.pattern}$")], "The job, in lower case.", "path"
)
_SIGNATURE: Final = Parameter(
    "LC-Signature",
    Annotated[str, Field(pattern=f"^{LC_FORM}$")],
    "The HMAC-SHA256 of the body, with the job's webhook secret.",
    "header",
    required=True,
)
_HELD: Final = {"contentMediaType": "application/json", "contentSchema": {"type": "object"}}
Event = dict[str, Any] | Annotated[str, Field(json_schema_extra=_HELD)]
"""An object, or a string that holds one."""


class LlamaParseWebhook:
    """Takes an event in.

    Args:
        secret_keys: every secret key in force, 32 bytes each, newest first; without one nothing gets in.
        allowance: for bodies that nobody has vouched for yet.
    """

    scopes: Mapping[str, Scope] | None = None
    operations: Mapping[str, Operation] = {
        "POST": Operation("takeEvent", {204: EMPTY}, fails=(401, 404), parameters=[JOB, _SIGNATURE], body={JSON: Event})
    }

    def __init__(
        self,
        secret_keys: Sequence[bytes],
        publisher: Publisher,
        clock: Clock,
        rejections: Rejections,
        allowance: Allowance,
    ) -> None:
        self._secret_keys, self._publisher, self._clock = secret_keys, publisher, clock
        self._rejections, self._allowance = rejections, allowance

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, job_id: str) -> None:
        """Takes an event of the provider in; 204 once it is safe.

        Raises:
            Problem: 404, 413, 400.
            BadSignature: 401, whatever is wrong with it.
            StoreUnavailable: 503; the provider repeats the event.
        """
        body = None
        try:
            if not UUID_TEXT.fullmatch(job_id):
                raise Problem(404, "not_found", "there is no such route")
            signatures = raw_headers(req, b"lc-signature")
            check_lc_form(signatures)
            body = await read_body(req, MAX_EVENT, self._allowance)
            verify_lc(self._secret_keys, job_id, signatures, body)
            event = _parse_event(body)
        except (BadSignature, Problem) as error:
            self._rejections.note(req, getattr(error, "fault", error.reason), job_id=job_id, body=body)
            raise
        now_ms = int(self._clock().timestamp() * 1000)
        async with in_time():
            await self._publisher.send(Message("ingest_result", _payload(job_id, event), str(uuid4()), now_ms))
        resp.status = falcon.HTTP_204


@asynccontextmanager
async def in_time() -> AsyncIterator[None]:
    """What takes an event in has so long, and no longer: the sender gives up soon, and sends it again.

    Raises:
        StoreUnavailable: it took longer; whether the event is safe is not known, and taking it twice is harmless.
    """
    try:
        async with asyncio.timeout(ANSWER_S):
            yield
    except TimeoutError:
        raise StoreUnavailable("the event could not be made safe in time") from None


def _parse_event(body: bytes) -> dict[str, Any]:
    """An event in either of the provider's formats: a JSON object, or a JSON string that holds one (the default)."""
    try:
        event = parse_json(body)
        if isinstance(event, str):
            event = parse_json(event)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        raise Problem(400, "not_an_event", "the body is neither a JSON object nor a JSON string that holds one")
    return event


def _payload(job_id: str, event: Mapping[str, Any]) -> dict[str, str]:
    data = event.get("data")
    data = data if isinstance(data, dict) else {}
    said = {
        "event_id": event.get("event_id"),
        "event_type": event.get("event_type"),
        "provider_job_id": data.get("job_id") or data.get("id"),
    }
    return {"job_id": job_id} | {name: text[:MAX_TEXT] for name, text in said.items() if isinstance(text, str)}
