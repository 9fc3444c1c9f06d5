"""What an attempt is settled at, and what about a bill is odd."""

from __future__ import annotations

import pytest

from domain.money import Millicredits
from domain.prices import LATEST
from domain.settlement import Bill, DriftKind, judge_bill

TIERS = LATEST.tiers.values()
HELD, PAGE = Millicredits(30_000), Millicredits(10_000)


def bill(told: int | None, pages: int | None = 3, *, cached: bool = False, price_varies: bool = False) -> Bill:
    return Bill(None if told is None else Millicredits(told), cached, pages, price_varies)


@pytest.mark.parametrize(
    ("said", "amount", "assumed", "drift"),
    [
        (bill(30_000), 30_000, False, None),
        (bill(20_000, 2), 20_000, False, None),
        (bill(9_000), 9_000, False, DriftKind.WRONG_TIER),
        (bill(3_000), 3_000, False, DriftKind.WRONG_TIER),
        (bill(29_000), 29_000, False, DriftKind.UNDER_PRICE),
        (bill(30_000, 2), 30_000, False, DriftKind.OVER_PRICE),
        (bill(31_000), 31_000, False, DriftKind.OVER_RESERVATION),
        (bill(135_000), 135_000, False, DriftKind.OVER_RESERVATION),
        (bill(0), 30_000, True, DriftKind.UNEXPLAINED_ZERO),
        (bill(0, cached=True), 0, False, None),
        (bill(0, None), 0, False, None),
        (bill(0, 0), 0, False, None),
        (bill(12_000, price_varies=True), 12_000, False, None),
    ],
)
def test_a_bill_is_judged(said: Bill, amount: int, assumed: bool, drift: DriftKind | None) -> None:
    settled = judge_bill(said, reserved=HELD, page_price=PAGE, overdue=False, tier_prices=TIERS)
    assert settled is not None
    assert (settled.amount, settled.assumed, settled.drift) == (amount, assumed, drift)


def test_the_tier_is_told_by_the_prices_of_the_order() -> None:
    """A price list of one's own: 9 credits are another tier's three pages at three credits, or at four nobody's."""
    wrong, odd = (
        judge_bill(bill(9_000), reserved=HELD, page_price=PAGE, overdue=False, tier_prices=[Millicredits(amount), PAGE])
        for amount in (3_000, 4_000)
    )
    assert wrong is not None
    assert odd is not None
    assert (wrong.drift, odd.drift) == (DriftKind.WRONG_TIER, DriftKind.UNDER_PRICE)


def test_who_is_not_told_waits_and_assumes_in_the_end() -> None:
    assert judge_bill(bill(None), reserved=HELD, page_price=PAGE, overdue=False, tier_prices=TIERS) is None
    settled = judge_bill(bill(None), reserved=HELD, page_price=PAGE, overdue=True, tier_prices=TIERS)
    assert settled is not None
    assert (settled.amount, settled.assumed, settled.drift) == (HELD, True, DriftKind.NEVER_TOLD)
