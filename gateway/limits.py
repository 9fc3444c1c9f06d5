"""``/v1/limits``: the provider's pace, in force on every process with its commit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import falcon.asgi

from domain.pace import limits_of
from gateway.amounts import time_text
from gateway.auth import bearer_of
from gateway.bodies import read_json
from gateway.dependencies import Dependencies
from gateway.pool import run_in
from gateway.problems import Problem
from models.database import server_now
from models.limits import NAMES, NONE, change
from models.pace import Pacer
from models.pace_view import RouteView, Waiting, view_limits, view_waiting
from models.tokens import Bearer, Scope

MAX_BODY: Final = 16 * 1024
USUAL_WAITING: Final = 100
MOST_WAITING: Final = 1000
USAGE: Final = 'send {"parse": "50/10"}: names ' + ", ".join(NAMES) + "; values COUNT/SECONDS, a number, or default"


class LimitsResource:
    """``GET|PUT /v1/limits``."""

    scopes: Mapping[str, Scope] | None = {"GET": Scope.READ, "PUT": Scope.ADMIN}

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool = dependencies.pool
        self._pacer = Pacer(limits_of(dependencies.settings), server_now)

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Every limit: in force, configured, learned; what limits now, and the jobs that wait, with the reason.

        ``?waiting=`` says how many of them are told at most; a token that is not an admin's sees its tenant's.

        Raises:
            Problem: 400, the number is malformed.
        """
        most = req.get_param_as_int("waiting", min_value=0, max_value=MOST_WAITING, default=USUAL_WAITING)
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

    def _set(self, body: Mapping[str, object], bearer: Bearer) -> dict[str, Any]:
        self._pacer.reset(change(body, bearer.name))
        return self._show(bearer, USUAL_WAITING)

    def _show(self, bearer: Bearer, most: int) -> dict[str, Any]:
        views = view_limits(self._pacer.limits, server_now())
        waiting = view_waiting(most, tenant=None if bearer.may(Scope.ADMIN) else bearer.tenant)
        return {
            **{view.name: _value(view) for view in views},
            "limits": [_limit(view) for view in views],
            "waiting": [_waiting(job) for job in waiting],
        }


def _value(view: RouteView) -> str | int | None:
    if view.in_force == NONE:
        return None
    return int(view.in_force) if view.name == "in_flight" else view.in_force


def _waiting(job: Waiting) -> dict[str, Any]:
    return {"job_id": str(job.job_id), "limit": job.limit, "at": time_text(job.at), "why": job.why}


def _limit(view: RouteView) -> dict[str, Any]:
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
