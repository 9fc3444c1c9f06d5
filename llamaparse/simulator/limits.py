"""The provider's pace: an exact sliding window."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from llamaparse.simulator.settings import Limit


class SlidingWindow:
    """At most `limit.count` calls in any window of `limit.seconds`, wherever the window is laid.

    It keeps the times of the last `count` calls that it let through. A refused call leaves no trace, so whoever keeps
    knocking is let in as soon as the oldest is a full window old.
    """

    def __init__(self, limit: Limit, clock: Callable[[], float]) -> None:
        self.limit = limit
        self._clock = clock
        self._granted: deque[float] = deque(maxlen=limit.count)

    def take(self) -> bool:
        """Let a call through, if the window has room for it."""
        now = self._clock()
        full = len(self._granted) == self.limit.count
        if full and now - self._granted[0] < self.limit.seconds:
            return False
        self._granted.append(now)
        return True


class WindowPeak:
    """The most calls that ever fell into one window: counted apart from the limit, so that it can convict it."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._times: deque[float] = deque()
        self.peak = 0

    def count(self) -> None:
        now = self._clock()
        self._times.append(now)
        while now - self._times[0] >= self._seconds:
            self._times.popleft()
        self.peak = max(self.peak, len(self._times))
