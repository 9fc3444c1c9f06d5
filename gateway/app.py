"""The HTTP entrance: an ASGI application, its middleware and its routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import falcon.asgi

from gateway.audit import Audit
from gateway.auth import Authentication, Guarded
from gateway.batches import BatchCancel, Batches, BatchItem
from gateway.bodies import Allowance
from gateway.budget import BudgetResource
from gateway.counting import CountingDesk
from gateway.deliveries import Deliveries, EndpointEnable, Endpoints, Redelivery
from gateway.dependencies import Dependencies
from gateway.documents import DocumentJob, Documents
from gateway.drifts import DriftExplanation, Drifts
from gateway.erasure import JobErasure
from gateway.job_changes import JobCancel, JobRetry
from gateway.limits import LimitsResource
from gateway.llamacloud.create import Creation
from gateway.llamacloud.files import FileContent, FileItem, Files, FilesQuery
from gateway.llamacloud.links import Downloads, Links
from gateway.llamacloud.parse import ParseCancel, ParseJob, ParseJobs, ParseUpload, ParseVersions
from gateway.metrics import Metrics
from gateway.openapi.resource import OpenApi
from gateway.operations import Healthz, ModeResource, Readyz
from gateway.problems import install
from gateway.progress import JobEvents
from gateway.quote import Quotes
from gateway.redo import Redo
from gateway.rejections import RejectedWebhooks, Rejections
from gateway.requests import RequestLog
from gateway.results import Result
from gateway.usage import UsageResource
from gateway.webhooks import LlamaParseWebhook
from gateway.webhooks_003 import Webhook003

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Asgi = Callable[[Event, Receive, Send], Awaitable[None]]

UNSIGNED_BYTES: Final = 64 * 1024 * 1024
"""Bytes of webhooks' bodies that are in memory at most before their signatures were looked at, over all senders."""

__all__ = ["Dependencies", "create_app"]


class AtOnce:
    """An ASGI application around another one, which then answers without waiting for the first byte of a body.

    Falcon waits for it before routing. What is refused by its headers alone (no token, too large) would be refused
    late, or never when nothing comes; and a sender of ``Expect: 100-continue`` be told to go on before anybody looked.
    """

    def __init__(self, app: Asgi) -> None:
        self._app = app

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        """One request."""
        await self._app(scope, _beginning(receive) if scope["type"] == "http" else receive, send)


def _beginning(receive: Receive) -> Receive:
    begun = False

    async def receive_more() -> Event:
        nonlocal begun
        if begun:
            return await receive()
        begun = True
        return {"type": "http.request", "body": b"", "more_body": True}

    return receive_more


def create_app(dependencies: Dependencies) -> Asgi:
    """The application. It connects to nothing by itself, and has no ASGI lifespan: serve it with ``lifespan="off"``.

    Raises:
        BadSetting: an entry of `PARSEGATE_PRIVATE_HOSTS` is malformed.
    """
    # Any: each implements another part of Falcon's union of protocols.
    middleware: list[Any] = [
        RequestLog(dependencies.monotonic),
        Authentication(dependencies.pool, dependencies.clock, dependencies.monotonic, dependencies.settings.token_rate),
    ]
    app: falcon.asgi.App[Any, Any] = falcon.asgi.App(middleware=middleware)
    install(app)
    for template, resource in routes(dependencies).items():
        app.add_route(template, resource)
    return AtOnce(app)


def _llamacloud(dependencies: Dependencies, counting: CountingDesk) -> dict[str, Guarded]:
    """LlamaCloud's own interface."""
    creation, links = Creation(dependencies, counting), Links(dependencies)
    return {
        "/api/v1/beta/files": Files(dependencies),
        "/api/v1/beta/files/query": FilesQuery(dependencies),
        "/api/v1/beta/files/{file_id}": FileItem(dependencies),
        "/api/v1/beta/files/{file_id}/content": FileContent(dependencies, links),
        "/api/v2/parse": ParseJobs(dependencies, creation),
        "/api/v2/parse/upload": ParseUpload(dependencies, creation),
        "/api/v2/parse/versions": ParseVersions(),
        "/api/v2/parse/{job_id}": ParseJob(dependencies, links),
        "/api/v2/parse/{job_id}/cancel": ParseCancel(dependencies),
        "/downloads/{kind}/{about}": Downloads(dependencies, links),
    }


def routes(dependencies: Dependencies) -> dict[str, Guarded]:
    """Every route: template to resource."""
    keys, publisher, clock = dependencies.settings.secret_key_bytes, dependencies.publisher, dependencies.host_clock
    rejections, allowance = Rejections(dependencies.pool, clock), Allowance(UNSIGNED_BYTES)
    webhook_003 = Webhook003(dependencies, rejections, allowance)
    counting = CountingDesk(dependencies.pool, dependencies.settings.max_file_bytes, dependencies.parsers)
    table: dict[str, Guarded] = {
        "/webhooks/llamaparse/{job_id}": LlamaParseWebhook(keys, publisher, clock, rejections, allowance),
        "/api/v1/webhooks/llamaparse": webhook_003,
        "/webhook/llamaparse/{job_id}": webhook_003,
        "/v1/webhooks/rejected": RejectedWebhooks(dependencies),
        "/v1/documents": Documents(dependencies),
        "/v1/documents/{job_id:uuid}": DocumentJob(dependencies),
        "/v1/documents/{job_id:uuid}/erasure": JobErasure(dependencies),
        "/v1/documents/{job_id:uuid}/result": Result(dependencies),
        "/v1/documents/{job_id:uuid}/events": JobEvents(dependencies),
        "/v1/documents/{job_id:uuid}/cancel": JobCancel(dependencies),
        "/v1/documents/{job_id:uuid}/retry": JobRetry(dependencies),
        "/v1/batches": Batches(dependencies),
        "/v1/batches/{batch_id:uuid}": BatchItem(dependencies),
        "/v1/batches/{batch_id:uuid}/cancel": BatchCancel(dependencies),
        "/v1/deliveries": Deliveries(dependencies),
        "/v1/deliveries/{delivery_id:uuid}/redeliver": Redelivery(dependencies),
        "/v1/endpoints": Endpoints(dependencies),
        "/v1/endpoints/{endpoint_id:uuid}/enable": EndpointEnable(dependencies),
        "/v1/audit": Audit(dependencies),
        "/v1/quote": Quotes(dependencies, counting),
        "/v1/redo": Redo(dependencies),
        "/v1/budget": BudgetResource(dependencies),
        "/v1/usage": UsageResource(dependencies),
        "/v1/drifts": Drifts(dependencies),
        "/v1/drifts/{drift_id:int(min=1,max=9223372036854775807)}/explain": DriftExplanation(dependencies),
        "/v1/limits": LimitsResource(dependencies),
        "/v1/mode": ModeResource(dependencies),
        **_llamacloud(dependencies, counting),
        "/healthz": Healthz(),
        "/readyz": Readyz(dependencies),
        "/metrics": Metrics(dependencies),
    }
    table["/openapi.json"] = OpenApi(dependencies.pool, table)
    return table
