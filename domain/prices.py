"""What a page costs in credits, and a credit in dollars, since when.

The provider's lists stand here with the day from which they hold; the settings `PARSEGATE_PRICES` and
`PARSEGATE_USD_PER_CREDIT` go on top, and may carry days of their own. What was priced, billed or reported for a day
stays at that day's prices when a later list comes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import Final

from domain.money import USD_PER_CREDIT, Millicredits, from_credits, to_credits

MOST_CREDITS_A_PAGE: Final = 1_000_000
LEAST_USD_PER_CREDIT: Final = Decimal("0.000001")
MOST_USD_PER_CREDIT: Final = Decimal(1000)
HIGH_CONFIDENCE: Final = "high_confidence"
"""The name in `PARSEGATE_PRICES` of what ``confidence_score_effort: high`` adds to a page."""

_NUMBER: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?")
_DATED: Final = re.compile(r"(?:([0-9]{4}-[0-9]{2}-[0-9]{2})\s*:)?(.*)", re.DOTALL)


@dataclass(frozen=True)
class Prices:
    """The prices of a day.

    Args:
        since: the first day on which they hold.
        tiers: millicredits a page, by tier.
        high_confidence: millicredits a page that ``confidence_score_effort: high`` adds.
        usd_per_credit: dollars.
    """

    since: date
    tiers: Mapping[str, Millicredits]
    high_confidence: Millicredits
    usd_per_credit: Decimal = USD_PER_CREDIT

    def page_price(self, reachable: Iterable[str], *, high_confidence: bool) -> Millicredits:
        """Millicredits of a page at the dearest of the tiers that it may be parsed with."""
        dearest = max(self.tiers[name] for name in reachable)
        return Millicredits(dearest + (self.high_confidence if high_confidence else 0))


@dataclass(frozen=True)
class Override:
    """Prices that a setting puts over the provider's, from a day on.

    Args:
        credits: millicredits a page, by tier or `HIGH_CONFIDENCE`; what is not named stays the provider's.
        usd_per_credit: dollars; None if this override is about credits.
    """

    since: date = date.min
    credits: Mapping[str, Millicredits] = field(default_factory=dict)
    usd_per_credit: Decimal | None = None

    def __str__(self) -> str:
        said = [f"{name}={to_credits(amount).normalize():f}" for name, amount in self.credits.items()]
        if self.usd_per_credit is not None:
            said.append(f"{self.usd_per_credit:f}")
        return ("" if self.since == date.min else f"{self.since}:") + ",".join(said)


PROVIDER_LISTS: Final[Sequence[Prices]] = (
    # The oldest list that is known here stands for all that went before it.
    Prices(
        since=date.min,
        tiers={
            "fast": from_credits(1),
            "cost_effective": from_credits(3),
            "agentic": from_credits(10),
            "agentic_plus": from_credits(45),
        },
        high_confidence=from_credits(5),
    ),
)
"""The provider's price page, oldest first: a new list is added below, never written over an old one."""

LATEST: Final = PROVIDER_LISTS[-1]
TIER_NAMES: Final = tuple(LATEST.tiers)


def prices_at(day: date, overrides: Iterable[Override] = (), lists: Sequence[Prices] = PROVIDER_LISTS) -> Prices:
    """The prices that hold on a day: the provider's list of that day, with the overrides of that day on top.

    Args:
        overrides: in any order; of two that name the same price the later one counts.
        lists: oldest first; the first one begins at `date.min`.
    """
    found = [prices for prices in lists if prices.since <= day][-1]
    for override in sorted(overrides, key=lambda override: override.since):
        if override.since <= day:
            found = _over(found, override)
    return found


def dollar_days(overrides: Iterable[Override] = (), lists: Sequence[Prices] = PROVIDER_LISTS) -> list[date]:
    """The days on which another dollar price may begin, oldest first, without the beginning of all time."""
    days = {prices.since for prices in lists}
    days |= {override.since for override in overrides if override.usd_per_credit is not None}
    return sorted(days - {date.min})


def parse_prices(text: object) -> tuple[Override, ...]:
    """``fast=1,agentic=12`` in credits a page; ``; 2026-12-01: fast=2`` adds what holds from a day on.

    Raises:
        ValueError: in one sentence.
    """
    return _dated(text, lambda since, part: Override(since, credits=_credits(part)))


def parse_usd_per_credit(text: object) -> tuple[Override, ...]:
    """``0.00125`` dollars; ``; 2026-12-01: 0.0015`` adds what holds from a day on.

    Raises:
        ValueError: in one sentence.
    """
    return _dated(text, lambda since, part: Override(since, usd_per_credit=_usd(part)))


def _over(prices: Prices, override: Override) -> Prices:
    credits_a_page = dict(override.credits)
    high_confidence = credits_a_page.pop(HIGH_CONFIDENCE, prices.high_confidence)
    return replace(
        prices,
        since=max(prices.since, override.since),
        tiers={**prices.tiers, **credits_a_page},
        high_confidence=high_confidence,
        usd_per_credit=override.usd_per_credit or prices.usd_per_credit,
    )


def _dated(text: object, make: Callable[[date, str], Override]) -> tuple[Override, ...]:
    overrides: dict[date, Override] = {}
    for part in str(text).split(";"):
        match = _DATED.fullmatch(part.strip())
        assert match is not None
        since = _day(match[1]) if match[1] else date.min
        if since in overrides:
            raise ValueError(f"has two lists {f'since {since}' if match[1] else 'without a day'}")
        overrides[since] = make(since, match[2].strip())
    return tuple(overrides[since] for since in sorted(overrides))


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"names a day that does not exist: {text}") from None


def _credits(text: str) -> dict[str, Millicredits]:
    found: dict[str, Millicredits] = {}
    for part in text.split(","):
        name, separator, number = (piece.strip() for piece in part.partition("="))
        if not separator:
            raise ValueError("must be written as TIER=CREDITS, such as fast=1,agentic=10")
        if name not in {*TIER_NAMES, HIGH_CONFIDENCE}:
            raise ValueError(f"names an unknown tier {name[:40]!r}: use {', '.join(TIER_NAMES)} or {HIGH_CONFIDENCE}")
        if name in found:
            raise ValueError(f"names {name} twice")
        if not _NUMBER.fullmatch(number) or Decimal(number) > MOST_CREDITS_A_PAGE:
            raise ValueError(f"must give {name} a number of credits from 0 to {MOST_CREDITS_A_PAGE:,}")
        found[name] = from_credits(number)
    return found


def _usd(text: str) -> Decimal:
    if not _NUMBER.fullmatch(text) or not LEAST_USD_PER_CREDIT <= Decimal(text) <= MOST_USD_PER_CREDIT:
        raise ValueError(f"must be dollars for one credit, from {LEAST_USD_PER_CREDIT:f} to {MOST_USD_PER_CREDIT:,}")
    return Decimal(text)
