"""The price is a ceiling: the dearest that the options can reach; what has no price is refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import OrderRefused
from domain.money import format_credits, format_usd, from_credits, from_usd, to_credits, to_usd
from domain.pricing import TIERS, count_target_pages, parse_target_pages, price, take_target_pages


@pytest.mark.parametrize(
    ("tier", "credits_a_page"), [("fast", 1), ("cost_effective", 3), ("agentic", 10), ("agentic_plus", 45)]
)
def test_each_tier_has_its_price(tier: str, credits_a_page: int) -> None:
    assert price(7, tier, {}).amount == 7 * credits_a_page * 1000


@pytest.mark.parametrize(
    ("options", "credits_a_page"),
    [
        ({"processing_options": {"confidence_score_effort": "high"}}, 8),
        ({"processing_options": {"auto_mode_configuration": [{"parsing_conf": {"tier": "agentic_plus"}}]}}, 45),
        ({"processing_options": {"auto_mode_configuration": [{"parsing_conf": {"tier": "fast"}}]}}, 3),
        (
            {
                "processing_options": {
                    "confidence_score_effort": "high",
                    "auto_mode_configuration": [{"parsing_conf": {}}, {"parsing_conf": {"tier": "agentic"}}],
                }
            },
            15,
        ),
    ],
)
def test_the_dearest_that_can_be_reached_is_priced(options: dict[str, Any], credits_a_page: int) -> None:
    assert price(2, "cost_effective", options).amount == 2 * credits_a_page * 1000


@pytest.mark.parametrize(
    "options",
    [
        {"configuration_id": "cfg-1"},
        {"source_url": "https://example.org"},
        {"webhook_configurations": []},
        {"processing_options": {"specialized_chart_parsing": "agentic"}},
        {"processing_options": {"forms": "enrich"}},
        {"processing_options": {"confidence_score_effort": "low"}},
        {"processing_options": {"auto_mode_configuration": [{"parsing_conf": {"tier": "platinum"}}]}},
        {
            "processing_options": {
                "auto_mode_configuration": [{"parsing_conf": {"specialized_chart_parsing": "agentic"}}]
            }
        },
        {"processing_options": {"auto_mode_configuration": {}}},
        {"processing_options": {"auto_mode_configuration": [None]}},
        {"processing_options": []},
        {"page_ranges": {"max_pages": 0}},
        {"page_ranges": {"max_pages": True}},
        {"page_ranges": {"max_pages": "3"}},
        {"page_ranges": {"target_pages": 3}},
        {"page_ranges": {"target_pages": "3", "max_pages": 0}},
        {"processing_options": {"forms": 0}},
        {"page_ranges": {"target_pages": ""}},
        {"page_ranges": {"target_pages": "0-3"}},
        {"page_ranges": {"target_pages": "5-3"}},
        {"page_ranges": {"target_pages": "1,2,2"}},
        {"page_ranges": {"target_pages": "1-4,3"}},
        {"page_ranges": {"pages": 3}},
    ],
)
def test_what_has_no_price_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OrderRefused):
        price(5, "cost_effective", options)


def test_an_unknown_tier_is_refused() -> None:
    with pytest.raises(OrderRefused, match="unknown tier 'premium'"):
        price(1, "premium", {})


@pytest.mark.parametrize(
    ("ranges", "pages"),
    [
        ({"max_pages": 3}, 3),
        ({"max_pages": 30}, 10),
        ({"target_pages": "1,3,5-8"}, 6),
        ({"target_pages": "9-20", "max_pages": 1}, 2),
        ({"target_pages": "11"}, 0),
    ],
)
def test_only_the_pages_asked_for_are_priced(ranges: dict[str, Any], pages: int) -> None:
    assert price(10, "fast", {"page_ranges": ranges}).pages == pages


spans = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9)), min_size=1, max_size=6)


@given(spans, st.integers(1, 80), st.integers(1, 80))
def test_no_more_pages_are_asked_for_than_were_reserved(
    parts: list[tuple[int, int]], pages: int, reserved: int
) -> None:
    target = ",".join(f"{first}-{first + more}" for first, more in parts)
    try:
        parse_target_pages(target)
    except OrderRefused:
        return
    taken = take_target_pages(target, reserved)
    assert count_target_pages(taken, pages) <= min(reserved, count_target_pages(target, pages))
    named = {page for first, last in parse_target_pages(target) for page in range(first, last + 1)}
    kept = {page for first, last in parse_target_pages(taken) for page in range(first, last + 1)}
    assert kept <= named
    assert len(kept) == min(reserved, len(named))


@given(st.integers(0, 10**9))
def test_money_keeps_every_millicredit(amount: int) -> None:
    assert from_credits(to_credits(amount)) == amount
    assert from_usd(to_usd(amount)) == amount


def test_a_fraction_of_a_millicredit_is_held_in_full_and_never_granted() -> None:
    assert from_credits("0.0001") == 1
    assert from_usd(Decimal("0.0000019")) == 1
    assert (format_credits(1_234_500), format_usd(3000)) == ("1,234.5", "$0.0038")


@pytest.mark.parametrize("amount", ["NaN", "-1", "Infinity"])
def test_what_is_no_amount_is_refused(amount: str) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        from_credits(amount)


def test_the_tiers_are_the_providers() -> None:
    assert dict(TIERS) == {"fast": 1, "cost_effective": 3, "agentic": 10, "agentic_plus": 45}
