"""Admission: waiting documents get their reservation one at a time, in order, and nobody overtakes.

It is one step that any process may take, one process at a time (`models.admission.one_at_a_time`). A document that a
budget refuses is deferred to that budget's next window, and holds up only those that need the same budget.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from actors.outcome import announce, reject_job
from actors.reuse import find_result
from actors.services import LEASE, Services
from actors.thresholds import tell_exhausted
from domain.budgets import BudgetKey, applicable
from domain.errors import OrderRefused, ParsegateError
from domain.events import EventType
from domain.job_state import JobState, Provenance
from domain.money import Millicredits, format_credits
from domain.pricing import price_counted
from domain.settings import Mode, OnExhausted
from llamaparse.router import Route
from models import admission, attempts, jobs, reuse
from models.admission import Blocked
from models.control import Exhausted
from models.database import savepoint, transaction
from models.ledger import Refusal, reserve
from models.tables import Attempt, Job

AHEAD: Final = 100
"""How many documents are admitted and not sent at most: enough for the provider's pace, few enough that a document of
higher priority, or of another tenant, does not wait long behind them."""


ACCOUNT: Final = "account"
"""What a job waits for while the provider's account has no credits left."""
TWIN_WAIT: Final = timedelta(minutes=5)
"""When a job that waits for its twin is looked at in any case; it is due as soon as that one has ended."""


class NoRoom(ParsegateError):
    """Rolls back what was begun for a document that does not fit."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.key.words)
        self.refusal = refusal


@dataclass(frozen=True)
class Shortage:
    """Why a document can't be admitted now.

    Args:
        words: for people.
        until: when it may be looked at again.
        waits_for: the budget's name, or `ACCOUNT`.
    """

    words: str
    until: datetime
    waits_for: str

    @classmethod
    def of(cls, job: Job, refusal: Refusal) -> Shortage:
        """A budget has no room for a job."""
        words = (
            f"{refusal.key.words} has {format_credits(refusal.free)} of {format_credits(refusal.limit)} credits left, "
            f"and this needs {format_credits(job.estimate or 0)}"
        )
        return cls(words, refusal.window.ends_at, str(refusal.key))

    @classmethod
    def of_account(cls, account: Exhausted) -> Shortage:
        """The provider's account has no credits left."""
        return cls(f"the provider's account has no credits left ({account.said})", account.until, ACCOUNT)


@dataclass
class Round:
    """What became of one round of admissions.

    Args:
        refusals: the budgets that refused somebody, and how.
        account: what the provider said of its account, if it has no credits left.
        too_dear: budgets whose whole limit somebody is beyond, and how they refused.
    """

    refusals: dict[BudgetKey, Refusal] = field(default_factory=dict)
    account: Exhausted | None = None
    too_dear: dict[BudgetKey, Refusal] = field(default_factory=dict)
    blocked: Blocked = field(default_factory=Blocked)

    def refuse(self, refusal: Refusal) -> None:
        """Nobody else who needs this budget is admitted in this round."""
        self.refusals[refusal.key] = refusal
        self.blocked.keys.add(refusal.key)

    def stop(self, account: Exhausted) -> None:
        """Nobody else who pays is admitted in this round."""
        self.account, self.blocked.paying = account, True

    def shortage_for(self, job: Job) -> Shortage | None:
        """What holds a job up; what lasts longest if there are several."""
        found = [Shortage.of(job, self.refusals[key]) for key in keys_of(job) if key in self.refusals]
        if self.account is not None:
            found.append(Shortage.of_account(self.account))
        return max(found, key=lambda shortage: shortage.until, default=None)

    def set_aside(self, refusal: Refusal) -> None:
        """Who needs more than a budget's whole limit stops nobody else."""
        self.too_dear[refusal.key], self.blocked.too_dear[refusal.key] = refusal, refusal.limit

    def too_dear_for(self, job: Job) -> Refusal | None:
        """The refusal of a budget whose whole limit a job is beyond, if one is known."""
        found = (self.too_dear[key] for key in keys_of(job) if key in self.too_dear)
        return next((refusal for refusal in found if (job.estimate or 0) > refusal.limit), None)


def keys_of(job: Job) -> tuple[BudgetKey, ...]:
    """The budgets that limit a job, if they are set."""
    return tuple(applicable(job.tenant, job.document.user_id))


def admit_waiting(services: Services) -> Round:
    """Admit waiting documents in their order, until nobody is left who fits.

    Raises:
        StoreUnavailable: our own database can't be used now.
    """
    done = Round()
    while True:
        job = _admit_next(services, done)
        if job is None:
            return done


def admit_if_waiting(services: Services) -> None:
    """Admit waiting documents after something became free; quick when nobody waits or too many are on their way."""
    if admission.is_anyone_waiting() and admission.admitted_not_sent() <= AHEAD // 2:
        admit_waiting(services)


def admit_free(services: Services, job: Job) -> bool:
    """Admit a waiting job that costs nothing, past the queue: its order asked for `mock`, or its work is done."""
    if job.mode != Mode.MOCK and find_result(services, job) is None:
        return False
    with admission.one_at_a_time():
        # Whoever was faster may have taken it on: from a later state nothing leads back to the queue.
        job = jobs.get_job(job.job_id)
        if job.turn is None or job.state not in jobs.WAITING:
            return False
        if job.mode == Mode.MOCK:
            _admit(services, job, Provenance.MOCK)
            return True
        return _admit_copy(services, job)


def _admit_next(services: Services, done: Round) -> Job | None:
    """Admit, hold back or set aside the first in the queue; answers it, or None if the round is over."""
    with admission.one_at_a_time():
        job = admission.next_waiting(done.blocked, free=services.route() is Route.LOCAL)
        if job is not None and not _goes_with_twin(services, job):
            _admit_or_hold_back(services, job, done)
    return job


def _admit_or_hold_back(services: Services, job: Job, done: Round) -> None:
    """Admit a job that its turn has come for, or say in `done` who else can't go."""
    if services.route_of(job) is Route.LOCAL:
        _admit(services, job, Provenance.MOCK)
        admission.was_admitted(job)
        return
    if admission.admitted_not_sent() >= AHEAD:
        done.blocked.paying = True
        return
    account = services.exhausted()
    if account is not None:
        done.stop(account)
        hold_back(services, job, Shortage.of_account(account))
        return
    try:
        _admit(services, job, Provenance.REAL)
        admission.was_admitted(job)
    except NoRoom as error:
        _refused(services, job, done, error.refusal)


def _refused(services: Services, job: Job, done: Round, refusal: Refusal) -> None:
    """A budget has no room for a job: nobody overtakes it there, unless the budget never has room for it."""
    if (job.estimate or 0) <= refusal.limit:
        done.refuse(refusal)
        tell_exhausted(services, refusal)
    else:
        done.set_aside(refusal)
        refuse_for_good(services, job, refusal)
        return
    hold_back(services, job, Shortage.of(job, refusal))


def refuse_for_good(services: Services, job: Job, refusal: Refusal) -> None:
    """Reject a job that costs more than a budget's whole limit, unless the local parser may stand in for it.

    One that is deferred waits on for another limit.
    """
    if job.state == JobState.RECEIVED and not may_be_mocked(services, job):
        with transaction():
            reject_job(services, job, over_a_whole_window(job.estimate or 0, refusal.key, refusal.limit))
    else:
        hold_back(services, job, Shortage.of(job, refusal))


def may_be_mocked(services: Services, job: Job) -> bool:
    """True if the local parser takes a job that no budget has room for."""
    return services.settings.on_budget_exhausted is OnExhausted.MOCK and job.mode != Mode.REAL


def over_a_whole_window(amount: int, key: BudgetKey, limit: int) -> OrderRefused:
    """What can never be reserved, however long it waits."""
    return OrderRefused(
        f"this costs up to {format_credits(amount)} credits, and {key.words} is {format_credits(limit)}: raise the "
        "budget, or ask for fewer pages or a cheaper tier",
        reason="over_a_whole_window",
    )


def _goes_with_twin(services: Services, job: Job) -> bool:
    """True if the work of a waiting job is done, and it is admitted to a copy, or being done, and it waits for that.

    First who does it is asked for, and then what was done: so none who ends in between is missed.
    """
    if not services.settings.reuse_seconds or services.mode_of(job) is Mode.MOCK:
        return False
    now = services.clock()
    leader_id = reuse.leader_of(job, now - timedelta(seconds=services.settings.stuck_after_seconds))
    if _admit_copy(services, job):
        admission.was_admitted(job)
        return True
    if leader_id is None or services.route_of(job) is Route.LOCAL:
        return False
    reuse.wait_for_twin(job, leader_id, now + TWIN_WAIT)
    return True


def _admit_copy(services: Services, job: Job) -> bool:
    """Admit a job to a copy of a result that is there; False if there is none."""
    source = None if services.mode_of(job) is Mode.MOCK else find_result(services, job)
    if source is None:
        return False
    _admit(services, job, Provenance.CACHED, reused_from=source.job_id)
    return True


def hold_back(services: Services, job: Job, shortage: Shortage) -> None:
    """There is no money for a waiting job: defer it, or do what `PARSEGATE_ON_BUDGET_EXHAUSTED` says."""
    with transaction():
        if job.state != JobState.DEFERRED and may_be_mocked(services, job):
            _admit(services, job, Provenance.MOCK)
        elif job.state == JobState.DEFERRED or services.settings.on_budget_exhausted is not OnExhausted.REJECT:
            defer(services, job, shortage)
        else:
            words = f"{shortage.words}, and PARSEGATE_ON_BUDGET_EXHAUSTED is reject"
            reject_job(services, job, OrderRefused(words, reason="budget_exhausted"))


def _admit(services: Services, job: Job, provenance: Provenance, **changes: Any) -> None:
    """Take a job, and if it goes to the provider reserve its estimate, in full or not at all.

    Raises:
        NoRoom: a budget refused; nothing was changed but the estimate, to the price of the day.
    """
    pays = provenance is Provenance.REAL
    now, amount = services.clock(), price_now(services, job) if pays else Millicredits(0)
    if pays and amount != job.estimate:
        # Who is refused for good is left out by its estimate (`Blocked.too_dear`).
        admission.set_estimate(job, amount)
    with savepoint():
        moved = jobs.step(
            job.job_id,
            JobState(job.state),
            JobState.RESERVED,
            who="admission",
            why=f"{format_credits(amount)} credits reserved" if pays else _WHY_FREE[provenance],
            now=now,
            due_at=now + LEASE,
            message=None,
            **changes,
        )
        attempt = moved and attempts.open_attempt(
            job,
            provenance=provenance,
            estimate=amount,
            now=now,
            page_price=page_price(job, amount) if pays else None,
        )
        if not attempt:
            return
        if pays:
            hold(services, attempt, job)
        services.nudge("upload_file", job_id=job.job_id)


def price_now(services: Services, job: Job) -> Millicredits:
    """What a job that was counted costs at most today: the price may have changed while it waited."""
    try:
        return price_counted(
            job.pages or 1, job.tier, job.options, services.settings.prices_at(services.clock())
        ).amount
    except OrderRefused:
        return Millicredits(job.estimate or 0)


def page_price(job: Job, amount: Millicredits) -> Millicredits:
    """What a page of a job costs if all of it costs `amount`."""
    return Millicredits(amount // (job.pages or 1))


_WHY_FREE: Final = {
    Provenance.MOCK: "parsed here, nothing is paid",
    Provenance.CACHED: "the same work is done already, nothing is paid",
}


def hold(services: Services, attempt: Attempt, job: Job) -> None:
    """Reserve an attempt's estimate in every budget of its job. Call it in a transaction.

    Raises:
        NoRoom: a budget refused; the transaction must be rolled back.
    """
    now = services.clock()
    refusal = reserve(
        attempt.attempt_id,
        Millicredits(attempt.estimate),
        keys_of(job),
        now=now,
        zone=services.settings.budget_timezone,
        why=f"{job.pages} pages of {job.tier}",
        usd_per_credit=services.settings.prices_at(now).usd_per_credit,
    )
    if refusal is not None:
        raise NoRoom(refusal)


def defer(services: Services, job: Job, shortage: Shortage) -> None:
    """Let a job wait for money, and tell its sender until when. Call it in a transaction."""
    now, until = services.clock(), shortage.until
    why = f"{shortage.words}: it waits until {until:%Y-%m-%d %H:%M} UTC, or until the budget is raised"
    if job.state == JobState.DEFERRED:
        jobs.postpone(job, until, message=why, counts=False)
        return
    moved = jobs.step(
        job.job_id,
        JobState(job.state),
        JobState.DEFERRED,
        who="admission",
        why=why,
        now=now,
        due_at=until,
        message=why,
        waits_for=shortage.waits_for,
    )
    if moved:
        announce(services, jobs.get_job(job.job_id), EventType.DEFERRED)
