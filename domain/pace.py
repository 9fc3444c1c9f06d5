"""The provider's pace: when a next call may go, and what a 429 teaches. Pure: times come in, times go out.

A call is at the provider at some unknown moment between its start here and the end of its answer. So a window of
`count` calls in `seconds` has room only while the calls under way, and those that ended less than `seconds` ago, are
fewer than `count`: whatever the network's delays, no window at the provider ever holds more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from domain.settings import Rate, Settings

MOST_SPACING: Final = timedelta(milliseconds=5)
"""Promised times differ by this at least, where the pace allows it: nobody wakes all at once."""
FIRST_KNOWN: Final = 10
"""Calls in a window that are tried at once where nothing is known of the provider's limit."""
LEAST_AT_ONCE: Final = 3
KNOWN_FOR_EACH: Final = 16
"""Beyond what is known to be safe, one call may be under way for each 16 known ones, and three always: so many answers
of 429 a wrong limit can cost at once, and a right one that is high is soon found."""
KEEP_WINDOWS: Final = 6
"""How many windows a learned limit stands before a higher one is tried."""
LONGEST_LEARNED_S: Final = 10
"""Of the windows that are learned for, in seconds: the provider's own."""
HOLD_S: Final = 1.0
"""How long nothing goes after a 429 that did not say how long, in seconds."""
MOST_HOLD_S: Final = 3600.0
"""The longest that a `Retry-After` is obeyed, in seconds."""


class Route(StrEnum):
    """Calls that the provider counts together."""

    UPLOAD = "upload"
    CREATE = "create"
    READ = "read"


class Outcome(StrEnum):
    """How a call ended, as far as pace and breakers care.

    `busy` is a 429; `failed` may pass by itself; `refused` is the credential's fault; `unknown` says nothing of the
    provider; anything else is `ok`.
    """

    OK = "ok"
    BUSY = "busy"
    FAILED = "failed"
    REFUSED = "refused"
    UNKNOWN = "unknown"


PUBLISHED: Final = {Route.UPLOAD: Rate(50, 5), Route.CREATE: Rate(50, 10), Route.READ: Rate(300, 10)}
"""What the provider publishes for each route; for reads it publishes nothing, and this is a guess."""

ABANDONED_AFTER: Final = {
    Route.UPLOAD: timedelta(seconds=930),
    Route.CREATE: timedelta(seconds=90),
    Route.READ: timedelta(seconds=330),
}
"""When a call whose end was never told has ended for certain: the client's deadline, and some."""


@dataclass(frozen=True)
class Limits:
    """The limits as they are set, several windows at once where there are several.

    Args:
        hourly: over all routes together.
        in_flight: the most attempts that may be at the provider at once; None is no limit.
        told: routes whose limit a person has set.
    """

    routes: dict[Route, tuple[Rate, ...]]
    hourly: tuple[Rate, ...] = ()
    in_flight: int | None = None
    told: frozenset[Route] = frozenset()


_FIELDS: Final = {Route.UPLOAD: "upload_limit", Route.CREATE: "parse_limit", Route.READ: "read_limit"}


def limits_of(settings: Settings) -> Limits:
    """The limits that the settings say."""
    routes = {
        Route.UPLOAD: settings.upload_limit,
        Route.CREATE: settings.parse_limit,
        Route.READ: settings.read_limit,
    }
    told = {route for route, field in _FIELDS.items() if field in settings.model_fields_set}
    return Limits(routes, settings.hourly_limit or (), settings.max_in_flight, frozenset(told))


class Calls(Protocol):
    """The calls that a window counts, as far as they are needed.

    Attributes:
        under_way: how many have started and not ended.
        ahead: how many slots were promised before this one and are still to be used.
        usual: how long a call takes, for the times that are promised; a gate never opens on the strength of it.
    """

    @property
    def under_way(self) -> int: ...

    @property
    def ahead(self) -> int: ...

    @property
    def usual(self) -> timedelta: ...

    def ended(self, rank: int) -> datetime | None:
        """The end of the call that was the `rank`-th latest to end, from 1; None if there were fewer."""

    def promised(self, rank: int) -> datetime:
        """The time of the `rank`-th latest of those ahead, from 1."""


@dataclass(frozen=True)
class Opening:
    """When a call may go, and what it waits for (empty if for nothing)."""

    at: datetime
    why: str = ""

    def later(self, at: datetime | None, why: str) -> Opening:
        """The later of the two."""
        return Opening(at, why) if at is not None and at > self.at else self


@dataclass(frozen=True)
class Gate:
    """Everything that a next call of a route must heed.

    Args:
        calls: those of the route.
        windows: with the words that explain each.
        known: so many calls in a window are known to be safe; beyond, few go at once. None: no such rule.
        hold_until: nothing goes before: the provider said so.
        broken: nothing goes before: the endpoint's circuit breaker is open.
        everything: the calls of all routes, for `hourly`.
        room_in_flight: how many more attempts may be at the provider; None is no limit.
    """

    calls: Calls
    windows: Sequence[tuple[Rate, str]]
    known: Rate | None = None
    hold_until: datetime | None = None
    broken: Opening | None = None
    everything: Calls | None = None
    hourly: Sequence[Rate] = ()
    room_in_flight: int | None = None


def opens_at(gate: Gate, now: datetime) -> Opening:
    """When the next call may go; it may go now if and only if that is not later than `now`.

    A later time is a promise as far as it can be known: calls under way end when they end.
    """
    opening = Opening(now).later(gate.hold_until, "the provider asked to wait")
    if gate.broken is not None:
        opening = opening.later(gate.broken.at, gate.broken.why)
    ahead = gate.calls.ahead
    if ahead:
        opening = opening.later(gate.calls.promised(1) + spacing(gate), "others are before it")
    for rate, why in gate.windows:
        opening = opening.later(_room_at(rate, gate.calls, now), why)
    if gate.everything is not None:
        for rate in gate.hourly:
            opening = opening.later(_room_at(rate, gate.everything, now), f"{words(rate)} over all routes")
    if gate.known is not None:
        opening = opening.later(_trickles_at(gate, gate.known, now), f"more than {words(gate.known)} is being tried")
    if gate.room_in_flight is not None and gate.room_in_flight <= ahead:
        behind = ahead - gate.room_in_flight + 1
        opening = opening.later(now + timedelta(seconds=1.0) + behind * spacing(gate), "too many are in flight")
    return opening


def _room_at(rate: Rate, calls: Calls, now: datetime) -> datetime | None:
    """When the call that was `count` places before the next one has left the window; None if there was none."""
    if rate.count <= calls.ahead:
        ended: datetime | None = max(now, calls.promised(rate.count)) + calls.usual
    elif rate.count <= calls.ahead + calls.under_way:
        ended = now + calls.usual
    else:
        ended = calls.ended(rate.count - calls.ahead - calls.under_way)
    return None if ended is None else ended + timedelta(seconds=rate.seconds)


def calls_at_once(known: Rate) -> int:
    """How many calls may be under way beyond what is known to be safe."""
    return max(LEAST_AT_ONCE, known.count // KNOWN_FOR_EACH)


def _trickles_at(gate: Gate, known: Rate, now: datetime) -> datetime | None:
    free_at, at_once, calls = _room_at(known, gate.calls, now), calls_at_once(known), gate.calls
    if free_at is None or free_at <= now:
        return None
    # Whoever is here may pass those before it, whose messages are still on their way: else the slowest set the pace.
    # The windows keep places for them.
    if calls.under_way < at_once:
        return None
    return min(free_at, now + calls.usual * max(1, (calls.ahead + calls.under_way) // at_once))


def spacing(gate: Gate) -> timedelta:
    """How far apart promised times are at least: far below what the windows allow."""
    allowed = [timedelta(seconds=rate.seconds) / rate.count / 4 for rate, _ in gate.windows]
    return min([MOST_SPACING, *allowed])


def words(rate: Rate) -> str:
    """``50 per 10 s``."""
    return f"{rate.count} per {rate.seconds} s"


def learning_window_s(windows: Sequence[Rate]) -> int:
    """The window that a route's limit is learned for, in seconds."""
    return min(LONGEST_LEARNED_S, *(rate.seconds for rate in windows)) if windows else LONGEST_LEARNED_S


def is_trusted(route: Route, windows: Sequence[Rate], published: Rate, proven: int, *, told: bool) -> bool:
    """True if the limit in force needs no trying: it is no higher than what the provider publishes.

    For the paid call somebody must also have told it, or it must have been reached once: an account may be allowed less
    than what is published (the free plan is), and a burst of all of it would find out by as many answers of 429.

    Args:
        told: the limit was set by a person, it is not the default.
    """
    if route is Route.CREATE and not told and proven < min(rate.count for rate in windows):
        return False
    return any(
        rate.count <= published.count and rate.count * published.seconds <= published.count * rate.seconds
        for rate in windows
    )


@dataclass(frozen=True)
class Learned:
    """What answers have taught about a route.

    Args:
        ceiling: so many calls a window went through before the last 429; None while there was none.
        cut_at: when that was.
        proven: the most calls that went through in a window since, those that were under way then included.
        window_s: the window, in seconds.
    """

    ceiling: int | None
    cut_at: datetime | None
    proven: int
    window_s: int

    @classmethod
    def nothing(cls, window_s: int) -> Learned:
        """At the start."""
        return cls(None, None, FIRST_KNOWN, window_s)

    def pace(self, now: datetime) -> Rate | None:
        """The pace that is kept: half after a 429, grown back within a window, then growing; None: as it is set.

        Where it has grown back to is the most that is known to have gone through in a window; a 429 that comes from too
        wild a growth says it exactly. Growth doubles with each window, since going too far costs no more answers of 429
        than going a little too far (`calls_at_once`), and a ceiling that was learned too low is left soon.
        """
        if self.ceiling is None or self.cut_at is None:
            return None
        level = max(self.ceiling, self.proven)
        windows = max((now - self.cut_at) / timedelta(seconds=self.window_s), 0.0)
        if windows < 1:
            return Rate(max(1, int(level * (1 + windows) / 2)), self.window_s)
        steps = min(max(0, int(windows) - KEEP_WINDOWS), 20)
        return Rate(level + max(1, level // 10) * (2**steps - 1), self.window_s)

    def known(self, *, trusted: bool) -> Rate | None:
        """What is known to be safe in a window; None if the limit that is set is trusted and was never refused."""
        if self.ceiling is None and trusted:
            return None
        return Rate(max(1, self.proven), self.window_s)

    def after_refusal(self, went_through: int, started_at: datetime, now: datetime) -> Learned:
        """After a 429 of a call that started at `started_at`; calls that were under way together count as one."""
        if self.cut_at is not None and started_at <= self.cut_at:
            return self
        ceiling = max(1, went_through)
        return Learned(ceiling, now, ceiling, self.window_s)

    def after_success(self, went_through: int) -> Learned:
        """After a call that brought the last window to `went_through` good answers."""
        return replace(self, proven=max(self.proven, went_through))


def hold_s(retry_after_s: float | None) -> float:
    """How long nothing goes after a 429, in seconds."""
    if retry_after_s is None:
        return HOLD_S
    return min(max(retry_after_s, 0.0), MOST_HOLD_S)
