"""Prices have dates: a later list never changes what an earlier day cost; settings go on top; bad ones are refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BadSetting
from domain.prices import (
    HIGH_CONFIDENCE,
    LATEST,
    PROVIDER_LISTS,
    TIER_NAMES,
    Override,
    Prices,
    dollar_days,
    parse_prices,
    parse_usd_per_credit,
    prices_at,
)
from domain.pricing import price
from domain.settings import read_settings

DAY = date(2026, 11, 24)
days = st.dates(date(2020, 1, 1), date(2035, 12, 31))
millicredits = st.integers(0, 10**9)
named = st.dictionaries(st.sampled_from([*TIER_NAMES, HIGH_CONFIDENCE]), millicredits)


@st.composite
def overrides(draw: st.DrawFn, since: st.SearchStrategy[date] = days) -> Override:
    usd = draw(st.none() | st.decimals("0.000001", "1000", places=6))
    return Override(draw(since), draw(named), usd)  # type: ignore[arg-type]


def test_the_first_list_holds_from_the_beginning() -> None:
    assert PROVIDER_LISTS[0].since == date.min
    assert [prices.since for prices in PROVIDER_LISTS] == sorted({prices.since for prices in PROVIDER_LISTS})
    assert prices_at(date(1999, 12, 31)) == PROVIDER_LISTS[0]


def test_the_providers_prices() -> None:
    assert dict(LATEST.tiers) == {"fast": 1000, "cost_effective": 3000, "agentic": 10_000, "agentic_plus": 45_000}
    assert (LATEST.high_confidence, LATEST.usd_per_credit) == (5000, Decimal("0.00125"))


@given(st.lists(overrides(), max_size=5), overrides(), days)
def test_a_later_price_does_not_rewrite_history(known: list[Override], later: Override, day: date) -> None:
    if day < later.since:
        assert prices_at(day, [*known, later]) == prices_at(day, known)


@given(st.lists(overrides(), max_size=5), days)
def test_what_is_not_named_stays_the_providers(changes: list[Override], day: date) -> None:
    prices = prices_at(day, changes)
    in_force = [change for change in changes if change.since <= day]
    for tier, amount in LATEST.tiers.items():
        if not any(tier in change.credits for change in in_force):
            assert prices.tiers[tier] == amount
    assert set(prices.tiers) == set(TIER_NAMES)
    assert prices.since <= day


@given(st.lists(overrides(), max_size=5), days, days)
def test_between_dollar_days_a_credit_costs_the_same(changes: list[Override], first: date, second: date) -> None:
    first, second = min(first, second), max(first, second)
    if not any(first < day <= second for day in dollar_days(changes)):
        assert prices_at(first, changes).usd_per_credit == prices_at(second, changes).usd_per_credit


def test_a_new_list_of_the_provider_holds_from_its_day() -> None:
    newer = Prices(DAY, {**LATEST.tiers, "fast": LATEST.tiers["agentic"]}, LATEST.high_confidence, Decimal("0.002"))
    lists = [*PROVIDER_LISTS, newer]
    assert prices_at(DAY - timedelta(days=1), lists=lists) == LATEST
    assert prices_at(DAY, lists=lists) == newer
    own = parse_prices("fast=2")
    assert prices_at(DAY, own, lists).tiers["fast"] == 2000, "settings go on top"
    assert dollar_days(lists=lists) == [DAY]


@given(st.lists(overrides(since=st.just(date.min) | days), min_size=1, max_size=4, unique_by=lambda one: one.since))
def test_what_is_shown_can_be_read_again(changes: list[Override]) -> None:
    credits_only = [Override(change.since, change.credits) for change in changes if change.credits]
    shown = "; ".join(str(change) for change in credits_only)
    if shown:
        assert sorted(parse_prices(shown), key=str) == sorted(credits_only, key=str)
    dollars = [Override(change.since, {}, change.usd_per_credit) for change in changes if change.usd_per_credit]
    shown = "; ".join(str(change) for change in dollars)
    if shown:
        assert sorted(parse_usd_per_credit(shown), key=str) == sorted(dollars, key=str)


def test_settings_may_name_the_day() -> None:
    settings = read_settings(
        {
            "PARSEGATE_PRICES": "fast=1.5, high_confidence=4; 2026-11-25: fast=2",
            "PARSEGATE_USD_PER_CREDIT": "0.00125; 2026-11-25: 0.0015",
            "PARSEGATE_BUDGET_TIMEZONE": "Europe/Berlin",
        },
        None,
    )
    before = settings.prices_at(datetime(2026, 11, 24, 22, 59, 59, tzinfo=UTC))
    after = settings.prices_at(datetime(2026, 11, 24, 23, 0, tzinfo=UTC))
    assert (before.tiers["fast"], before.high_confidence, before.usd_per_credit) == (1500, 4000, Decimal("0.00125"))
    assert (after.tiers["fast"], after.high_confidence, after.usd_per_credit) == (2000, 4000, Decimal("0.0015"))
    assert settings.dollar_days == [date(2026, 11, 25)]
    assert read_settings({}, None).prices_on(DAY) == LATEST


def test_a_fraction_of_a_credit_is_priced_to_the_millicredit() -> None:
    prices = prices_at(DAY, parse_prices("fast=0.3333,high_confidence=0.5"))
    high = {"processing_options": {"confidence_score_effort": "high"}}
    assert price(3, "fast", {}, prices).amount == 3 * 334, "rounded up: never held too little"
    assert price(3, "fast", high, prices).amount == 3 * 834


def test_the_dearest_is_found_by_the_prices_of_the_day() -> None:
    options = {"processing_options": {"auto_mode_configuration": [{"parsing_conf": {"tier": "agentic"}}]}}
    assert price(1, "fast", options, prices_at(DAY, parse_prices("fast=20"))).page_price == 20_000


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        *[
            ("PARSEGATE_PRICES", f"fast={number}", "must give fast a number of credits from 0 to 1,000,000")
            for number in ("-1", "NaN", "inf", "Infinity", "1e9", "1000001", "", "one", "1_0", "１", "0x1", "9" * 40)
        ],
        ("PARSEGATE_PRICES", "gold=1", "unknown tier 'gold'"),
        ("PARSEGATE_PRICES", "fast", "TIER=CREDITS"),
        ("PARSEGATE_PRICES", "3", "TIER=CREDITS"),
        ("PARSEGATE_PRICES", "fast=1,,agentic=2", "TIER=CREDITS"),
        ("PARSEGATE_PRICES", "fast=1,fast=2", "fast twice"),
        ("PARSEGATE_PRICES", "fast=1;agentic=2", "two lists without a day"),
        ("PARSEGATE_PRICES", "2026-12-01:fast=1;2026-12-01:agentic=2", "two lists since 2026-12-01"),
        ("PARSEGATE_PRICES", "2026-02-30:fast=1", "a day that does not exist"),
        ("PARSEGATE_PRICES", "tomorrow:fast=1", "unknown tier"),
        *[
            ("PARSEGATE_USD_PER_CREDIT", number, "from 0.000001 to 1,000")
            for number in ("0", "-0.1", "NaN", "inf", "1001", "0.0000001", "1e-3", "free", "$1", "0.001,5", ";")
        ],
    ],
)
def test_what_is_no_price_stops_with_one_clear_line(name: str, text: str, words: str) -> None:
    with pytest.raises(BadSetting) as caught:
        read_settings({name: text}, None)
    said = str(caught.value)
    assert said.startswith(name)
    assert words in said
    assert "\n" not in said
