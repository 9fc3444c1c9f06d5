"""The audit log: who changed what about the service, when, from what to what. Only ever added to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from models.database import reading, transaction
from models.service_tables import Change

OPERATOR: Final = "the command line"
"""Who changes what by a command that uses the database itself: whoever may do that needs no token."""


class What(StrEnum):
    """What is changed."""

    BUDGET_LIMIT = "budget.limit"
    BUDGET_INCREASE = "budget.increase"
    MODE = "mode"
    PACE_LIMIT = "limit"
    TOKEN_CREATED = "token.created"
    TOKEN_REVOKED = "token.revoked"
    KEY_ROTATED = "secret_key.rotated"
    DRIFT_EXPLAINED = "drift.explained"
    ENDPOINT_ENABLED = "endpoint.enabled"
    DELIVERY_AGAIN = "delivery.sent_again"
    DOCUMENT_DELETED = "document.deleted"


def record_change(what: What, subject: str, *, who: str, now: datetime, before: Any = None, after: Any = None) -> None:
    """Put a change on record. Call it in the transaction that makes it.

    Args:
        subject: what it is of: a budget, a token's name, an id.
        before, after: JSON values, never a secret; None where there is nothing to tell.
    """
    with transaction():
        Change.insert(at=now, who=who[:200], what=what, subject=subject[:500], before=before, after=after).execute()


def list_changes(limit: int, *, what: What | None = None, before: int | None = None) -> Sequence[Change]:
    """Changes, the newest first.

    Args:
        before: only those with a lower `change_id`.
    """
    query = Change.select()
    if what is not None:
        query = query.where(Change.what == what)
    if before is not None:
        query = query.where(Change.change_id < before)
    with reading():
        return list(query.order_by(Change.change_id.desc()).limit(limit))
