"""The HTTP entrance: an ASGI application, its middleware and its routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import falcon.asgi

from gateway.auth import Authentication, Guarded
from gateway.dependencies import Dependencies
from gateway.documents import DocumentJob, Documents
from gateway.operations import Healthz, ModeResource, Readyz
from gateway.problems import install
from gateway.requests import RequestLog
from gateway.results import Result
from gateway.webhooks import LlamaParseWebhook

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Asgi = Callable[[Event, Receive, Send], Awaitable[None]]

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
        Authentication(dependencies.pool, dependencies.clock, dependencies.monotonic),
    ]
    app: falcon.asgi.App[Any, Any] = falcon.asgi.App(middleware=middleware)
    install(app)
    for template, resource in routes(dependencies).items():
        app.add_route(template, resource)
    return AtOnce(app)


def routes(dependencies: Dependencies) -> dict[str, Guarded]:
    """Every route: template to resource."""
    keys = dependencies.settings.secret_key_bytes
    return {
        "/webhooks/llamaparse/{job_id}": LlamaParseWebhook(keys, dependencies.publisher, dependencies.host_clock),
        "/v1/documents": Documents(dependencies),
        "/v1/documents/{job_id:uuid}": DocumentJob(dependencies),
        "/v1/documents/{job_id:uuid}/result": Result(dependencies),
        "/v1/mode": ModeResource(dependencies),
        "/healthz": Healthz(),
        "/readyz": Readyz(dependencies),
    }
