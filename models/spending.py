"""What was spent, from the attempts themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from peewee import fn

from domain.job_state import AttemptState
from domain.money import Millicredits
from models.database import reading
from models.tables import Attempt


@dataclass(frozen=True)
class Spending:
    """Millicredits: billed, and estimated for what was sent and is not settled."""

    billed: Millicredits
    open: Millicredits


def spending_since(moment: datetime) -> Spending:
    """What attempts made since `moment` cost.

    Raises:
        StoreUnavailable: the database is away.
    """
    recent = Attempt.created_at >= moment
    unsettled = Attempt.settled_at.is_null() & (Attempt.state != AttemptState.OPEN)
    with reading():
        billed = Attempt.select(fn.coalesce(fn.sum(Attempt.billed), 0)).where(recent).scalar()
        held = Attempt.select(fn.coalesce(fn.sum(Attempt.estimate), 0)).where(recent, unsettled).scalar()
    return Spending(Millicredits(int(billed)), Millicredits(int(held)))
