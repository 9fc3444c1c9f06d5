"""An order out of a request's fields, checked as far as that is possible before the document is looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Annotated, Any, Final, Literal, get_args
from uuid import uuid4

import falcon.asgi
from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from domain.errors import OrderRefused
from domain.messages import describe
from domain.orders import Order, UrlText
from domain.pricing import check_options
from domain.settings import Settings
from gateway.auth import bearer_of
from gateway.bodies import check_text, parse_json
from gateway.idempotency import derived_id
from gateway.operations import check_mode
from gateway.problems import Problem
from gateway.requests import correlation_id
from llamaparse.address_guard import AddressGuard
from models.tokens import Scope

FIELDS: Final = frozenset(Order.model_fields) - {"source"}
"""What an order may say, by form or JSON; the document itself is the file or `source_url`."""


HttpUrl = Annotated[UrlText, Field(json_schema_extra={"format": "uri", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://"})]
FILE = Annotated[str, Field(min_length=1, json_schema_extra={"contentMediaType": "application/octet-stream"})]
_Options = Annotated[str, Field(json_schema_extra={"contentMediaType": "application/json"})]
# A form's numbers are read as JSON, and null counts as left out there.
_Priority = Annotated[int, *Order.model_fields["priority"].metadata] | Literal["null"]
_Tags = Annotated[str, Field(description="Comma-separated, or repeated.")]


def json_fields() -> dict[str, Any]:
    """The fields of an order in JSON, for `create_model`. What is null counts as left out."""
    return _fields(None, {"callback_url": HttpUrl})


def form_fields() -> dict[str, Any]:
    """The fields of an order in a form, for `create_model`. What is empty counts as left out."""
    return _fields(Literal[""], {"callback_url": HttpUrl, "options": _Options, "priority": _Priority, "tags": _Tags})


def _fields(alternative: Any, described: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: Order.model_fields[name] for name in sorted(FIELDS - set(described))}
    kinds = {
        name: Annotated[_given(field.annotation), *_rules(field), Field(json_schema_extra=field.json_schema_extra)]
        for name, field in fields.items()
    }
    return {name: (kind | alternative, None) for name, kind in {**kinds, **described}.items()}


def _rules(field: FieldInfo) -> list[Any]:
    """What a field's values must be. `FailFast` says when to stop looking, and can't stand in a union."""
    return [rule for rule in field.metadata if not isinstance(rule, FailFast)]


def _given(kind: Any) -> Any:
    """What a field is if it is given."""
    choices = [choice for choice in get_args(kind) if choice is not NoneType]
    return choices[0] if NoneType in get_args(kind) else kind


JsonOrder: Final[type[BaseModel]] = create_model(
    "JsonOrder",
    __doc__="One document to parse, which is fetched from where it is.",
    __config__=ConfigDict(extra="forbid"),
    source_url=(HttpUrl, ...),
    **json_fields(),
)
FormOrder: Final[type[BaseModel]] = create_model(
    "FormOrder",
    __doc__="One document to parse, which comes along.",
    __config__=ConfigDict(extra="forbid"),
    file=(FILE, ...),
    **form_fields(),
)


class OrderDesk:
    """Makes orders out of fields.

    Args:
        settings: `private_hosts` says which URLs may be named.
    """

    def __init__(self, settings: Settings) -> None:
        self._guard, self._settings = AddressGuard(settings.private_hosts), settings

    def order(self, req: falcon.asgi.Request, fields: Mapping[str, Any]) -> Order:
        """The order that a request's fields make.

        Args:
            fields: JSON values by name; None counts as left out.

        Raises:
            OrderRefused: unknown, malformed or refused fields.
            Problem: 403 for a tenant that is not the token's, or a mode that it may not choose.
        """
        said = {name: value for name, value in fields.items() if value is not None}
        unknown = sorted(set(said) - FIELDS - {"source_url"})
        if unknown:
            raise OrderRefused(f"unknown field {unknown[0][:80]!r}: known are {', '.join(sorted(FIELDS))}")
        said["tenant"] = _tenant(req, said.get("tenant"))
        said |= _user(req, said.get("user_id"))
        if "mode" in said and not bearer_of(req).may(Scope.ADMIN):
            raise Problem(403, "mode_not_allowed", "this token may not choose the mode of an order: that needs admin")
        said.setdefault("correlation_id", correlation_id(req))
        said.setdefault("document_id", derived_id(req) or uuid4())
        if "source_url" in said:
            said["source"] = said.pop("source_url")
        try:
            order = Order.model_validate(said)
        except ValidationError as error:
            raise OrderRefused(describe(error)) from None
        for url in (order.source, order.callback_url):
            if url is not None:
                self._guard.check_url(url)
        check_options(order.tier, order.options)
        if order.mode is not None:
            check_mode(order.mode, self._settings)
        return order


def form_values(fields: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """A form's text fields as JSON values: `options` is JSON, `tags` a comma list or repeated, `priority` a number.

    An empty field counts as left out, since a web form sends those.

    Raises:
        OrderRefused: a field comes twice, or can't be read.
    """
    values: dict[str, Any] = {}
    for name, texts in fields.items():
        if len(texts) > 1 and name != "tags":
            raise OrderRefused(f"field {name!r} comes {len(texts)} times")
        if any(texts):
            values[name] = _form_value(name, texts)
    return values


def order_fields(body: bytes) -> dict[str, Any]:
    """The fields of an order in JSON, which must name its document by `source_url`.

    Raises:
        Problem: 400, it is not JSON.
        OrderRefused: not an object, or no `source_url`.
    """
    try:
        fields = parse_json(body)
    except ValueError as error:
        raise Problem(400, "malformed_json", f"the body can't be read: {error}") from None
    if not isinstance(fields, dict):
        raise OrderRefused("the body must be a JSON object")
    if fields.get("source_url") is None:
        raise OrderRefused("source_url is missing: name the document by it, or send multipart/form-data with a file")
    return fields


def _form_value(name: str, texts: Sequence[str]) -> Any:
    try:
        for text in texts:
            check_text(text)
        if name in {"options", "priority"}:
            return parse_json(texts[0])
    except ValueError as error:
        raise OrderRefused(f"field {name!r} can't be read: {error}") from None
    if name == "tags":
        return [tag.strip() for text in texts for tag in text.split(",") if tag.strip()]
    return texts[0]


def _tenant(req: falcon.asgi.Request, asked: Any) -> Any:
    bearer = bearer_of(req)
    if asked is not None and asked != bearer.tenant and not bearer.may(Scope.ADMIN):
        raise Problem(403, "foreign_tenant", "this token may not order for another tenant")
    return bearer.tenant if asked is None else asked


def _user(req: falcon.asgi.Request, asked: Any) -> dict[str, str]:
    bound = bearer_of(req).user_id
    if bound is None:
        return {}
    if asked is not None and str(asked).lower() != str(bound):
        raise Problem(403, "foreign_user", "this token may order for one user only, to whom it is bound")
    return {"user_id": str(bound)}
