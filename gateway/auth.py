"""Bearer tokens: who asks, and whether they may."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from math import ceil
from typing import Any, Final, Protocol
from uuid import UUID

import falcon.asgi

from domain.clock import Clock
from domain.settings import Rate
from gateway.openapi.description import Operation
from gateway.pool import run_in
from gateway.problems import Problem
from gateway.requests import header_text
from models.tokens import Bearer, Scope, find_bearer

CACHE_S: Final = 2.0
"""How long a token that was just found may go on after it was revoked; the interface promises less than 5 s."""
CACHE_SIZE: Final = 1000
MAX_TOKEN: Final = 200


class Guarded(Protocol):
    """A resource that says who may use it.

    `scopes` maps methods to the scope they need; a method that is not in it needs `admin`. None: everybody may.
    `operations` describes each method for ``/openapi.json``.
    """

    scopes: Mapping[str, Scope] | None
    operations: Mapping[str, Operation]


class Rates:
    """How much each token sends, counted in windows one after the other.

    Args:
        monotonic: seconds on a clock that never goes back.
    """

    def __init__(self, limits: Sequence[Rate], monotonic: Callable[[], float]) -> None:
        self._limits, self._monotonic = limits, monotonic
        self._counts: dict[Rate, tuple[int, Counter[UUID]]] = {limit: (0, Counter()) for limit in limits}

    @property
    def words(self) -> str:
        """The limits, for people."""
        return ", ".join(f"{limit.count:,} requests in {limit.seconds} s" for limit in self._limits)

    def wait_s(self, token_id: UUID) -> float:
        """Count a request; seconds until the token may send one again, 0 if it may send this one."""
        now, waits = self._monotonic(), [0.0]
        for limit in self._limits:
            window, counts = self._counts[limit]
            if window != int(now // limit.seconds):
                window, counts = int(now // limit.seconds), Counter()
                self._counts[limit] = window, counts
            counts[token_id] += 1
            if counts[token_id] > limit.count:
                waits.append((window + 1) * limit.seconds - now)
        return max(waits)


class Authentication:
    """Lets a request through to its resource only with a token that has the scope the resource asks for.

    Args:
        monotonic: seconds on a clock that never goes back.
        limits: how many requests a token may send to this process; all of them hold.
    """

    def __init__(
        self, pool: ThreadPoolExecutor, clock: Clock, monotonic: Callable[[], float], limits: Sequence[Rate]
    ) -> None:
        self._pool, self._clock, self._monotonic = pool, clock, monotonic
        self._rates = Rates(limits, monotonic)
        self._known: OrderedDict[bytes, tuple[float, Bearer]] = OrderedDict()

    async def process_resource(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, resource: Guarded, params: dict[str, Any]
    ) -> None:
        """Before the resource, and before a byte of the body is read.

        Raises:
            Problem: 401 without a token in force, 403 without the scope, 429 beyond the token's rate.
            StoreUnavailable: the token can't be looked up now.
        """
        if resource.scopes is None:
            return
        bearer = await self._bearer(req)
        needed = resource.scopes.get(req.method, Scope.ADMIN)
        if not bearer.may(needed):
            raise Problem(403, "scope_missing", f"this needs a token with the scope {needed.value!r}")
        wait_s = self._rates.wait_s(bearer.token_id)
        if wait_s:
            words = f"this token has sent {self._rates.words}: wait a moment"
            raise Problem(429, "too_many_requests", words, headers={"Retry-After": str(ceil(wait_s))})
        req.context.bearer = bearer

    async def _bearer(self, req: falcon.asgi.Request) -> Bearer:
        scheme, _, token = (header_text(req, "Authorization") or "").partition(" ")
        token = token.strip()
        bearer = None
        if scheme.lower() == "bearer" and 0 < len(token) <= MAX_TOKEN:
            bearer = await self._find(token)
        if bearer is None:
            raise Problem(
                401,
                "token_refused",
                "send a token that is in force, as 'Authorization: Bearer TOKEN'",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return bearer

    async def _find(self, token: str) -> Bearer | None:
        digest, now = sha256(token.encode()).digest(), self._monotonic()
        found_at, bearer = self._known.get(digest, (0.0, None))
        if bearer is not None and now - found_at < CACHE_S:
            return bearer
        bearer = await run_in(self._pool, lambda: find_bearer(token, self._clock()))
        self._known.pop(digest, None)
        if bearer is not None:
            self._known[digest] = now, bearer
            if len(self._known) > CACHE_SIZE:
                self._known.popitem(last=False)
        return bearer


def bearer_of(req: falcon.asgi.Request) -> Bearer:
    """Who sent a request that passed `Authentication`."""
    bearer: Bearer = req.context.bearer
    return bearer
