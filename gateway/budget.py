"""``/v1/budget``: what may be spent, what is, and what is to be expected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal
from uuid import UUID

import falcon.asgi
from typing_extensions import TypedDict

from domain.budgets import GLOBAL_DAY, Window, window_at
from domain.budgets import Scope as Whose
from domain.errors import NotFound
from domain.forecast import Forecast
from domain.messages import Message
from domain.money import ZERO, format_usd
from gateway.amounts import Time, credits_number, number, time_text, usd_number
from gateway.auth import bearer_of
from gateway.bodies import NotFinite, media_type, parse_json, read_body
from gateway.budget_change import USAGE, BudgetChange, BudgetChangeBody, read_change
from gateway.dependencies import Dependencies
from gateway.openapi.description import JSON, Operation, answer
from gateway.pool import run_in
from gateway.problems import Problem
from models.admission import Blocked, next_waiting, wake_deferred
from models.budgets import Balance, balance, balances, grant_extra, set_budget
from models.control import refill_account
from models.database import transaction
from models.forecasts import forecasts
from models.tokens import Bearer, Scope

MAX_BODY: Final = 64 * 1024
_AT_ONCE: Final = timedelta(seconds=1)


class WindowSaid(TypedDict):
    """The day or month that a budget is in."""

    name: str
    starts_at: Time
    ends_at: Time


class ForecastSaid(TypedDict):
    """What is to be expected by the end of a window, and how sure that is."""

    expected_usd: float
    low_usd: float
    high_usd: float
    past_days: int
    reaches_limit_at: Time | None


class BudgetTop(TypedDict):
    """What the global daily budget says of itself."""

    spent_usd: float
    reserved_usd: float
    free_usd: float | None
    window: WindowSaid
    note: str | None
    forecast: ForecastSaid | None


class BudgetSaid(BudgetTop):
    """A budget with its window. A limit is a number or ``unlimited``; what is free is null then."""

    budget: str
    name: str
    limit_usd: float | Literal["unlimited"]
    limit_credits: float | Literal["unlimited"]
    extra_usd: float
    extra_until: Time | None
    spent_credits: float
    reserved_credits: float
    free_credits: float | None
    changed_by: str
    changed_at: Time


class BudgetsSaid(BudgetTop):
    """The global daily budget, and every one that the token may see. Without a daily budget its limit is null."""

    daily_limit_usd: float | Literal["unlimited"] | None
    budgets: list[BudgetSaid]


class BudgetResource:
    """``GET|PUT /v1/budget``. A change is in force with its commit, on every process."""

    scopes: Mapping[str, Scope] | None = {"GET": Scope.READ, "PUT": Scope.ADMIN}
    operations: Mapping[str, Operation] = {
        "GET": Operation("getBudget", {200: answer(BudgetsSaid)}),
        "PUT": Operation("setBudget", {200: answer(BudgetsSaid)}, fails=(404, 415, 422), body={JSON: BudgetChangeBody}),
    }

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool, self._clock, self._settings = dependencies.pool, dependencies.clock, dependencies.settings
        self._zone = dependencies.settings.budget_timezone
        self._publisher, self._host_clock = dependencies.publisher, dependencies.host_clock

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """The global daily budget, and every budget that the token may see with its current window."""
        resp.media = await run_in(self._pool, self._show, bearer_of(req))

    async def on_put(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Set a budget's limit, or grant something on top until a moment. A higher limit wakes who waits for it.

        Raises:
            Problem: 400, 415.
            OrderRefused: 422.
            NotFound: 404, an increase of a budget that is not set.
        """
        body, bearer = await _read_json(req), bearer_of(req)
        waiting = await run_in(self._pool, self._change, body, bearer.name)
        if waiting is not None:
            await self._publisher.nudge(Message.nudge("check_budget", self._host_clock(), job_id=waiting))
        resp.media = await run_in(self._pool, self._show, bearer)

    def _show(self, bearer: Bearer) -> BudgetsSaid:
        now = self._clock()
        visible = [found for found in balances(now, self._zone) if _may_see(bearer, found)]
        expected = forecasts(visible, now, self._zone)
        view = _View(now, self._settings.prices_at(now).usd_per_credit)
        budgets = [view.budget(found, expected[found.key]) for found in visible]
        daily = next((one for one in budgets if one["budget"] == str(GLOBAL_DAY)), None)
        if daily is None:
            window = view.window(window_at(GLOBAL_DAY.period, now, self._zone))
            return {"daily_limit_usd": None, **_unset(window), "budgets": budgets}
        return {"daily_limit_usd": daily["limit_usd"], **_top(daily), "budgets": budgets}

    def _change(self, body: object, who: str) -> UUID | None:
        """Change a budget; if that makes room, wake who waits, and answer the first of them."""
        now = self._clock()
        change = read_change(body, self._settings.prices_at(now).usd_per_credit)
        with transaction():
            before = self._find(change, now)
            self._apply(change, who, now)
            after = balance(change.key, now, self._zone)
        if not _has_more_room(before, after):
            return None
        # In a transaction of its own: whoever locks a job and a window locks the job first.
        refill_account()
        if not wake_deferred(now):
            return None
        first = next_waiting(Blocked())
        return None if first is None else first.job_id

    def _find(self, change: BudgetChange, now: datetime) -> Balance | None:
        try:
            return balance(change.key, now, self._zone)
        except NotFound:
            return None

    def _apply(self, change: BudgetChange, who: str, now: datetime) -> None:
        if not change.is_extra:
            set_budget(change.key, change.amount, who=who, now=now, zone=self._zone, usd=change.usd)
        else:
            until = change.until or now + _AT_ONCE
            grant_extra(change.key, change.amount or ZERO, until, who=who, now=now, zone=self._zone)


def _unset(window: WindowSaid) -> BudgetTop:
    return {
        "spent_usd": 0,
        "reserved_usd": 0,
        "free_usd": None,
        "window": window,
        "note": "no daily budget is set: nothing real is sent",
        "forecast": None,
    }


def _top(daily: BudgetSaid) -> BudgetTop:
    return {
        "spent_usd": daily["spent_usd"],
        "reserved_usd": daily["reserved_usd"],
        "free_usd": daily["free_usd"],
        "window": daily["window"],
        "note": daily["note"],
        "forecast": daily["forecast"],
    }


@dataclass(frozen=True)
class _View:
    """Budgets as JSON, at a price of a credit."""

    now: datetime
    usd_per_credit: Decimal

    def budget(self, balance: Balance, expected: Forecast) -> BudgetSaid:
        """A budget with its window."""
        return {
            "budget": str(balance.key),
            "name": balance.key.words,
            "limit_usd": self._limit(balance.amount, self._limit_usd(balance)),
            "limit_credits": self._limit(balance.amount, credits_number(balance.amount or 0)),
            "extra_usd": self._usd(balance.extra),
            "extra_until": time_text(balance.extra_until) if balance.extra else None,
            "spent_usd": self._usd(balance.spent),
            "spent_credits": credits_number(balance.spent),
            "reserved_usd": self._usd(balance.reserved),
            "reserved_credits": credits_number(balance.reserved),
            "free_usd": None if balance.free is None else self._usd(balance.free),
            "free_credits": None if balance.free is None else credits_number(balance.free),
            "window": self.window(balance.window),
            "note": self._note(balance),
            "forecast": self._forecast(expected),
            "changed_by": balance.changed_by,
            "changed_at": time_text(balance.changed_at),
        }

    def window(self, window: Window) -> WindowSaid:
        """A window."""
        return {
            "name": window.name,
            "starts_at": time_text(window.starts_at),
            "ends_at": time_text(window.ends_at),
        }

    def _forecast(self, expected: Forecast) -> ForecastSaid:
        return {
            "expected_usd": self._usd(expected.expected),
            "low_usd": self._usd(expected.low),
            "high_usd": self._usd(expected.high),
            "past_days": expected.past_days,
            "reaches_limit_at": time_text(expected.reaches_limit_at),
        }

    def _note(self, balance: Balance) -> str | None:
        taken = balance.spent + balance.reserved
        if balance.limit is None or taken < balance.limit:
            return None
        ends = f"{balance.window.ends_at:%Y-%m-%d %H:%M} UTC"
        limit, used = format_usd(balance.limit, self.usd_per_credit), format_usd(taken, self.usd_per_credit)
        words = f"{used} are spent or held of {limit}" if taken else f"the limit is {limit}"
        return f"{words}: nothing new starts before {ends}, unless the limit is raised"

    def _limit_usd(self, balance: Balance) -> float:
        return self._usd(balance.amount or 0) if balance.usd is None else number(balance.usd)

    def _limit(self, amount: int | None, shown: float) -> Literal["unlimited"] | float:
        return "unlimited" if amount is None else shown

    def _usd(self, amount: int) -> int | float:
        return usd_number(amount, self.usd_per_credit)


def _may_see(bearer: Bearer, found: Balance) -> bool:
    whose = found.key
    is_own = whose.scope is Whose.TENANT and whose.subject == bearer.tenant
    return bearer.may(Scope.ADMIN) or whose.scope is Whose.GLOBAL or is_own


def _has_more_room(before: Balance | None, after: Balance) -> bool:
    """True if somebody who waits may go now. Without a daily budget nobody may; any other new one only narrows."""
    if before is None:
        return after.key == GLOBAL_DAY
    if before.limit is None:
        return False
    return after.limit is None or after.limit > before.limit


async def _read_json(req: falcon.asgi.Request) -> Any:
    if media_type(req) != "application/json":
        raise Problem(415, "unsupported_media_type", USAGE)
    try:
        return parse_json(await read_body(req, MAX_BODY))
    except NotFinite as error:
        raise Problem(422, "order_refused", f"a limit must be a finite number: {error}") from None
    except ValueError as error:
        raise Problem(400, "malformed_json", f"the body can't be read: {error}") from None
