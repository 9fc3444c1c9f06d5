"""``GET /openapi.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import falcon
import falcon.asgi

from gateway.auth import Guarded
from gateway.openapi.description import Operation, answer
from gateway.openapi.document import document
from gateway.pool import run_in
from models.tokens import Scope


class OpenApi:
    """The description of everything beside it in the table of routes.

    Args:
        table: it may still grow until the first request.
    """

    scopes: Mapping[str, Scope] | None = None
    operations: Mapping[str, Operation] = {"GET": Operation("getOpenApi", {200: answer(dict[str, Any])})}

    def __init__(self, pool: ThreadPoolExecutor, table: Mapping[str, Guarded]) -> None:
        self._pool, self._table = pool, table
        self._content: bytes | None = None

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """This description, in OpenAPI 3.1."""
        if self._content is None:
            # It takes most of a second, which the event loop has not.
            self._content = await run_in(self._pool, lambda: json.dumps(document(self._table)).encode())
        resp.data, resp.content_type = self._content, falcon.MEDIA_JSON
