"""What an attempt is settled at, by what the provider said of it, and what about that is odd."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from domain.money import ZERO, Millicredits


class DriftKind(StrEnum):
    """In which way a bill differs from the price."""

    OVER_RESERVATION = "over_reservation"
    OVER_PRICE = "over_price"
    UNDER_PRICE = "under_price"
    WRONG_TIER = "wrong_tier"
    UNEXPLAINED_ZERO = "unexplained_zero"
    NEVER_TOLD = "never_told"
    SURPLUS = "surplus"


@dataclass(frozen=True)
class Bill:
    """What the provider said of an attempt's cost.

    Args:
        told: millicredits, or None if it has not told yet.
        cached: it came from the provider's own cache, which is not billed.
        parsed_pages: how many pages it parsed; None where that is not known, or where no result came.
        price_varies: single pages may be billed at another tier (auto mode), so there is no one price.
    """

    told: Millicredits | None
    cached: bool = False
    parsed_pages: int | None = None
    price_varies: bool = False


@dataclass(frozen=True)
class Settlement:
    """What to settle an attempt at.

    Args:
        amount: millicredits.
        assumed: the provider's word is missing or unbelievable; `amount` is what was reserved.
        drift: what is odd about it, or None.
    """

    amount: Millicredits
    assumed: bool
    drift: DriftKind | None


def judge_bill(
    bill: Bill,
    *,
    reserved: Millicredits,
    page_price: Millicredits | None,
    overdue: bool,
    tier_prices: Collection[int],
) -> Settlement | None:
    """Decide what an attempt is settled at; None while the provider's word is still to be waited for.

    A zero for work that was done and did not come from a cache is not believed: it is settled at what was reserved,
    until it is explained. More than was reserved is settled as billed, since it is owed, and reported.

    Args:
        reserved: what the attempt holds, in millicredits.
        page_price: millicredits a page when it was priced; None if it is not known.
        overdue: the provider was given long enough to tell.
        tier_prices: what a page of each tier may have cost when it was priced, in millicredits.
    """
    if bill.told is None:
        return Settlement(reserved, assumed=True, drift=DriftKind.NEVER_TOLD) if overdue else None
    if bill.told == ZERO and bill.parsed_pages and not bill.cached and reserved:
        return Settlement(reserved, assumed=True, drift=DriftKind.UNEXPLAINED_ZERO)
    return Settlement(bill.told, assumed=False, drift=_drift(bill, bill.told, reserved, page_price, tier_prices))


def _drift(
    bill: Bill,
    told: Millicredits,
    reserved: Millicredits,
    page_price: Millicredits | None,
    tier_prices: Collection[int],
) -> DriftKind | None:
    if told > reserved:
        return DriftKind.OVER_RESERVATION
    if bill.cached or bill.price_varies or not bill.parsed_pages or page_price is None:
        return None
    expected = bill.parsed_pages * page_price
    if told == expected:
        return None
    if any(told == bill.parsed_pages * amount for amount in tier_prices):
        return DriftKind.WRONG_TIER
    return DriftKind.OVER_PRICE if told > expected else DriftKind.UNDER_PRICE
