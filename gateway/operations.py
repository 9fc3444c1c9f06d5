"""Is it alive, does it accept work, and who parses."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import falcon.asgi

from domain.errors import StoreUnavailable, WrongSchema
from domain.settings import Mode, setting_names
from gateway.auth import bearer_of
from gateway.bodies import media_type, parse_json, read_body
from gateway.dependencies import Dependencies
from gateway.pool import run_in
from gateway.problems import Problem
from models.control import ModeNow, read_mode, set_mode
from models.migrations import check_schema
from models.tokens import Scope

DATABASE_TIMEOUT_S: Final = 5.0
MAX_BODY: Final = 64 * 1024


class Healthz:
    """``GET /healthz``: the process answers. It asks nobody else."""

    scopes: Mapping[str, Scope] | None = None

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """200, always."""
        resp.media = {"status": "ok"}


class Readyz:
    """``GET /readyz``: whether work is accepted."""

    scopes: Mapping[str, Scope] | None = None

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """200, or 503 and what is missing."""
        missing = await find_missing(self._dependencies)
        resp.media = {"status": "unavailable" if missing else "ready", "missing": missing}
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

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool, self._clock = dependencies.pool, dependencies.clock
        self._settings, self._configured = dependencies.settings, dependencies.configured_mode

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """The mode, and where it comes from."""
        resp.media = _mode_view(await run_in(self._pool, read_mode, self._configured))

    async def on_put(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Switch the mode.

        Raises:
            Problem: 422 for an unknown mode, or one that lacks a setting.
        """
        mode = await _read_mode_body(req)
        self._check(mode)
        who = bearer_of(req).name
        resp.media = _mode_view(await run_in(self._pool, self._switch, mode, who))

    def _switch(self, mode: Mode, who: str) -> ModeNow:
        set_mode(mode, self._configured, who=who, now=self._clock())
        return read_mode(self._configured)

    def _check(self, mode: Mode) -> None:
        """The same settings that would stop a start in this mode stop a switch to it."""
        if mode is Mode.MOCK:
            return
        set_already = {"api_key": self._settings.api_key is not None, "daily_budget_usd": self._settings.budget_is_set}
        for field, is_set in set_already.items():
            if not is_set:
                name = setting_names(field)[0]
                raise Problem(422, "setting_missing", f"mode {mode.value!r} needs the setting {name}, which is unset")


async def _read_mode_body(req: falcon.asgi.Request) -> Mode:
    if media_type(req) != "application/json":
        raise Problem(415, "unsupported_media_type", 'send JSON, such as {"mode": "mock"}')
    try:
        body = parse_json(await read_body(req, MAX_BODY))
    except ValueError as error:
        raise Problem(400, "malformed_json", f"the body can't be read: {error}") from None
    modes = [mode.value for mode in Mode]
    if not isinstance(body, dict) or set(body) != {"mode"} or body["mode"] not in modes:
        raise Problem(422, "unknown_mode", f'send {{"mode": ...}} with one of {", ".join(modes)}')
    return Mode(body["mode"])


def _mode_view(now: ModeNow) -> dict[str, str]:
    return {"mode": now.mode.value, "source": now.source}
