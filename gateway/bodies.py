"""Reading request bodies: never more than allowed, and JSON only as every reader understands it."""

from __future__ import annotations

from typing import Any

import falcon.asgi

from domain.json_text import MAX_DEPTH, NotFinite, check_text, parse_json
from gateway.problems import Problem
from gateway.requests import header_text, raw_headers

__all__ = [
    "MAX_DEPTH",
    "Allowance",
    "NotFinite",
    "check_text",
    "declared_length",
    "media_type",
    "parse_json",
    "read_body",
    "read_json",
]


class Allowance:
    """How many bytes of bodies may be in memory at once that nobody has vouched for yet.

    Args:
        most: for all of them together.
    """

    def __init__(self, most: int) -> None:
        self._left = most

    def take(self, size: int) -> None:
        """Before so many bytes are kept.

        Raises:
            Problem: 503, too many others are being sent.
        """
        if size > self._left:
            raise Problem(
                503, "too_many_bodies", "too much is being sent at once: send it again", headers={"Retry-After": "5"}
            )
        self._left -= size

    def give_back(self, size: int) -> None:
        """They are not in memory any more, or somebody vouches for them now."""
        self._left += size


async def read_body(req: falcon.asgi.Request, max_bytes: int, allowance: Allowance | None = None) -> bytes:
    """The whole body.

    Args:
        allowance: shared with others; what is taken of it is given back at the end, whichever that is.

    Raises:
        Problem: 413 if it is, or says it is, larger than `max_bytes`; 400 if it is shorter than it says; 503 if others
            send too much at once.
    """
    declared = declared_length(req)
    if declared is not None and declared > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    try:
        async for chunk in req.stream:
            if allowance is not None:
                allowance.take(len(chunk))
            body += chunk
            if len(body) > max_bytes:
                raise _too_large(max_bytes)
    finally:
        if allowance is not None:
            allowance.give_back(len(body))
    if declared is not None and len(body) != declared:
        raise Problem(400, "body_incomplete", "the body is shorter than its Content-Length")
    return bytes(body)


async def read_json(req: falcon.asgi.Request, max_bytes: int, usage: str) -> Any:
    """The body, which must be JSON and say so.

    Args:
        usage: what to send, for who sent something else.

    Raises:
        Problem: 415, 400; 413 as for `read_body`.
    """
    if media_type(req) != "application/json":
        raise Problem(415, "unsupported_media_type", usage)
    try:
        return parse_json(await read_body(req, max_bytes))
    except ValueError as error:
        raise Problem(400, "malformed_json", f"the body can't be read: {error}") from None


def declared_length(req: falcon.asgi.Request) -> int | None:
    """The `Content-Length` in bytes; None without one.

    Raises:
        Problem: 400 if it is not one number.
    """
    values = raw_headers(req, b"content-length")
    if not values:
        return None
    if len(values) > 1 or not values[0].isdigit() or len(values[0]) > 18:
        raise Problem(400, "bad_content_length", "Content-Length must be one whole number")
    return int(values[0])


def media_type(req: falcon.asgi.Request) -> str:
    """The `Content-Type` in lower case, without parameters; empty without one."""
    return (header_text(req, "Content-Type") or "").split(";", 1)[0].strip().lower()


def _too_large(max_bytes: int) -> Problem:
    return Problem(413, "body_too_large", f"the body may have at most {max_bytes} bytes")
