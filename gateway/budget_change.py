"""A change of a budget out of a request's JSON: every number is checked, and said plainly if it is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, NotRequired

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from domain.budgets import GLOBAL_DAY, MOST_CREDITS, MOST_USD, BudgetKey, parse_budget_key
from domain.clock import parse_utc
from domain.errors import OrderRefused
from domain.money import MILLI, Millicredits, from_usd
from gateway.amounts import Time

LIMITS: Final = ("daily_limit_usd", "limit_usd", "limit_credits")
EXTRAS: Final = ("extra_usd", "extra_credits")
USAGE: Final = (
    'send {"daily_limit_usd": 12.5}, {"budget": "tenant:acme/month", "limit_usd": 100} '
    'or {"extra_usd": 5, "until": "2026-11-25T18:00:00Z"}'
)


_EXACT: Final = ConfigDict(extra="forbid")
_UUID: Final = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"

Usd = Annotated[float, Field(ge=0, le=float(MOST_USD))]
Credits = Annotated[float, Field(ge=0, le=float(MOST_CREDITS))]
SomeUsd = Annotated[float, Field(gt=0, le=float(MOST_USD))]
SomeCredits = Annotated[float, Field(gt=0, le=float(MOST_CREDITS))]
Whose = Annotated[
    str,
    Field(
        pattern=rf"^(global|tenant:[^/\n]{{1,250}}|user:{_UUID})(/day|/month)?$",
        examples=["global/day", "tenant:acme/month"],
    ),
]


class _Named(TypedDict):
    """Of which budget; of the global daily one if none is named."""

    __pydantic_config__ = _EXACT  # type: ignore[misc]

    budget: NotRequired[Whose]


class DailyLimitUsd(TypedDict):
    """A limit of the global daily budget."""

    __pydantic_config__ = _EXACT  # type: ignore[misc]

    daily_limit_usd: Usd | Literal["unlimited"]


class LimitUsd(_Named):
    """A limit in dollars."""

    limit_usd: Usd | Literal["unlimited"]


class LimitCredits(_Named):
    """A limit in credits."""

    limit_credits: Credits | Literal["unlimited"]


class ExtraUsd(_Named):
    """Dollars on top of a limit, until a moment."""

    extra_usd: SomeUsd
    until: Time


class ExtraCredits(_Named):
    """Credits on top of a limit, until a moment."""

    extra_credits: SomeCredits
    until: Time


class NoExtraUsd(_Named):
    """What was granted on top of a limit, taken back."""

    extra_usd: Literal[0]
    until: NotRequired[Time]


class NoExtraCredits(_Named):
    """What was granted on top of a limit, taken back."""

    extra_credits: Literal[0]
    until: NotRequired[Time]


BudgetChangeBody = DailyLimitUsd | LimitUsd | LimitCredits | ExtraUsd | ExtraCredits | NoExtraUsd | NoExtraCredits
"""What `read_change` takes: one limit, or one increase."""


@dataclass(frozen=True)
class BudgetChange:
    """What is to become of a budget.

    Args:
        amount: its limit, or what is granted on top if `is_extra`; None is unlimited.
        usd: the dollars of which the limit was made; None if it was written otherwise.
        until: when what is granted on top ends; None for a limit, or where it is taken back.
    """

    key: BudgetKey
    amount: Millicredits | None
    is_extra: bool = False
    until: datetime | None = None
    usd: Decimal | None = None


def read_change(body: object, usd_per_credit: Decimal) -> BudgetChange:
    """The change that a request's JSON asks for.

    Raises:
        OrderRefused: with one sentence.
    """
    if not isinstance(body, dict):
        raise OrderRefused(f"the body must be a JSON object: {USAGE}")
    unknown = sorted(set(body) - {*LIMITS, *EXTRAS, "budget", "until"})
    if unknown:
        raise OrderRefused(f"unknown field {unknown[0][:80]!r}: {USAGE}")
    named = [name for name in (*LIMITS, *EXTRAS) if name in body]
    if len(named) != 1:
        raise OrderRefused(f"name one limit or one increase: {USAGE}")
    name, is_extra = named[0], named[0] in EXTRAS
    if name == "daily_limit_usd" and "budget" in body:
        raise OrderRefused("daily_limit_usd is the global daily budget's: for another one use limit_usd")
    amount = _amount(name, body[name], usd_per_credit, may_be_unlimited=not is_extra)
    until = _until(body) if is_extra and (body[name] or "until" in body) else None
    if "until" in body and not is_extra:
        raise OrderRefused("until goes with extra_usd or extra_credits; a limit has no end")
    in_dollars = name.endswith("_usd") and amount is not None and not is_extra
    return BudgetChange(_key(body), amount, is_extra, until, Decimal(str(body[name])) if in_dollars else None)


def _key(body: Mapping[str, Any]) -> BudgetKey:
    if "budget" not in body:
        return GLOBAL_DAY
    if not isinstance(body["budget"], str):
        raise OrderRefused("budget must be text such as 'global/day' or 'tenant:acme/month'")
    return parse_budget_key(body["budget"])


def _amount(name: str, value: object, usd_per_credit: Decimal, *, may_be_unlimited: bool) -> Millicredits | None:
    if may_be_unlimited and value == "unlimited":
        return None
    in_credits = name.endswith("_credits")
    most = MOST_CREDITS if in_credits else MOST_USD
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    amount = Decimal(str(value)) if is_number else Decimal(-1)
    if not amount.is_finite() or not 0 <= amount <= most:
        words = f"{name} must be a number from 0 to {most:,}"
        raise OrderRefused(f"{words}, or 'unlimited'" if may_be_unlimited else words)
    return Millicredits(int(amount * MILLI)) if in_credits else from_usd(amount, usd_per_credit)


def _until(body: Mapping[str, Any]) -> datetime:
    try:
        return parse_utc(body["until"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise OrderRefused(
            "until must say when the increase ends, as RFC 3339 with an offset, such as 2026-11-25T18:00:00Z"
        ) from None
