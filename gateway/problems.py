"""Errors as problem details (RFC 9457). `type` is ``/problems/<reason>``, and stays what it is.

Nothing of our own insides goes to the caller: what is not the caller's to mend is said in general words, with the
correlation id under which the log has the rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, NotRequired
from urllib.parse import quote

import falcon
import falcon.asgi
import structlog
from typing_extensions import TypedDict

from domain.errors import (
    Misconfigured,
    NotFound,
    OrderConflict,
    ParsegateError,
    Permanent,
    Transient,
    Waiting,
    WrongSchema,
)
from domain.orders import Order
from domain.signatures import BadSignature
from gateway.amounts import Id
from gateway.requests import correlation_id

MEDIA_TYPE: Final = "application/problem+json"


class ProblemDetails(TypedDict):
    """What is wrong (RFC 9457); some have members of their own beside these."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    correlation_id: Id


class InvalidPart(TypedDict):
    """A part of a request that is not right."""

    loc: list[str]
    msg: str
    type: str


class LlamaCloudProblem(TypedDict):
    """What is wrong, as LlamaCloud says it."""

    detail: str | list[InvalidPart]
    correlation_id: NotRequired[Id]


FIELD_NAMES: Final = frozenset({*Order.model_fields, "documents", "pages"})
"""What a detail may begin with that is no word of a sentence."""
RETRY_AFTER_S: Final = 5
"""What a caller is told to wait, in seconds, when we can't do it now."""

STATUS_BY_REASON: Final[Mapping[str, int]] = {"file_too_large": 413}
STATUS_BY_CLASS: Final[Mapping[type[ParsegateError], int]] = {
    ParsegateError: 500,
    BadSignature: 401,
    Waiting: 503,
    Transient: 503,
    Permanent: 422,
    OrderConflict: 409,
    NotFound: 404,
    Misconfigured: 500,
    WrongSchema: 503,
}
GENERAL_WORDS: Final[Mapping[int, str]] = {
    500: "Something went wrong here. The operator finds it in the log under the correlation id.",
    503: "This can't be done now. Try again later; nothing was accepted.",
}

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Problem(falcon.HTTPError):
    """An answer that says what is wrong.

    Args:
        status: the HTTP status.
        reason: a stable word for machines, the end of the problem's `type`.
        detail: one sentence for people.
        headers: of the answer.
        members: more members of the problem's object.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(status, description=detail, headers=dict(headers or {}))
        self.reason, self.detail, self.members = reason, detail, members or {}


def install(app: falcon.asgi.App[Any, Any]) -> None:
    """Answer every error with problem details."""
    app.add_error_handler(falcon.HTTPError, _on_http_error)
    app.add_error_handler(ParsegateError, _on_parsegate_error)
    app.add_error_handler(Exception, _on_unexpected_error)


def status_of(error: ParsegateError) -> int:
    """The HTTP status that stands for an error."""
    by_class = next(STATUS_BY_CLASS[kind] for kind in type(error).__mro__ if kind in STATUS_BY_CLASS)
    return STATUS_BY_REASON.get(error.reason, by_class)


def sentence(detail: str) -> str:
    """The detail with a capital letter, unless it begins with the name of a field, which stays as it is."""
    first = detail.split(" ", 1)[0]
    is_name = not first.isalpha() or first in FIELD_NAMES
    return detail if is_name else detail[:1].upper() + detail[1:]


async def _on_http_error(
    req: falcon.asgi.Request, resp: falcon.asgi.Response, error: falcon.HTTPError, _params: dict[str, Any]
) -> None:
    status = error.status_code
    if isinstance(error, Problem):
        _answer(req, resp, status, error.reason, error.detail, error.members)
    else:
        reason = HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")
        _answer(req, resp, status, reason, error.description or HTTPStatus(status).description, {})
    if error.headers:
        resp.set_headers(error.headers)


async def _on_parsegate_error(
    req: falcon.asgi.Request, resp: falcon.asgi.Response, error: ParsegateError, _params: dict[str, Any]
) -> None:
    status = status_of(error)
    if status == 409 and is_llamacloud(req.path):
        # The SDK repeats what is answered with 409.
        status = 422
    if status >= 500:
        log.error("request failed", reason=error.reason, error=str(error), correlation_id=correlation_id(req))
    _answer(req, resp, status, error.reason, GENERAL_WORDS.get(status, str(error)), {})
    if status == 503:
        resp.set_header("Retry-After", str(RETRY_AFTER_S))
    if status == 401:
        resp.set_header("WWW-Authenticate", "Signature")


async def _on_unexpected_error(
    req: falcon.asgi.Request, resp: falcon.asgi.Response, error: Exception, _params: dict[str, Any]
) -> None:
    log.error("unexpected error", exc_info=error, correlation_id=correlation_id(req))
    _answer(req, resp, 500, "internal_error", GENERAL_WORDS[500], {})


def _answer(
    req: falcon.asgi.Request,
    resp: falcon.asgi.Response,
    status: int,
    reason: str,
    detail: str,
    members: Mapping[str, Any],
) -> None:
    if is_llamacloud(req.path):
        said: Any = sentence(detail)
        if status == 422:
            said = [{"loc": members.get("loc", ["body"]), "msg": said, "type": reason}]
        more = {"correlation_id": correlation_id(req)} if status >= 500 else {}
        _finish(req, resp, status, reason, {"detail": said, **more})
        resp.content_type = falcon.MEDIA_JSON
        return
    body = {
        "type": f"/problems/{reason}",
        "title": reason.replace("_", " ").capitalize(),
        "status": status,
        "detail": sentence(detail),
        "instance": quote(req.path),
        "correlation_id": correlation_id(req),
        **members,
    }
    _finish(req, resp, status, reason, body)
    resp.content_type = MEDIA_TYPE


def is_llamacloud(path: str) -> bool:
    """True for LlamaCloud's own interface, whose errors are ``{"detail": ...}``."""
    return path.startswith(("/api/v2/", "/api/v1/beta/"))


def _finish(
    req: falcon.asgi.Request, resp: falcon.asgi.Response, status: int, reason: str, body: Mapping[str, Any]
) -> None:
    req.context.problem = reason
    resp.status = status
    # Escaped to ASCII: a detail may quote a lone surrogate, which no encoding of text can carry.
    resp.data = json.dumps(body).encode()
    resp.text = None
    resp.stream = None
