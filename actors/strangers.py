"""Servers that strangers name may be slow: they never get all threads of a process, and others go on meanwhile."""

from __future__ import annotations

import threading
from typing import Final
from uuid import UUID

USUAL_THREADS: Final = 8
BUSY_S: Final = 30.0
"""Seconds after which who found no place looks again, if the end of another one's call has not called it before."""
MOST_WAITING: Final = 10_000


class Places:
    """How many calls of a kind may run at once in this process.

    Args:
        most: at least 1.
    """

    def __init__(self, most: int) -> None:
        self._most, self._taken = most, 0
        self._waiting: dict[UUID, None] = {}
        self._lock = threading.Lock()

    def take(self, who: UUID) -> bool:
        """True if a call may begin; end it with `leave`. Otherwise `who` is remembered."""
        with self._lock:
            if self._taken < self._most:
                self._taken += 1
                self._waiting.pop(who, None)
                return True
            if len(self._waiting) < MOST_WAITING:
                self._waiting[who] = None
            return False

    def leave(self) -> UUID | None:
        """Who may come now, of those that found no place; each is named once."""
        with self._lock:
            self._taken -= 1
            following = next(iter(self._waiting), None)
            if following is not None:
                del self._waiting[following]
            return following

    def resize(self, most: int) -> None:
        """Allow more or fewer."""
        with self._lock:
            self._most = most


class Strangers:
    """The places for documents' sources, half of the threads, and for callbacks, a quarter."""

    def __init__(self) -> None:
        self.sources, self.callbacks = Places(USUAL_THREADS // 2), Places(USUAL_THREADS // 4)

    def share(self, threads: int) -> None:
        """Take the places from so many threads."""
        self.sources.resize(max(1, threads // 2))
        self.callbacks.resize(max(1, threads // 4))
