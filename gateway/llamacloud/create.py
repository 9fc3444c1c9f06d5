"""Making a job by LlamaCloud's interface: the order, its bytes in their place, and repeats that make nothing twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, Final, NotRequired
from uuid import UUID, uuid4

import falcon.asgi
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from domain.errors import OrderRefused
from domain.messages import Message
from domain.orders import Order
from domain.pricing import OPTIONS_SCHEMA, TIERS
from gateway.auth import bearer_of
from gateway.counting import CountingDesk
from gateway.dependencies import Dependencies
from gateway.documents import FIRST_LOOK, place
from gateway.llamacloud.asked import REFUSED, Metadata, order_of
from gateway.llamacloud.budget import BudgetDesk
from gateway.llamacloud.views import parsed_id
from gateway.llamacloud.webhooks import MOST, WebhookAsked, WebhookDesk
from gateway.orders import HttpUrl, OrderDesk
from gateway.pool import run_in
from gateway.requests import header_text
from gateway.uploads import Upload
from models.files import get_file
from models.job_webhooks import Webhook, add_webhooks
from models.jobs import Accepted, Content, accept_order, get_job
from models.made_calls import made_once
from models.store import STAGING
from models.tables import Job

REPEATS: Final = "x-stainless-retry-count"
"""The SDK's header: how often it has sent this call before."""


def _also(schema: dict[str, Any]) -> None:
    """Options stand beside the order here; what is refused may be there if it says nothing."""
    properties = schema["properties"]
    properties |= {name: one for name, one in OPTIONS_SCHEMA["properties"].items() if name not in properties}
    properties |= {name: {"enum": [None, False, 0, "", [], {}]} for name in sorted(REFUSED)}


class _Configured(TypedDict):
    """What every create call says."""

    __pydantic_config__ = ConfigDict(extra="forbid", json_schema_extra=_also)  # type: ignore[misc]

    tier: Annotated[str, Field(json_schema_extra={"enum": list(TIERS)})]
    version: str
    user_metadata: NotRequired[Metadata | None]
    webhook_configurations: NotRequired[Annotated[list[WebhookAsked], Field(max_length=MOST)] | None]
    client_name: NotRequired[Any]


class ByFile(_Configured):
    """An order for a file that was uploaded before."""

    file_id: str
    source_url: NotRequired[None]


class ByUrl(_Configured):
    """An order for a file that is fetched from where it is."""

    source_url: HttpUrl
    file_id: NotRequired[None]


class Creation:
    """Makes jobs out of create calls."""

    def __init__(self, dependencies: Dependencies, counting: CountingDesk) -> None:
        self._pool, self._store, self._clock = dependencies.pool, dependencies.store, dependencies.clock
        self._publisher, self._host_clock = dependencies.publisher, dependencies.host_clock
        self._orders, self._webhooks = OrderDesk(dependencies.settings), WebhookDesk(dependencies)
        self._budget = BudgetDesk(dependencies, counting)

    async def by_reference(self, req: falcon.asgi.Request, said: object) -> Job:
        """A job for a file that was uploaded before, or for a URL.

        Raises:
            NotFound: 404, no such file.
            OrderRefused: 422.
            Problem: 402, no budget has room for it, and the policy is `reject`.
        """
        fields, extras = self._read(said)
        assert isinstance(said, dict)
        file_id, url = said.get("file_id"), said.get("source_url")
        if (file_id is None) == (url is None):
            raise OrderRefused("exactly one of file_id and source_url must be given")
        call = await self._call(req, said, "")
        if url is not None:
            order = self._orders.order(req, fields | {"source_url": url, "document_id": str(uuid4())})
            return await self._make(call, lambda: self._note(order, extras, call.who), "fetch_source")
        if not isinstance(file_id, str):
            raise OrderRefused("file_id must be text")
        file = await run_in(self._pool, get_file, parsed_id(file_id), bearer_of(req).tenant)
        order = self._orders.order(req, fields | {"filename": file.name, "document_id": str(uuid4())})
        staged = f"{STAGING}/{uuid4()}"
        await run_in(self._pool, self._store.share, file.path, staged)
        upload = Upload({}, file.name, staged, Content(file.sha256, file.bytes))
        try:
            if not call.is_repeat:
                await self._budget.check(order, staged, file.name)
            return await self._make(call, lambda: self._place(order, upload, extras, call.who), "check_budget")
        finally:
            await run_in(self._pool, self._store.delete, staged)

    async def by_upload(self, req: falcon.asgi.Request, upload: Upload, said: object) -> Job:
        """A job for bytes that came with the call.

        Raises:
            OrderRefused: 422.
        """
        fields, extras = self._read(said)
        assert isinstance(said, dict)
        if said.get("file_id") is not None or said.get("source_url") is not None:
            raise OrderRefused("file_id and source_url can't be combined with an upload")
        name = upload.filename or "document"
        order = self._orders.order(req, fields | {"filename": name, "document_id": str(uuid4())})
        call = await self._call(req, said, f"{upload.content.sha256} {name}")
        if not call.is_repeat:
            await self._budget.check(order, upload.path, name)
        return await self._make(call, lambda: self._place(order, upload, extras, call.who), "check_budget")

    def _read(self, said: object) -> tuple[dict[str, Any], Extras]:
        fields, metadata, webhooks = order_of(said)
        return fields, Extras(metadata, self._webhooks.read(webhooks))

    async def _call(self, req: falcon.asgi.Request, said: Mapping[str, Any], content: str) -> _Call:
        bearer, repeats = bearer_of(req), header_text(req, REPEATS) or ""
        text = json.dumps([str(bearer.token_id), req.path, said, content], sort_keys=True)
        is_repeat = repeats.isascii() and repeats.isdigit() and int(repeats[:9]) > 0
        arrived_at = await run_in(self._pool, self._clock)
        return _Call(sha256(text.encode()).hexdigest(), bearer.name, is_repeat, arrived_at)

    async def _make(self, call: _Call, make: Callable[[], UUID], actor: str) -> Job:
        job, created = await run_in(self._pool, self._once, call, make)
        if created:
            await self._publisher.nudge(Message.nudge(actor, self._host_clock(), job_id=job.job_id))
        return job

    def _once(self, call: _Call, make: Callable[[], UUID]) -> tuple[Job, bool]:
        now = self._clock()
        job_id, created = made_once(call.sha256, make, is_repeat=call.is_repeat, arrived_at=call.arrived_at, now=now)
        return get_job(job_id), created

    def _note(self, order: Order, extras: Extras, who: str) -> UUID:
        now = self._clock()
        accepted = accept_order(order, who=who, now=now, due_at=now + FIRST_LOOK, user_metadata=extras.metadata)
        return self._with_webhooks(accepted, extras)

    def _place(self, order: Order, upload: Upload, extras: Extras, who: str) -> UUID:
        now = self._clock()
        accepted = place(order, upload, self._store, who=who, now=now, user_metadata=extras.metadata)
        return self._with_webhooks(accepted, extras)

    def _with_webhooks(self, accepted: Accepted, extras: Extras) -> UUID:
        add_webhooks(accepted.job, extras.webhooks, self._clock())
        return accepted.job.job_id


@dataclass(frozen=True)
class Extras:
    """What a caller gave beside the order itself."""

    metadata: Mapping[str, str] | None
    webhooks: Sequence[Webhook]


@dataclass(frozen=True)
class _Call:
    """Which call it is.

    Args:
        sha256: over who calls, and all of it.
        arrived_at: when it came.
    """

    sha256: str
    who: str
    is_repeat: bool
    arrived_at: datetime
