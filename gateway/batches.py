"""``/v1/batches``: many documents ordered together, with one quote, one progress, and one event at the end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, Final, Literal
from uuid import UUID, uuid4, uuid5

import falcon.asgi
from pydantic import BaseModel, ConfigDict, Field, create_model
from typing_extensions import TypedDict

from domain.errors import NotFound, OrderConflict, OrderRefused
from domain.fitting import Fit
from domain.job_state import JobState
from domain.orders import NOBODY, Order
from gateway.amounts import Id, Time, credits_number, time_text, usd_number
from gateway.auth import bearer_of
from gateway.bodies import read_json
from gateway.dependencies import Dependencies
from gateway.documents import Ordered
from gateway.idempotency import KEY, InFlight, derived_id
from gateway.openapi.description import JSON, Operation, answer
from gateway.orders import FIELDS, HttpUrl, JsonOrder, OrderDesk, json_fields
from gateway.pool import run_in
from gateway.problems import Problem
from gateway.quote import Start, fits_of, starts_at
from gateway.requests import correlation_id, raw_headers
from models.batches import BatchOrder, Totals, cancel_batch, find_batch, jobs_of, open_batch, totals_of
from models.control import instance_id
from models.tables import Batch, Job
from models.tokens import Bearer, Scope

MAX_JSON: Final = 2 * 1024 * 1024
MOST: Final = 1000
"""Documents of one batch."""
USAGE: Final = 'send JSON: {"documents": ["https://..."], "tier": "cost_effective"}'
SHARED: Final = FIELDS - {"document_id", "filename", "callback_url"}
"""What may be said once for all of its documents."""
_OWN: Final = frozenset({"documents", "batch_id", "callback_url"})

_Documents = Annotated[list[JsonOrder | HttpUrl], Field(min_length=1, max_length=MOST)]
JsonBatch: Final[type[BaseModel]] = create_model(
    "JsonBatch",
    __doc__="Documents to parse, each a URL or an order; what is said beside them holds for those that don't say it.",
    __config__=ConfigDict(extra="forbid"),
    documents=(_Documents, ...),
    batch_id=(UUID | None, None),
    **{name: kind for name, kind in json_fields().items() if name in SHARED | {"callback_url"}},
)


class BatchQuote(TypedDict):
    """What its documents cost at most. `documents` says how many are counted so far; the others must be fetched first.

    `fits` is about those that hold nothing yet, in the budgets of everybody and of the tenant.
    """

    documents: int
    pages: int
    pages_guessed: bool
    credits: float
    usd: float
    fits: bool
    starts_at: Start
    reason: str | None


class BatchSaid(TypedDict):
    """A batch. `credits` is what was settled, and `settled` whether that is the last word."""

    batch_id: Id
    state: Literal["running", "completed"]
    documents: int
    ended: int
    states: dict[str, int]
    quote: BatchQuote
    credits: float
    usd: float
    settled: bool
    tenant: str
    correlation_id: Id
    created_at: Time
    finished_at: Time | None
    jobs: str


class BatchOrdered(BatchSaid):
    """A batch with its jobs, in the order in which its documents came."""

    items: list[Ordered]


class Batches:
    """``POST /v1/batches``."""

    scopes: Mapping[str, Scope] | None = {"POST": Scope.SUBMIT}
    operations: Mapping[str, Operation] = {
        "POST": Operation(
            "orderBatch",
            {202: answer(BatchOrdered, Location="Where the batch is looked at.")},
            fails=(409, 415, 422),
            parameters=[KEY],
            body={JSON: JsonBatch},
        )
    }

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool, self._clock = dependencies.pool, dependencies.clock
        self._desk, self._view = OrderDesk(dependencies.settings), _View(dependencies)
        self._in_flight = InFlight()

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """202 and the batch, once all of its jobs are committed; none is made if one is refused.

        Raises:
            Problem: 400, 403, 415.
            OrderRefused: 413, 422.
            OrderConflict: 409, the id or a document was ordered before; 422 where the id was made from the key.
            StoreUnavailable: 503.
        """
        said = await read_json(req, MAX_JSON, USAGE)
        if not isinstance(said, dict):
            raise OrderRefused("the body must be a JSON object")
        try:
            with self._in_flight.hold(req):
                resp.media = await run_in(self._pool, self._order, req, said)
        except OrderConflict as error:
            if not raw_headers(req, b"idempotency-key"):
                raise
            raise Problem(422, "idempotency_key_reused", f"{error}, or another Idempotency-Key") from None
        resp.status = falcon.HTTP_202
        resp.location = f"/v1/batches/{resp.media['batch_id']}"

    def _order(self, req: falcon.asgi.Request, said: Mapping[str, Any]) -> BatchOrdered:
        order = _batch_of(req, said, self._desk)
        batch = open_batch(order, who=bearer_of(req).name, now=self._clock())
        jobs = {job.document_id: job for job in jobs_of(batch.batch_id)}
        items = [_item(jobs[one.document_id]) for one in order.orders]
        return {**self._view.of(batch), "items": items}


def _item(job: Job) -> Ordered:
    return {"job_id": str(job.job_id), "document_id": str(job.document_id), "state": JobState(job.state)}


class BatchItem:
    """``GET /v1/batches/{batch_id}``."""

    scopes: Mapping[str, Scope] | None = {"GET": Scope.READ}
    operations: Mapping[str, Operation] = {"GET": Operation("getBatch", {200: answer(BatchSaid)}, fails=(404,))}

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool, self._view = dependencies.pool, _View(dependencies)

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, batch_id: UUID) -> None:
        """The batch: how many of its documents are in which state, and what they cost.

        Raises:
            NotFound: there is none that the token may see.
        """
        resp.media = await run_in(self._pool, lambda: self._view.of(visible_batch(batch_id, bearer_of(req))))


class BatchCancel:
    """``POST /v1/batches/{batch_id}/cancel``."""

    scopes: Mapping[str, Scope] | None = {"POST": Scope.SUBMIT}
    operations: Mapping[str, Operation] = {"POST": Operation("cancelBatch", {200: answer(BatchSaid)}, fails=(404,))}

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool, self._clock, self._view = dependencies.pool, dependencies.clock, _View(dependencies)
        self._has_exchange = dependencies.settings.amqp_url is not None

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, batch_id: UUID) -> None:
        """The batch, with all that had not ended cancelled.

        Raises:
            NotFound: there is none that the token may see.
        """
        resp.media = await run_in(self._pool, self._cancel, batch_id, bearer_of(req))

    def _cancel(self, batch_id: UUID, bearer: Bearer) -> BatchSaid:
        visible_batch(batch_id, bearer)
        now = self._clock()
        cancel_batch(batch_id, who=bearer.name, now=now, instance=instance_id(now), exchange=self._has_exchange)
        return self._view.of(visible_batch(batch_id, bearer))


def visible_batch(batch_id: UUID, bearer: Bearer) -> Batch:
    """A batch, if it is of the token's tenant; an admin sees all.

    Raises:
        NotFound: the same words whether there is none or it is another tenant's.
    """
    batch = find_batch(batch_id)
    if batch is None or bearer.sees not in (None, batch.tenant):
        raise NotFound(f"there is no batch {batch_id}")
    return batch


def _batch_of(req: falcon.asgi.Request, said: Mapping[str, Any], desk: OrderDesk) -> BatchOrder:
    """The batch that a body asks for.

    Raises:
        OrderRefused: unknown, malformed or refused fields; it says of which document.
        Problem: 403.
    """
    given = {name: value for name, value in said.items() if value is not None}
    unknown = sorted(set(given) - SHARED - _OWN)
    if unknown:
        raise OrderRefused(f"unknown field {unknown[0][:80]!r}: known are {', '.join(sorted(SHARED | _OWN))}")
    documents = given.get("documents")
    if not isinstance(documents, list) or not 0 < len(documents) <= MOST:
        raise OrderRefused(f"documents must be a list of 1 to {MOST} URLs or orders")
    batch_id = _batch_id(given) or derived_id(req) or uuid4()
    shared = {"correlation_id": correlation_id(req)} | {name: given[name] for name in SHARED & set(given)}
    orders = [_order_of(req, desk, batch_id, number, one, shared) for number, one in enumerate(documents)]
    # One more, of the batch itself: its callback is checked as every order's is.
    url = {} if given.get("callback_url") is None else {"callback_url": given["callback_url"]}
    whole = desk.order(req, shared | url | {"document_id": str(batch_id)})
    text = json.dumps([str(bearer_of(req).token_id), given], sort_keys=True)
    assert whole.correlation_id is not None
    return BatchOrder(
        batch_id, whole.tenant, orders, sha256(text.encode()).hexdigest(), whole.correlation_id, whole.callback_url
    )


def _batch_id(given: Mapping[str, Any]) -> UUID | None:
    said = given.get("batch_id")
    if said is None:
        return None
    try:
        return UUID(said)
    except (ValueError, AttributeError, TypeError):
        raise OrderRefused("batch_id must be a UUID") from None


def _order_of(
    req: falcon.asgi.Request, desk: OrderDesk, batch_id: UUID, number: int, one: object, shared: Mapping[str, Any]
) -> Order:
    said = {"source_url": one} if isinstance(one, str) else one
    if not isinstance(said, dict) or said.get("source_url") is None:
        raise OrderRefused(f"documents[{number}] must be a URL, or an order with source_url")
    named = {name: value for name, value in said.items() if value is not None}
    try:
        return desk.order(req, {"document_id": str(uuid5(batch_id, str(number))), **shared, **named})
    except OrderRefused as error:
        raise OrderRefused(f"documents[{number}]: {error}", reason=error.reason) from None


class _View:
    """Batches as JSON."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._settings, self._clock = dependencies.settings, dependencies.clock

    def of(self, batch: Batch) -> BatchSaid:
        """A batch as it stands."""
        totals, now = totals_of(batch.batch_id), self._clock()
        return {
            "batch_id": str(batch.batch_id),
            "state": "completed" if totals.ended >= batch.total else "running",
            "documents": batch.total,
            "ended": totals.ended,
            "states": totals.states,
            "quote": self._quote(batch, totals, now),
            "credits": credits_number(totals.cost),
            "usd": usd_number(totals.cost, self._settings.prices_at(batch.finished_at or now).usd_per_credit),
            "settled": totals.settled,
            "tenant": batch.tenant,
            "correlation_id": str(batch.correlation_id),
            "created_at": time_text(batch.created_at),
            "finished_at": time_text(batch.finished_at),
            "jobs": f"/v1/documents?batch_id={batch.batch_id}",
        }

    def _quote(self, batch: Batch, totals: Totals, now: datetime) -> BatchQuote:
        fits: Sequence[Fit] = fits_of(self._settings, batch.tenant, NOBODY, totals.open_estimates, now)
        return {
            "documents": totals.priced,
            "pages": totals.pages,
            "pages_guessed": totals.pages_guessed,
            "credits": credits_number(totals.estimate),
            "usd": usd_number(totals.estimate, self._settings.prices_at(now).usd_per_credit),
            "fits": all(fit.fits for fit in fits),
            "starts_at": starts_at(fits),
            "reason": next((fit.reason for fit in fits if fit.reason), None),
        }
