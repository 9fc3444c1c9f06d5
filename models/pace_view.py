"""The provider's pace for people: what is set, what was learned, what limits now, and who waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from domain.job_state import JobState
from domain.pace import Learned, Limits, Route, words
from domain.settings import Rate
from models.admission import waiting_in_turn
from models.database import reading
from models.limits import NAMES, NONE, in_force, written
from models.service_tables import Pace, Slot
from models.slots import attempts_in_flight, learned_of
from models.tables import Job

_ROUTES: Final = ("parse", "upload", "read")
ADMISSION: Final = "admission"
_BEFORE_SENT: Final = (JobState.RECEIVED, JobState.RESERVED, JobState.IN_DOUBT)
NEXT: Final = "its turn comes with the next round of admissions"


@dataclass(frozen=True)
class RouteView:
    """One limit.

    Args:
        name: what people call it.
        in_force: as it would be written.
        configured: what the settings say.
        set_by: who set it while running, if somebody did.
        used: how many calls each window holds now.
        learned: what a 429 taught; None if none came, or it was left behind.
        next_at: the time of the first slot that waits.
        explanation: what limits now, in one sentence.
    """

    name: str
    in_force: str
    configured: str
    set_by: str | None
    set_at: datetime | None
    used: Sequence[tuple[Rate, int]]
    under_way: int
    waiting: int
    next_at: datetime | None
    learned: Learned | None
    explanation: str


@dataclass(frozen=True)
class Waiting:
    """A job that waits.

    Args:
        limit: what it waits for: a slot of a limit, by the name that people call it; ``admission`` (its turn, or its
            budget); ``twin`` (the job that does the same work); or ``retry``.
        at: when it goes, or is looked at again.
        why: a sentence.
    """

    job_id: UUID
    limit: str
    at: datetime | None
    why: str


def view_waiting(most: int, *, tenant: str | None = None) -> list[Waiting]:
    """Each job that waits, and why: those that have a slot's time first, in its order, then those to be admitted, then
    those that wait for their twin or to be tried again.

    Args:
        most: how many are told at most.
        tenant: only this one's.

    Raises:
        StoreUnavailable: the database is away.
    """
    names = {NAMES[name]: name for name in _ROUTES}
    slots: Any = Slot.select(Slot.job_id, Slot.route, Slot.at, Slot.why).join(Job, on=(Slot.job_id == Job.job_id))
    slots = slots.where(Slot.used_at.is_null()).order_by(Slot.at, Slot.slot_id)
    jobs = waiting_in_turn()
    said = Job.message.is_null(False) & Job.turn.is_null() & Job.state.in_(_BEFORE_SENT)
    with_slot = Slot.select(Slot.job_id).where(Slot.used_at.is_null(), Slot.job_id.is_null(False))
    others = Job.select().where(said, Job.job_id.not_in(with_slot)).order_by(Job.due_at)
    if tenant is not None:
        slots, jobs, others = (query.where(Job.tenant == tenant) for query in (slots, jobs, others))
    with reading():
        found = [Waiting(job_id, names[route], at, why) for job_id, route, at, why in slots.limit(most).tuples()]
        found += [
            Waiting(job.job_id, ADMISSION, job.due_at, job.message or NEXT)
            for job in jobs.limit(max(0, most - len(found)))
        ]
        found += [
            Waiting(job.job_id, "retry" if job.twin_of is None else "twin", job.due_at, str(job.message))
            for job in others.limit(max(0, most - len(found)))
        ]
        return found


def view_limits(limits: Limits, now: datetime) -> list[RouteView]:
    """Every limit as it stands.

    Raises:
        StoreUnavailable: the database is away.
    """
    with reading():
        rows = {row.name: row for row in Pace.select()}
        current = in_force(limits, rows)
        found = [_route(name, rows, limits, current, now) for name in _ROUTES]
        return [*found, _hourly(rows["hourly"], limits, current, now), _in_flight(rows["in_flight"], limits, current)]


def _route(name: str, rows: dict[str, Pace], limits: Limits, current: Limits, now: datetime) -> RouteView:
    route = Route(NAMES[name])
    row, windows = rows[route], current.routes[route]
    learned: Learned | None = learned_of(row, windows)
    kept = learned.pace(now) if learned is not None else None
    if kept is None or any(rate.seconds == kept.seconds and rate.count <= kept.count for rate in windows):
        learned = kept = None
    used = [(rate, _used(rate, route, now)) for rate in (*windows, *([kept] if kept is not None else []))]
    waiting = Slot.select().where(Slot.route == route, Slot.used_at.is_null()).order_by(Slot.slot_id)
    first = waiting.limit(1).get_or_none()
    return RouteView(
        name,
        written(windows),
        written(limits.routes[route]),
        row.changed_by if row.override is not None else None,
        row.changed_at if row.override is not None else None,
        used,
        Slot.select().where(Slot.route == route, Slot.used_at.is_null(False), Slot.done_at.is_null()).count(),
        waiting.count(),
        None if first is None else first.at,
        learned,
        _explain(row, windows, learned, kept, first, now),
    )


def _explain(
    row: Pace, windows: Sequence[Rate], learned: Learned | None, kept: Rate | None, first: Slot | None, now: datetime
) -> str:
    said = " and ".join(words(rate) for rate in windows)
    if learned is not None and kept is not None:
        said = (
            f"{words(kept)}, learned: the provider answered 429 at {learned.cut_at:%H:%M:%S} UTC after "
            f"{learned.ceiling} in {learned.window_s} s; it grows back to {said}"
        )
    if row.broken_at is not None and row.probe_at is not None:
        again = "one call is trying it" if row.probe_at <= now else f"one call tries it at {row.probe_at:%H:%M:%S} UTC"
        said += f"; stopped since {row.broken_at:%H:%M:%S} UTC: {row.broken_why}; {again}"
    if row.hold_until is not None and row.hold_until > now:
        said += f"; nothing goes before {row.hold_until:%H:%M:%S} UTC, as the provider asked"
    if first is not None:
        said += f"; the next in line goes at {first.at:%H:%M:%S} UTC" + (f" ({first.why})" if first.why else "")
    return said


def _used(rate: Rate, route: Route | None, now: datetime) -> int:
    calls = Slot.used_at.is_null(False) & (
        Slot.done_at.is_null() | (Slot.done_at > now - timedelta(seconds=rate.seconds))
    )
    if route is not None:
        calls &= Slot.route == route
    return int(Slot.select().where(calls).count())


def _hourly(row: Pace, limits: Limits, current: Limits, now: datetime) -> RouteView:
    used = [(rate, _used(rate, None, now)) for rate in current.hourly]
    full = [rate for rate, count in used if count >= rate.count]
    explanation = "no limit over all routes together"
    if used:
        explanation = " and ".join(f"{count} of {words(rate)} used" for rate, count in used)
        explanation += "; it is what limits now" if full else ""
    return _global("hourly", row, written(current.hourly), written(limits.hourly), used, explanation)


def _in_flight(row: Pace, limits: Limits, current: Limits) -> RouteView:
    at_provider, most = attempts_in_flight(), current.in_flight
    explanation = f"{at_provider} at the provider" + (", no limit" if most is None else f" of at most {most}")
    if most is not None and at_provider >= most:
        explanation += "; it is what limits now"
    shown = (NONE if most is None else str(most), NONE if limits.in_flight is None else str(limits.in_flight))
    return _global("in_flight", row, *shown, [], explanation)


def _global(
    name: str, row: Pace, current: str, configured: str, used: Sequence[tuple[Rate, int]], explanation: str
) -> RouteView:
    is_set = row.override is not None
    set_by, set_at = (row.changed_by, row.changed_at) if is_set else (None, None)
    return RouteView(name, current, configured, set_by, set_at, used, 0, 0, None, None, explanation)
