"""``/v1/limits``: the provider's pace, in force on every process with its commit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import falcon.asgi
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from domain.pace import limits_of
from gateway.amounts import Id, Time, time_text
from gateway.auth import bearer_of
from gateway.bodies import read_json
from gateway.dependencies import Dependencies
from gateway.openapi.description import JSON, Operation, answer
from gateway.parameters import Whole
from gateway.pool import run_in
from gateway.problems import Problem
from models.database import server_now
from models.limits import MOST_IN_FLIGHT, NAMES, NONE, change
from models.pace import Pacer
from models.pace_view import RouteView, Waiting, view_limits, view_waiting
from models.tokens import Bearer, Scope

MAX_BODY: Final = 16 * 1024
WAITING: Final = Whole("waiting", 100, 0, 1000, "How many of the jobs that wait are told at most.")
USAGE: Final = 'send {"parse": "50/10"}: names ' + ", ".join(NAMES) + "; values COUNT/SECONDS, a number, or default"

_RATE: Final = "[1-9][0-9]{0,8}/[1-9][0-9]{0,8}"

Default = Literal["default"]
Nothing = Literal["none"] | None
Rates = Annotated[str, Field(pattern=f"^{_RATE}(,{_RATE})*$", examples=["50/10", "50/10,200/60"])]
InFlight = Annotated[int, Field(ge=1, le=MOST_IN_FLIGHT)] | Annotated[str, Field(pattern="^[1-9][0-9]{0,5}$")]


class LimitsChange(TypedDict, total=False):
    """The limits to be set: COUNT/SECONDS, or ``default`` for what the settings say."""

    __pydantic_config__ = ConfigDict(extra="forbid", json_schema_extra={"minProperties": 1})  # type: ignore[misc]

    parse: Rates | Default
    upload: Rates | Default
    read: Rates | Default
    hourly: Rates | Default | Nothing
    in_flight: InFlight | Default | Nothing


class UsedSaid(TypedDict):
    """How many calls a window holds now."""

    window: str
    calls: int


class LearnedSaid(TypedDict):
    """What a 429 taught."""

    ceiling: int
    seconds: int
    cut_at: Time


class LimitSaid(TypedDict):
    """One limit as it stands, and what limits now, in one sentence."""

    name: str
    in_force: str
    configured: str
    set_by: str | None
    set_at: Time | None
    used: list[UsedSaid]
    under_way: int
    waiting: int
    next_slot_at: Time | None
    learned: LearnedSaid | None
    explanation: str


class WaitingSaid(TypedDict):
    """A job that waits: for which limit, until when, and why."""

    job_id: Id
    limit: str
    at: Time | None
    why: str


class LimitsSaid(TypedDict):
    """Every limit in force, and who waits for it."""

    parse: str | None
    upload: str | None
    read: str | None
    hourly: str | None
    in_flight: int | None
    limits: list[LimitSaid]
    waiting: list[WaitingSaid]


class LimitsResource:
    """``GET|PUT /v1/limits``."""

    scopes: Mapping[str, Scope] | None = {"GET": Scope.READ, "PUT": Scope.ADMIN}
    operations: Mapping[str, Operation] = {
        "GET": Operation("getLimits", {200: answer(LimitsSaid)}, fails=(400,), parameters=[WAITING.described]),
        "PUT": Operation("setLimits", {200: answer(LimitsSaid)}, fails=(415, 422), body={JSON: LimitsChange}),
    }

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool = dependencies.pool
        self._pacer = Pacer(limits_of(dependencies.settings), server_now)

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Every limit: in force, configured, learned; what limits now, and the jobs that wait, with the reason.

        ``?waiting=`` says how many of them are told at most; a token that is not an admin's sees its tenant's.

        Raises:
            Problem: 400, the number is malformed.
        """
        most = WAITING.of(req)
        resp.media = await run_in(self._pool, self._show, bearer_of(req), most)

    async def on_put(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Set limits; all that are named, or none.

        Raises:
            Problem: 400, 415, 422.
            OrderRefused: 422, a limit that does not exist or is malformed.
        """
        body = await read_json(req, MAX_BODY, f"send JSON: {USAGE}")
        if not isinstance(body, dict) or not body:
            raise Problem(422, "malformed_limits", USAGE)
        resp.media = await run_in(self._pool, self._set, body, bearer_of(req))

    def _set(self, body: Mapping[str, object], bearer: Bearer) -> LimitsSaid:
        self._pacer.reset(change(body, bearer.name))
        return self._show(bearer, WAITING.usual)

    def _show(self, bearer: Bearer, most: int) -> LimitsSaid:
        views = view_limits(self._pacer.limits, server_now())
        waiting = view_waiting(most, tenant=bearer.sees)
        values = {view.name: _value(view) for view in views}
        return {
            "parse": values["parse"],
            "upload": values["upload"],
            "read": values["read"],
            "hourly": values["hourly"],
            "in_flight": values["in_flight"],
            "limits": [_limit(view) for view in views],
            "waiting": [_waiting(job) for job in waiting],
        }


def _value(view: RouteView) -> Any:
    if view.in_force == NONE:
        return None
    return int(view.in_force) if view.name == "in_flight" else view.in_force


def _waiting(job: Waiting) -> WaitingSaid:
    return {"job_id": str(job.job_id), "limit": job.limit, "at": time_text(job.at), "why": job.why}


def _limit(view: RouteView) -> LimitSaid:
    learned = view.learned
    return {
        "name": view.name,
        "in_force": view.in_force,
        "configured": view.configured,
        "set_by": view.set_by,
        "set_at": time_text(view.set_at) if view.set_at is not None else None,
        "used": [{"window": str(rate), "calls": count} for rate, count in view.used],
        "under_way": view.under_way,
        "waiting": view.waiting,
        "next_slot_at": time_text(view.next_at) if view.next_at is not None else None,
        "learned": None
        if learned is None or learned.cut_at is None or learned.ceiling is None
        else {"ceiling": learned.ceiling, "seconds": learned.window_s, "cut_at": time_text(learned.cut_at)},
        "explanation": view.explanation,
    }
