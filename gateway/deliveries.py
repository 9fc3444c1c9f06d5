"""``/v1/deliveries`` and ``/v1/endpoints``: events for callback URLs and webhooks, and receivers that fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from uuid import UUID

import falcon.asgi
from typing_extensions import TypedDict

from domain.errors import OrderConflict
from domain.messages import Message
from gateway.amounts import Id, Time, time_text
from gateway.auth import bearer_of
from gateway.dependencies import Dependencies
from gateway.openapi.description import Operation, answer
from gateway.parameters import Choice, Uuid, Whole
from gateway.pool import run_in
from models.deliveries import DeliveryState, WantedDeliveries, get_delivery, list_deliveries, send_again
from models.endpoints import enable, list_endpoints
from models.job_webhooks import urls_of
from models.service_tables import Endpoint
from models.tables import Delivery
from models.tokens import Bearer, Scope

LIMIT: Final = Whole("limit", 100, 1, 1000, "How many are told at most.")
STATE: Final = Choice("state", DeliveryState, "In this state.")
JOB: Final = Uuid("job_id", "About this job.")


class DeliverySaid(TypedDict):
    """An event for a receiver: on its way, delivered, or given up."""

    delivery_id: Id
    event: str
    job_id: Id | None
    batch_id: Id | None
    url: str
    state: DeliveryState
    tries: int
    created_at: Time
    due_at: Time | None
    delivered_at: Time | None
    given_up_at: Time | None
    last_error: str | None


class DeliveriesSaid(TypedDict):
    """Events for receivers, newest first."""

    items: list[DeliverySaid]


class EndpointSaid(TypedDict):
    """A receiver that fails; nothing is posted to it from `disabled_at` on."""

    endpoint_id: Id
    tenant: str
    url: str
    failing_since: Time
    failures: int
    last_error: str
    disabled_at: Time | None


class EndpointsSaid(TypedDict):
    """Receivers that fail, those that are disabled first."""

    items: list[EndpointSaid]


class Deliveries:
    """``GET /v1/deliveries``."""

    scopes: Mapping[str, Scope] | None = {"GET": Scope.READ}
    operations: Mapping[str, Operation] = {
        "GET": Operation(
            "listDeliveries",
            {200: answer(DeliveriesSaid)},
            fails=(400,),
            parameters=[
                STATE.described,
                JOB.described,
                LIMIT.described,
            ],
        )
    }

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool = dependencies.pool

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Events for callback URLs and webhooks, newest first. A token that is not an admin's sees its tenant's.

        Raises:
            Problem: 400, a parameter is malformed.
        """
        limit, wanted = LIMIT.of(req), WantedDeliveries(bearer_of(req).sees, STATE.of(req), JOB.of(req))
        resp.media = await run_in(self._pool, _page, wanted, limit)


class Redelivery:
    """``POST /v1/deliveries/{delivery_id}/redeliver``."""

    scopes: Mapping[str, Scope] | None = {"POST": Scope.SUBMIT}
    operations: Mapping[str, Operation] = {
        "POST": Operation("redeliver", {202: answer(DeliverySaid)}, fails=(404, 409))
    }

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool, self._clock = dependencies.pool, dependencies.clock
        self._publisher, self._host_clock = dependencies.publisher, dependencies.host_clock

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, delivery_id: UUID) -> None:
        """Send an event once more, whatever became of it: the same event, with the same id.

        Raises:
            NotFound: there is none that the token may see.
            OrderConflict: 409, its body is not kept any more.
        """
        resp.media = await run_in(self._pool, self._again, delivery_id, bearer_of(req))
        resp.status = falcon.HTTP_202
        await self._publisher.nudge(Message.nudge("notify", self._host_clock(), delivery_id=delivery_id))

    def _again(self, delivery_id: UUID, bearer: Bearer) -> DeliverySaid:
        tenant = bearer.sees
        get_delivery(delivery_id, tenant)
        if not send_again(delivery_id, who=bearer.name, now=self._clock()):
            raise OrderConflict("the event's body is not kept any more: its document was deleted", reason="body_gone")
        again = get_delivery(delivery_id, tenant)
        return _view(again, urls_of([again.target])[again.target])


class Endpoints:
    """``GET /v1/endpoints``."""

    scopes: Mapping[str, Scope] | None = {"GET": Scope.READ}
    operations: Mapping[str, Operation] = {
        "GET": Operation("listEndpoints", {200: answer(EndpointsSaid)}, fails=(400,), parameters=[LIMIT.described])
    }

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool = dependencies.pool

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Receivers that fail. A token that is not an admin's sees its tenant's.

        Raises:
            Problem: 400, a parameter is malformed.
        """
        tenant, limit = bearer_of(req).sees, LIMIT.of(req)
        found = await run_in(self._pool, list_endpoints, tenant, limit)
        said: EndpointsSaid = {"items": [_endpoint_view(one) for one in found]}
        resp.media = said


class EndpointEnable:
    """``POST /v1/endpoints/{endpoint_id}/enable``."""

    scopes: Mapping[str, Scope] | None = {"POST": Scope.SUBMIT}
    operations: Mapping[str, Operation] = {
        "POST": Operation("enableEndpoint", {200: answer(EndpointSaid)}, fails=(404,))
    }

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool, self._clock = dependencies.pool, dependencies.clock

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, endpoint_id: UUID) -> None:
        """Post to a receiver again; answers what was held against it.

        Raises:
            NotFound: none fails that the token may see.
        """
        resp.media = await run_in(self._pool, self._enable, endpoint_id, bearer_of(req))

    def _enable(self, endpoint_id: UUID, bearer: Bearer) -> EndpointSaid:
        return _endpoint_view(enable(endpoint_id, bearer.sees, who=bearer.name, now=self._clock()))


def _page(wanted: WantedDeliveries, limit: int) -> DeliveriesSaid:
    found = list_deliveries(wanted, limit)
    urls = urls_of([one.target for one in found])
    return {"items": [_view(one, urls[one.target]) for one in found]}


def _view(one: Delivery, url: str) -> DeliverySaid:
    closed = DeliveryState.GIVEN_UP if one.delivered_at is None else DeliveryState.DELIVERED
    state = closed if one.due_at is None else DeliveryState.OPEN
    return {
        "delivery_id": str(one.delivery_id),
        "event": one.event_type,
        "job_id": None if one.job_id is None else str(one.job_id),
        "batch_id": None if one.batch_id is None else str(one.batch_id),
        "url": url,
        "state": state,
        "tries": one.tries,
        "created_at": time_text(one.created_at),
        "due_at": time_text(one.due_at),
        "delivered_at": time_text(one.delivered_at),
        "given_up_at": time_text(one.given_up_at),
        "last_error": one.last_error,
    }


def _endpoint_view(one: Endpoint) -> EndpointSaid:
    return {
        "endpoint_id": str(one.endpoint_id),
        "tenant": one.tenant,
        "url": one.url,
        "failing_since": time_text(one.failing_since),
        "failures": one.failures,
        "last_error": one.last_error,
        "disabled_at": time_text(one.disabled_at),
    }
