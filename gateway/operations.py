"""Is it alive, does it accept work, and who parses."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal

import falcon.asgi
from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import TypedDict

from domain.breaker import BreakerState
from domain.errors import StoreUnavailable, WrongSchema
from domain.pace import Route, limits_of
from domain.setting_sources import without_password
from domain.settings import Mode, Settings, setting_names
from gateway.amounts import Time, time_text
from gateway.auth import bearer_of
from gateway.bodies import read_json
from gateway.dependencies import Dependencies
from gateway.openapi.description import JSON, Operation, answer
from gateway.pool import run_in
from gateway.problems import Problem
from models.admission import wake_deferred
from models.breakers import EndpointView, view_breakers
from models.control import instance_id, read_account, read_mode, refill_account, set_mode
from models.database import server_now
from models.migrations import check_schema
from models.pace import Pacer
from models.service_events import ServiceEvents
from models.tokens import Scope

DATABASE_TIMEOUT_S: Final = 5.0
MAX_BODY: Final = 64 * 1024


class Health(TypedDict):
    """It is alive."""

    status: Literal["ok"]


class Readiness(TypedDict):
    """Whether work is accepted, and what is missing for that, a sentence each."""

    status: Literal["ready", "unavailable"]
    missing: list[str]


class ModeChange(BaseModel):
    """Who is to parse."""

    model_config = ConfigDict(extra="forbid")

    mode: Mode


class EndpointSaid(TypedDict):
    """An endpoint of the provider, and its circuit breaker."""

    endpoint: Route
    state: BreakerState
    since: Time | None
    why: str | None
    next_try_at: Time | None


class ModeSaid(TypedDict):
    """Who parses, and how the provider is."""

    mode: Mode
    source: str
    provider: str | None
    endpoints: list[EndpointSaid]
    out_of_credits_until: Time | None


class Healthz:
    """``GET /healthz``: the process answers. It asks nobody else."""

    scopes: Mapping[str, Scope] | None = None
    operations: Mapping[str, Operation] = {"GET": Operation("getHealth", {200: answer(Health)})}

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """200, always."""
        said: Health = {"status": "ok"}
        resp.media = said


class Readyz:
    """``GET /readyz``: whether work is accepted."""

    scopes: Mapping[str, Scope] | None = None
    operations: Mapping[str, Operation] = {
        "GET": Operation("getReadiness", {200: answer(Readiness), 503: answer(Readiness)})
    }

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """200, or 503 and what is missing."""
        missing = await find_missing(self._dependencies)
        said: Readiness = {"status": "unavailable" if missing else "ready", "missing": missing}
        resp.media = said
        if missing:
            resp.status = falcon.HTTP_503


async def find_missing(dependencies: Dependencies) -> list[str]:
    """What keeps us from accepting work, a sentence each; empty if nothing does."""
    missing = []
    try:
        async with asyncio.timeout(DATABASE_TIMEOUT_S):
            await run_in(dependencies.pool, check_schema)
    except (StoreUnavailable, TimeoutError):
        missing.append("the database does not answer")
    except WrongSchema as error:
        missing.append(str(error))
    if not dependencies.publisher.ready:
        missing.append("RabbitMQ is not connected, or takes nothing in")
    return missing


class ModeResource:
    """``GET|PUT /v1/mode``: who parses, in force on every process within a second."""

    scopes: Mapping[str, Scope] | None = {"GET": Scope.READ, "PUT": Scope.ADMIN}
    operations: Mapping[str, Operation] = {
        "GET": Operation("getMode", {200: answer(ModeSaid)}),
        "PUT": Operation("setMode", {200: answer(ModeSaid)}, fails=(415, 422), body={JSON: ModeChange}),
    }

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool, self._clock = dependencies.pool, dependencies.clock
        self._settings, self._configured = dependencies.settings, dependencies.configured_mode

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """The mode, where it comes from, and how the provider's endpoints are."""
        resp.media = await run_in(self._pool, self._show)

    async def on_put(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Switch the mode. A switch to `real` or `hybrid` also closes the breakers that are open.

        Raises:
            Problem: 422 for an unknown mode, or one that lacks a setting.
        """
        mode = await _read_mode_body(req)
        check_mode(mode, self._settings)
        resp.media = await run_in(self._pool, self._switch, mode, bearer_of(req).name)

    def _switch(self, mode: Mode, who: str) -> ModeSaid:
        """A person has looked at it: what kept us from sending is forgotten, and tried anew."""
        now = self._clock()
        set_mode(mode, self._configured, who=who, now=now)
        if mode is not Mode.MOCK:
            self._pacer(now).close_breakers()
            if refill_account():
                wake_deferred(now)
        return self._show()

    def _pacer(self, now: datetime) -> Pacer:
        events = ServiceEvents(instance_id(now), exchange=self._settings.amqp_url is not None)
        return Pacer(limits_of(self._settings), server_now, on_change=events.breaker_changed)

    def _show(self) -> ModeSaid:
        mode, account = read_mode(self._configured, self._settings.mode_source), read_account()
        out_until = account.until if account is not None and account.until > self._clock() else None
        return {
            "mode": mode.mode,
            "source": mode.source,
            "provider": without_password(self._settings.base_url) if self._settings.api_key is not None else None,
            "endpoints": [_endpoint(view) for view in view_breakers(self._clock())],
            "out_of_credits_until": time_text(out_until),
        }


def check_mode(mode: Mode, settings: Settings) -> None:
    """The same settings that would stop a start in this mode stop a switch to it, and an order that asks for it.

    Raises:
        Problem: 422.
    """
    if mode is Mode.MOCK:
        return
    set_already = {"api_key": settings.api_key is not None, "daily_budget_usd": settings.budget_is_set}
    for field, is_set in set_already.items():
        if not is_set:
            name = setting_names(field)[0]
            raise Problem(422, "setting_missing", f"mode {mode.value!r} needs the setting {name}, which is unset")


async def _read_mode_body(req: falcon.asgi.Request) -> Mode:
    body = await read_json(req, MAX_BODY, 'send JSON, such as {"mode": "mock"}')
    try:
        return ModeChange.model_validate(body).mode
    except ValidationError:
        modes = ", ".join(mode.value for mode in Mode)
        raise Problem(422, "unknown_mode", f'send {{"mode": ...}} with one of {modes}') from None


def _endpoint(view: EndpointView) -> EndpointSaid:
    breaker = view.breaker
    return {
        "endpoint": view.route,
        "state": view.state,
        "since": time_text(breaker.opened_at),
        "why": breaker.why or None,
        "next_try_at": time_text(breaker.probe_at),
    }
