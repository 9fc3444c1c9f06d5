"""What ``GET /v1/documents`` is asked for: filters, and the place that a cursor stands for."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final
from uuid import UUID

import falcon.asgi

from domain.clock import parse_utc
from domain.job_state import JobState
from gateway.auth import bearer_of
from gateway.bodies import check_text
from gateway.problems import Problem
from models.listing import Place, Wanted
from models.tables import Job
from models.tokens import Scope

MOST: Final = 1000
USUAL: Final = 50
MOST_TEXT: Final = 200
PARAMETERS: Final = frozenset({"state", "document_id", "user_id", "tenant", "q", "limit", "cursor"})


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
        document_id=_uuid(req, "document_id"),
        user_id=_uuid(req, "user_id"),
        text=_text(req, "q"),
    )


def limit_of(req: falcon.asgi.Request) -> int:
    """How many jobs a page has.

    Raises:
        falcon.HTTPInvalidParam: 400.
    """
    return req.get_param_as_int("limit", min_value=1, max_value=MOST, default=USUAL)


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


def _uuid(req: falcon.asgi.Request, name: str) -> UUID | None:
    said = _text(req, name)
    try:
        return None if said is None else UUID(said)
    except ValueError:
        raise Problem(400, "bad_parameter", f"{name} must be a UUID") from None


def _text(req: falcon.asgi.Request, name: str) -> str | None:
    said = req.get_param(name)
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
