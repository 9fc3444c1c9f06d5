"""Documents that are ordered together, all or none: one progress, one sum, one event when the last one has ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from peewee import fn

from domain.errors import OrderConflict
from domain.events import EventType, cloud_event, encode
from domain.job_state import FINAL, JobState
from domain.money import Millicredits, to_credits
from domain.orders import Order
from models.cancel import cancel_job
from models.database import is_postgres, reading, transaction
from models.deliveries import About, add_deliveries, targets_of
from models.jobs import accept_order
from models.tables import Attempt, Batch, Job


@dataclass(frozen=True)
class BatchOrder:
    """What is ordered.

    Args:
        orders: each with a `document_id` that was not ordered before.
        order_sha256: over all that was asked for: who repeats it gets the same batch.
        callback_url: where the one event at the end is posted.
    """

    batch_id: UUID
    tenant: str
    orders: Sequence[Order]
    order_sha256: str
    correlation_id: UUID
    callback_url: str | None = None


def open_batch(said: BatchOrder, *, who: str, now: datetime) -> Batch:
    """Order all of its documents, or find the batch if it was ordered before.

    Its jobs are due at once: the clock nudges them, some hundreds at a time.

    Raises:
        OrderConflict: the id is another batch's, or one of its documents was ordered before; then nothing is ordered.
    """
    with transaction():
        made = (
            Batch.insert(
                batch_id=said.batch_id,
                tenant=said.tenant,
                order_sha256=said.order_sha256,
                ordered_by=who,
                callback_url=said.callback_url,
                correlation_id=said.correlation_id,
                total=len(said.orders),
                created_at=now,
            )
            .on_conflict_ignore()
            .as_rowcount()
            .execute()
        )
        batch: Batch = Batch.get_by_id(said.batch_id)
        if not made:
            if (batch.order_sha256, batch.tenant) != (said.order_sha256, said.tenant):
                raise OrderConflict(
                    f"batch {said.batch_id} was ordered before with another order: use another batch_id"
                )
            return batch
        # In one order, so that two batches with the same documents do not wait for each other.
        for order in sorted(said.orders, key=lambda one: one.document_id):
            if not accept_order(order, who=who, now=now, due_at=now, batch_id=said.batch_id).created:
                raise OrderConflict(
                    f"document {order.document_id} was ordered before: a batch takes new documents only"
                )
        return batch


def find_batch(batch_id: UUID) -> Batch | None:
    """The batch, or None."""
    with reading():
        found: Batch | None = Batch.get_or_none(Batch.batch_id == batch_id)
    return found


def jobs_of(batch_id: UUID) -> Sequence[Job]:
    """A batch's jobs, in no order."""
    with reading():
        return list(Job.select().where(Job.batch_id == batch_id))


@dataclass(frozen=True)
class Totals:
    """A batch's documents, added up.

    Args:
        states: how many are in each.
        priced: how many have a price; the others' pages are not counted yet.
        pages: of those with a price.
        estimate: what those cost at most.
        open_estimates: of those that hold nothing in a budget yet, what each costs at most.
        cost: what was settled.
        settled: whether that is the last word.
    """

    states: dict[str, int]
    priced: int
    pages: int
    pages_guessed: bool
    estimate: Millicredits
    open_estimates: Sequence[Millicredits]
    cost: Millicredits
    settled: bool

    @property
    def ended(self) -> int:
        """How many have ended."""
        return sum(count for state, count in self.states.items() if JobState(state) in FINAL)


def totals_of(batch_id: UUID) -> Totals:
    """Add up a batch.

    Raises:
        StoreUnavailable: the database is away.
    """
    its = Job.batch_id == batch_id
    with reading():
        # First, so that a sum that is called settled has everything in it.
        unsettled = Attempt.select().join(Job).where(its, Attempt.settled_at.is_null()).exists()
        states: Any = Job.select(Job.state, fn.COUNT(Job.job_id)).where(its).group_by(Job.state).order_by(Job.state)
        sums: Any = Job.select(fn.COUNT(Job.estimate), fn.SUM(Job.pages), fn.SUM(Job.estimate), fn.SUM(Job.cost)).where(
            its
        )
        priced, pages, estimate, cost = next(iter(sums.tuples()))
        waiting: Any = Job.select(Job.estimate).where(
            its, Job.estimate.is_null(False), Job.state.in_([JobState.RECEIVED, JobState.DEFERRED])
        )
        return Totals(
            states={str(state): int(count) for state, count in states.tuples()},
            priced=int(priced),
            pages=int(pages or 0),
            pages_guessed=Job.select().where(its, Job.pages_guessed).exists(),
            estimate=Millicredits(int(estimate or 0)),
            open_estimates=[Millicredits(int(amount)) for (amount,) in waiting.tuples()],
            cost=Millicredits(int(cost or 0)),
            settled=not unsettled,
        )


def cancel_batch(batch_id: UUID, *, who: str, now: datetime, instance: str, exchange: bool) -> None:
    """Cancel what has not ended, one job after the other; what ends meanwhile stays as it ended."""
    with reading():
        open_jobs = [
            row.job_id for row in Job.select(Job.job_id).where(Job.batch_id == batch_id, Job.state.not_in(FINAL))
        ]
    for job_id in open_jobs:
        try:
            cancel_job(job_id, who=who, now=now, instance=instance, exchange=exchange)
        except OrderConflict:
            continue


def has_ended(batch_id: UUID) -> bool:
    """True if all of its jobs have."""
    with reading():
        return not Job.select().where(Job.batch_id == batch_id, Job.finished_at.is_null()).exists()


def claim_ended(limit: int) -> Sequence[Batch]:
    """Batches whose last job has ended, and that nobody was told of. Call it in the transaction that tells.

    Several clocks may claim at once: on PostgreSQL each takes what the others have not locked. Nothing is counted as
    jobs end: the row of a batch would be locked out of order with the budgets', and by every one of its jobs.
    """
    still_open = Job.select().where(Job.batch_id == Batch.batch_id, Job.finished_at.is_null())
    query = Batch.select().where(Batch.finished_at.is_null(), ~fn.EXISTS(still_open)).order_by(Batch.created_at)
    query = query.limit(limit)
    return list(query.for_update(skip_locked=True) if is_postgres() else query)


def finish_batch(batch: Batch, now: datetime, *, instance: str, exchange: bool, due_at: datetime) -> Sequence[UUID]:
    """Tell of its end, once; answers the deliveries that were made. Call it in the transaction that claims it.

    Args:
        instance, exchange: see `models.job_events.announce`.
        due_at: see `models.deliveries.add_deliveries`.
    """
    Batch.update(finished_at=now).where(Batch.batch_id == batch.batch_id).execute()
    event = cloud_event(EventType.BATCH_COMPLETED, batch.batch_id, _event_data(batch), instance=instance, now=now)
    bodies = dict.fromkeys(targets_of(batch.callback_url, exchange=exchange), encode(event))
    about = About(batch.tenant, batch_id=batch.batch_id)
    return add_deliveries(about, EventType.BATCH_COMPLETED, bodies, now, due_at=due_at)


def _event_data(batch: Batch) -> dict[str, Any]:
    totals = totals_of(batch.batch_id)
    return {
        "batch_id": str(batch.batch_id),
        "correlation_id": str(batch.correlation_id),
        "tenant": batch.tenant,
        "documents": batch.total,
        "states": totals.states,
        "pages": totals.pages,
        "credits": float(to_credits(totals.cost)),
        "settled": totals.settled,
    }
