"""The circuit breaker of one endpoint of the provider: when nothing is sent to it, and when one call may try again.

Closed, calls go. It opens when too many of the last calls failed or took too long, and at once when the credential is
refused. Open, none goes until a moment that moves further away each time. Then one call, the probe, tries; while it is
under way the breaker is half open. A good answer closes it. Only what may pass by itself counts as failed: a refused
order says nothing about the endpoint's health, and a 429 has rules of its own (`domain.pace`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

WINDOW: Final = timedelta(seconds=30)
MOST_COUNTED: Final = 50
"""The latest calls in `WINDOW` that are judged, at most."""
LEAST_BAD: Final = 3
BAD_SHARE: Final = 0.5
FIRST_OPEN: Final = timedelta(seconds=2)
MOST_OPEN: Final = timedelta(seconds=10)
"""Recovery is seen this soon after the provider is back."""
REFUSED_OPEN: Final = timedelta(seconds=60)
PROBE_LIMIT: Final = timedelta(seconds=15)
"""A probe that takes longer, or whose process has gone, keeps the next one out no more."""
PROBE_PAUSE: Final = timedelta(seconds=2)
"""How soon whoever finds a probe under way asks again."""


class BreakerState(StrEnum):
    """See the module."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True)
class SeenCall:
    """A call as a breaker sees it.

    Args:
        failed: it failed in a way that may pass by itself.
        slow: it took, or has been taking, longer than a call should.
    """

    failed: bool
    slow: bool


@dataclass(frozen=True)
class Breaker:
    """What is known of an endpoint.

    Args:
        opened_at: None while it is closed.
        probe_at: when one call may try again.
        openings: how often it has opened in a row.
        why: it is open, for people.
        recovered_at: calls that started before say nothing any more.
        refused_key: the id of the API key whose refusal opened it; then a person must act.
    """

    opened_at: datetime | None = None
    probe_at: datetime | None = None
    openings: int = 0
    why: str = ""
    recovered_at: datetime | None = None
    refused_key: str | None = None

    @property
    def is_open(self) -> bool:
        """True while it is open or half open."""
        return self.opened_at is not None

    def state(self, *, is_probed: bool) -> BreakerState:
        """Its state.

        Args:
            is_probed: a probe is under way.
        """
        if not self.is_open:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if is_probed else BreakerState.OPEN

    def opened(self, why: str, now: datetime, *, refused_key: str | None = None) -> Breaker:
        """Open, or open again after a probe that failed: then for longer.

        Args:
            refused_key: the id of the key that was refused, if that is why; then it is open for `REFUSED_OPEN`.
        """
        wait = min(MOST_OPEN, FIRST_OPEN * 2 ** min(self.openings, 10)) if refused_key is None else REFUSED_OPEN
        return replace(
            self,
            opened_at=self.opened_at or now,
            probe_at=now + wait,
            openings=self.openings + 1,
            why=why,
            refused_key=refused_key,
        )

    def closed(self, now: datetime) -> Breaker:
        """Closed: the endpoint answers, or a person says so."""
        return Breaker(recovered_at=now)


def trips(calls: Sequence[SeenCall]) -> str | None:
    """Why the breaker opens after these calls, the latest ones of `WINDOW`; None if it does not."""
    failed, slow = sum(call.failed for call in calls), sum(call.slow and not call.failed for call in calls)
    if failed + slow < max(LEAST_BAD, BAD_SHARE * len(calls)):
        return None
    if not slow:
        return f"{failed} of the last {len(calls)} calls failed"
    if not failed:
        return f"{slow} of the last {len(calls)} calls took too long"
    return f"{failed} of the last {len(calls)} calls failed and {slow} took too long"
