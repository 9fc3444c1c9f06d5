"""A change of a budget: every number and text that is none is refused with a sentence."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from domain.budgets import GLOBAL_DAY, parse_budget_key, parse_limit
from domain.errors import OrderRefused
from domain.money import USD_PER_CREDIT
from gateway.budget_change import BudgetChange, read_change

UNTIL = "2026-11-25T19:00:00+01:00"
ACME = parse_budget_key("tenant:acme/month")
NO_NUMBERS: list[Any] = [None, True, False, "", "12.5", "NaN", [], {}, -1, -0.01, 1e400, -1e400, float("nan"), 10**400]


@pytest.mark.parametrize(
    ("body", "change"),
    [
        ({"daily_limit_usd": 12.5}, BudgetChange(GLOBAL_DAY, 10_000_000, usd=Decimal("12.5"))),  # type: ignore[arg-type]
        ({"daily_limit_usd": 0}, BudgetChange(GLOBAL_DAY, 0, usd=Decimal("0"))),  # type: ignore[arg-type]
        ({"daily_limit_usd": 1_000_000}, BudgetChange(GLOBAL_DAY, 800_000_000_000, usd=Decimal("1000000"))),  # type: ignore[arg-type]
        ({"daily_limit_usd": "unlimited"}, BudgetChange(GLOBAL_DAY, None)),
        ({"limit_credits": 0.0019}, BudgetChange(GLOBAL_DAY, 1)),  # type: ignore[arg-type]
        ({"budget": "tenant:acme/month", "limit_usd": 1}, BudgetChange(ACME, 800_000, usd=Decimal(1))),  # type: ignore[arg-type]
        ({"budget": "tenant:acme/month", "limit_usd": "unlimited"}, BudgetChange(ACME, None)),
        (
            {"extra_usd": 5, "until": UNTIL},
            BudgetChange(GLOBAL_DAY, 4_000_000, True, datetime(2026, 11, 25, 18, tzinfo=UTC)),  # type: ignore[arg-type]
        ),
        ({"extra_credits": 0}, BudgetChange(GLOBAL_DAY, 0, True)),  # type: ignore[arg-type]
    ],
)
def test_what_is_asked_for_is_understood(body: dict[str, Any], change: BudgetChange) -> None:
    assert read_change(body, USD_PER_CREDIT) == change


def test_dollars_buy_credits_at_the_price_in_force() -> None:
    assert read_change({"daily_limit_usd": 1}, Decimal("0.003")).amount == 333_333, "never more than was granted"
    assert parse_limit("1", Decimal("0.003")) == 333_333


@pytest.mark.parametrize("name", ["daily_limit_usd", "limit_usd", "limit_credits", "extra_usd", "extra_credits"])
@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: repr(value)[:20])
def test_what_is_no_number_is_refused(name: str, value: object) -> None:
    with pytest.raises(OrderRefused, match=f"{name} must be a number from 0 to"):
        read_change({name: value, "until": UNTIL}, USD_PER_CREDIT)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (None, "JSON object"),
        ([], "JSON object"),
        ({}, "name one limit"),
        ({"budget": "global/day"}, "name one limit"),
        ({"daily_limit_usd": 1, "limit_usd": 1}, "name one limit"),
        ({"daily_limit_usd": 1, "extra_usd": 1}, "name one limit"),
        ({"daily_limit_usd": 1, "budget": "tenant:acme"}, "global daily budget"),
        ({"daily_limit_usd": 1, "who": "me"}, "unknown field 'who'"),
        ({"daily_limit_usd": 1_000_000.01}, "from 0 to 1,000,000"),
        ({"limit_credits": 800_000_001}, "from 0 to 800,000,000"),
        ({"extra_usd": "unlimited", "until": UNTIL}, "extra_usd must be a number"),
        ({"limit_usd": 1, "until": UNTIL}, "a limit has no end"),
        ({"limit_usd": 1, "budget": 7}, "budget must be text"),
        ({"limit_usd": 1, "budget": "acme"}, "malformed"),
        ({"limit_usd": 1, "budget": "tenant:/day"}, "malformed"),
        ({"limit_usd": 1, "budget": "user:bob/day"}, "not a UUID"),
        *[
            ({"extra_usd": 1, "until": until}, "RFC 3339")
            for until in (None, 7, "", "tomorrow", "2026-11-25T18:00:00", "0001-01-01T00:00:00+23:00")
        ],
        ({"extra_usd": 1}, "RFC 3339"),
        ({"extra_usd": 0, "until": "tomorrow"}, "RFC 3339"),
    ],
)
def test_what_is_malformed_is_refused(body: object, words: str) -> None:
    with pytest.raises(OrderRefused, match=words):
        read_change(body, USD_PER_CREDIT)


def test_a_user_is_named_by_uuid() -> None:
    body = {"budget": f"user:{UUID(int=7)}", "limit_usd": 1}
    assert str(read_change(body, USD_PER_CREDIT).key) == f"user:{UUID(int=7)}/day"
