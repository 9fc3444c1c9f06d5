"""What a call of LlamaCloud's interface asks for: pages of lists, filters, orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import falcon.asgi
from pydantic import Field

from domain.clock import parse_utc
from domain.errors import OrderRefused
from domain.pricing import parse_target_pages
from gateway.bodies import check_text
from gateway.llamacloud.views import MOST_METADATA, parsed_id
from gateway.openapi.description import Parameter
from gateway.problems import Problem

USUAL_PAGE: Final = 50
MOST_PAGE: Final = 1000
PageSize = Annotated[int, Field(ge=1, le=MOST_PAGE)]
PAGES: Final = (
    Parameter("page_size", PageSize, f"How many a page has at most; {USUAL_PAGE} if it is left out."),
    Parameter("page_token", str, "The `next_page_token` of the page before."),
)
MOST_KEY: Final = 64
MOST_VALUE: Final = 512
OWN_FIELDS: Final = frozenset(
    {"tier", "file_id", "source_url", "user_metadata", "client_name", "webhook_configurations"}
)
"""Members of a create call that are no option of the parse; `client_name` only says which program calls."""
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=MOST_KEY)], Annotated[str, Field(max_length=MOST_VALUE)]],
    Field(max_length=MOST_METADATA),
]
REFUSED: Final[Mapping[str, str]] = {
    "configuration_id": "a saved configuration can't be priced here: send its options themselves",
    "http_proxy": "documents are fetched by Parsegate, which uses no proxy of the caller's",
    "webhook_configuration_ids": "saved webhooks are LlamaCloud's: send webhook_configurations",
}


def order_of(said: object) -> tuple[dict[str, Any], dict[str, str] | None, object]:
    """The fields of an order, the caller's metadata, and its webhooks as they came, out of a create call's JSON.

    Raises:
        OrderRefused: 422, a member is missing, malformed, or has no price.
    """
    if not isinstance(said, dict):
        raise OrderRefused("the body must be a JSON object")
    given = {name: value for name, value in said.items() if value is not None}
    for name, words in REFUSED.items():
        if given.get(name):
            raise OrderRefused(f"{name}: {words}", reason="not_priced")
        given.pop(name, None)
    for name in ("tier", "version"):
        if not isinstance(given.get(name), str):
            raise OrderRefused(f"{name} is missing")
    options = {name: value for name, value in given.items() if name not in OWN_FIELDS}
    ranges = options.get("page_ranges")
    if isinstance(ranges, dict) and isinstance(ranges.get("target_pages"), str):
        try:
            parse_target_pages(ranges["target_pages"])
        except OrderRefused as error:
            at = {"loc": ["body", "page_ranges", "target_pages"]}
            raise Problem(422, error.reason, str(error), members=at) from None
    metadata = _metadata(given.get("user_metadata"))
    return {"tier": given["tier"], "options": options}, metadata, given.get("webhook_configurations")


def _metadata(said: object) -> dict[str, str] | None:
    if said is None:
        return None
    if not isinstance(said, dict) or len(said) > MOST_METADATA:
        raise OrderRefused(f"user_metadata must be an object of at most {MOST_METADATA} entries")
    for name, value in said.items():
        if not isinstance(value, str) or len(name) > MOST_KEY or len(value) > MOST_VALUE:
            raise OrderRefused(
                f"user_metadata must map names of at most {MOST_KEY} characters to texts of at most {MOST_VALUE}"
            )
    return dict(said)


def page_size(req: falcon.asgi.Request) -> int:
    """How many items a page has.

    Raises:
        Problem: 422.
    """
    return whole(req, "page_size", usual=USUAL_PAGE, most=MOST_PAGE)


def whole(req: falcon.asgi.Request, name: str, *, usual: int, most: int) -> int:
    """A whole number from 1 to `most`; `usual` if it is left out.

    Raises:
        Problem: 422.
    """
    said = text(req, name)
    if said is None:
        return usual
    if not said.isascii() or not said.isdigit() or len(said) > 9 or not 0 < int(said) <= most:
        raise Problem(422, "bad_parameter", f"{name} should be from 1 to {most}")
    return int(said)


def texts(req: falcon.asgi.Request, name: str) -> list[str]:
    """A list: repeated, with brackets or without, or comma-separated."""
    found: list[str] = []
    for key in (name, f"{name}[]"):
        for value in req.get_param_as_list(key, default=[]):
            found += [part for part in value.split(",") if part]
    for value in found:
        _check(name, value)
    return found


def ids(req: falcon.asgi.Request, name: str) -> Sequence[UUID] | None:
    """A list of ids; None if there is none. What can be no id of ours matches nothing."""
    said = texts(req, name)
    return [found for found in map(parsed_id, said) if found is not None] if said else None


def moment(req: falcon.asgi.Request, name: str) -> datetime | None:
    """A moment, RFC 3339.

    Raises:
        Problem: 422.
    """
    said = text(req, name)
    if said is None:
        return None
    try:
        # A plus sign that was not escaped comes as a space.
        return parse_utc(said.replace(" ", "+"))
    except (ValueError, OverflowError, TypeError):
        raise Problem(422, "bad_parameter", f"{name} should be a moment such as 2026-11-25T18:00:00Z") from None


def text(req: falcon.asgi.Request, name: str) -> str | None:
    """A parameter's text.

    Raises:
        Problem: 422, it can't be read.
    """
    said = req.params.get(name)
    if isinstance(said, list):
        raise Problem(422, "bad_parameter", f"{name} comes {len(said)} times")
    if said is not None:
        _check(name, said)
    return said


def _check(name: str, said: str) -> None:
    try:
        check_text(said)
    except ValueError as error:
        raise Problem(422, "bad_parameter", f"{name} can't be read: {error}") from None
