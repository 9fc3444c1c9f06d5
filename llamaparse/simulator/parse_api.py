"""``/api/v2/parse``: create, list, get, cancel, delete and the versions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import falcon.asgi

from llamaparse.simulator.errors import GATEWAY_TIMEOUT, INTERNAL, OUT_OF_CREDITS, TOO_MANY_REQUESTS, ApiError, invalid
from llamaparse.simulator.files import StoredFile
from llamaparse.simulator.http import answer, decoded_json, json_body, moment, page_of, page_size, text_list, validated
from llamaparse.simulator.job import Job, JobStatus
from llamaparse.simulator.links import Links
from llamaparse.simulator.orders import ParseOrder
from llamaparse.simulator.prices import VERSIONS
from llamaparse.simulator.simulator import Simulator
from llamaparse.simulator.uploads import Form, read_form
from llamaparse.simulator.views import checked_expansions, expanded, job_view
from llamaparse.simulator.wire import exchange_of

BROKE_KEY: Final = "llx-broke"
"""Keys that begin so belong to an account without credits: creating a job answers 402, everything else works."""

Request = falcon.asgi.Request
Response = falcon.asgi.Response


class Creation:
    """The way from an order to a job, which both routes go: the gate first, then the faults on either side of it."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    def admit(self, req: Request) -> None:
        """Whether this caller may create a job now; asked before the body is read, as the provider's gate does.

        Raises:
            ApiError: 402 or 429.
        """
        if req.context.key.startswith(BROKE_KEY) or self._simulator.faults.strikes("payment-required"):
            raise ApiError(*OUT_OF_CREDITS)
        if not self._simulator.may_create():
            raise ApiError(*TOO_MANY_REQUESTS)

    def order(self, data: object, *location: str) -> ParseOrder:
        """Raises: ApiError: 422, or 404 for a saved configuration (the simulator keeps none)."""
        settings = self._simulator.settings
        limits: Mapping[str, int] = {
            "entries": settings.metadata_max_entries,
            "key": settings.metadata_max_key_chars,
            "value": settings.metadata_max_value_chars,
        }
        order = validated(lambda: ParseOrder.model_validate(data, context=limits), *location)
        if order.configuration_id is not None:
            raise ApiError(404, f"Configuration {order.configuration_id} not found")
        if order.webhook_configuration_ids:
            raise ApiError(404, f"Webhook configuration {order.webhook_configuration_ids[0]} not found")
        return order

    async def create(self, req: Request, resp: Response, order: ParseOrder, source: StoredFile | None) -> None:
        """Make the job, now, later or not at all, and answer or not.

        Raises:
            ApiError: 500 or 504, by a fault.
        """
        simulator, strikes, project_id = self._simulator, self._simulator.faults.strikes, req.context.project_id
        if strikes("create-500-before"):
            raise ApiError(*INTERNAL)
        if strikes("create-504-late-job"):
            simulator.create_late(order, project_id, source)
            raise ApiError(*GATEWAY_TIMEOUT)
        if strikes("create-answer-late"):
            simulator.create_late(order, project_id, source)
            exchange_of(req.scope).dropped = True
            return
        job = simulator.jobs.create(order, project_id, source)
        if strikes("create-500-after"):
            raise ApiError(*INTERNAL)
        exchange_of(req.scope).dropped = strikes("create-answer-lost")
        if strikes("webhook-before-answer"):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(simulator.settings.webhook_before_answer_wait_s):
                    await simulator.jobs.ended(job)
        answer(resp, job_view(job))


@dataclass(frozen=True)
class Filter:
    """What the list is asked for; None and empty ask for everything."""

    on_or_after: datetime | None
    on_or_before: datetime | None
    status: JobStatus | None
    ids: frozenset[str]

    @classmethod
    def of(cls, req: Request) -> Filter:
        """Raises: ApiError: 422."""
        status = req.get_param("status")
        if status is not None and status not in JobStatus.__members__:
            raise invalid(("query", "status"), f"Input should be one of {', '.join(JobStatus)}", "enum")
        return cls(
            on_or_after=moment(req, "created_at_on_or_after"),
            on_or_before=moment(req, "created_at_on_or_before"),
            status=JobStatus(status) if status else None,
            ids=frozenset(text_list(req, "job_ids")),
        )

    def takes(self, job: Job) -> bool:
        return (
            (self.on_or_after is None or job.created_at >= self.on_or_after)
            and (self.on_or_before is None or job.created_at <= self.on_or_before)
            and (self.status is None or job.status is self.status)
            and (not self.ids or job.id in self.ids)
        )


class ParseJobs:
    def __init__(self, simulator: Simulator, creation: Creation) -> None:
        self._simulator = simulator
        self._creation = creation

    async def on_post(self, req: Request, resp: Response) -> None:
        self._creation.admit(req)
        order = self._creation.order(await json_body(req), "body")
        if (order.file_id is None) == (order.source_url is None):
            raise invalid(("body",), "Exactly one of file_id and source_url must be provided")
        source = None
        if order.file_id is not None:
            source = self._simulator.files.get(order.file_id, req.context.project_id)
        elif not (order.source_url or "").startswith(("http://", "https://")):
            raise invalid(("body", "source_url"), "URL scheme should be 'http' or 'https'", "url_scheme")
        await self._creation.create(req, resp, order, source)

    async def on_get(self, req: Request, resp: Response) -> None:
        settings, asked = self._simulator.settings, Filter.of(req)
        rows = [job for job in self._simulator.jobs.listed(req.context.project_id) if asked.takes(job)]
        size = page_size(req, settings.page_size, settings.max_page_size)
        page = page_of(rows, lambda job: job.sequence, size, req.get_param("page_token"))
        rows_view = [job_view(job) for job in page.items]
        answer(resp, {"items": rows_view, "next_page_token": page.next_page_token, "total_size": None})


class ParseUpload:
    def __init__(self, simulator: Simulator, creation: Creation) -> None:
        self._simulator = simulator
        self._creation = creation

    async def on_post(self, req: Request, resp: Response) -> None:
        self._creation.admit(req)
        form = await read_form(req, self._simulator.files, self._simulator.settings.max_file_bytes)
        try:
            order = self._order(form)
        except ApiError:
            form.discard()
            raise
        source = self._simulator.files.add(form.file, req.context.project_id, form.filename, purpose="parse")
        self._simulator.tally.uploads += 1
        await self._creation.create(req, resp, order, source)

    def _order(self, form: Form) -> ParseOrder:
        location = ("body", "configuration")
        if (raw := form.fields.get("configuration")) is None:
            raise invalid(location, "Field required", "missing")
        order = self._creation.order(decoded_json(raw, *location), *location)
        if order.file_id is not None or order.source_url is not None:
            raise invalid(location, "file_id and source_url can't be combined with an upload")
        return order


class ParseJob:
    def __init__(self, simulator: Simulator, links: Links) -> None:
        self._simulator = simulator
        self._links = links

    async def on_get(self, req: Request, resp: Response, job_id: str) -> None:
        job = self._simulator.jobs.get(job_id, req.context.project_id)
        names = checked_expansions(text_list(req, "expand"), job.order)

        def link(kind: str) -> str:
            return self._links.to(req, f"results/{job.id}/{kind}")

        answer(resp, expanded(job, names, self._simulator.jobs.told_credits(job), link))

    async def on_delete(self, req: Request, resp: Response, job_id: str) -> None:
        job = self._simulator.jobs.get(job_id, req.context.project_id)
        self._simulator.jobs.delete(job)
        answer(resp, {"id": job.id, "project_id": job.project_id})


class ParseCancel:
    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    async def on_post(self, req: Request, resp: Response, job_id: str) -> None:
        job = self._simulator.jobs.get(job_id, req.context.project_id)
        self._simulator.jobs.cancel(job)
        answer(resp, job_view(job))


class ParseVersions:
    async def on_get(self, _req: Request, resp: Response) -> None:
        by_tier: dict[str, object] = {tier: list(versions) for tier, versions in VERSIONS.items()}
        latest = {tier: versions[0] for tier, versions in VERSIONS.items()}
        answer(resp, by_tier | {"latest": latest})
