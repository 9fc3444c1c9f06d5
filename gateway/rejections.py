"""Rejected webhooks on their way to the database, which the requests themselves never wait for.

A flood of forged events costs one transaction a second, and no more memory than a thousand of them.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any, Final

import falcon.asgi
import structlog
from typing_extensions import TypedDict

from domain.clock import Clock
from domain.errors import StoreUnavailable
from gateway.amounts import Time, time_text
from gateway.dependencies import Dependencies
from gateway.openapi.description import Operation, answer
from gateway.parameters import Whole
from gateway.pool import run_in
from gateway.requests import correlation_id
from models.rejections import MOST_KEPT, Rejection, counts, keep, latest
from models.service_tables import RejectedWebhook
from models.tokens import Scope

FLUSH_S: Final = 1.0
LIMIT: Final = Whole("limit", 100, 1, MOST_KEPT, "How many are told at most.")
MOST_HEADERS: Final = 40
MOST_TEXT: Final = 500
MOST_SHOWN: Final = 4 * 1024
"""Characters of all headers together: a flood costs no more than this for each."""
SECRET_HEADERS: Final = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Rejections:
    """Collects rejections and keeps them a moment later.

    Args:
        clock: this host's time.
    """

    def __init__(self, pool: ThreadPoolExecutor, clock: Clock) -> None:
        self._pool, self._clock = pool, clock
        self._waiting: deque[Rejection] = deque(maxlen=MOST_KEPT)
        self._dropped: Counter[str] = Counter()
        self._flushing: asyncio.Task[None] | None = None

    def note(
        self,
        req: falcon.asgi.Request,
        reason: str,
        *,
        job_id: str | None = None,
        body: bytes | None = None,
        said: Mapping[str, Any] | None = None,
    ) -> None:
        """Remember a webhook that was rejected for `reason`. Call it in the event loop."""
        rejection = Rejection(
            self._clock(),
            req.uri_template or "-",
            reason,
            None if job_id is None else _storable(job_id),
            shown_headers(req),
            said or {},
            None if body is None else sha256(body).hexdigest(),
            None if body is None else len(body),
        )
        if len(self._waiting) == MOST_KEPT:
            self._dropped[self._waiting[0].reason] += 1
        self._waiting.append(rejection)
        log.warning("webhook rejected", reason=reason, job_id=rejection.job_id, correlation_id=correlation_id(req))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        await asyncio.sleep(FLUSH_S)
        rejections, dropped = list(self._waiting), self._dropped
        self._waiting.clear()
        self._dropped = Counter()
        try:
            await run_in(self._pool, keep, rejections, dropped)
        except StoreUnavailable as error:
            # Their counts wait for the next time.
            self._dropped += dropped + Counter(rejection.reason for rejection in rejections)
            log.warning("rejected webhooks are not kept", count=len(rejections), error=str(error))
        finally:
            self._flushing = asyncio.create_task(self._flush()) if self._waiting else None


class RejectionSaid(TypedDict):
    """A webhook that was not let in. `headers` are pairs as they came; `said` is what could be read of it."""

    at: Time
    route: str
    reason: str
    job_id: str | None
    headers: list[tuple[str, str]]
    said: dict[str, Any]
    body_sha256: str | None
    body_bytes: int | None


class RejectionsSaid(TypedDict):
    """Webhooks that were not let in: how many for each reason, and the last of them."""

    counts: dict[str, int]
    items: list[RejectionSaid]


class RejectedWebhooks:
    """``GET /v1/webhooks/rejected``."""

    scopes: Mapping[str, Scope] | None = {"GET": Scope.ADMIN}
    operations: Mapping[str, Operation] = {
        "GET": Operation(
            "listRejectedWebhooks", {200: answer(RejectionsSaid)}, fails=(400,), parameters=[LIMIT.described]
        )
    }

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool = dependencies.pool

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """How many webhooks were not let in for each reason, and the last of them, newest first.

        Raises:
            Problem: 400, the number is malformed.
        """
        resp.media = await run_in(self._pool, _show, LIMIT.of(req))


def _show(most: int) -> RejectionsSaid:
    return {"counts": dict(counts()), "items": [_view(row) for row in latest(most)]}


def _view(row: RejectedWebhook) -> RejectionSaid:
    return {
        "at": time_text(row.at),
        "route": row.route,
        "reason": row.reason,
        "job_id": row.job_id,
        "headers": row.headers,
        "said": row.said,
        "body_sha256": row.body_sha256,
        "body_bytes": row.body_bytes,
    }


def shown_headers(req: falcon.asgi.Request) -> list[tuple[str, str]]:
    """A request's headers for people: as they came, cut, and without secrets."""
    headers: list[tuple[bytes, bytes]] = req.scope["headers"]
    shown: list[tuple[str, str]] = []
    left = MOST_SHOWN
    for name, value in headers[:MOST_HEADERS]:
        pair = name.decode("latin-1")[:MOST_TEXT], _shown(name.decode("latin-1"), value)
        left -= len(pair[0]) + len(pair[1])
        if left < 0:
            break
        shown.append(pair)
    return shown


def _shown(name: str, value: bytes) -> str:
    return "********" if name.lower() in SECRET_HEADERS else _storable(value.decode("latin-1"))


def _storable(text: str) -> str:
    """Cut, and without NUL: PostgreSQL refuses it, and with it all that is kept in the same transaction."""
    return text[:MOST_TEXT].replace("\0", "")
