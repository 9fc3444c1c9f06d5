"""Jobs with money on them, for the tests of what shows it."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import uuid4
from zoneinfo import ZoneInfo

from domain.budgets import BudgetKey, applicable
from domain.job_state import AttemptState, JobState, Provenance
from domain.money import Millicredits
from gateway.dependencies import host_now
from models import jobs, ledger
from models.budgets import set_budget
from models.database import transaction
from models.tables import Attempt, Document, Job
from tests.documents import new_pdf
from tests.state import an_order

ZONE = ZoneInfo("UTC")


def a_job(now: datetime, **said: object) -> Job:
    """A job that was just ordered."""
    return jobs.accept_order(an_order(**said), who="test", now=now, due_at=now).job


def attempt_of(job: Job, estimate: int, now: datetime, *, billed: int | None = None) -> Attempt:
    """One more attempt of a job that has ended, settled at `billed` millicredits if that is said."""
    attempt: Attempt = Attempt.create(
        attempt_id=uuid4(),
        job=job.job_id,
        number=Attempt.select().where(Attempt.job == job.job_id).count() + 1,
        state=AttemptState.COMPLETED,
        provenance=Provenance.REAL,
        estimate=estimate,
        billed=billed,
        created_at=now,
        settled_at=None if billed is None else now,
    )
    return attempt


def defer(job: Job, due_at: datetime, turn: int = 1) -> None:
    """Let a job wait for a budget."""
    with transaction():
        Job.update(state=JobState.DEFERRED, due_at=due_at, turn=turn).where(Job.job_id == job.job_id).execute()


def pdf(pages: int) -> bytes:
    """A PDF of so many pages, each with a line of text."""
    made = new_pdf()
    for number in range(pages):
        made.add_page()
        made.set_font("helvetica", size=12)
        made.cell(text=f"This is page {number + 1}.")
    return bytes(made.output())


def limit(key: BudgetKey, credits_amount: int | None) -> None:
    """Set a budget; None is unlimited."""
    amount = None if credits_amount is None else Millicredits(credits_amount * 1000)
    set_budget(key, amount, who="test", now=host_now(), zone=ZONE)


def hold(credits_amount: int, *, settle: int | None = None, **said: object) -> Attempt:
    """Credits held by a new document in every budget of it, or settled at another amount."""
    now = host_now()
    job = a_job(now, **said)
    attempt = attempt_of(job, credits_amount * 1000, now)
    keys = applicable(job.tenant, Document.get_by_id(job.document_id).user_id)
    with transaction():
        refused = ledger.reserve(
            attempt.attempt_id, Millicredits(credits_amount * 1000), keys, now=now, zone=ZONE, why="test"
        )
        assert refused is None
        if settle is not None:
            ledger.settle(attempt.attempt_id, Millicredits(settle * 1000), now=now, why="test")
            Attempt.update(billed=settle * 1000, settled_at=now).where(
                Attempt.attempt_id == attempt.attempt_id
            ).execute()
    return attempt


def tomorrow() -> datetime:
    """When the day's window ends."""
    now = host_now() + timedelta(days=1)
    return now.replace(hour=0, minute=0, second=0, microsecond=0)
