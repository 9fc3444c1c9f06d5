"""What the resources share: reading bodies and parameters, writing JSON, and pages of lists."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Generic, NoReturn, TypeVar

import falcon
import falcon.asgi
from pydantic import TypeAdapter, ValidationError

from llamaparse.simulator.errors import ApiError, invalid

T = TypeVar("T")
JSON_LIMIT: Final = 1024 * 1024
"""The largest JSON body in bytes."""


def answer(resp: falcon.asgi.Response, value: object, status: int = 200) -> None:
    """JSON in ASCII: text may hold half of a surrogate pair, which UTF-8 has no bytes for."""
    resp.status = status
    resp.content_type = falcon.MEDIA_JSON
    resp.data = json.dumps(value).encode("ascii")


async def json_body(req: falcon.asgi.Request) -> object:
    """The body as JSON.

    Raises:
        ApiError: 413, it is too long; 422, it is not JSON.
    """
    raw = await req.stream.read(JSON_LIMIT + 1)
    if len(raw) > JSON_LIMIT:
        raise ApiError(413, "Request body too large")
    return decoded_json(raw, "body")


def decoded_json(raw: bytes, *location: str) -> object:
    """JSON as the standard has it: no NaN, no infinity, no half of a surrogate pair.

    Raises:
        ApiError: 422.
    """
    try:
        text = raw.decode()
        value: object = json.loads(text, parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise invalid((*location, error.pos), f"JSON decode error: {error.msg}", "json_invalid") from error
    except (ValueError, RecursionError) as error:
        raise invalid(location, f"JSON decode error: {error}", "json_invalid") from error
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def validated(check: Callable[[], T], *location: str) -> T:
    """What `check` returns.

    Raises:
        ApiError: 422 with pydantic's findings, each below `location`.
    """
    try:
        return check()
    except ValidationError as error:
        findings = error.errors(include_url=False, include_input=False, include_context=False)
        detail = [{"type": e["type"], "loc": [*location, *e["loc"]], "msg": e["msg"]} for e in findings]
        raise ApiError(422, detail) from error


def text_list(req: falcon.asgi.Request, name: str) -> list[str]:
    """A parameter that may be given several times, or with commas."""
    return [part for value in req.get_param_as_list(name) or () for part in value.split(",") if part]


def moment(req: falcon.asgi.Request, name: str) -> datetime | None:
    """A time in ISO 8601; without an offset it is UTC.

    Raises:
        ApiError: 422.
    """
    text = req.get_param(name)
    if text is None:
        return None
    found = validated(lambda: TypeAdapter(datetime).validate_python(text), "query", name)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@dataclass(frozen=True)
class PageOf(Generic[T]):
    items: Sequence[T]
    next_page_token: str | None


def page_of(
    rows: Sequence[T], sequence: Callable[[T], int], size: int, token: str | None, location: str = "query"
) -> PageOf[T]:
    """One page of rows that are sorted newest first.

    The token names the last row of the page before, not a number of rows: what is added meanwhile moves nothing.

    Raises:
        ApiError: 422, the token is none of ours.
    """
    if token is not None:
        last = _sequence_in(token, location)
        rows = [row for row in rows if sequence(row) < last]
    page = rows[:size]
    more = len(rows) > size
    return PageOf(page, base64.urlsafe_b64encode(f"before:{sequence(page[-1])}".encode()).decode() if more else None)


def _sequence_in(token: str, location: str) -> int:
    try:
        text = base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except ValueError:
        text = ""
    if (match := re.fullmatch(r"before:([0-9]{1,18})", text)) is None:
        raise invalid((location, "page_token"), "Invalid page token")
    return int(match[1])


def page_size(req: falcon.asgi.Request, default: int, largest: int) -> int:
    """Raises: ApiError: 422, it is no number from 1 to `largest`."""
    text = req.get_param("page_size")
    if text is None:
        return default
    if re.fullmatch(r"[0-9]{1,9}", text) is None or not 1 <= int(text) <= largest:
        raise invalid(("query", "page_size"), f"Input should be a whole number from 1 to {largest}")
    return int(text)
