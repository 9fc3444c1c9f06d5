"""Money and times as JSON has them: numbers, and RFC 3339 in UTC."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, overload

from pydantic import Field

from domain.clock import format_utc
from domain.money import to_credits, to_usd

Id = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339 in UTC."""


def number(amount: Decimal) -> int | float:
    """A JSON number."""
    return int(amount) if amount == amount.to_integral_value() else float(amount)


def credits_number(amount: int) -> int | float:
    """Millicredits as credits."""
    return number(to_credits(amount))


def usd_number(amount: int, usd_per_credit: Decimal) -> int | float:
    """Millicredits as dollars."""
    return number(to_usd(amount, usd_per_credit))


@overload
def time_text(moment: datetime) -> str: ...
@overload
def time_text(moment: datetime | None) -> str | None: ...
def time_text(moment: datetime | None) -> str | None:
    """A moment, or null."""
    return None if moment is None else format_utc(moment)
