"""What a document can cost at most, before anything is sent.

Prices: the provider's price page (credits per page, by tier). The dearest tier that the options can reach is priced;
what can't be priced is refused, since a reservation below the bill would break the budget.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from domain.errors import OrderRefused
from domain.money import Millicredits, to_credits
from domain.prices import LATEST, Prices

TIERS: Final[Mapping[str, int]] = {tier: int(to_credits(amount)) for tier, amount in LATEST.tiers.items()}
"""The provider's newest list: credits a page. What is in force is `domain.prices.prices_at`."""

DEFAULT_TIER: Final = "cost_effective"

ALLOWED_OPTIONS: Final = frozenset(
    {
        "agentic_options",
        "crop_box",
        "disable_cache",
        "input_options",
        "output_options",
        "page_ranges",
        "processing_control",
        "processing_options",
        "version",
    }
)
"""Options of the provider's create call that an order may carry. The others are ours to set, or have no price."""

UNPRICED: Final = {
    "forms": "the form-analysis pass has no published price",
    "specialized_chart_parsing": "chart analysis has no published price a page",
}
"""Members of `processing_options` (and of an auto-mode rule) that cost an unknown amount."""

HARMLESS: Final = (None, False, "default")
"""Values of those members that cost nothing."""

_PRICED: Final[dict[str, Any]] = {name: {"enum": list(HARMLESS)} for name in UNPRICED}
_RULE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["parsing_conf"],
    "properties": {"parsing_conf": {"type": "object", "properties": {"tier": {"enum": [*TIERS, None]}, **_PRICED}}},
}
_PAGES: Final = "[1-9][0-9]{0,6}( *- *[1-9][0-9]{0,6})?"
OPTIONS_SCHEMA: Final[dict[str, Any]] = {
    "additionalProperties": False,
    "properties": {
        **dict.fromkeys(sorted(ALLOWED_OPTIONS), True),
        "page_ranges": {
            "type": ["object", "null"],
            "additionalProperties": False,
            "properties": {
                "target_pages": {"type": ["string", "null"], "pattern": f"^ *{_PAGES} *(, *{_PAGES} *)*$"},
                "max_pages": {"type": ["integer", "null"], "minimum": 1},
            },
        },
        "processing_options": {
            "type": ["object", "null"],
            "properties": {
                "confidence_score_effort": {"enum": ["high", None]},
                "auto_mode_configuration": {"type": ["array", "null"], "items": _RULE},
                **_PRICED,
            },
        },
    },
}
"""What `check_options` lets through, as JSON Schema can say it; pages must also go upwards, and come once."""

_PAGE_RANGE = re.compile(r"\s*(\d{1,7})\s*(?:-\s*(\d{1,7})\s*)?")


@dataclass(frozen=True)
class Quote:
    """A price ceiling.

    Args:
        tier: the tier asked for.
        pages: how many pages may be parsed and billed at most.
        page_price: millicredits a page, for the dearest tier that the options can reach.
    """

    tier: str
    pages: int
    page_price: Millicredits

    @property
    def amount(self) -> Millicredits:
        """Millicredits for the whole document."""
        return Millicredits(self.pages * self.page_price)


def price(pages: int, tier: str, options: Mapping[str, Any], prices: Prices = LATEST) -> Quote:
    """The most that `pages` pages can cost.

    Args:
        pages: pages in the document, or a ceiling where they can't be counted.
        tier: one of `prices.tiers`.
        options: the order's options, as the provider's create call takes them.
        prices: those of the day on which it is sent.

    Raises:
        OrderRefused: unknown tier or option, or an option without a price.
    """
    check_options(tier, options, prices.tiers)
    processing = _section(options, "processing_options")
    high_confidence = processing.get("confidence_score_effort") == "high"
    page_price = prices.page_price(reachable_tiers(tier, processing), high_confidence=high_confidence)
    return Quote(tier, billable_pages(pages, _section(options, "page_ranges")), page_price)


def price_counted(pages: int, tier: str, options: Mapping[str, Any], prices: Prices) -> Quote:
    """As `price`, for a document that was counted before: `pages` is what the order's page ranges left.

    Raises:
        OrderRefused: it can't be priced any more.
    """
    return price(pages, tier, {name: value for name, value in options.items() if name != "page_ranges"}, prices)


def check_options(tier: str, options: Mapping[str, Any], tiers: Collection[str] = TIERS) -> None:
    """Refuse what can't be priced or isn't the order's to say.

    Raises:
        OrderRefused: with one sentence naming the option.
    """
    if tier not in tiers:
        raise OrderRefused(f"unknown tier {tier!r}: use one of {', '.join(tiers)}")
    unknown = sorted(set(options) - ALLOWED_OPTIONS)
    if unknown:
        raise OrderRefused(
            f"option {unknown[0]!r} can't be used here: allowed are {', '.join(sorted(ALLOWED_OPTIONS))}"
        )
    processing = _section(options, "processing_options")
    for rules in (processing, *(_rule_conf(rule) for rule in _auto_rules(processing))):
        for name, why in UNPRICED.items():
            if not _is_harmless(rules.get(name)):
                raise OrderRefused(f"option {name!r} can't be priced: {why}")
    if processing.get("confidence_score_effort") not in (None, "high"):
        raise OrderRefused("option 'confidence_score_effort' must be 'high' or left out")
    reached = reachable_tiers(tier, processing)
    for name in reached:
        if name not in tiers:
            raise OrderRefused(f"unknown tier {name!r} in auto_mode_configuration")
    billable_pages(1, _section(options, "page_ranges"))


def _is_harmless(value: object) -> bool:
    # 0 equals False, and is not it to the provider.
    return any(value is harmless or (isinstance(value, str) and value == harmless) for harmless in HARMLESS)


def reachable_tiers(tier: str, processing: Mapping[str, Any]) -> set[str]:
    """The tier asked for and those that auto-mode rules may raise single pages to."""
    found = [_rule_conf(rule).get("tier") for rule in _auto_rules(processing)]
    return {tier, *(str(name)[:80] for name in found if name is not None)}


def billable_pages(pages: int, ranges: Mapping[str, Any]) -> int:
    """How many of `pages` pages the ranges leave. `target_pages` wins over `max_pages`, as at the provider.

    Raises:
        OrderRefused: malformed ranges, or a page named twice.
    """
    unknown = sorted(set(ranges) - {"target_pages", "max_pages"})
    if unknown:
        raise OrderRefused(f"page_ranges has no member {unknown[0]!r}")
    target, limit = ranges.get("target_pages"), ranges.get("max_pages")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise OrderRefused("max_pages must be a whole number from 1")
    if target is None:
        return pages if limit is None else min(pages, limit)
    if not isinstance(target, str):
        raise OrderRefused("target_pages must be text such as '1,3,5-8'")
    return count_target_pages(target, pages)


def count_target_pages(target: str, pages: int) -> int:
    """How many of the pages 1 to `pages` are named by `target`, such as ``1,3,5-8``."""
    return sum(min(last, pages) - first + 1 for first, last in parse_target_pages(target) if first <= pages)


def take_target_pages(target: str, count: int) -> str:
    """The first `count` pages that `target` names: what was not reserved is not asked for."""
    kept = []
    for first, last in parse_target_pages(target):
        if count <= 0:
            break
        last = min(last, first + count - 1)
        kept.append(str(first) if first == last else f"{first}-{last}")
        count -= last - first + 1
    return ",".join(kept)


def parse_target_pages(target: str) -> list[tuple[int, int]]:
    """The ranges of ``1,3,5-8`` as (first, last), sorted.

    Raises:
        OrderRefused: malformed, or a page named twice (the provider refuses that too).
    """
    spans: list[tuple[int, int]] = []
    for part in target.split(","):
        match = _PAGE_RANGE.fullmatch(part)
        if match is None:
            raise OrderRefused(f"target_pages {target[:80]!r} is malformed: write it as '1,3,5-8'")
        first, last = int(match[1]), int(match[2] or match[1])
        if first < 1 or last < first:
            raise OrderRefused(f"target_pages {target[:80]!r} is malformed: pages count from 1, ranges go upwards")
        spans.append((first, last))
    spans.sort()
    for (_, last), (first, _) in pairwise(spans):
        if first <= last:
            raise OrderRefused(f"target_pages {target[:80]!r} names page {first} twice")
    return spans


def _section(options: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = options.get(name)
    if section is None:
        return {}
    if not isinstance(section, Mapping):
        raise OrderRefused(f"option {name!r} must be an object")
    return section


def _auto_rules(processing: Mapping[str, Any]) -> list[Any]:
    rules = processing.get("auto_mode_configuration")
    if rules is None:
        return []
    if not isinstance(rules, list):
        raise OrderRefused("option 'auto_mode_configuration' must be a list")
    return rules


def _rule_conf(rule: Any) -> Mapping[str, Any]:
    conf = rule.get("parsing_conf") if isinstance(rule, Mapping) else None
    if not isinstance(conf, Mapping):
        raise OrderRefused("each rule of 'auto_mode_configuration' needs a 'parsing_conf' object")
    return conf
