"""Repeats: a client that repeats a call by itself gets the job that the call has made, and pays once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from models.database import is_postgres, reading, transaction
from models.tables import MadeCall

REMEMBERED: Final = timedelta(hours=24)
"""How long after a call its repeat may come: the SDK gives up after minutes, but an upload may take hours."""
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


def made_once(
    call_sha256: str, make: Callable[[], UUID], *, is_repeat: bool, arrived_at: datetime, now: datetime
) -> tuple[UUID, bool]:
    """The job of a call, and whether this one made it.

    A repeat gets what the call before it made. A first call makes a job, also if the same was called before: somebody
    means it; but not if its own repeat, which came while it was still under way, was faster.

    Args:
        call_sha256: over who calls and the whole body.
        make: makes the job, in this transaction.
        is_repeat: the client says so (``x-stainless-retry-count`` above 0).
        arrived_at: when this call's first byte came.
    """
    with transaction():
        MadeCall.insert(
            call_sha256=call_sha256, job_id=None, was_repeat=False, made_at=_NEVER
        ).on_conflict_ignore().execute()
        query = MadeCall.select().where(MadeCall.call_sha256 == call_sha256)
        # Whoever comes at the same moment with the same call waits here.
        known = (query.for_update() if is_postgres() else query).get()
        overtaken = known.was_repeat and known.made_at >= arrived_at
        if known.job_id is not None and (overtaken or (is_repeat and known.made_at > now - REMEMBERED)):
            return known.job_id, False
        job_id = make()
        MadeCall.update(job_id=job_id, was_repeat=is_repeat, made_at=now).where(
            MadeCall.call_sha256 == call_sha256
        ).execute()
        return job_id, True


def forget_calls(now: datetime) -> int:
    """Forget calls that nobody will repeat any more; answers how many. Quick when there are none.

    Raises:
        StoreUnavailable: the database is away.
    """
    old = MadeCall.made_at < now - REMEMBERED
    with reading():
        if not MadeCall.select().where(old).exists():
            return 0
    with transaction():
        gone: int = MadeCall.delete().where(old).execute()
    return gone
