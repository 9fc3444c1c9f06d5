"""The correlation id of what a message is about, in one query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from models.database import reading
from models.prepared import Prepared
from models.tables import Delivery, Job

_BY: Final[Mapping[str, Prepared[Job]]] = {
    "job_id": Prepared(lambda job_id: Job.select(Job.correlation_id).where(Job.job_id == job_id), Job.job_id),
    "delivery_id": Prepared(
        lambda delivery_id: Job.select(Job.correlation_id).join(Delivery).where(Delivery.delivery_id == delivery_id),
        Delivery.delivery_id,
    ),
}


def correlation_of(said: Mapping[str, Any]) -> UUID | None:
    """The correlation id of the job that a message names, or whose event it delivers; None if it is about none.

    Args:
        said: the message's kwargs, as they were let in.

    Raises:
        StoreUnavailable: the database is away.
    """
    for name, query in _BY.items():
        if name in said:
            with reading():
                job = query.first(UUID(str(said[name])))
            return None if job is None else job.correlation_id
    return None
