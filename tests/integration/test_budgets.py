"""Documents and their budgets, on both databases, against the simulator: what it bills is never over the limit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from structlog.testing import capture_logs

from actors.admission import AHEAD, admit_waiting
from actors.boot import configure_budget
from actors.budget_check import check_budget, check_waiting
from actors.clock import reprice_budgets, sweep
from actors.parse import start_parse
from domain.budgets import GLOBAL_DAY, BudgetKey, Period, Scope
from domain.job_state import AttemptState, JobState, Provenance
from domain.money import Millicredits
from domain.settings import Mode
from llamaparse.simulator import RunningSimulator, SimulatorSettings, serve
from models import admission, attempts, audit, budgets, jobs, ledger
from models.database import transaction
from models.tables import Attempt, BudgetWindow, Delivery, Drift, Job, LedgerEntry
from tests.documents import new_pdf
from tests.state import KINDS, an_order, state_of
from tests.world import KEY, World, world_of

ZONE = ZoneInfo("UTC")
NOON = datetime(2030, 4, 30, 12, 0, tzinfo=UTC)
"""When tests begin: none must run over midnight unless it means to."""
CREDITS = 3000
"""One page of `cost_effective`, in millicredits."""


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    running = serve(SimulatorSettings(latency_s=0.01, parse_limit="500/1", upload_limit="500/1"), "127.0.0.1", 0)
    yield running
    running.stop()


class Making:
    """Makes a world with a budget; every one ends with the test, and its books must add up."""

    def __init__(self, kind: str, folder: Path, simulator: RunningSimulator, stack: ExitStack) -> None:
        self.kind, self.folder, self.simulator, self.stack = kind, folder, simulator, stack

    def __call__(self, credits_a_day: float, **environment: str) -> World:
        self.stack.enter_context(state_of(self.kind, self.folder))
        usd = f"{credits_a_day * 0.00125:.6f}"
        environment["PARSEGATE_DAILY_BUDGET_USD"] = usd
        world = self.stack.enter_context(world_of(self.simulator, self.folder, mode=Mode.REAL, **environment))
        world.ahead = NOON - datetime.now(UTC)
        return world


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, tmp_path: Path, simulator: RunningSimulator) -> Iterator[Making]:
    with ExitStack() as stack:
        yield Making(request.param, tmp_path, simulator, stack)
        assert audit.find_faults() == []


def a_page(world: World, name: str, pages: int = 1) -> Path:
    """A PDF unlike all others."""
    pdf = new_pdf()
    for page in range(pages):
        pdf.add_page()
        pdf.set_font("Helvetica", size=12)
        pdf.cell(0, 10, f"{name} page {page}")
    path = world.folder / f"{name}.pdf"
    path.write_bytes(bytes(pdf.output()))
    return path


def order(world: World, name: str, pages: int = 1, **said: Any) -> Job:
    job = world.order_file(a_page(world, name, pages), **said)
    world.drain()
    return jobs.get_job(job.job_id)


def billed(world: World) -> int:
    return round(float(world.stats()["credits_billed"]) * 1000)


def events(job: Job) -> list[dict[str, Any]]:
    return [json.loads(row.body) for row in Delivery.select().where(Delivery.job == job.job_id)]


def test_what_does_not_fit_today_waits_for_tomorrow_and_says_until_when(make: Making) -> None:
    world = make(7)
    done = [world.run_until(order(world, name)) for name in ("a", "b")]
    late = order(world, "c")
    assert [job.state for job in done] == ["completed", "completed"]
    assert (late.state, late.waits_for) == (JobState.DEFERRED, "global/day")
    tomorrow = (world.now() + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    assert (late.due_at, late.tries) == (tomorrow, 0)
    assert "1 of 7 credits left" in (late.message or "")
    assert f"until {tomorrow:%Y-%m-%d %H:%M} UTC" in (late.message or "")
    assert [event["type"] for event in events(late)] == ["document.deferred"]
    assert not Attempt.select().where(Attempt.job == late.job_id).exists()
    assert billed(world) == 2 * CREDITS
    world.ahead += tomorrow - world.now() + timedelta(seconds=1)
    assert world.run_until(late).state == JobState.COMPLETED
    assert billed(world) == 3 * CREDITS


def test_a_raised_budget_lets_them_go_at_once(make: Making) -> None:
    world = make(3)
    first, second = order(world, "a"), order(world, "b")
    assert second.state == JobState.DEFERRED
    world.run_until(first)
    budgets.set_budget(GLOBAL_DAY, Millicredits(6000), who="t", now=world.now(), zone=ZONE)
    assert admission.wake_deferred(world.now()) == 1
    sweep(world.services)
    assert world.run_until(second).state == JobState.COMPLETED


def test_what_a_bill_below_its_hold_frees_goes_to_who_waits(make: Making) -> None:
    """A text is held at two pages, since its pages are only guessed, and billed for one."""
    world = make(9)
    texts = []
    for name in ("a", "b"):
        path = world.folder / f"{name}.txt"
        path.write_text(f"A short letter, {name}.")
        texts.append(world.order_file(path))
    world.drain()
    second = jobs.get_job(texts[1].job_id)
    assert (second.state, second.estimate) == (JobState.DEFERRED, 2 * CREDITS)
    started = world.now()
    assert world.run_until(texts[0]).cost == CREDITS
    assert world.run_until(second).state == JobState.COMPLETED
    assert world.now() - started < timedelta(hours=1)


def test_a_temporary_increase_ends(make: Making) -> None:
    world = make(3)
    order(world, "a")
    until = world.now() + timedelta(minutes=30)
    budgets.grant_extra(GLOBAL_DAY, Millicredits(3000), until, who="t", now=world.now(), zone=ZONE)
    assert order(world, "b").state != JobState.DEFERRED
    world.ahead += timedelta(minutes=31)
    assert order(world, "c").state == JobState.DEFERRED


def test_what_costs_more_than_a_whole_window_is_rejected_at_once(make: Making) -> None:
    world = make(10)
    job = order(world, "a", pages=4)
    assert (job.state, job.reason) == (JobState.REJECTED, "over_a_whole_window")
    assert "costs up to 12 credits" in (job.message or "")
    assert "is 10" in (job.message or "")
    assert [event["type"] for event in events(job)] == ["document.failed"]
    assert world.stats()["jobs_created"] == 0


@pytest.mark.parametrize(
    ("policy", "state", "provenance"), [("reject", "rejected", None), ("mock", "completed", Provenance.MOCK)]
)
def test_other_policies(make: Making, policy: str, state: str, provenance: str | None) -> None:
    world = make(3, PARSEGATE_ON_BUDGET_EXHAUSTED=policy)
    world.run_until(order(world, "a"))
    job = world.run_until(order(world, "b"))
    assert (job.state, job.provenance) == (state, provenance)
    assert billed(world) == CREDITS


def test_a_zero_budget_sends_nothing(make: Making) -> None:
    world = make(0)
    assert order(world, "a").state == JobState.REJECTED
    assert world.stats()["uploads"] == 0


def test_budgets_stack_and_one_tenant_does_not_hold_up_another(make: Making) -> None:
    world = make(100)
    acme = BudgetKey(Scope.TENANT, Period.DAY, "acme")
    budgets.set_budget(acme, Millicredits(3000), who="t", now=world.now(), zone=ZONE)
    first, second = order(world, "a", tenant="acme"), order(world, "b", tenant="acme")
    other = order(world, "c", tenant="globex")
    assert (second.state, second.waits_for) == (JobState.DEFERRED, "tenant:acme/day")
    assert JobState.COMPLETED == world.run_until(first).state == world.run_until(other).state
    assert {row.budget for row in LedgerEntry.select()} == {"global/day", "tenant:acme/day"}


def test_a_newcomer_does_not_overtake_who_waits_for_the_same_budget(make: Making) -> None:
    world = make(10)
    order(world, "a", pages=2)
    large = order(world, "b", pages=2)
    small = order(world, "c")
    assert (large.state, small.state) == (JobState.DEFERRED, JobState.DEFERRED)


def test_a_hold_from_before_midnight_moves_to_the_day_in_which_it_is_sent(make: Making) -> None:
    world = make(3)
    world.ahead = datetime(2030, 5, 1, 23, 50, tzinfo=UTC) - datetime.now(UTC)
    job = world.order_file(a_page(world, "a"))
    while world.queue and world.queue[0].actor_name != "start_parse":
        world.handle(world.queue.popleft())
    world.ahead += timedelta(minutes=20)
    assert world.run_until(jobs.get_job(job.job_id)).state == JobState.COMPLETED
    kinds = [(row.window_name, row.kind) for row in LedgerEntry.select().order_by(LedgerEntry.entry_id)]
    assert kinds == [
        *(("2030-05-01", "reserve"), ("2030-05-01", "release")),
        *(("2030-05-02", "reserve"), ("2030-05-02", "settle")),
    ]


@pytest.mark.parametrize(("room", "state"), [(8, JobState.PARSING), (7, JobState.DEFERRED)])
def test_a_hold_from_before_midnight_is_what_the_new_days_bill_can_be(
    make: Making, room: float, state: JobState
) -> None:
    """Two documents were admitted at 3 credits each, and are sent when a page costs 4."""
    day = NOON.date() + timedelta(days=1)
    world = make(room, PARSEGATE_PRICES=f"cost_effective=3; {day}: cost_effective=4")
    world.faults(job_stuck=1)
    found, to_be_sent = [world.order_file(a_page(world, name)) for name in ("a", "b")], []
    while world.queue:
        message = world.queue.popleft()
        if message.actor_name == "start_parse":
            to_be_sent.append(message)
        else:
            world.handle(message)
    world.ahead += timedelta(hours=13)
    world.queue.extend(to_be_sent)
    ended = [world.run_until(job, JobState.PARSING, JobState.DEFERRED) for job in found]
    assert [job.state for job in ended] == [JobState.PARSING, state]
    sent = Attempt.get(Attempt.job == found[0].job_id)
    assert (sent.estimate, sent.page_price) == (4000, 4000)
    assert budgets.balance(GLOBAL_DAY, world.now(), ZONE).reserved == 4000 * (1 + (state == JobState.PARSING))


def test_a_hold_that_the_new_day_has_no_room_for_is_deferred_and_keeps_its_file(make: Making) -> None:
    world = make(3)
    world.ahead = datetime(2030, 5, 1, 23, 50, tzinfo=UTC) - datetime.now(UTC)
    early = world.order_file(a_page(world, "a"))
    while world.queue and world.queue[0].actor_name != "start_parse":
        world.handle(world.queue.popleft())
    world.queue.clear()
    world.ahead += timedelta(minutes=20)
    world.run_until(order(world, "b"))
    start_parse(world.services, early.job_id)
    waiting = jobs.get_job(early.job_id)
    assert (waiting.state, waiting.waits_for) == (JobState.DEFERRED, "global/day")
    assert billed(world) == CREDITS
    world.ahead += timedelta(days=1)
    assert world.run_until(waiting).state == JobState.COMPLETED
    assert world.stats()["uploads"] == 2


def enqueued(world: World, count: int, **said: Any) -> list[Job]:
    """Documents that wait to be admitted, and nobody has admitted yet."""
    made = []
    for _ in range(count):
        job = world.order_file(a_page(world, "same"), **said)
        amount = Millicredits(3000)
        assert admission.enqueue(job, pages=1, pages_guessed=False, estimate=amount, work_key=None, due_at=world.now())
        made.append(job)
    world.queue.clear()
    return made


def test_tenants_take_turns_and_priority_goes_first(make: Making) -> None:
    """Forty documents of one tenant stand before five of another, and an urgent one comes last."""
    world = make(10_000)
    enqueued(world, 40, tenant="acme")
    enqueued(world, 5, tenant="globex")
    (urgent,) = enqueued(world, 1, tenant="acme", priority=9)
    admit_waiting(world.services)
    admitted = [row.job for row in Attempt.select(Attempt, Job).join(Job).order_by(Attempt.created_at)]
    assert (len(admitted), admitted[0].job_id) == (46, urgent.job_id)
    assert [job.tenant for job in admitted[1:12]].count("globex") == 5
    enqueued(world, 3, tenant="acme")
    enqueued(world, 3, tenant="late")
    admit_waiting(world.services)
    newest = [row.job.tenant for row in Attempt.select(Attempt, Job).join(Job).order_by(Attempt.created_at)][46:]
    assert sorted(newest[:2]) == ["acme", "late"]


def test_no_more_are_admitted_than_can_soon_be_sent(make: Making) -> None:
    world = make(10_000)
    waiting = enqueued(world, AHEAD + 3)
    check_budget(world.services, waiting[-1].job_id)
    last = jobs.get_job(waiting[-1].job_id)
    assert (last.state, last.message) == (JobState.RECEIVED, "waits for its turn; 2 documents are before it")
    assert LedgerEntry.select().count() == AHEAD
    world.run_until(waiting[0])
    assert jobs.get_job(waiting[-1].job_id).state != JobState.RECEIVED


def test_nothing_is_sent_without_a_hold(make: Making) -> None:
    """Such as an attempt of a version that knew no ledger: it is admitted anew, and then sent."""
    world = make(100)
    job = world.order_file(a_page(world, "a"))
    world.queue.clear()
    now = world.now()
    jobs.step(job.job_id, JobState.RECEIVED, JobState.RESERVED, who="t", why="t", now=now, due_at=now, pages=1)
    old = attempts.open_attempt(job, provenance=Provenance.REAL, estimate=Millicredits(CREDITS), now=now)
    assert old is not None
    assert world.run_until(jobs.get_job(job.job_id)).state == JobState.COMPLETED
    states = [(row.number, row.state, row.billed) for row in Attempt.select().order_by(Attempt.number)]
    assert states == [(1, "never_made", 0), (2, "completed", CREDITS)]


def test_mock_mode_reserves_nothing(make: Making) -> None:
    world = make(3)
    world.mode = Mode.MOCK
    for name in ("a", "b"):
        assert world.run_until(order(world, name)).provenance == Provenance.MOCK
    assert not LedgerEntry.select().exists()


def test_a_switch_to_mock_gives_the_hold_back(make: Making) -> None:
    world = make(3)
    job = world.order_file(a_page(world, "a"))
    while world.queue and world.queue[0].actor_name != "upload_file":
        world.handle(world.queue.popleft())
    world.mode = Mode.MOCK
    assert world.run_until(jobs.get_job(job.job_id)).provenance == Provenance.MOCK
    assert [row.kind for row in LedgerEntry.select()] == ["reserve", "release"]


# Settlement


def test_a_cost_that_comes_late_keeps_its_hold_until_then(make: Making, tmp_path: Path) -> None:
    world = make(3)
    world.faults(usage_never=1)
    job = world.run_until(order(world, "a"))
    assert (job.state, job.cost) == (JobState.COMPLETED, 0)
    assert order(world, "b").state == JobState.DEFERRED
    budget = budgets.balance(GLOBAL_DAY, world.now(), ZONE)
    assert (budget.reserved, budget.spent) == (CREDITS, 0)


def test_a_cost_that_is_never_told_is_assumed_in_the_end(make: Making) -> None:
    world = make(100, PARSEGATE_USAGE_WAIT_SECONDS="60")
    world.faults(usage_never=1)
    job = world.run_until(order(world, "a"))
    run_on(world, lambda: bool(jobs.get_job(job.job_id).cost))
    attempt = Attempt.get()
    assert (attempt.billed, attempt.assumed, attempt.state) == (CREDITS, True, AttemptState.COMPLETED)
    assert [(row.kind, row.billed) for row in Drift.select()] == [("never_told", None)]


def test_a_failed_job_is_settled_at_what_was_billed(make: Making) -> None:
    world = make(100)
    world.faults(job_fails=1, failure_billed=1)
    job = world.run_until(order(world, "a"))
    assert (job.state, job.cost, billed(world)) == (JobState.FAILED, CREDITS, CREDITS)
    world.faults(job_fails=1, failure_billed=0)
    assert world.run_until(order(world, "b")).cost == 0
    budget = budgets.balance(GLOBAL_DAY, world.now(), ZONE)
    assert (budget.reserved, budget.spent) == (0, CREDITS)
    assert not Drift.select().exists()


def test_the_money_of_a_failed_job_is_held_until_the_provider_tells(make: Making) -> None:
    world = make(3, PARSEGATE_USAGE_WAIT_SECONDS="60")
    world.faults(job_fails=1, failure_billed=1, usage_never=1)
    job = world.run_until(order(world, "a"))
    assert (job.state, job.cost) == (JobState.FAILED, 0)
    budget = budgets.balance(GLOBAL_DAY, world.now(), ZONE)
    assert (budget.reserved, budget.spent) == (CREDITS, 0)
    assert world.run_until(order(world, "b"), JobState.DEFERRED).state == JobState.DEFERRED
    run_on(world, lambda: bool(jobs.get_job(job.job_id).cost))
    assert [row.kind for row in Drift.select()] == ["never_told"]


def test_a_job_that_was_cancelled_at_the_provider_keeps_its_hold_until_that_is_known(make: Making) -> None:
    world = make(3)
    world.faults(job_stuck=1)
    job = world.run_until(order(world, "a"), JobState.PARSING)
    cancel = f"{world.simulator.base_url}/api/v2/parse/{Attempt.get().provider_job_id}/cancel"
    assert httpx.post(cancel, headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
    assert budgets.balance(GLOBAL_DAY, world.now(), ZONE).reserved == CREDITS
    ended = world.run_until(job)
    assert (ended.state, ended.reason, ended.cost) == (JobState.FAILED, "cancelled_at_provider", 0)
    assert (Attempt.get().state, Attempt.get().billed) == (AttemptState.CANCELLED, 0)
    assert budgets.balance(GLOBAL_DAY, world.now(), ZONE).free == CREDITS


def test_an_unexplained_zero_is_not_believed(make: Making) -> None:
    world = make(100)
    world.faults(usage_zero=1)
    job = world.run_until(order(world, "a"))
    assert job.cost == CREDITS
    assert [row.kind for row in Drift.select()] == ["unexplained_zero"]
    world.ahead += timedelta(hours=2)
    sweep(world.services)
    world.drain()
    assert Drift.get().tries == 1


def test_a_zero_is_believed_where_the_same_was_paid_before_and_may_be_cached(make: Making) -> None:
    world = make(100, PARSEGATE_REUSE_SECONDS="0")
    path = a_page(world, "a")
    world.run_until(world.order_file(path))
    world.faults(usage_zero=1)
    httpx.post(f"{world.simulator.base_url}/_sim/reset")
    world.faults(usage_zero=1)
    assert world.run_until(world.order_file(path)).cost == 0
    assert not Drift.select().exists()
    uncached = world.run_until(world.order_file(path, options={"disable_cache": True}))
    assert uncached.cost == CREDITS
    assert [row.kind for row in Drift.select()] == ["unexplained_zero"]


def test_a_bill_over_the_reservation_is_settled_and_on_record(make: Making) -> None:
    world = make(100)
    world.faults(usage_wrong=1)
    with capture_logs() as lines:
        job = world.run_until(order(world, "a"))
    assert job.cost == 2 * CREDITS == billed(world)
    (said,) = [line for line in lines if line["event"] == "the bill is not what was priced"]
    (event,) = Delivery.select().where(Delivery.event_type == "billing.drift")
    assert (said["log_level"], said["drift"], said["billed_credits"]) == ("error", "over_reservation", 6)
    assert json.loads(event.body)["data"] == {name: said[name] for name in json.loads(event.body)["data"]}
    assert (said["job_id"], said["priced_credits"]) == (str(job.job_id), 3)
    assert [(row.kind, row.priced, row.billed) for row in Drift.select()] == [
        ("over_reservation", CREDITS, 2 * CREDITS)
    ]
    assert budgets.balance(GLOBAL_DAY, world.now(), ZONE).spent == 2 * CREDITS


def test_the_providers_cache_costs_nothing_and_is_called_by_its_name(make: Making) -> None:
    world = make(100, PARSEGATE_REUSE_SECONDS="0")
    path = a_page(world, "a")
    first = world.run_until(world.order_file(path))
    second = world.run_until(world.order_file(path))
    assert [(job.provenance, job.cost) for job in (first, second)] == [("real", CREDITS), ("cached", 0)]
    assert world.stats()["jobs_created"] == 2
    assert not Drift.select().exists()


def test_a_zero_that_is_explained_later_is_corrected(make: Making) -> None:
    """Settled at the estimate until the provider tells; then all budgets say so, one that was set later too."""
    world = make(100)
    world.faults(usage_zero=1)
    job = world.run_until(order(world, "a"))
    month = BudgetKey(Scope.GLOBAL, Period.MONTH)
    budgets.set_budget(month, Millicredits(90_000), who="test", now=world.now(), zone=ZONE)
    for key in (GLOBAL_DAY, month):
        assert budgets.balance(key, world.now(), ZONE).spent == CREDITS
    told = httpx.get(f"{world.simulator.base_url}/_sim/stats").json()
    attempt = Attempt.get()
    assert told["credits_by_job"][str(job.job_id)] == CREDITS / 1000
    assert attempts.correct(attempt, Millicredits(5000), now=world.now(), why="told")
    assert not attempts.correct(attempt, Millicredits(5000), now=world.now(), why="told again")
    for key in (GLOBAL_DAY, month):
        assert budgets.balance(key, world.now(), ZONE).spent == 5000
    assert jobs.get_job(job.job_id).cost == 5000
    assert [row.amount for row in LedgerEntry.select().where(LedgerEntry.kind == "adjust")] == [3000, 2000, 2000]


def test_a_zero_that_the_provider_takes_back_is_corrected_and_explained(make: Making) -> None:
    world = make(100)
    world.faults(usage_zero_once=1)
    job = world.run_until(order(world, "a"))
    assert [(row.kind, row.explained_at) for row in Drift.select()] == [("unexplained_zero", None)]
    Attempt.update(billed=5000).execute()
    Job.update(cost=5000).execute()
    with transaction():
        ledger.adjust(Attempt.get().attempt_id, 2000, now=world.now(), why="the hold was higher")
    Drift.update(due_at=world.now()).execute()
    sweep(world.services)
    world.drain()
    assert (jobs.get_job(job.job_id).cost, Attempt.get().assumed) == (CREDITS, False)
    assert budgets.balance(GLOBAL_DAY, world.now(), ZONE).spent == CREDITS
    drift = Drift.get()
    assert (drift.explanation, drift.explained_by) == ("the provider told 3 credits later", None)


def test_a_provider_that_can_t_be_asked_costs_no_try(make: Making) -> None:
    world = make(100)
    world.faults(usage_zero=1)
    world.run_until(order(world, "a"))
    world.faults(html_error=1)
    for _ in range(6):
        Drift.update(due_at=world.now()).execute()
        sweep(world.services)
        world.drain()
    assert Drift.get().tries == 0


def test_who_waited_is_held_at_the_price_of_the_day_it_goes(make: Making) -> None:
    """A deferred document, and a price that rises overnight: the hold is what the bill will be."""
    day = NOON.date() + timedelta(days=1)
    world = make(6, PARSEGATE_PRICES=f"cost_effective=3; {day}: cost_effective=4")
    world.run_until(order(world, "a"))
    world.run_until(order(world, "b"))
    waiting = world.run_until(order(world, "c"), JobState.DEFERRED)
    world.ahead += timedelta(days=1)
    sweep(world.services)
    world.run_until(waiting, JobState.PARSING)
    assert Attempt.get(Attempt.job == waiting.job_id).estimate == 4000
    assert budgets.balance(GLOBAL_DAY, world.now(), ZONE).reserved == 4000
    world.run_until(waiting)


def test_a_limit_in_dollars_buys_at_the_price_of_the_day(make: Making) -> None:
    """A credit is twice as dear from tomorrow on: the first document of the day meets the new limit already."""
    day = NOON.date() + timedelta(days=1)
    world = make(6, PARSEGATE_USD_PER_CREDIT=f"0.00125; {day}: 0.0025")
    month = BudgetKey(Scope.GLOBAL, Period.MONTH)
    usd = Decimal("0.25")
    budgets.set_budget(month, Millicredits(200_000), who="test", now=world.now(), zone=ZONE, usd=usd)
    world.run_until(order(world, "a"))
    world.run_until(order(world, "b"))
    world.ahead += timedelta(days=1)
    world.run_until(order(world, "c"))
    waiting = world.run_until(order(world, "d"), JobState.DEFERRED)
    assert "0 of 3 credits left" in (waiting.message or "")
    reprice_budgets(world.services)
    found = [budgets.balance(key, world.now(), ZONE) for key in (GLOBAL_DAY, month)]
    assert [(balance.amount, balance.usd) for balance in found] == [(CREDITS, Decimal("0.0075")), (100_000, usd)]
    assert BudgetWindow.get(BudgetWindow.window_name == f"{NOON:%Y-%m-%d}").amount == 2 * CREDITS
    assert [balance.changed_by for balance in found] == ["setting", "test"]


def test_a_limit_that_was_changed_while_running_outlives_a_restart_and_a_new_price(make: Making) -> None:
    day = NOON.date() + timedelta(days=1)
    world = make(6, PARSEGATE_USD_PER_CREDIT=f"0.00125; {day}: 0.0025")
    settings = world.services.settings
    budgets.set_budget(GLOBAL_DAY, Millicredits(CREDITS), who="me", now=world.now(), zone=ZONE)
    world.ahead += timedelta(days=1)
    configure_budget(settings, world.now())
    reprice_budgets(world.services)
    assert budgets.balance(GLOBAL_DAY, world.now(), ZONE).amount == CREDITS
    configure_budget(settings.model_copy(update={"daily_budget_usd": Decimal("0.01")}), world.now())
    assert budgets.balance(GLOBAL_DAY, world.now(), ZONE).amount == 4000


def test_a_price_that_falls_wakes_who_waits(make: Making) -> None:
    day = NOON.date() + timedelta(days=1)
    world = make(3, PARSEGATE_USD_PER_CREDIT=f"0.00125; {day}: 0.000625")
    month, now = BudgetKey(Scope.GLOBAL, Period.MONTH), world.now()
    budgets.set_budget(month, Millicredits(CREDITS), who="t", now=now, zone=ZONE, usd=Decimal("0.00375"))
    world.ahead += timedelta(hours=11, minutes=59)
    world.run_until(order(world, "a"))
    waiting = world.run_until(order(world, "b"), JobState.DEFERRED)
    assert waiting.waits_for == "global/day"
    Job.update(due_at=world.now() + timedelta(days=9)).where(Job.job_id == waiting.job_id).execute()
    world.ahead += timedelta(minutes=2)
    reprice_budgets(world.services)
    assert jobs.get_job(waiting.job_id).due_at == pytest.approx(world.now(), abs=timedelta(seconds=5))
    sweep(world.services)
    world.run_until(waiting)


def run_on(world: World, done: Any, rounds: int = 200) -> None:
    for _ in range(rounds):
        world.drain()
        if done():
            return
        world.ahead += timedelta(seconds=2)
        sweep(world.services)
    raise AssertionError("it never came to that")


def test_what_never_fits_stops_nobody_else(make: Making) -> None:
    """Under the policy `mock` a document that must be real may cost more than a day's budget: it alone is refused."""
    world = make(3, PARSEGATE_ON_BUDGET_EXHAUSTED="mock")
    dear = world.order_file(a_page(world, "dear"), tier="agentic", mode="real")
    assert world.run_until(dear).reason == "over_a_whole_window"
    assert world.run_until(world.order_file(a_page(world, "cheap"))).provenance == Provenance.REAL


@pytest.mark.parametrize("lowered_after", ["before it is counted", "while it waits"])
def test_the_local_parser_stands_in_for_what_never_fits(make: Making, lowered_after: str) -> None:
    """`mock` means that nobody is turned away for money, were it more than a whole day's."""
    is_late = lowered_after == "while it waits"
    world = make(100 if is_late else 3, PARSEGATE_ON_BUDGET_EXHAUSTED="mock")
    dear = world.order_file(a_page(world, "dear"), tier="agentic")
    if is_late:
        while jobs.get_job(dear.job_id).document.raw_sha256 is None:
            world.handle(world.queue.popleft())
        admission.enqueue(
            jobs.get_job(dear.job_id),
            pages=1,
            pages_guessed=False,
            estimate=Millicredits(10_000),
            work_key=None,
            due_at=world.now(),
        )
        budgets.set_budget(GLOBAL_DAY, Millicredits(3000), who="test", now=world.now(), zone=ZONE)
    done = world.run_until(dear)
    assert (done.state, done.provenance) == (JobState.COMPLETED, Provenance.MOCK)
    assert world.stats()["jobs_created"] == 0


def test_a_lowered_limit_keeps_what_waits_and_lets_the_others_pass(make: Making) -> None:
    world = make(10)
    world.run_until(world.order_file(a_page(world, "first")))
    dear = world.run_until(world.order_file(a_page(world, "dear"), tier="agentic"), JobState.DEFERRED)
    budgets.set_budget(GLOBAL_DAY, Millicredits(6000), who="test", now=world.now(), zone=ZONE)
    assert world.run_until(world.order_file(a_page(world, "cheap"))).state == JobState.COMPLETED
    assert jobs.get_job(dear.job_id).state == JobState.DEFERRED
    budgets.set_budget(GLOBAL_DAY, Millicredits(20_000), who="test", now=world.now(), zone=ZONE)
    assert admission.wake_deferred(world.now()) == 1
    sweep(world.services)
    assert world.run_until(dear).state == JobState.COMPLETED


@pytest.mark.timeout(60)
def test_all_that_a_lowered_limit_can_never_admit_are_told_at_once(make: Making) -> None:
    """One is deferred already, and stays first in line; the others had not been looked at yet."""
    world = make(3)
    world.run_until(order(world, "spent"))
    waiting = world.run_until(order(world, "waiting"), JobState.DEFERRED)
    found = [jobs.accept_order(an_order(), who="test", now=world.now(), due_at=world.now()).job for _ in range(5)]
    for job in found:
        admission.enqueue(
            job, pages=1, pages_guessed=False, estimate=Millicredits(CREDITS), work_key=None, due_at=world.now()
        )
    budgets.set_budget(GLOBAL_DAY, Millicredits(CREDITS - 1), who="test", now=world.now(), zone=ZONE)
    Job.update(due_at=world.now()).where(Job.turn.is_null(False)).execute()
    check_waiting(world.services)
    assert {jobs.get_job(job.job_id).reason for job in found} == {"over_a_whole_window"}
    assert jobs.get_job(waiting.job_id).state == JobState.DEFERRED


def test_a_window_that_is_open_gets_no_more_by_a_cheaper_credit(make: Making) -> None:
    """Ten dollars were spent of ten: that they would buy more now does not make room."""
    world = make(100)
    month, usd = BudgetKey(Scope.GLOBAL, Period.MONTH), Decimal("0.00375")
    budgets.set_budget(month, Millicredits(CREDITS), who="test", now=world.now(), zone=ZONE, usd=usd)
    world.run_until(order(world, "a"))
    price = Decimal("0.000625")
    assert budgets.reprice(price, now=world.now(), zone=ZONE)
    found = budgets.balance(month, world.now(), ZONE)
    assert (found.limit, found.free, found.usd) == (CREDITS, 0, usd)
    assert not budgets.reprice(price, now=world.now(), zone=ZONE)
    with transaction():
        ledger.open_window(str(month), "2030-05", price)
    assert BudgetWindow.get(BudgetWindow.window_name == "2030-05").amount == 2 * CREDITS


def test_a_price_that_rises_over_a_whole_window_ends_the_round(make: Making) -> None:
    """A document that waited is dearer now than its budget ever allows: it goes on waiting, and the round ends."""
    day = NOON.date() + timedelta(days=1)
    world = make(5, PARSEGATE_PRICES=f"cost_effective=3; {day}: cost_effective=6")
    world.run_until(order(world, "a"))
    waiting = world.run_until(order(world, "b"), JobState.DEFERRED)
    world.ahead += timedelta(days=1)
    admit_waiting(world.services)
    found = jobs.get_job(waiting.job_id)
    assert (found.state, found.estimate) == (JobState.DEFERRED, 6000)
    assert world.run_until(world.order_file(a_page(world, "c"), tier="fast")).state == JobState.COMPLETED
