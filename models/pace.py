"""The limiter: slots for calls to the provider, handed out one at a time, in order, across all processes.

Whoever may not go yet is promised a time of its own, and its job is due then. The time is a promise as far as it can
be known: whether a call may go is decided anew when it comes, by the rule of `domain.pace` under one lock. What is
returned moves the others forward (`Pacer.tidy`, which the clock calls).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from peewee import fn

from domain.breaker import WINDOW
from domain.clock import Clock
from domain.job_state import JobState
from domain.pace import PUBLISHED, Gate, Learned, Limits, Opening, Outcome, Route, hold_s, is_trusted, opens_at
from domain.settings import Rate
from models import breakers
from models.breakers import Change
from models.database import is_postgres, reading, transaction
from models.limits import in_force, rates_of
from models.prepared import Prepared
from models.service_tables import Pace, Slot
from models.slots import (
    GRACE,
    StoredCalls,
    abandon,
    clamp,
    forget,
    gate_of,
    learned_of,
    most_went_through,
    return_orphans,
    routes_waited_for,
    standing,
    waiting_slots,
    wake_senders,
    went_through,
)
from models.tables import Attempt, Job

MOVED_AT_ONCE: Final = 200
"""How many slots are promised new times at once; the later ones follow, since the clock looks again."""
WORTH_MOVING: Final = timedelta(milliseconds=20)
TWICE: Final = timedelta(seconds=1)
"""How long a second question about a job waits while the first is being asked."""
HELD_UP: Final = timedelta(seconds=60)
"""After so long, who has a call under way may make another: the process that made the first has probably gone."""
WAITS: Final = "waits for its "
UNDER_WAY: Final = "the call that is under way"
SLOW_S: Final = 20.0
"""A call that takes longer is slow, seconds; an upload may take `SLOW_UPLOAD` times as long."""
SLOW_UPLOAD: Final = 6

_ASKING: Final = (JobState.IN_DOUBT, JobState.PARSING, JobState.INGESTING)


@dataclass(frozen=True)
class Taken:
    """The call may go now."""

    slot_id: int


@dataclass(frozen=True)
class Promised:
    """The call may go at `at`; the job is due then. `why` says what it waits for."""

    at: datetime
    why: str


class Pacer:
    """Hands out slots.

    Args:
        limits: as they are set.
        clock: the database's own time, asked under the lock.
        published: what the provider publishes, by route.
        slow_s: a call that takes longer is slow, seconds; an upload may take longer (`SLOW_UPLOAD`).
        on_change: told of every breaker that opens or closes, in the transaction that makes it true.
    """

    def __init__(
        self,
        limits: Limits,
        clock: Clock,
        published: dict[Route, Rate] | None = None,
        *,
        slow_s: float = SLOW_S,
        on_change: Callable[[Change], None] | None = None,
    ) -> None:
        self.limits = limits
        self._clock = clock
        self._published = PUBLISHED if published is None else published
        self._slow = {route: timedelta(seconds=slow_s) for route in Route}
        self._slow[Route.UPLOAD] *= SLOW_UPLOAD
        self._on_change = on_change

    def take(self, route: Route, holder: UUID, job_id: UUID | None = None) -> Taken | Promised:
        """Take a holder's slot if its call may go now; else it is promised, and the job is due at its time.

        Asking again gives the same slot. Call it outside any transaction.

        Raises:
            StoreUnavailable: the database is away; nothing may go.
        """
        with self._locked() as (rows, now):
            mine = standing(route, holder, now - HELD_UP)
            if mine.twice:
                return _put_off(route, job_id, now)
            if mine.oldest is not None and now - mine.oldest > self._slow[route] and rows[route].broken_at is None:
                self._tell(breakers.trip(rows, route, self._slow[route], now), rows)
            calls = StoredCalls(
                route, now, before=mine.slot_id, times=None if mine.waits else [], under_way=mine.under_way
            )
            opening = opens_at(self._gate(route, rows, calls, now), now)
            if opening.at <= now:
                taken = _use(route, holder, job_id, mine.slot_id, now)
                if rows[route].broken_at is not None:
                    breakers.begin_probe(rows[route], taken.slot_id)
                return taken
            return _promise(route, holder, job_id, mine.slot_id, opening)

    def finish(
        self,
        slot_id: int,
        outcome: Outcome = Outcome.OK,
        *,
        retry_after_s: float | None = None,
        said: str = "",
        key_id: str = "",
    ) -> None:
        """The call of a slot has ended.

        Args:
            retry_after_s: how long the provider said to wait, with a 429.
            said: why the credential was refused, if it was.
            key_id: which key the call was made with.

        Raises:
            StoreUnavailable: the database is away; the call counts as under way until the client's deadline.
        """
        now = self._clock()
        if outcome is Outcome.OK and not self._matters(slot_id, now):
            # No lock is needed: whoever does not see this end yet counts the call as under way.
            with transaction():
                Slot.update(outcome="ok", done_at=_not_before_its_start(now)).where(Slot.slot_id == slot_id).execute()
            return
        with self._locked() as (rows, now):
            slot = Slot.get_or_none(Slot.slot_id == slot_id)
            if slot is None or slot.used_at is None:
                return
            slot.outcome = outcome if outcome in {Outcome.OK, Outcome.BUSY, Outcome.FAILED} else "lost"
            slot.done_at = max(now, slot.used_at)
            Slot.update(outcome=slot.outcome, done_at=slot.done_at).where(Slot.slot_id == slot_id).execute()
            slow = self._slow[Route(slot.route)]
            changes = breakers.judge(rows, slot, outcome, said=said, key_id=key_id, slow=slow, now=now)
            waits_longer = self._learn(rows, slot, retry_after_s, now)
            self._tell(changes, rows)
            for route in {Route(slot.route)} if waits_longer else {change.route for change in changes}:
                self._replan(route, rows, now)

    def close_breakers(self, *, other_key_than: str | None = None) -> None:
        """A person has mended what kept us out: every endpoint may be called again.

        Args:
            other_key_than: only those that another key than this one opened.
        """
        with reading():
            if not Pace.select().where(Pace.broken_at.is_null(False)).exists():
                return
        with self._locked() as (rows, now):
            routes = [
                route
                for route in Route
                if other_key_than is None or rows[route].refused_key not in {None, other_key_than}
            ]
            self._tell(breakers.close(rows, routes, now), rows)
            for route in routes_waited_for():
                self._replan(route, rows, now)

    def _tell(self, changes: Sequence[Change], rows: dict[str, Pace]) -> None:
        """Read again what was changed, and tell of it."""
        if not changes:
            return
        rows.update(_rows())
        for change in changes:
            if change.after.is_open and not change.before.is_open and change.route is not Route.READ:
                # In hybrid mode the local parser may stand in now, and nobody is to wait for a next try first.
                wake_senders(change.at)
            if self._on_change is not None:
                self._on_change(change)

    def _matters(self, slot_id: int, now: datetime) -> bool:
        """True if a good answer to this slot's call teaches something, or says something to a breaker."""
        with reading():
            slot = _WITH_PACE.first(slot_id)
        if slot is None:
            return False
        row, route = slot.pace, Route(slot.route)
        if row.broken_at is not None or now - slot.used_at > self._slow[route]:
            return True
        windows = rates_of(row.override, self.limits.routes[route])
        return self._tries(row, windows, learned_of(row, windows))

    def _tries(self, row: Pace, windows: Sequence[Rate], learned: Learned) -> bool:
        route = Route(row.name)
        told = route in self.limits.told or row.override is not None
        trusted = is_trusted(route, windows, self._published[route], learned.proven, told=told)
        return learned.known(trusted=trusted) is not None

    def seconds_until(self, moment: datetime) -> float:
        """How far away a promised time is, by the clock that promised it; below 0 once it has passed."""
        return (moment - self._clock()).total_seconds()

    def give_back(self, slot_id: int) -> None:
        """No call was made: the slot returns."""
        with transaction():
            Slot.delete().where(Slot.slot_id == slot_id, Slot.done_at.is_null()).execute()

    def tidy(self, *, local: bool = False) -> None:
        """Return slots that nobody will use, and move those who wait forward where that makes room.

        Args:
            local: documents are parsed here now: nobody sends.

        Raises:
            StoreUnavailable: the database is away.
        """
        with reading():
            if not routes_waited_for():
                return
        with self._locked() as (rows, now):
            return_orphans(local, now)
            for route in routes_waited_for():
                self._replan(route, rows, now)

    def reset(self, change: Callable[[dict[str, Pace], datetime], None]) -> None:
        """Change what is set, under the lock, and promise new times to whoever waits."""
        with self._locked() as (rows, now):
            change(rows, now)
            rows = _rows()
            for route in routes_waited_for():
                self._replan(route, rows, now)

    @contextmanager
    def _locked(self) -> Iterator[tuple[dict[str, Pace], datetime]]:
        """One at a time, with the time as it is once the lock is held: earlier it could belong to another order."""
        with transaction():
            rows = _rows()
            now = self._clock()
            seen = max((row.seen_at for row in rows.values() if row.seen_at is not None), default=now)
            self._set_back(rows, now, seen)
            yield rows, now

    def _set_back(self, rows: dict[str, Pace], now: datetime, seen: datetime) -> None:
        """Keep the latest time that was seen; if the clock went back, nothing may lie further ahead than before."""
        if now < seen:
            clamp(now)
            for name, row in rows.items():
                changes: dict[str, Any] = {"seen_at": now}
                for field in ("hold_until", "cut_at", "broken_at", "probe_at", "recovered_at"):
                    moment = getattr(row, field)
                    if moment is not None:
                        changes[field] = moment - (seen - now)
                Pace.update(**changes).where(Pace.name == name).execute()
            rows.update(_rows())
            for route in routes_waited_for():
                self._replan(route, rows, now)
        elif now - seen > timedelta(seconds=1) or rows[Route.CREATE].seen_at is None:
            Pace.update(seen_at=now).where(Pace.name == Route.CREATE).execute()
            abandon(now)
            forget(now - self._longest(rows))

    def _gate(self, route: Route, rows: dict[str, Pace], calls: StoredCalls, now: datetime) -> Gate:
        return gate_of(route, rows, in_force(self.limits, rows), self._published[route], calls, now)

    def _longest(self, rows: dict[str, Pace]) -> timedelta:
        limits = in_force(self.limits, rows)
        rates = [*limits.hourly, *(rate for windows in limits.routes.values() for rate in windows)]
        return max(WINDOW, *(timedelta(seconds=rate.seconds) for rate in rates))

    def _learn(self, rows: dict[str, Pace], slot: Slot, retry_after_s: float | None, now: datetime) -> bool:
        """Remember what an answer teaches; True if those who wait must wait longer."""
        route = Route(slot.route)
        windows = in_force(self.limits, rows).routes[route]
        before = after = learned_of(rows[route], windows)
        assert slot.used_at is not None
        window = timedelta(seconds=before.window_s)
        changes: dict[str, Any] = {}
        if slot.outcome == "busy":
            # Only calls that the provider must have counted in one window: never more than its limit.
            after = before.after_refusal(most_went_through(route, window, now), slot.used_at, now)
            until = now + timedelta(seconds=hold_s(retry_after_s))
            held = rows[route].hold_until
            changes["hold_until"] = until if held is None else max(held, until)
        elif slot.outcome == "ok" and self._tries(rows[route], windows, before):
            after = before.after_success(went_through(route, now - window, now))
        if after != before:
            changes |= _learned_columns(after)
        if changes:
            Pace.update(**changes).where(Pace.name == route).execute()
            rows.update(_rows())
        return slot.outcome == "busy"

    def _replan(self, route: Route, rows: dict[str, Pace], now: datetime) -> None:
        """Promise those who wait the times that are right now, in order."""
        times: list[datetime] = []
        gate = self._gate(route, rows, StoredCalls(route, now, times=times), now)
        for slot in waiting_slots(route, MOVED_AT_ONCE):
            if slot.at <= now:
                # Its job was told already; if nobody comes for it, it loses its place (`GRACE`), not its turn.
                times += [slot.at] if slot.at > now - GRACE else []
                continue
            opening = opens_at(gate, now)
            times.append(opening.at)
            if abs(opening.at - slot.at) > WORTH_MOVING:
                Slot.update(at=opening.at, why=opening.why).where(Slot.slot_id == slot.slot_id).execute()
                _due(route, slot.job_id, opening.at, message=_wait_for(route, opening))


def _not_before_its_start(now: datetime) -> Any:
    latest = fn.GREATEST if is_postgres() else fn.MAX
    return latest(Slot.used_at, Slot.done_at.db_value(now))


def _all_rows() -> Any:
    query = Pace.select().order_by(Pace.name)
    return query.for_update() if is_postgres() else query


_LOCKED: Final[Prepared[Pace]] = Prepared(_all_rows)
_WITH_PACE: Final[Prepared[Any]] = Prepared(
    lambda slot_id: (
        Slot.select(Slot, Pace).join(Pace, on=(Slot.route == Pace.name), attr="pace").where(Slot.slot_id == slot_id)
    ),
    Slot.slot_id,
)


def _rows() -> dict[str, Pace]:
    """What is set and learned, locked until the transaction ends: the limiter's one lock."""
    return {row.name: row for row in _LOCKED.rows()}


def _learned_columns(learned: Learned) -> dict[str, Any]:
    return {
        "ceiling": learned.ceiling,
        "cut_at": learned.cut_at,
        "proven": learned.proven,
        "window_s": learned.window_s,
    }


def _put_off(route: Route, job_id: UUID | None, now: datetime) -> Promised:
    """A second message about the same thing waits until the first has its answer."""
    if route is not Route.READ:
        # Whoever sends has its own time to be looked at again.
        return Promised(now + HELD_UP, UNDER_WAY)
    # A question could be the one that brings the result. It is no wait for a slot: nothing is said of it.
    _due(route, job_id, now + TWICE)
    return Promised(now + TWICE, UNDER_WAY)


def _use(route: Route, holder: UUID, job_id: UUID | None, slot_id: int | None, now: datetime) -> Taken:
    if slot_id is None:
        return Taken(Slot.create(route=route, holder=holder, job_id=job_id, at=now, used_at=now).slot_id)
    Slot.update(used_at=now, at=now).where(Slot.slot_id == slot_id).execute()
    if job_id is not None:
        Job.update(message=None).where(Job.job_id == job_id, Job.message.startswith(WAITS)).execute()
    return Taken(slot_id)


def _promise(route: Route, holder: UUID, job_id: UUID | None, slot_id: int | None, opening: Opening) -> Promised:
    if slot_id is None:
        Slot.insert(route=route, holder=holder, job_id=job_id, at=opening.at, why=opening.why).execute()
    else:
        Slot.update(at=opening.at, why=opening.why).where(Slot.slot_id == slot_id).execute()
    _due(route, job_id, opening.at, message=_wait_for(route, opening))
    return Promised(opening.at, opening.why)


def _wait_for(route: Route, opening: Opening) -> str:
    return f"{WAITS}{route} slot at {opening.at:%H:%M:%S} UTC ({opening.why})"


def _due(route: Route, job_id: UUID | None, at: datetime, **said: str) -> None:
    """The job is due at `at`, and says why it waits if there is something to say."""
    if job_id is None:
        return
    states = _ASKING if route is Route.READ else (JobState.RESERVED,)
    moved = Job.update(due_at=at, **said).where(Job.job_id == job_id, Job.state.in_(states)).execute()
    if not moved and route is Route.READ:
        # The job has ended; what waits is the question what it cost.
        Attempt.update(due_at=at).where(Attempt.job == job_id, Attempt.due_at.is_null(False)).execute()
