"""The provider's tiers: credits for each page, and the versions each accepts.

Prices: the provider's price page. Versions: `llama_cloud.types.ParsingListVersionsResponse` of SDK 2.19.0 (each tier's
newest is what ``latest`` means). Written down here on purpose and not shared with the gateway:
a wrong price must not agree with itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

Tier = Literal["fast", "cost_effective", "agentic", "agentic_plus"]

CREDITS_PER_PAGE: Final[Mapping[Tier, int]] = {"fast": 1, "cost_effective": 3, "agentic": 10, "agentic_plus": 45}
HIGH_CONFIDENCE_CREDITS_PER_PAGE: Final = 5

_VERSIONS: Final[Mapping[Tier, str]] = {
    "fast": "2026-06-15 2025-12-11",
    "cost_effective": (
        "2026-09-28 2026-08-19 2026-08-11 2026-08-08 2026-07-23 2026-06-26 2026-06-18 2026-06-17 2026-06-11 "
        "2026-06-08 2026-06-05 2026-05-28 2026-04-09 2026-03-31 2026-03-27 2026-03-25"
    ),
    "agentic": (
        "2026-10-16 2026-10-15 2026-09-29 2026-09-28 2026-09-24 2026-09-13 2026-09-09 2026-09-07 2026-08-19 "
        "2026-07-24 2026-07-23 2026-07-15 2026-06-18 2026-06-11 2026-06-04 2026-06-01 2026-05-26 2026-05-21 "
        "2026-05-20 2026-05-19 2026-05-13 2026-05-11 2026-05-06 2026-05-04 2026-04-27 2026-04-22 2026-04-09 "
        "2026-04-06 2026-04-02 2026-03-31 2026-03-30 2026-03-27 2026-03-25 2026-03-23 2026-03-22 2026-03-20 "
        "2026-03-11 2026-03-10 2026-03-09 2026-03-03 2026-03-02 2026-02-26 2026-02-24 2026-01-30 2026-01-22 "
        "2026-01-21 2026-01-16 2026-01-08 2025-12-31 2025-12-18 2025-12-11"
    ),
    "agentic_plus": (
        "2026-09-28 2026-09-24 2026-09-11 2026-08-19 2026-07-08 2026-06-18 2026-06-11 2026-06-04 2026-06-01 "
        "2026-05-26 2026-05-21 2026-05-20 2026-05-19 2026-05-11 2026-05-06 2026-05-04 2026-05-01 2026-04-27 "
        "2026-04-19 2026-04-14 2026-04-09 2026-04-02 2026-03-31 2026-03-26 2026-03-25 2026-03-22 2026-03-20 "
        "2026-03-17 2026-03-12 2026-03-10 2026-03-09 2026-03-02 2026-02-26 2026-02-24 2026-01-30 2026-01-29 "
        "2026-01-24 2026-01-22 2026-01-21 2026-01-16 2025-12-31 2025-12-18 2025-12-11"
    ),
}
VERSIONS: Final[Mapping[Tier, tuple[str, ...]]] = {tier: tuple(dates.split()) for tier, dates in _VERSIONS.items()}
"""Newest first."""


def resolved_version(tier: Tier, version: str) -> str | None:
    """The dated version that `version` means for this tier, or None when the tier has no such version."""
    if version == "latest":
        return VERSIONS[tier][0]
    return version if version in VERSIONS[tier] else None
