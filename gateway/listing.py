"""What ``GET /v1/documents`` is asked for: filters, and the place that a cursor stands for."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Final
from uuid import UUID

import falcon.asgi
from pydantic import Field

from domain.clock import parse_utc
from domain.job_state import JobState
from gateway.auth import bearer_of
from gateway.bodies import check_text
from gateway.openapi.description import Parameter
from gateway.parameters import Uuid, Whole, once
from gateway.problems import Problem
from models.listing import Place, Wanted
from models.tables import Job
from models.tokens import Scope

MOST_TEXT: Final = 200
LIMIT: Final = Whole("limit", 50, 1, 1000, "How many a page has at most.")
Text = Annotated[str, Field(min_length=1, max_length=MOST_TEXT)]
_STATE: Final = f"({'|'.join(JobState)})"
States = Annotated[str, Field(pattern=f"^{_STATE}(,{_STATE})*$")]
DOCUMENT: Final = Uuid("document_id", "Of this document.")
USER: Final = Uuid("user_id", "Of this user.")
BATCH: Final = Uuid("batch_id", "Of this batch.")
DESCRIBED: Final = (
    Parameter("state", States, "In one of these states, comma-separated."),
    *(each.described for each in (DOCUMENT, USER, BATCH)),
    Parameter("tenant", Text, "Of this tenant; of another one than the token's for an admin only."),
    Parameter("q", Text, "With this in the document's name."),
    LIMIT.described,
    Parameter("cursor", Text, "The `next_cursor` of the page before."),
)
PARAMETERS: Final = frozenset(each.name for each in DESCRIBED)


def wanted_by(req: falcon.asgi.Request) -> Wanted:
    """The jobs that a request asks for; a token that is not an admin's sees its tenant's.

    Raises:
        Problem: 400 an unknown or malformed parameter, 403 another tenant.
    """
    unknown = sorted(set(req.params) - PARAMETERS)
    if unknown:
        raise Problem(400, "unknown_parameter", f"unknown parameter {unknown[0][:80]!r}: known are {_known()}")
    bearer, tenant = bearer_of(req), _text(req, "tenant")
    if not bearer.may(Scope.ADMIN):
        if tenant not in (None, bearer.tenant):
            raise Problem(403, "foreign_tenant", "this token may not see another tenant's jobs")
        tenant = bearer.tenant
    return Wanted(
        tenant=tenant,
        states=_states(req),
        document_id=DOCUMENT.of(req),
        user_id=USER.of(req),
        batch_id=BATCH.of(req),
        text=_text(req, "q"),
    )


def limit_of(req: falcon.asgi.Request) -> int:
    """How many jobs a page has.

    Raises:
        Problem: 400.
    """
    return LIMIT.of(req)


def place_of(req: falcon.asgi.Request) -> Place | None:
    """The place after which the page begins; None for the first one.

    Raises:
        Problem: 400, the cursor is none of ours.
    """
    cursor = _text(req, "cursor")
    if cursor is None:
        return None
    place = place_at(cursor)
    if place is None:
        raise Problem(400, "bad_cursor", "the cursor can't be read: send next_cursor as it came")
    return place


def place_at(cursor: str) -> Place | None:
    """The place that a cursor stands for; None if it is none of ours."""
    try:
        created_at, _, job_id = urlsafe_b64decode(cursor.encode() + b"==").decode().partition(" ")
        return Place(parse_utc(created_at), UUID(job_id))
    except (ValueError, OverflowError):
        return None


def cursor_of(job: Job) -> str:
    """The cursor of what follows a job: opaque, and the same for ever."""
    return urlsafe_b64encode(f"{job.created_at.isoformat()} {job.job_id}".encode()).decode().rstrip("=")


def _states(req: falcon.asgi.Request) -> list[JobState] | None:
    said = _text(req, "state")
    if said is None:
        return None
    try:
        return [JobState(name) for name in said.split(",")]
    except ValueError:
        states = ", ".join(JobState)
        raise Problem(400, "unknown_state", f"state must be one or several, comma-separated, of {states}") from None


def _text(req: falcon.asgi.Request, name: str) -> str | None:
    said = once(req, name)
    if said is None:
        return None
    try:
        check_text(said)
    except ValueError as error:
        raise Problem(400, "bad_parameter", f"{name} can't be read: {error}") from None
    if not 0 < len(said) <= MOST_TEXT:
        raise Problem(400, "bad_parameter", f"{name} must have 1 to {MOST_TEXT} characters")
    return said


def _known() -> str:
    return ", ".join(sorted(PARAMETERS))
