"""Answers that are not 2xx, with the provider's bodies: ``{"detail": ...}``."""

from __future__ import annotations

from collections.abc import Iterable


class ApiError(Exception):
    """Ends a call with `status` and ``{"detail": detail}``; the error handler adds the correlation id of a 5xx."""

    def __init__(self, status: int, detail: object) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail


def invalid(location: Iterable[str | int], message: str, kind: str = "value_error") -> ApiError:
    """422 with a validation list of one entry, as FastAPI writes it."""
    return ApiError(422, [{"type": kind, "loc": list(location), "msg": message}])


UNAUTHORIZED = 401, "Invalid API Key"
OUT_OF_CREDITS = 402, "You have exceeded the credits of your plan. Please upgrade your plan to continue."
TOO_MANY_REQUESTS = 429, "Too many requests"
GATEWAY_TIMEOUT = 504, "Gateway Timeout"
INTERNAL = 500, "Internal Server Error"
