"""The circuit breakers as the database holds them, for every process. What changes one holds the limiter's lock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from domain.breaker import MOST_COUNTED, PROBE_LIMIT, PROBE_PAUSE, WINDOW, Breaker, BreakerState, SeenCall, trips
from domain.pace import Opening, Outcome, Route
from models.database import reading
from models.service_tables import Pace, Slot

_COLUMNS = {
    "opened_at": "broken_at",
    "probe_at": "probe_at",
    "openings": "openings",
    "why": "broken_why",
    "recovered_at": "recovered_at",
    "refused_key": "refused_key",
}


@dataclass(frozen=True)
class Change:
    """A breaker opened, or closed."""

    route: Route
    before: Breaker
    after: Breaker
    at: datetime


@dataclass(frozen=True)
class EndpointView:
    """An endpoint's breaker, for people and for the router.

    Args:
        state: half open while a probe is under way.
    """

    route: Route
    state: BreakerState
    breaker: Breaker

    def keeps_out(self, now: datetime) -> bool:
        """True if nothing can go there now: it is open, and no call may try yet, or one is trying."""
        probe_at = self.breaker.probe_at
        return self.state is BreakerState.HALF_OPEN or (
            self.state is BreakerState.OPEN and probe_at is not None and now < probe_at
        )


def breaker_of(row: Pace) -> Breaker:
    """What a route's row says of its breaker."""
    return Breaker(**{field: getattr(row, column) for field, column in _COLUMNS.items()})


def view_breakers(now: datetime) -> list[EndpointView]:
    """Every endpoint's breaker.

    Raises:
        StoreUnavailable: the database is away.
    """
    with reading():
        rows = {row.name: row for row in Pace.select()}
        return [_view(route, rows[route], now) for route in Route]


def _view(route: Route, row: Pace, now: datetime) -> EndpointView:
    breaker = breaker_of(row)
    return EndpointView(route, breaker.state(is_probed=breaker.is_open and _is_probed(row, now)), breaker)


def next_try(row: Pace, now: datetime) -> Opening | None:
    """When a call may try an endpoint whose breaker is open; None if it is closed."""
    breaker = breaker_of(row)
    if breaker.probe_at is None:
        return None
    if _is_probed(row, now):
        return Opening(now + PROBE_PAUSE, "one call tries whether the provider is back")
    return Opening(breaker.probe_at, f"sending has stopped: {breaker.why}")


def begin_probe(row: Pace, slot_id: int) -> None:
    """This call tries whether the provider is back."""
    Pace.update(probe=slot_id).where(Pace.name == row.name).execute()


def judge(
    rows: Mapping[str, Pace], slot: Slot, outcome: Outcome, *, said: str, key_id: str, slow: timedelta, now: datetime
) -> list[Change]:
    """What the end of a call changes.

    Args:
        said: why the credential was refused, if it was.
        key_id: which key the call was made with.
        slow: a call that took longer is slow.
    """
    route = Route(slot.route)
    before = breaker_of(rows[route])
    if outcome is Outcome.REFUSED:
        return list(_changed(rows, Route, lambda breaker: breaker.opened(said, now, refused_key=key_id), now))
    assert slot.used_at is not None
    assert slot.done_at is not None
    is_bad = outcome is Outcome.FAILED or slot.done_at - slot.used_at > slow
    if not before.is_open:
        return trip(rows, route, slow, now) if is_bad else []
    if outcome is Outcome.UNKNOWN or (before.opened_at is not None and slot.used_at < before.opened_at):
        return []
    if outcome is Outcome.FAILED:
        again = slot.slot_id == rows[route].probe
        return list(_changed(rows, [route], lambda breaker: breaker.opened(before.why, now), now)) if again else []
    # The same key opened all of them.
    routes = [name for name in Route if name is route or rows[name].refused_key is not None]
    return close(rows, routes, now)


def trip(rows: Mapping[str, Pace], route: Route, slow: timedelta, now: datetime) -> list[Change]:
    """Open a closed breaker if the last calls say so."""
    why = trips(_seen(route, rows[route], slow, now))
    return [] if why is None else list(_changed(rows, [route], lambda breaker: breaker.opened(why, now), now))


def close(rows: Mapping[str, Pace], routes: Sequence[Route], now: datetime) -> list[Change]:
    """Close those that are open."""
    still_open = [route for route in routes if rows[route].broken_at is not None]
    return list(_changed(rows, still_open, lambda breaker: breaker.closed(now), now))


def _changed(rows: Mapping[str, Pace], routes: Any, change: Any, now: datetime) -> Iterator[Change]:
    for route in routes:
        before = breaker_of(rows[route])
        after: Breaker = change(before)
        values = {_COLUMNS[field]: value for field, value in asdict(after).items()}
        Pace.update(probe=None, **values).where(Pace.name == route).execute()
        yield Change(route, before, after, now)


def _is_probed(row: Pace, now: datetime) -> bool:
    return (
        row.probe is not None
        and Slot.select()
        .where(Slot.slot_id == row.probe, Slot.used_at > now - PROBE_LIMIT, Slot.done_at.is_null())
        .exists()
    )


def _seen(route: Route, row: Pace, slow: timedelta, now: datetime) -> list[SeenCall]:
    """The latest calls, and those that have been under way for too long."""
    of_route: list[Any] = [Slot.route == route, Slot.used_at.is_null(False)]
    if row.recovered_at is not None:
        of_route.append(Slot.used_at > row.recovered_at)
    told = Slot.outcome.in_([Outcome.OK, Outcome.BUSY, Outcome.FAILED])
    ended = Slot.select().where(*of_route, Slot.done_at > now - WINDOW, told)
    latest: Any = ended.order_by(Slot.done_at.desc()).limit(MOST_COUNTED)
    calls = [SeenCall(call.outcome == Outcome.FAILED, call.done_at - call.used_at > slow) for call in latest]
    hanging = Slot.select().where(*of_route, Slot.done_at.is_null(), Slot.used_at < now - slow).count()
    return [SeenCall(False, True)] * hanging + calls
