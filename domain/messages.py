"""Messages: what each queue carries, how they are written, and which are let in.

The format is Dramatiq's plain JSON, so any language can publish one. Dramatiq itself runs whatever actor a body names
and trusts its options; `admit` lets in only what a queue is for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from domain.errors import OrderRefused
from domain.json_text import parse_json
from domain.orders import Order
from domain.webhook_003 import Status003

MAX_BODY: Final = 1024 * 1024
"""Bytes. Messages carry ids, not documents."""

STAGED_003: Final = "staging/003-"
"""Where the results of "003" events wait in the store for their message."""
SUBMIT_EXCHANGE: Final = "parsegate.submit"
EVENTS_EXCHANGE: Final = "parsegate.events"
DELIVERY_LIMIT: Final = 50
"""How often RabbitMQ hands a message out before it is a dead letter. Every crash of a worker counts against all the
messages it had prefetched, and every ten minutes of waiting for the database count too: 50 leaves room for both."""


class MessageRefused(OrderRefused):
    """A message that is not let in. It is kept among the dead letters with this reason."""

    reason = "message_refused"


class JobMessage(BaseModel):
    """A nudge: look at this job."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job_id: UUID


class QueueMessage(BaseModel):
    """A nudge: look at all that is due there."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EventMessage(JobMessage):
    """A nudge after the provider's signed event.

    Args:
        event_id: the provider's id of the event.
        event_type: such as ``parse.success``; unknown names are accepted.
        provider_job_id: the provider's id of its job, to be checked against what a `GET` says.
    """

    event_id: Annotated[str, StringConstraints(max_length=200)] | None = None
    event_type: Annotated[str, StringConstraints(max_length=200)] | None = None
    provider_job_id: Annotated[str, StringConstraints(max_length=200)] | None = None


class Event003Message(JobMessage):
    """A signed event of the "003" pipeline that names its job.

    Args:
        parse_job_id: the parser's own id of its job.
        result_path: where its result waits in the store.
        error: why it failed.
    """

    status: Status003
    parse_job_id: Annotated[str, StringConstraints(max_length=500)] | None = None
    result_path: Annotated[str, StringConstraints(pattern=rf"^{STAGED_003}[0-9a-f-]{{36}}$")] | None = None
    error: Annotated[str, StringConstraints(max_length=500)] | None = None


class DeliveryMessage(BaseModel):
    """A nudge: this delivery is due."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    delivery_id: UUID


class DocumentMessage(BaseModel):
    """A nudge: look at this document."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    document_id: UUID


@dataclass(frozen=True)
class ActorSpec:
    """Which queue an actor listens on and what its messages carry."""

    queue: str
    payload: type[BaseModel]


ACTORS: Final[Mapping[str, ActorSpec]] = {
    "submit_document": ActorSpec("submit", Order),
    "fetch_source": ActorSpec("submit", JobMessage),
    "check_budget": ActorSpec("budget-check", JobMessage),
    "check_waiting": ActorSpec("budget-check", QueueMessage),
    "upload_file": ActorSpec("parse", JobMessage),
    "start_parse": ActorSpec("parse", JobMessage),
    "search_in_doubt": ActorSpec("parse", JobMessage),
    "ingest_result": ActorSpec("result-ingest", EventMessage),
    "ingest_003": ActorSpec("result-ingest", Event003Message),
    "erase_document": ActorSpec("result-ingest", DocumentMessage),
    "notify": ActorSpec("notify", DeliveryMessage),
}
QUEUES: Final = ("submit", "budget-check", "parse", "result-ingest", "notify")


@dataclass(frozen=True)
class Message:
    """One Dramatiq message.

    Args:
        actor_name: one of `ACTORS`.
        kwargs: JSON values.
        message_id: unique.
        message_timestamp: milliseconds since 1970, UTC.
    """

    actor_name: str
    kwargs: Mapping[str, Any]
    message_id: str
    message_timestamp: int
    queue_name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "queue_name", ACTORS[self.actor_name].queue)

    @classmethod
    def nudge(cls, actor_name: str, now: datetime, **ids: UUID) -> Message:
        """A message that lets an actor look at something now; the clock would, later."""
        kwargs = {name: str(value) for name, value in ids.items()}
        return cls(actor_name, kwargs, str(uuid4()), int(now.timestamp() * 1000))

    def encode(self) -> bytes:
        """The body, as Dramatiq's JSON encoder would write it."""
        body = {
            "queue_name": self.queue_name,
            "actor_name": self.actor_name,
            "args": [],
            "kwargs": dict(self.kwargs),
            "options": {},
            "message_id": self.message_id,
            "message_timestamp": self.message_timestamp,
        }
        return json.dumps(body, separators=(",", ":")).encode()


def admit(body: bytes, queue: str) -> Message:
    """The message in a body that came from `queue`, with options built anew.

    Args:
        body: as it came.
        queue: the delivering queue; a delay queue (``.DQ``) counts as its own queue, and its delay is not kept:
            waiting happens in the database.

    Raises:
        MessageRefused: with one sentence saying what is wrong.
    """
    fields = _decode(body)
    queue = queue.removesuffix(".DQ")
    actor_name = fields.get("actor_name")
    spec = ACTORS.get(actor_name) if isinstance(actor_name, str) else None
    if spec is None or spec.queue != queue:
        raise MessageRefused(f"actor_name {_show(actor_name)} is not one of queue {queue!r}'s own")
    named = fields.get("queue_name")
    if not isinstance(named, str) or named.removesuffix(".DQ") != queue:
        raise MessageRefused(f"queue_name {_show(named)} is not {queue!r}, which delivered the message")
    if fields.get("args", []) != []:
        raise MessageRefused("args must be an empty list: everything is said in kwargs")
    if not isinstance(fields.get("options", {}), dict):
        raise MessageRefused("options must be an object")
    message_id, timestamp = fields.get("message_id", ""), fields.get("message_timestamp", 0)
    if not isinstance(message_id, str) or len(message_id) > 200:
        raise MessageRefused("message_id must be a text of at most 200 characters")
    if not isinstance(timestamp, int) or isinstance(timestamp, bool):
        raise MessageRefused("message_timestamp must be a whole number of milliseconds")
    return Message(str(actor_name), check_payload(spec, fields.get("kwargs")), message_id, timestamp)


def check_payload(spec: ActorSpec, kwargs: object) -> dict[str, Any]:
    """`kwargs` as JSON values, ids in canonical form.

    Raises:
        MessageRefused: a field is missing, unknown or malformed.
    """
    if not isinstance(kwargs, dict):
        raise MessageRefused("kwargs must be an object")
    try:
        payload = spec.payload.model_validate(kwargs)
    except ValidationError as error:
        raise MessageRefused(describe(error)) from None
    if isinstance(payload, Order) and payload.source is None:
        raise MessageRefused("kwargs.source is missing: it says where the document is")
    if isinstance(payload, Order) and payload.mode is not None:
        raise MessageRefused("kwargs.mode is not for messages: an admin token may choose it over HTTP")
    try:
        return payload.model_dump(mode="json", exclude_unset=True)
    except (ValueError, RecursionError, OverflowError) as error:
        raise MessageRefused(f"kwargs can't be written as JSON: {type(error).__name__}") from None


def describe(error: ValidationError) -> str:
    """One sentence about the first thing wrong, without the value, which may be a secret."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the body"
    return f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}"


def queue_arguments(queue: str) -> dict[str, Any]:
    """How a queue and its delay queue are declared: quorum, and what is refused or fails too often goes to ``.XQ``."""
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-overflow": "reject-publish",
        "x-dead-letter-strategy": "at-least-once",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": f"{queue}.XQ",
    }


def declarations() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every exchange, queue and binding, as (channel method, arguments), dead letters first.

    Dead letters are never deleted silently, so ``.XQ`` has no time to live.
    """
    for queue in QUEUES:
        yield "queue_declare", {"queue": f"{queue}.XQ", "durable": True, "arguments": {"x-queue-type": "quorum"}}
        for name in (queue, f"{queue}.DQ"):
            yield "queue_declare", {"queue": name, "durable": True, "arguments": queue_arguments(queue)}
    yield "exchange_declare", {"exchange": SUBMIT_EXCHANGE, "exchange_type": "fanout", "durable": True}
    yield "exchange_declare", {"exchange": EVENTS_EXCHANGE, "exchange_type": "topic", "durable": True}
    yield "queue_bind", {"queue": "submit", "exchange": SUBMIT_EXCHANGE}


def _decode(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_BODY:
        raise MessageRefused(f"the body has {len(body)} bytes; {MAX_BODY} are allowed")
    try:
        fields = parse_json(body)
    except ValueError as error:
        raise MessageRefused(f"the body can't be read: {error}") from None
    if not isinstance(fields, dict):
        raise MessageRefused("the body is not a JSON object")
    return fields


def _show(value: object) -> str:
    return repr(value)[:80]
