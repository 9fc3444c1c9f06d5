"""Budgets that fill up, told of once in each window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from peewee import Case

from domain.budgets import BudgetKey, Window, parse_budget_key
from models.database import reading, transaction
from models.ledger import Refusal, limit_at
from models.tables import BudgetWindow


@dataclass(frozen=True)
class Crossed:
    """A window whose share that is spent or held has reached thresholds which nobody was told of.

    Args:
        percents: those thresholds, rising.
        limit, reserved, spent: in millicredits.
    """

    key: BudgetKey
    window_name: str
    percents: Sequence[int]
    limit: int
    reserved: int
    spent: int


def is_any_crossed(thresholds: Sequence[int], window_names: Sequence[str], now: datetime) -> bool:
    """True if there is something to tell."""
    with reading():
        return bool(thresholds) and bool(_crossed(thresholds, window_names, now))


def take_crossed(thresholds: Sequence[int], window_names: Sequence[str], now: datetime) -> list[Crossed]:
    """What is to be told, which nobody else gets. Call it in a transaction."""
    taken = []
    for row in _crossed(thresholds, window_names, now):
        share = (row["reserved"] + row["spent"]) * 100
        percents = [percent for percent in thresholds if row["fired"] < percent and share >= row["limit"] * percent]
        place = (BudgetWindow.budget == row["budget"]) & (BudgetWindow.window_name == row["window_name"])
        mine = BudgetWindow.update(fired=percents[-1]).where(place, BudgetWindow.fired == row["fired"]).execute()
        if mine:
            key = parse_budget_key(row["budget"])
            taken.append(
                Crossed(key, row["window_name"], percents, row["limit"], row["reserved"], row["spent"]),
            )
    return taken


def take_exhausted(refusal: Refusal, now: datetime) -> bool:
    """True for the first document that did not fit in a window, or since its limit was changed."""
    window: Window = refusal.window
    with transaction():
        return bool(
            BudgetWindow.update(exhausted_at=now)
            .where(
                BudgetWindow.budget == str(refusal.key),
                BudgetWindow.window_name == window.name,
                BudgetWindow.exhausted_at.is_null(),
            )
            .execute()
        )


def _crossed(thresholds: Sequence[int], window_names: Sequence[str], now: datetime) -> list[dict[str, Any]]:
    limit = limit_at(now)
    following = Case(None, [(BudgetWindow.fired < percent, percent) for percent in sorted(thresholds)])
    rows: Any = (
        BudgetWindow.select(
            BudgetWindow.budget,
            BudgetWindow.window_name,
            BudgetWindow.fired,
            BudgetWindow.reserved,
            BudgetWindow.spent,
            limit.alias("limit"),
        )
        .where(
            BudgetWindow.window_name.in_(list(window_names)),
            limit > 0,
            (BudgetWindow.reserved + BudgetWindow.spent) * 100 >= limit * following,
        )
        .order_by(BudgetWindow.budget)
        .dicts()
    )
    return list(rows)
