"""The limiter against a model of the provider's windows: random histories on both databases, time set by the test."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Final
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from domain.breaker import PROBE_LIMIT, PROBE_PAUSE, REFUSED_OPEN
from domain.job_state import AttemptState, JobState, Provenance
from domain.pace import ABANDONED_AFTER, Limits, Outcome, Route
from domain.settings import Rate, parse_rates
from models import jobs
from models.breakers import Change
from models.database import database
from models.limits import change
from models.pace import WORTH_MOVING, Pacer, Taken
from models.service_tables import Pace, Slot
from models.slots import GRACE
from models.tables import Attempt, Job
from tests.state import KINDS, an_order, state_of

START: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)
EXAMPLES: Final = {"sqlite": 130, "postgresql": 80}
STEPS: Final = 50
LEAST_SHARE: Final = 0.6
"""Of the most steps that there can be, so many are made: hypothesis ends some histories early."""
HOLDERS: Final = [UUID(int=number) for number in range(12)]
LONGEST: Final = timedelta(seconds=120)
SECOND: Final = timedelta(seconds=1)
STATE: Final = (
    *("override", "ceiling", "cut_at", "proven", "window_s", "hold_until", "seen_at"),
    *("broken_at", "probe_at", "probe", "recovered_at", "refused_key"),
)

routes = st.sampled_from([Route.CREATE, Route.CREATE, Route.UPLOAD])
steps = st.integers(1, 8_000).map(lambda ms: timedelta(milliseconds=ms))


@dataclass
class Call:
    """What the model knows of one call: it reached the provider at some moment from `start` to `end`.

    `start` and `end` are true times, whatever the database's clock says; without an `end` it is under way.
    """

    route: Route
    holder: UUID
    slot_id: int
    start: datetime
    end: datetime | None = None

    def may_be_after(self, moment: datetime) -> bool:
        return self.end is None or self.end > moment


class Windows(RuleBasedStateMachine):
    """Calls as the provider may see them, at its worst for us."""

    judged: ClassVar[int]

    @initialize(
        create=st.sampled_from(["2/10", "3/10,4/30", "1/1", "200/10"]), hourly=st.sampled_from([(), (Rate(6, 120),)])
    )
    def begin(self, create: str, hourly: tuple[Rate, ...]) -> None:
        Slot.delete().execute()
        Attempt.update(state=AttemptState.OPEN).execute()
        Pace.update(**dict.fromkeys(STATE), openings=0, broken_why="").execute()
        self.true = START
        self.skew = timedelta()
        self.calls: list[Call] = []
        self.asked: dict[tuple[Route, UUID], int] = {}
        self.limits = {Route.CREATE: parse_rates(create), Route.UPLOAD: (Rate(2, 5),), Route.READ: (Rate(9, 9),)}
        self.hourly = hourly
        self.learned = False
        self.changes: list[Change] = []
        limits = Limits(dict(self.limits), hourly)
        self.pacer = Pacer(limits, lambda: self.true + self.skew, on_change=self.changes.append)

    @property
    def now(self) -> datetime:
        """The database's time."""
        return self.true + self.skew

    @rule(by=steps)
    def time_goes_on(self, by: timedelta) -> None:
        self.true += by
        for call in self.calls:
            given_up = call.start + ABANDONED_AFTER[call.route]
            if call.end is None and given_up <= self.true:
                call.end = given_up

    @rule(route=routes, holder=st.sampled_from(HOLDERS))
    def somebody_asks(self, route: Route, holder: UUID) -> None:
        if any(call.holder == holder and call.route is route and call.end is None for call in self.calls):
            return
        before = self.waiting(route)
        row = Pace.get(Pace.name == route)
        answer = self.pacer.take(route, holder)
        if isinstance(answer, Taken):
            self.goes(route, holder, answer.slot_id, before)
            self.tries_alone(row, answer.slot_id)
        else:
            assert answer.at > self.now
            assert answer.why
            (slot,) = [slot for slot in self.waiting(route) if slot.holder == holder]
            assert self.asked.setdefault((route, holder), slot.slot_id) == slot.slot_id
        assert not Slot.select().where(Slot.done_at < self.now - LONGEST - 2 * SECOND).exists()

    def goes(self, route: Route, holder: UUID, slot_id: int, before: list[Slot]) -> None:
        """No window at the provider can hold more than it allows, wherever between start and end calls arrived."""
        mine = self.asked.pop((route, holder), None)
        assert mine in {None, slot_id}
        first = [slot for slot in before if slot.slot_id < slot_id and slot.at > self.now - GRACE]
        for rate in self.limits[route]:
            assert self.within(rate, route) + len(first) + 1 <= rate.count
        for rate in self.hourly:
            assert self.within(rate, None) + 1 <= rate.count
        self.calls.append(Call(route, holder, slot_id, self.true))

    def tries_alone(self, before: Pace, slot_id: int) -> None:
        """An open breaker lets one call try at a time, and none before its moment."""
        row = Pace.get(Pace.name == before.name)
        if row.broken_at is None:
            return
        assert row.probe == slot_id
        assert before.probe is None or not self.is_under_way(before.probe)
        assert row.probe_at is not None
        assert row.probe_at <= self.now

    def is_under_way(self, slot_id: int) -> bool:
        return any(
            call.slot_id == slot_id and call.end is None and call.start > self.true - PROBE_LIMIT for call in self.calls
        )

    def within(self, rate: Rate, route: Route | None) -> int:
        opened = self.true - timedelta(seconds=rate.seconds)
        return sum(call.may_be_after(opened) for call in self.calls if route in {None, call.route})

    def waiting(self, route: Route) -> list[Slot]:
        return list(Slot.select().where(Slot.route == route, Slot.used_at.is_null()).order_by(Slot.slot_id))

    @precondition(lambda self: any(call.end is None for call in self.calls))
    @rule(data=st.data(), how=st.sampled_from(["ok", "ok", "ok", "failed", "failed", "busy", "refused", "unused"]))
    def a_call_ends(self, data: st.DataObject, how: str) -> None:
        call = data.draw(st.sampled_from([call for call in self.calls if call.end is None]))
        if how == "unused":
            self.pacer.give_back(call.slot_id)
            self.calls.remove(call)
            return
        retry_after_s = data.draw(st.sampled_from([None, 3.0])) if how == "busy" else None
        before = Pace.get(Pace.name == call.route)
        self.pacer.finish(call.slot_id, Outcome(how), retry_after_s=retry_after_s, said="no", key_id="key")
        self.learned |= how == "busy"
        call.end = self.true
        row = Pace.get(Pace.name == call.route)
        if how == "refused":
            assert {row.refused_key for row in Pace.select().where(Pace.name.in_(list(Route)))} == {"key"}
        elif before.probe == call.slot_id and before.broken_at is not None:
            assert (row.broken_at is None) == (how in {"ok", "busy"})
            assert row.probe_at is None or row.probe_at > self.now

    @rule()
    def somebody_mends_the_key(self) -> None:
        self.pacer.close_breakers(other_key_than="another")
        assert not Pace.select().where(Pace.refused_key.is_null(False)).exists()

    @rule(holder=st.sampled_from(HOLDERS))
    def somebody_is_cancelled(self, holder: UUID) -> None:
        """The slot of who will not come returns by itself."""
        Attempt.update(state=AttemptState.CANCELLED).where(Attempt.attempt_id == holder).execute()
        self.pacer.tidy()
        for route in Route:
            self.asked.pop((route, holder), None)
            assert holder not in [slot.holder for slot in self.waiting(route)]
        Attempt.update(state=AttemptState.OPEN).where(Attempt.attempt_id == holder).execute()

    @rule(by=st.sampled_from([1, 30, 3600]))
    def the_databases_clock_is_set_back(self, by: int) -> None:
        self.pacer.tidy()
        self.skew -= timedelta(seconds=by)

    @rule(text=st.sampled_from(["1/10", "2/10", "5/10,6/20", "default"]))
    def somebody_sets_the_limit(self, text: str) -> None:
        self.pacer.reset(change({"parse": text}, "test"))
        self.limits[Route.CREATE] = self.pacer.limits.routes[Route.CREATE] if text == "default" else parse_rates(text)

    @invariant()
    def a_step_was_judged(self) -> None:
        Windows.judged += 1

    @invariant()
    def one_slot_each(self) -> None:
        found = [(slot.route, slot.holder) for route in Route for slot in self.waiting(route)]
        assert len(found) == len(set(found))
        assert Slot.select().count() <= len(found) + len(self.calls)

    @invariant()
    def every_change_is_told(self) -> None:
        """Whoever listens knows which breakers are open, and it is a matter of time until one may be tried."""
        told = {change.route: change.after for change in self.changes}
        for row in Pace.select().where(Pace.name.in_(list(Route))):
            assert (row.broken_at is not None) == (row.name in told and told[Route(row.name)].is_open)
            if row.probe_at is not None and not self.skew:
                assert row.probe_at <= self.now + REFUSED_OPEN

    @rule(route=routes)
    def who_waits_is_promised_the_right_time(self, route: Route) -> None:
        """What was returned is used by the first who waits, and a clock that went back makes nobody wait long."""
        self.pacer.tidy()
        slots = self.waiting(route)
        waiting = [slot.at for slot in slots if slot.at > self.now]
        if not waiting or len(waiting) != len(slots):
            return
        assert all(later > earlier - WORTH_MOVING for earlier, later in pairwise(waiting))
        broken = Pace.get(Pace.name == route).broken_at is not None
        longest = max(rate.seconds for rate in (*self.limits[route], *self.hourly, Rate(1, 10)))
        longest = max(longest, REFUSED_OPEN // SECOND if broken else 0, PROBE_PAUSE // SECOND)
        assert waiting[0] <= self.now + (longest + 1) * SECOND
        has_room = all(self.within(rate, route) < rate.count for rate in self.limits[route]) and all(
            self.within(rate, None) < rate.count for rate in self.hourly
        )
        is_known = self.skew == timedelta() and not self.learned and not broken and route is Route.UPLOAD
        assert not (has_room and is_known) or waiting[0] <= self.now + WORTH_MOVING


def make_holders() -> None:
    """Attempts that are about to be sent, each of a job of its own."""
    for holder in HOLDERS:
        job = jobs.accept_order(an_order(), who="test", now=START, due_at=START).job
        Job.update(state=JobState.RESERVED).where(Job.job_id == job.job_id).execute()
        Attempt.create(
            attempt_id=holder,
            job=job.job_id,
            number=1,
            state=AttemptState.OPEN,
            provenance=Provenance.REAL,
            estimate=0,
            created_at=START,
        )


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
def test_no_window_ever_holds_more(kind: str, tmp_path: Path) -> None:
    with state_of(kind, tmp_path):
        if kind == "sqlite":
            # Nothing here survives a power cut: the pace is judged, not the disk.
            database.execute_sql("PRAGMA synchronous = off")
        make_holders()
        Windows.judged = 0
        run_state_machine_as_test(
            Windows,
            settings=settings(
                max_examples=EXAMPLES[kind],
                stateful_step_count=STEPS,
                deadline=None,
                phases=(Phase.generate,),
                suppress_health_check=list(HealthCheck),
            ),
        )
        assert Windows.judged >= EXAMPLES[kind] * STEPS * LEAST_SHARE
