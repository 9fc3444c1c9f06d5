"""How much of a kind may be under way at once: in all, and for one token, so that none keeps the others out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from gateway.problems import RETRY_AFTER_S, Problem


class Places:
    """Places in this process.

    Args:
        most: in all.
        most_a_token: for one token.
        reason, words: of the problem that those get who find none.
    """

    def __init__(self, most: int, most_a_token: int, reason: str, words: str) -> None:
        self._most, self._most_a_token, self._reason, self._words = most, most_a_token, reason, words
        self._taken = Counter[UUID]()

    def check(self, token_id: UUID) -> None:
        """Say no if there is no place.

        Raises:
            Problem: 503.
        """
        if self._taken.total() >= self._most or self._taken[token_id] >= self._most_a_token:
            raise Problem(503, self._reason, self._words, headers={"Retry-After": str(RETRY_AFTER_S)})

    @contextmanager
    def held(self, token_id: UUID) -> Iterator[None]:
        """Have a place, whether there is one or not: `check` comes first where there may be none."""
        self._taken[token_id] += 1
        try:
            yield
        finally:
            self._taken[token_id] -= 1
            self._taken += Counter()  # forgets who holds nothing any more
