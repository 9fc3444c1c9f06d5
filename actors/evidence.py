"""Signed events that can't be meant: they change nothing, and are kept for people to see."""

from __future__ import annotations

from uuid import UUID

from actors.services import Services
from domain.messages import JobMessage
from models import attempts, rejections
from models.rejections import Rejection
from models.tables import Attempt


def was_sent(job_id: UUID, provider_job_id: str | None) -> bool:
    """True if an attempt of the job was made as this one at the provider: an event about it is late, not impossible."""
    if provider_job_id is None:
        return False
    return any(one.provider_job_id == provider_job_id for one in attempts.find_attempts(Attempt.job == job_id))


def keep_event(services: Services, event: JobMessage, route: str, reason: str) -> None:
    """Put an event on record.

    Args:
        route: where it came in.
        reason: a stable word.
    """
    said = event.model_dump(mode="json", exclude_none=True)
    rejections.keep([Rejection(services.clock(), route, reason, str(event.job_id), said=said)])
