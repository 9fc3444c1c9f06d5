"""Presigned URLs: a link that works without a key, for a while."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from typing import Final

import falcon.asgi

from llamaparse.simulator.errors import ApiError

LIFETIME_S: Final = 3600
PREFIX: Final = "/_sim/download/"


class Links:
    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def to(self, req: falcon.asgi.Request, path: str, lifetime_s: int = LIFETIME_S) -> str:
        """An absolute URL on the host that `req` came to."""
        expires = str(int(time.time()) + lifetime_s)
        return f"{req.prefix}{PREFIX}{path}?expires={expires}&signature={self._signature(path, expires)}"

    def check(self, req: falcon.asgi.Request) -> None:
        """Raises: ApiError: 403, the link was changed or is too old."""
        path = req.path.removeprefix(PREFIX)
        expires, given = req.get_param("expires") or "", req.get_param("signature") or ""
        signed = hmac.compare_digest(given.encode(), self._signature(path, expires).encode())
        if not signed or int(expires) < time.time():
            raise ApiError(403, "Request has expired or its signature does not match")

    def _signature(self, path: str, expires: str) -> str:
        return hmac.new(self._key, f"{path}?{expires}".encode(), hashlib.sha256).hexdigest()
