"""How long to wait before trying again."""

from __future__ import annotations

from random import Random


def growing_wait_s(tries: int, *, first_s: float, most_s: float, random: Random) -> float:
    """Seconds to wait after `tries` failures: doubling from `first_s` to `most_s`, then scattered between half and all.

    Scattered, so that what failed together does not come back together.
    """
    longest = min(most_s, first_s * 2.0 ** min(tries, 30))
    return longest * (0.5 + random.random() / 2)
