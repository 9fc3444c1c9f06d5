"""``/v1/drifts``: bills that are not what was priced, and a person's word on them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, NotRequired

import falcon.asgi
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from domain.budgets import MOST_CREDITS
from domain.errors import OrderRefused
from domain.money import MILLI, Millicredits
from domain.settlement import DriftKind
from gateway.amounts import Id, Time, credits_number, time_text
from gateway.auth import bearer_of
from gateway.bodies import read_json
from gateway.dependencies import Dependencies
from gateway.openapi.description import JSON, Operation, answer
from gateway.parameters import Truth, Whole
from gateway.pool import run_in
from models import attempts, drifts, jobs
from models.control import instance_id
from models.service_events import ServiceEvents
from models.tables import Drift
from models.tokens import Bearer, Scope

MAX_BODY: Final = 16 * 1024
LIMIT: Final = Whole("limit", 100, 1, 1000, "How many are told at most.")
ALL: Final = Truth("all", "Those that somebody has explained, too.")
MOST_WORDS: Final = 500
USAGE: Final = (
    'send {"explanation": "why"}, and "billed_credits" where the provider never told and you know what it billed'
)


class Explanation(TypedDict):
    """A person's word, and what was billed, if the provider never told and the person knows."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    explanation: Annotated[str, Field(max_length=MOST_WORDS, pattern=r"\S")]
    billed_credits: NotRequired[
        Annotated[float, Field(ge=0, le=float(MOST_CREDITS), json_schema_extra={"multipleOf": 0.001})] | None
    ]


class DriftSaid(TypedDict):
    """A bill that is not what was priced. `settled_credits` is what the attempt costs now."""

    drift_id: int
    kind: DriftKind
    job_id: Id
    attempt_id: Id
    tenant: str
    priced_credits: float
    billed_credits: float | None
    settled_credits: float | None
    assumed: bool
    at: Time
    asked_again_at: Time | None
    explained_at: Time | None
    explained_by: str | None
    explanation: str | None


class DriftsSaid(TypedDict):
    """Bills that are not what was priced."""

    items: list[DriftSaid]


class Drifts:
    """``GET /v1/drifts``."""

    scopes: Mapping[str, Scope] | None = {"GET": Scope.READ}
    operations: Mapping[str, Operation] = {
        "GET": Operation(
            "listDrifts",
            {200: answer(DriftsSaid)},
            fails=(400,),
            parameters=[ALL.described, LIMIT.described],
        )
    }

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool = dependencies.pool

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Bills that nobody has explained, newest first; ``?all=true`` tells the others too, ``?limit=`` how many.

        A token that is not an admin's sees its tenant's.

        Raises:
            Problem: 400, a parameter is malformed.
        """
        every, most = ALL.of(req), LIMIT.of(req)
        bearer = bearer_of(req)
        found = await run_in(self._pool, lambda: drifts.find(most, every=every, tenant=bearer.sees))
        said: DriftsSaid = {"items": [_view(drift) for drift in found]}
        resp.media = said


class DriftExplanation:
    """``POST /v1/drifts/{drift_id}/explain``."""

    scopes: Mapping[str, Scope] | None = {"POST": Scope.ADMIN}
    operations: Mapping[str, Operation] = {
        "POST": Operation("explainDrift", {200: answer(DriftSaid)}, fails=(404, 415, 422), body={JSON: Explanation})
    }

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool, self._clock = dependencies.pool, dependencies.clock
        self._has_exchange = dependencies.settings.amqp_url is not None

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, drift_id: int) -> None:
        """Put a person's explanation on record; what was assumed is corrected if it says what was billed.

        Raises:
            Problem: 400, 415.
            NotFound: there is no such drift.
            OrderRefused: 422.
        """
        words, billed = _read(await read_json(req, MAX_BODY, USAGE))
        resp.media = await run_in(self._pool, self._explain, drift_id, words, billed, bearer_of(req))

    def _explain(self, drift_id: int, words: str, billed: Millicredits | None, bearer: Bearer) -> DriftSaid:
        drift, now = drifts.get(drift_id), self._clock()
        with jobs.owning(drift.attempt.job_id):
            if billed is not None:
                attempt = attempts.get_attempt(drift.attempt_id)
                again = drifts.by_a_person(drift)
                if not attempts.correct(attempt, billed, now=now, why=f"{bearer.name}: {words}", again=again):
                    raise OrderRefused("what this cost is known: only what was assumed can be corrected")
                if billed > attempt.estimate:
                    events = ServiceEvents(instance_id(now), exchange=self._has_exchange)
                    events.report_drift(attempt, DriftKind.OVER_RESERVATION, billed, now=now)
            drifts.explain(drift, words, now=now, by=bearer.name)
        return _view(drifts.get(drift_id))


def _read(body: Any) -> tuple[str, Millicredits | None]:
    if not isinstance(body, dict) or set(body) - {"explanation", "billed_credits"}:
        raise OrderRefused(USAGE)
    words, billed = body.get("explanation"), body.get("billed_credits")
    if not isinstance(words, str) or not words.strip() or len(words) > MOST_WORDS:
        raise OrderRefused(f"explanation must be a text of 1 to {MOST_WORDS} characters")
    if billed is None:
        return words.strip(), None
    amount = Decimal(str(billed)) if isinstance(billed, int | float) and not isinstance(billed, bool) else Decimal(-1)
    if not amount.is_finite() or not 0 <= amount <= MOST_CREDITS or amount * MILLI % 1:
        raise OrderRefused(f"billed_credits must be a number from 0 to {MOST_CREDITS:,}, to a thousandth")
    return words.strip(), Millicredits(int(amount * MILLI))


def _view(drift: Drift) -> DriftSaid:
    attempt = drift.attempt
    return {
        "drift_id": drift.drift_id,
        "kind": DriftKind(drift.kind),
        "job_id": str(attempt.job_id),
        "attempt_id": str(drift.attempt_id),
        "tenant": attempt.job.tenant,
        "priced_credits": credits_number(drift.priced),
        "billed_credits": None if drift.billed is None else credits_number(drift.billed),
        "settled_credits": None if attempt.billed is None else credits_number(attempt.billed),
        "assumed": attempt.assumed,
        "at": time_text(drift.at),
        "asked_again_at": time_text(drift.due_at),
        "explained_at": time_text(drift.explained_at),
        "explained_by": drift.explained_by,
        "explanation": drift.explanation,
    }
