"""The slots of the provider's pace as `domain.pace` counts them, read from the database as far as it asks."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final
from uuid import UUID

from peewee import Case, fn

from domain.job_state import AttemptState, JobState, Provenance
from domain.pace import ABANDONED_AFTER, Gate, Learned, Limits, Route, is_trusted, learning_window_s, words
from domain.settings import Rate
from models.breakers import next_try
from models.prepared import Prepared
from models.service_tables import Pace, Slot
from models.tables import Attempt, Job

BLOCK: Final = 64
GRACE: Final = timedelta(seconds=2)
"""How long after its time a slot that nobody came for keeps its place before the later ones."""
USUAL_CALL: Final = timedelta(milliseconds=50)
LONGEST_CALL: Final = timedelta(seconds=5)
AT_PROVIDER: Final = (AttemptState.SUBMITTING, AttemptState.IN_DOUBT, AttemptState.SENT)


class StoredCalls:
    """The calls of a route, or of all of them. Use it inside the transaction that holds the limiter's lock.

    Args:
        route: None for all routes.
        before: only slots that were asked for earlier are ahead; None: all that are still to be used.
        times: what is ahead, if it is known already, in order; else it is read.
        queue: whose slots are ahead, if not its own.
        under_way: if it is known already.
    """

    def __init__(
        self,
        route: Route | None,
        now: datetime,
        *,
        before: int | None = None,
        times: list[datetime] | None = None,
        queue: StoredCalls | None = None,
        under_way: int | None = None,
    ) -> None:
        self._route, self._queue, self._times = route, queue, times
        self._of_route = () if route is None else (Slot.route == route,)
        earlier = () if before is None else (Slot.slot_id < before,)
        self._ahead = (*self._of_route, Slot.done_at.is_null(), Slot.used_at.is_null(), Slot.at > now - GRACE, *earlier)
        self._block = 1 if times is None else BLOCK
        self._ends: dict[int, list[datetime]] = {}
        self._under_way = under_way

    @cached_property
    def under_way(self) -> int:
        """How many calls have started and not ended."""
        if self._under_way is not None:
            return self._under_way
        return int(Slot.select().where(*self._of_route, Slot.done_at.is_null(), Slot.used_at.is_null(False)).count())

    @property
    def ahead(self) -> int:
        """How many slots were promised before and are still to be used."""
        if self._queue is not None:
            return self._queue.ahead
        return len(self._times) if self._times is not None else self._stored[0]

    @cached_property
    def _stored(self) -> tuple[int, datetime | None]:
        """How many slots are ahead, and the latest time among them."""
        rows: Any = Slot.select(fn.COUNT(Slot.slot_id), fn.MAX(Slot.at)).where(*self._ahead).tuples()
        count, latest = rows[0]
        return int(count), Slot.at.python_value(latest)

    @cached_property
    def usual(self) -> timedelta:
        """How long the last calls took."""
        last: Any = Slot.select(Slot.used_at, Slot.done_at).where(*self._of_route, Slot.done_at.is_null(False))
        last = last.order_by(Slot.done_at.desc()).limit(5)
        took: list[timedelta] = [row.done_at - row.used_at for row in last]
        return min(sum(took, timedelta()) / len(took), LONGEST_CALL) if took else USUAL_CALL

    def promised(self, rank: int) -> datetime:
        """The time of the `rank`-th latest of those ahead."""
        if self._queue is not None:
            return self._queue.promised(rank)
        if self._times is not None:
            return self._times[-rank]
        latest = self._stored[1]
        if rank == 1 and latest is not None:
            return latest
        slots: Any = Slot.select(Slot.at).where(*self._ahead).order_by(Slot.slot_id.desc())
        # Not `get`: it takes the first row whatever the offset.
        [slot] = slots.offset(rank - 1).limit(1)
        moment: datetime = slot.at
        return moment

    def ended(self, rank: int) -> datetime | None:
        """The end of the call that was the `rank`-th latest to end."""
        block, place = divmod(rank - 1, self._block)
        if block not in self._ends:
            rows: Any = Slot.select(Slot.done_at).where(*self._of_route, Slot.done_at.is_null(False))
            rows = rows.order_by(Slot.done_at.desc()).offset(block * self._block).limit(self._block)
            self._ends[block] = [moment for (moment,) in rows.tuples()]
        ends = self._ends[block]
        return ends[place] if place < len(ends) else None


@dataclass(frozen=True)
class Standing:
    """How a holder stands with a route, in one look.

    Args:
        slot_id: the slot it was promised, if there is one.
        waits: there are slots that are still to be used.
        under_way: how many calls of the route are.
        twice: a call of the holder's own is.
        oldest: when the first of those that are under way started.
    """

    slot_id: int | None
    waits: bool
    under_way: int
    twice: bool
    oldest: datetime | None


_STANDING: Final[Prepared[Any]] = Prepared(
    lambda holder, since, again, route: (
        Slot.select(
            fn.MAX(Case(None, [(Slot.used_at.is_null() & (Slot.holder == holder), Slot.slot_id)])),
            fn.COUNT(Slot.slot_id),
            fn.COUNT(Slot.used_at),
            fn.COUNT(Case(None, [((Slot.used_at > since) & (Slot.holder == again), Slot.slot_id)])),
            fn.MIN(Slot.used_at),
        )
        .where(Slot.route == route, Slot.done_at.is_null())
        .tuples()
    ),
    Slot.holder,
    Slot.used_at,
    Slot.holder,
    Slot.route,
)


def standing(route: Route, holder: UUID, since: datetime) -> Standing:
    """How a holder stands with a route.

    Args:
        since: its own calls that started before are not counted as under way twice.
    """
    [(slot_id, open_slots, under_way, twice, oldest)] = _STANDING.rows(holder, since, holder, route)
    return Standing(slot_id, open_slots > under_way, under_way, bool(twice), Slot.used_at.python_value(oldest))


def gate_of(
    route: Route, rows: dict[str, Pace], limits: Limits, published: Rate, calls: StoredCalls, now: datetime
) -> Gate:
    """What a next call of a route must heed now."""
    row, windows = rows[route], limits.routes[route]
    learned = learned_of(row, windows)
    told = [(rate, words(rate)) for rate in windows]
    kept = learned.pace(now)
    if kept is not None:
        told.append((kept, f"{words(kept)}, learned from a 429"))
    in_flight = limits.in_flight if route is Route.CREATE else None
    return Gate(
        calls=calls,
        windows=told,
        known=learned.known(trusted=is_trusted(route, windows, published, learned.proven, told=route in limits.told)),
        hold_until=row.hold_until,
        broken=next_try(row, now),
        everything=StoredCalls(None, now, queue=calls) if limits.hourly else None,
        hourly=limits.hourly,
        room_in_flight=None if in_flight is None else in_flight - attempts_in_flight(),
    )


def learned_of(row: Pace, windows: Sequence[Rate]) -> Learned:
    """What is known of a route's limit; nothing if it was learned for another window."""
    window_s = learning_window_s(windows)
    if row.window_s != window_s or row.proven is None:
        return Learned.nothing(window_s)
    return Learned(row.ceiling, row.cut_at, row.proven, window_s)


def attempts_in_flight() -> int:
    """How many attempts are at the provider, or just about to be."""
    at_provider = Attempt.state.in_(AT_PROVIDER) & (Attempt.provenance == Provenance.REAL)
    about_to_be = (
        Slot.select(Slot.slot_id)
        .join(Attempt, on=(Attempt.attempt_id == Slot.holder))
        .where(Slot.route == Route.CREATE, Slot.used_at.is_null(False), Slot.done_at.is_null())
        .where(Attempt.state == AttemptState.OPEN)
    )
    return int(Attempt.select().where(at_provider).count()) + int(about_to_be.count())


def went_through(route: Route, since: datetime, until: datetime) -> int:
    """How many calls started after `since` and were answered well by `until`."""
    return (
        Slot.select()
        .where(Slot.route == route, Slot.outcome == "ok", Slot.used_at > since, Slot.done_at <= until)
        .count()
    )


def most_went_through(route: Route, window: timedelta, now: datetime) -> int:
    """The most calls that lay wholly inside one window, of those windows that ended in the last quarter of one.

    The provider let through so many not long ago, so its limit was no lower.
    """
    ok: Any = Slot.select(Slot.used_at, Slot.done_at).where(
        Slot.route == route, Slot.outcome == "ok", Slot.done_at > now - window * 1.25, Slot.done_at <= now
    )
    most, started = 0, list[datetime]()
    for used_at, done_at in ok.order_by(Slot.done_at).tuples():
        insort(started, used_at)
        if done_at > now - window / 4:
            most = max(most, len(started) - bisect_right(started, done_at - window))
    return most


def abandon(now: datetime) -> None:
    """A call whose end was never told has ended by the client's own deadline."""
    for route, after in ABANDONED_AFTER.items():
        lost: Any = Slot.select(Slot.slot_id, Slot.used_at).where(
            Slot.route == route, Slot.used_at <= now - after, Slot.done_at.is_null()
        )
        for slot in lost:
            Slot.update(done_at=slot.used_at + after, outcome="lost").where(Slot.slot_id == slot.slot_id).execute()


def forget(before: datetime) -> None:
    """Delete what no window counts any more."""
    Slot.delete().where(Slot.done_at <= before).execute()


def clamp(now: datetime) -> None:
    """A clock was set back: what it put into the future has happened by now."""
    Slot.update(used_at=now).where(Slot.used_at > now).execute()
    Slot.update(done_at=now).where(Slot.done_at > now).execute()


def return_orphans(local: bool, now: datetime) -> bool:
    """Give back slots whose job will not use them: it ended, went another way, or is parsed here now.

    Args:
        local: documents are parsed here: who waits to send is due now, unless its order asked for a mode of its own.
    """
    sending = Slot.used_at.is_null() & Slot.route.in_([Route.UPLOAD, Route.CREATE])
    ready = (
        Attempt.select(Attempt.attempt_id)
        .join(Job)
        .where(Attempt.state == AttemptState.OPEN, Job.state == JobState.RESERVED)
    )
    if local:
        waiting = Slot.select(Slot.job_id).where(sending)
        goes_along = Job.job_id.in_(waiting) & Job.mode.is_null()
        Job.update(due_at=now).where(goes_along, Job.state == JobState.RESERVED).execute()
        gone = Slot.delete().where(sending, Slot.job_id.in_(Job.select(Job.job_id).where(Job.mode.is_null()))).execute()
    else:
        gone = Slot.delete().where(sending, Slot.holder.not_in(ready)).execute()
    asking = Slot.used_at.is_null() & (Slot.route == Route.READ)
    open_jobs = Job.select(Job.job_id).where(Job.due_at.is_null(False))
    unsettled = Attempt.select(Attempt.job).where(Attempt.due_at.is_null(False))
    gone += Slot.delete().where(asking, Slot.job_id.not_in(open_jobs), Slot.job_id.not_in(unsettled)).execute()
    gone += Slot.delete().where(asking, Slot.job_id.is_null(), Slot.at < now - timedelta(minutes=1)).execute()
    return bool(gone)


def wake_senders(now: datetime) -> None:
    """Whoever is about to be sent, and has no call under way, is due now."""
    calling = Slot.select(Slot.job_id).where(
        Slot.used_at.is_null(False), Slot.done_at.is_null(), Slot.job_id.is_null(False)
    )
    Job.update(due_at=now).where(Job.state == JobState.RESERVED, Job.due_at > now, Job.job_id.not_in(calling)).execute()


def waiting_slots(route: Route, limit: int) -> list[Slot]:
    """The first slots that are still to be used, in order."""
    return list(Slot.select().where(Slot.route == route, Slot.used_at.is_null()).order_by(Slot.slot_id).limit(limit))


def routes_waited_for() -> list[Route]:
    """The routes that somebody waits for."""
    rows: Any = Slot.select(Slot.route).distinct().where(Slot.used_at.is_null()).tuples()
    return sorted(Route(route) for (route,) in rows)
