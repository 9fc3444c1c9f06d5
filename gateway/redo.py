"""``POST /v1/redo``: order again, for real, what the local parser stood in for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NotRequired
from uuid import UUID

import falcon.asgi
from pydantic import BaseModel, ConfigDict, StrictBool, ValidationError
from typing_extensions import TypedDict

from domain.budgets import BudgetKey, applicable
from domain.errors import OrderRefused
from domain.job_state import JobState
from domain.messages import Message
from domain.money import Millicredits
from domain.prices import Prices
from domain.pricing import Quote, price_counted
from domain.settings import Mode
from gateway.amounts import credits_number, usd_number
from gateway.auth import bearer_of
from gateway.bodies import read_json
from gateway.dependencies import Dependencies
from gateway.documents import FIRST_LOOK
from gateway.job_changes import Retried
from gateway.openapi.description import JSON, Operation, answer
from gateway.operations import check_mode
from gateway.pool import run_in
from models.budgets import balances_of
from models.redo import find_mocked, open_redo
from models.tables import Job
from models.tokens import Bearer, Scope

MAX_JSON: Final = 64 * 1024
MOST: Final = 1000
"""Jobs in one call; call it again for the rest."""
USAGE: Final = 'send {"provenance": "mock"}, and "dry_run": true to be told the price only'


class RedoOrder(BaseModel):
    """What the local parser stood in for is to be done again for real, or, in a dry run, only to be priced."""

    model_config = ConfigDict(extra="forbid")

    provenance: Literal["mock"]
    dry_run: StrictBool = False


class RedoSaid(TypedDict):
    """What it costs at most, and the jobs that were made; `more` says that there are more documents than these."""

    documents: int
    more: bool
    pages: int
    pages_guessed: bool
    credits: float
    usd: float
    fits: bool
    jobs: NotRequired[list[Retried]]


class Redo:
    """``POST /v1/redo``."""

    scopes: Mapping[str, Scope] | None = {"POST": Scope.ADMIN}
    operations: Mapping[str, Operation] = {
        "POST": Operation(
            "redoMocked", {200: answer(RedoSaid), 202: answer(RedoSaid)}, fails=(415, 422), body={JSON: RedoOrder}
        )
    }

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool, self._clock, self._settings = dependencies.pool, dependencies.clock, dependencies.settings
        self._publisher, self._host_clock = dependencies.publisher, dependencies.host_clock

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """What it would cost, and unless it is a dry run, the jobs that were made.

        Raises:
            Problem: 400, 415, 422.
            OrderRefused: 422.
        """
        dry_run = await _read(req)
        check_mode(Mode.REAL, self._settings)
        said, made = await run_in(self._pool, self._redo, bearer_of(req), dry_run)
        for job_id in made:
            await self._publisher.nudge(Message.nudge("check_budget", self._host_clock(), job_id=job_id))
        resp.media = said
        if made:
            resp.status = falcon.HTTP_202

    def _redo(self, bearer: Bearer, dry_run: bool) -> tuple[RedoSaid, Sequence[UUID]]:
        now = self._clock()
        found = find_mocked(MOST)
        said = self._quote(found)
        if dry_run:
            return said, []
        opened = [(job, open_redo(job, who=bearer.name, now=now, due_at=now + FIRST_LOOK)) for job in found]
        jobs = [(job, job_id) for job, job_id in opened if job_id is not None]
        said["jobs"] = [
            {
                "job_id": str(job_id),
                "redoes": str(job.job_id),
                "document_id": str(job.document_id),
                "state": JobState.RECEIVED,
            }
            for job, job_id in jobs
        ]
        return said, [job_id for _, job_id in jobs]

    def _quote(self, found: Sequence[Job]) -> RedoSaid:
        now, zone = self._clock(), self._settings.budget_timezone
        prices = self._settings.prices_at(now)
        priced = [(job, quote) for job in found if (quote := _price(job, prices)) is not None]
        quotes, needed = [quote for _, quote in priced], Counter[BudgetKey]()
        for job, quote in priced:
            needed.update(dict.fromkeys(applicable(job.tenant, job.document.user_id), quote.amount))
        total = Millicredits(sum(quote.amount for quote in quotes))
        budgets = balances_of(list(needed), now, zone)
        return {
            "documents": len(found),
            "more": len(found) == MOST,
            "pages": sum(quote.pages for quote in quotes),
            "pages_guessed": any(job.pages_guessed for job in found),
            "credits": credits_number(total),
            "usd": usd_number(total, prices.usd_per_credit),
            "fits": all(budget.free is None or needed[budget.key] <= budget.free for budget in budgets),
        }


def _price(job: Job, prices: Prices) -> Quote | None:
    """What a job costs at most now; None if it can't be priced any more: then it fails, and costs nothing."""
    try:
        return price_counted(job.pages or 1, job.tier, job.options, prices)
    except OrderRefused:
        return None


async def _read(req: falcon.asgi.Request) -> bool:
    body = await read_json(req, MAX_JSON, f"send JSON: {USAGE}")
    try:
        return RedoOrder.model_validate(body).dry_run
    except ValidationError:
        raise OrderRefused(USAGE) from None
