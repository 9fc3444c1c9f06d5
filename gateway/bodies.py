"""Reading request bodies: never more than allowed, and JSON only as every reader understands it."""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn

import falcon.asgi

from gateway.problems import Problem
from gateway.requests import header_text, raw_headers

MAX_DEPTH: Final = 64
"""How deep JSON may be nested."""


async def read_body(req: falcon.asgi.Request, max_bytes: int) -> bytes:
    """The whole body.

    Raises:
        Problem: 413 if it is, or says it is, larger than `max_bytes`; 400 if it is shorter than it says.
    """
    declared = declared_length(req)
    if declared is not None and declared > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    async for chunk in req.stream:
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    if declared is not None and len(body) != declared:
        raise Problem(400, "body_incomplete", "the body is shorter than its Content-Length")
    return bytes(body)


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


def parse_json(body: bytes | str) -> Any:
    """A JSON value that can be stored and passed on: no NaN, no infinity, no NUL, no half of a surrogate pair.

    Raises:
        ValueError: it is not JSON, or is such; in one sentence.
    """
    try:
        value = json.loads(body, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error.msg} at character {error.pos}") from None
    _check(value)
    return value


def check_text(text: str) -> None:
    """Refuse what a database can't store or no encoding can carry.

    Raises:
        ValueError: in one sentence.
    """
    if "\0" in text:
        raise ValueError("it has a NUL character in it")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("it has half of a surrogate pair in it")


def _check(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                check_text(item)
            elif isinstance(item, dict):
                below += item.keys()
                below += item.values()
            elif isinstance(item, list):
                below += item
        if not below:
            return
        level = below
    raise ValueError("it is nested too deep")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("it has a number in it that is too large")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it has {name} in it, which is not JSON")


def _too_large(max_bytes: int) -> Problem:
    return Problem(413, "body_too_large", f"the body may have at most {max_bytes} bytes")
