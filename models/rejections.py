"""Webhooks that were not let in, or changed nothing: counted by reason, and the last of them kept as evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from models.database import reading, transaction
from models.service_tables import RejectedWebhook, RejectionCount

MOST_KEPT: Final = 1000


@dataclass(frozen=True)
class Rejection:
    """What is known of one.

    Args:
        route: the route's template.
        reason: a stable word; the caller was told none.
        job_id: as the route or the signed body has it.
        headers: names and values as they came, without secrets.
        said: what a signed event said, as far as it matters.
        body_sha256: in hex; None if the body was not read to its end.
    """

    at: datetime
    route: str
    reason: str
    job_id: str | None = None
    headers: Sequence[tuple[str, str]] = ()
    said: Mapping[str, Any] = field(default_factory=dict)
    body_sha256: str | None = None
    body_bytes: int | None = None


def keep(rejections: Sequence[Rejection], more: Mapping[str, int] | None = None) -> None:
    """Count rejections, and keep the last `MOST_KEPT` of all.

    Args:
        more: how many others there were, by reason, of which nothing is kept.

    Raises:
        StoreUnavailable: the database is away; nothing was counted.
    """
    counts = Counter(rejection.reason for rejection in rejections) + Counter(more or {})
    with transaction():
        for reason in sorted(counts):
            RejectionCount.insert(reason=reason, count=counts[reason]).on_conflict(
                conflict_target=[RejectionCount.reason],
                update={RejectionCount.count: RejectionCount.count + counts[reason]},
            ).execute()
        rows = [
            {
                "at": one.at,
                "route": one.route,
                "reason": one.reason,
                "job_id": one.job_id,
                "headers": [list(pair) for pair in one.headers],
                "said": dict(one.said),
                "body_sha256": one.body_sha256,
                "body_bytes": one.body_bytes,
            }
            for one in rejections[-MOST_KEPT:]
        ]
        if rows:
            RejectedWebhook.insert_many(rows).execute()
            last = RejectedWebhook.select(RejectedWebhook.rejection_id).order_by(RejectedWebhook.rejection_id.desc())
            # Not `get`: it takes the first row whatever the offset.
            for oldest in last.offset(MOST_KEPT - 1).limit(1):
                RejectedWebhook.delete().where(RejectedWebhook.rejection_id < oldest.rejection_id).execute()


def counts() -> Mapping[str, int]:
    """How many there were, by reason.

    Raises:
        StoreUnavailable: the database is away.
    """
    with reading():
        return {row.reason: row.count for row in RejectionCount.select().order_by(RejectionCount.reason)}


def latest(most: int) -> Sequence[RejectedWebhook]:
    """The last ones, newest first.

    Raises:
        StoreUnavailable: the database is away.
    """
    with reading():
        return list(RejectedWebhook.select().order_by(RejectedWebhook.rejection_id.desc()).limit(most))
