"""``/_sim``: the simulator's own routes. They ask for no key and are struck by no fault."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import falcon
import falcon.asgi

from llamaparse.simulator.errors import ApiError, invalid
from llamaparse.simulator.faults import FAULTS
from llamaparse.simulator.http import answer, json_body
from llamaparse.simulator.links import Links
from llamaparse.simulator.simulator import Simulator
from llamaparse.simulator.views import download

CHUNK_BYTES: Final = 64 * 1024

Request = falcon.asgi.Request
Response = falcon.asgi.Response


class Stats:
    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    async def on_get(self, _req: Request, resp: Response) -> None:
        answer(resp, self._simulator.stats())


class FaultRates:
    """GET answers all rates; PUT changes those that it names and answers all."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    async def on_get(self, _req: Request, resp: Response) -> None:
        answer(resp, self._simulator.faults.rates)

    async def on_put(self, req: Request, resp: Response) -> None:
        rates = await json_body(req)
        if not isinstance(rates, dict):
            raise invalid(("body",), f"Input should be an object of rates by name; the names are {', '.join(FAULTS)}")
        try:
            self._simulator.faults.update(rates)
        except ValueError as error:
            raise invalid(("body",), str(error)) from error
        answer(resp, self._simulator.faults.rates)


class Reset:
    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    async def on_post(self, _req: Request, resp: Response) -> None:
        await self._simulator.reset()
        answer(resp, {"reset": True})


class ResultDownload:
    """What a presigned URL in `result_content_metadata` leads to."""

    def __init__(self, simulator: Simulator, links: Links) -> None:
        self._simulator = simulator
        self._links = links

    async def on_get(self, req: Request, resp: Response, job_id: str, kind: str) -> None:
        self._links.check(req)
        job = next((job for job in self._simulator.jobs if job.id == job_id and not job.deleted), None)
        content = download(job, kind) if job is not None else None
        if content is None:
            raise ApiError(404, "Not Found")
        resp.content_type = falcon.MEDIA_JSON
        resp.data = content


class FileDownload:
    """What the presigned URL of a file leads to."""

    def __init__(self, simulator: Simulator, links: Links) -> None:
        self._simulator = simulator
        self._links = links

    async def on_get(self, req: Request, resp: Response, file_id: str) -> None:
        self._links.check(req)
        file = self._simulator.files.find(file_id)
        if file is None:
            raise ApiError(404, "Not Found")
        resp.content_type = "application/octet-stream"
        resp.content_length = file.size
        resp.stream = _chunks(file.path)


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
