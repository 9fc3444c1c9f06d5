"""402: the provider's account has no credits left. It counts as a budget that is exhausted, until a set time."""

from __future__ import annotations

from actors.admission import Shortage, defer
from actors.local import parse_here
from actors.outcome import reject_job
from actors.services import Services, log
from domain.clock import format_utc
from domain.errors import CreditsExhausted, OrderRefused
from domain.events import EventType
from domain.job_state import AttemptState
from domain.settings import Mode, OnExhausted
from models import attempts, jobs
from models.admission import enqueue_again
from models.control import Exhausted, exhaust_account
from models.database import transaction
from models.tables import Attempt, Job


def out_of_credits(services: Services, job: Job, attempt: Attempt, error: CreditsExhausted) -> None:
    """Give back what a reserved job holds, and do with it what `PARSEGATE_ON_BUDGET_EXHAUSTED` says."""
    account = services.exhausted() or _begin(services, error)
    policy, now = services.settings.on_budget_exhausted, services.clock()
    if policy is OnExhausted.MOCK and job.mode != Mode.REAL:
        parse_here(services, job, attempt, why=str(error))
        return
    with jobs.owning(job.job_id) as owned:
        if not attempts.never_made(attempt, AttemptState.OPEN, why=str(error), now=now):
            return
        if policy is OnExhausted.REJECT:
            words = f"{error}, and PARSEGATE_ON_BUDGET_EXHAUSTED is reject"
            reject_job(services, owned, OrderRefused(words, reason="credits_exhausted"))
        else:
            defer(services, owned, Shortage.of_account(account))
            enqueue_again(owned)


def _begin(services: Services, error: CreditsExhausted) -> Exhausted:
    now = services.clock()
    account = Exhausted(services.after(services.settings.credits_wait_seconds), str(error))
    with transaction():
        if exhaust_account(account.until, account.said, now=now):
            data = {"budget": "account", "until": format_utc(account.until), "why": account.said}
            services.events.tell(EventType.EXHAUSTED, "account", data, now)
            log.error("the provider's account has no credits left", until=str(account.until), error=account.said)
    services.account.forget()
    return account
