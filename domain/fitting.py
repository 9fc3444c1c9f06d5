"""Whether what something costs fits the budgets, and when it would if not.

This looks ahead; it holds nothing. Only the ledger's UPDATE decides, and others may take what is free now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from domain.budgets import BudgetKey, window_at
from domain.money import USD_PER_CREDIT, ZERO, Millicredits, format_usd

MOST_WINDOWS: Final = 4000
"""How many windows are looked through: ten years of days."""


@dataclass(frozen=True)
class Room:
    """What a budget allows.

    Args:
        amount: the limit of each window.
        extra: granted on top until `extra_until`.
        taken: held and spent in the current window.
    """

    key: BudgetKey
    amount: Millicredits
    taken: Millicredits = ZERO
    extra: Millicredits = ZERO
    extra_until: datetime | None = None

    def limit_at(self, moment: datetime) -> Millicredits:
        """The limit in force at a moment."""
        granted = self.extra_until is not None and moment < self.extra_until
        return Millicredits(self.amount + (self.extra if granted else 0))


@dataclass(frozen=True)
class Fit:
    """What becomes of one amount.

    Args:
        fits: it could start now.
        starts_at: when it could start, if nothing else is ordered before; None is never.
        reason: one sentence that says why not now; empty if it fits.
    """

    fits: bool
    starts_at: datetime | None
    reason: str = ""


@dataclass
class Outlook:
    """The budgets as they will be, one amount after the other.

    Args:
        rooms: every budget with a limit that applies.
    """

    rooms: Sequence[Room]
    now: datetime
    zone: ZoneInfo
    usd_per_credit: Decimal = USD_PER_CREDIT
    _taken: dict[tuple[BudgetKey, str], int] = field(init=False)

    def __post_init__(self) -> None:
        self._taken = {(room.key, self._window(room, self.now)): room.taken for room in self.rooms}

    def place(self, amount: Millicredits) -> Fit:
        """When an amount could start after those that were placed before; it takes its part of those windows."""
        moment, reason = self.now, ""
        for _ in range(MOST_WINDOWS):
            blocking = [room for room in self.rooms if not self._has_room(room, amount, moment)]
            if not blocking:
                self._take(amount, moment)
                return Fit(not reason, moment, reason)
            ends = {room: window_at(room.key.period, moment, self.zone).ends_at for room in blocking}
            for room, end in ends.items():
                if amount > room.limit_at(end):
                    return Fit(False, None, self._never(room, amount, end))
            reason = reason or self._not_now(blocking[0], amount)
            moment = max(ends.values())
        return Fit(False, None, "no window of the next ten years has room for it")

    def _window(self, room: Room, moment: datetime) -> str:
        return window_at(room.key.period, moment, self.zone).name

    def _has_room(self, room: Room, amount: int, moment: datetime) -> bool:
        taken = self._taken.get((room.key, self._window(room, moment)), 0)
        return taken + amount <= room.limit_at(moment)

    def _take(self, amount: int, moment: datetime) -> None:
        for room in self.rooms:
            place = (room.key, self._window(room, moment))
            self._taken[place] = self._taken.get(place, 0) + amount

    def _not_now(self, room: Room, amount: int) -> str:
        taken = self._taken.get((room.key, self._window(room, self.now)), 0)
        free = max(0, room.limit_at(self.now) - taken)
        return f"it costs {self._usd(amount)}, and {room.key.words} has {self._usd(free)} left"

    def _never(self, room: Room, amount: int, moment: datetime) -> str:
        limit = self._usd(room.limit_at(moment))
        return f"it costs {self._usd(amount)}, more than the {limit} of a whole window of {room.key.words}"

    def _usd(self, amount: int) -> str:
        return format_usd(amount, self.usd_per_credit)


def fit_all(
    amounts: Iterable[Millicredits],
    rooms: Sequence[Room],
    *,
    now: datetime,
    zone: ZoneInfo,
    usd_per_credit: Decimal = USD_PER_CREDIT,
) -> list[Fit]:
    """What becomes of each amount, in this order, each taking its part before the next one is looked at."""
    outlook = Outlook(rooms, now, zone, usd_per_credit)
    return [outlook.place(amount) for amount in amounts]
