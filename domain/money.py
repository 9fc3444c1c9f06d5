"""Money: whole millicredits inside, dollars only where people read them.

1 credit = 1,000 millicredits; 1,000 credits cost 1.25 US dollars (the provider's price page).
"""

from __future__ import annotations

from decimal import Decimal
from typing import NewType

Millicredits = NewType("Millicredits", int)

MILLI = 1000
USD_PER_CREDIT = Decimal("0.00125")
ZERO = Millicredits(0)


def from_credits(credits_amount: int | str | Decimal) -> Millicredits:
    """Whole millicredits for an amount in credits. A fraction of a millicredit is rounded up: we never hold too little.

    Raises:
        ValueError: the amount is not a finite number or is negative.
    """
    amount = Decimal(credits_amount)
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"not an amount of credits: {credits_amount}")
    return Millicredits(int((amount * MILLI).to_integral_value(rounding="ROUND_CEILING")))


def from_usd(usd: Decimal, usd_per_credit: Decimal = USD_PER_CREDIT) -> Millicredits:
    """Whole millicredits that `usd` dollars buy, rounded down: a limit is never more than was granted."""
    return Millicredits(int((usd / usd_per_credit * MILLI).to_integral_value(rounding="ROUND_FLOOR")))


def to_credits(amount: int) -> Decimal:
    """The exact amount in credits."""
    return Decimal(amount) / MILLI


def to_usd(amount: int, usd_per_credit: Decimal = USD_PER_CREDIT) -> Decimal:
    """The exact amount in US dollars."""
    return to_credits(amount) * usd_per_credit


def format_credits(amount: int) -> str:
    """For people: ``3``, ``0.5``, ``1,234``."""
    text = f"{to_credits(amount):,.3f}"
    return text.rstrip("0").rstrip(".")


def format_usd(amount: int, usd_per_credit: Decimal = USD_PER_CREDIT) -> str:
    """For people: ``$0.0038``; four digits, since one page costs a fraction of a cent."""
    return f"${to_usd(amount, usd_per_credit):,.4f}"
