"""What belongs to every request: its correlation id, its line in the log, and its headers as they came."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

import falcon.asgi
import structlog

UUID_TEXT: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""A UUID in its canonical lower-case form."""

SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""What every answer says, unless it says otherwise itself (OWASP, HTTP Headers Cheat Sheet)."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class RequestLog:
    """Gives every answer its `Correlation-Id` and `SECURITY_HEADERS`, and every request one line in the log.

    The line has the route's template, not the path, and no header, query or body: those may hold secrets.

    Args:
        monotonic: seconds on a clock that never goes back.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic

    async def process_request(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Before routing."""
        req.context.started = self._monotonic()

    async def process_response(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, resource: object, req_succeeded: bool
    ) -> None:
        """After everything else, errors included."""
        resp.set_header("Correlation-Id", correlation_id(req))
        for name, value in SECURITY_HEADERS.items():
            if resp.get_header(name) is None:
                resp.set_header(name, value)
        started: float | None = getattr(req.context, "started", None)
        log.info(
            "request",
            method=req.method,
            route=req.uri_template or "-",
            status=resp.status_code,
            ms=None if started is None else round((self._monotonic() - started) * 1000, 1),
            problem=getattr(req.context, "problem", None),
            correlation_id=correlation_id(req),
        )


def correlation_id(req: falcon.asgi.Request) -> str:
    """The request's id: its `Correlation-Id` header if that is one UUID, else one of our own."""
    known: str | None = getattr(req.context, "correlation_id", None)
    if known is None:
        said = [value.decode("latin-1").lower() for value in raw_headers(req, b"correlation-id")]
        known = said[0] if len(said) == 1 and UUID_TEXT.fullmatch(said[0]) else str(uuid4())
        req.context.correlation_id = known
    return known


def raw_headers(req: falcon.asgi.Request, name: bytes) -> list[bytes]:
    """Every header of that name as it came; Falcon itself merges them.

    Args:
        name: in lower case.
    """
    headers: list[tuple[bytes, bytes]] = req.scope["headers"]
    return [value for header, value in headers if header == name]


def header_text(req: falcon.asgi.Request, name: str) -> str | None:
    """The one header of that name; None if there is none or more than one."""
    values: list[Any] = raw_headers(req, name.lower().encode())
    return values[0].decode("latin-1").strip() if len(values) == 1 else None
