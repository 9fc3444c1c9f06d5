"""The header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): what is sent again is ordered once.

The key stands for an id, which the order gets; so its record is the order itself, and is kept for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final
from uuid import UUID, uuid5

import falcon.asgi
from pydantic import Field

from gateway.auth import bearer_of
from gateway.openapi.description import Parameter
from gateway.problems import Problem
from gateway.requests import header_text, raw_headers

MAX_KEY: Final = 255
_PRINTABLE: Final = "!-~\u00a1-\u00ac\u00ae-\u00ff"
KEY: Final = Parameter(
    "Idempotency-Key",
    Annotated[str, Field(pattern=f"^[{_PRINTABLE}]([ {_PRINTABLE}]{{0,{MAX_KEY - 2}}}[{_PRINTABLE}])?$")],
    "Makes it harmless to send this again: the same key with the same order is the same job.",
    "header",
)


def derived_id(req: falcon.asgi.Request) -> UUID | None:
    """The id that stands for the request's `Idempotency-Key`: the same for the same token and key.

    Raises:
        Problem: 400 for more than one key, or an odd one.
    """
    if not raw_headers(req, b"idempotency-key"):
        return None
    key = header_text(req, "Idempotency-Key")
    if key is None or not 0 < len(key) <= MAX_KEY or not key.isprintable():
        raise Problem(400, "bad_idempotency_key", f"send one Idempotency-Key of 1 to {MAX_KEY} printable characters")
    return uuid5(bearer_of(req).token_id, key)


class InFlight:
    """Keys whose first request is still being worked on in this process.

    Two that reach two processes at once are not told apart here: one of them orders, the other gets the same job.
    """

    def __init__(self) -> None:
        self._ids: set[UUID] = set()

    @contextmanager
    def hold(self, req: falcon.asgi.Request) -> Iterator[None]:
        """For as long as the request is worked on.

        Raises:
            Problem: 400 an odd key, 409 another request with this key is being worked on (section 2.6 of the draft).
        """
        held = derived_id(req)
        if held is None:
            yield
            return
        if held in self._ids:
            words = "a request with this Idempotency-Key is being worked on: send it again once that is answered"
            raise Problem(409, "request_in_flight", words, headers={"Retry-After": "1"})
        self._ids.add(held)
        try:
            yield
        finally:
            self._ids.discard(held)
