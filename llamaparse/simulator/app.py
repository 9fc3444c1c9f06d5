"""The provider's routes, its keys and its error bodies, as one ASGI application."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable
from typing import Any, Final, cast

import falcon
import falcon.asgi

from llamaparse.simulator import control, files_api, parse_api
from llamaparse.simulator.asgi import AsgiApp
from llamaparse.simulator.errors import INTERNAL, UNAUTHORIZED, ApiError
from llamaparse.simulator.http import answer
from llamaparse.simulator.links import Links
from llamaparse.simulator.settings import SimulatorSettings
from llamaparse.simulator.simulator import Simulator
from llamaparse.simulator.wire import Wire, error_body

logger = logging.getLogger(__name__)

WRONG_KEY: Final = "llx-wrong"
PROJECTS: Final = uuid.UUID("5d8f4a52-9a3e-4d0b-8a39-b6a2a6a1f3c7")
"""The namespace of project ids: a project's id follows from its key."""

Request = falcon.asgi.Request
Response = falcon.asgi.Response


class Authentication:
    """Every call under /api needs ``Authorization: Bearer llx-...``; each key is a project of its own."""

    async def process_request(self, req: Request, _resp: Response) -> None:
        if not req.path.startswith("/api/"):
            return
        match = re.fullmatch(r"[Bb]earer (llx-\S+)", req.get_header("Authorization") or "")
        if match is None or match[1] == WRONG_KEY:
            raise ApiError(*UNAUTHORIZED)
        req.context.key = match[1]
        req.context.project_id = str(uuid.uuid5(PROJECTS, match[1]))
        if req.get_param("project_id") not in (None, req.context.project_id):
            raise ApiError(404, "Project not found")


class Lifespan:
    """Ends the simulator's work with the server's."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    async def process_shutdown(self, _scope: dict[str, object], _event: dict[str, object]) -> None:
        await self._simulator.close()


def create_simulator(settings: SimulatorSettings, clock: Callable[[], float] = time.monotonic) -> Simulator:
    """A simulator and, as `Simulator.app`, its ASGI application.

    Args:
        settings: how it behaves.
        clock: seconds, rising; rules limits, the cache's age, late usage and the list's lag.
    """
    simulator = Simulator(settings, clock)
    simulator.app = _application(simulator)
    return simulator


def _application(simulator: Simulator) -> AsgiApp:
    app = falcon.asgi.App(middleware=cast(Any, [Authentication(), Lifespan(simulator)]))
    app.add_error_handler(ApiError, _refuse)
    app.add_error_handler(Exception, _crash)
    app.add_error_handler(falcon.HTTPError, _refuse_http)
    links, creation = Links(), parse_api.Creation(simulator)
    app.add_route("/api/v2/parse", parse_api.ParseJobs(simulator, creation))
    app.add_route("/api/v2/parse/upload", parse_api.ParseUpload(simulator, creation))
    app.add_route("/api/v2/parse/versions", parse_api.ParseVersions())
    app.add_route("/api/v2/parse/{job_id}", parse_api.ParseJob(simulator, links))
    app.add_route("/api/v2/parse/{job_id}/cancel", parse_api.ParseCancel(simulator))
    app.add_route("/api/v1/beta/files", files_api.Files(simulator))
    app.add_route("/api/v1/beta/files/query", files_api.FilesQuery(simulator))
    app.add_route("/api/v1/beta/files/{file_id}", files_api.FileItem(simulator))
    app.add_route("/api/v1/beta/files/{file_id}/content", files_api.FileContent(simulator, links))
    app.add_route("/_sim/stats", control.Stats(simulator))
    app.add_route("/_sim/faults", control.FaultRates(simulator))
    app.add_route("/_sim/reset", control.Reset(simulator))
    app.add_route("/_sim/download/results/{job_id}/{kind}", control.ResultDownload(simulator, links))
    app.add_route("/_sim/download/files/{file_id}", control.FileDownload(simulator, links))
    return Wire(cast(AsgiApp, app), simulator)


async def _refuse(_req: Request, resp: Response, error: ApiError, _params: dict[str, object]) -> None:
    answer(resp, error_body(error.status, error.detail), error.status)


async def _refuse_http(_req: Request, resp: Response, error: falcon.HTTPError, _params: dict[str, object]) -> None:
    """Falcon's own refusals (no such route, no such method) in the provider's words."""
    plain = {404: "Not Found", 405: "Method Not Allowed"}
    resp.set_headers(error.headers or {})
    detail = plain.get(error.status_code) or error.description or error.title
    answer(resp, error_body(error.status_code, detail), error.status_code)


async def _crash(req: Request, resp: Response, error: Exception, _params: dict[str, object]) -> None:
    """The simulator's own mistake: the log has the traceback, the caller a 500."""
    logger.error("%s %s failed", req.method, req.path, exc_info=error)
    answer(resp, error_body(*INTERNAL), INTERNAL[0])
