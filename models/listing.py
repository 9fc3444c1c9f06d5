"""Jobs as people list them: filtered, newest first, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.job_state import JobState
from models.database import reading
from models.tables import Document, Job


@dataclass(frozen=True)
class Wanted:
    """Which jobs; None is any.

    Args:
        text: a part of the file's name, whatever its case, or a job's, document's or correlation's whole id.
        since, until: when it was ordered, both included.
    """

    tenant: str | None = None
    states: Sequence[JobState] | None = None
    document_id: UUID | None = None
    user_id: UUID | None = None
    text: str | None = None
    job_ids: Sequence[UUID] | None = None
    since: datetime | None = None
    until: datetime | None = None
    batch_id: UUID | None = None


@dataclass(frozen=True)
class Place:
    """A job's place in the list; what follows is older."""

    created_at: datetime
    job_id: UUID


def list_jobs(wanted: Wanted, most: int, after: Place | None = None) -> Sequence[Job]:
    """At most so many jobs with their documents, newest first, those after a place only.

    Jobs that come while somebody turns the pages are before the first, and shift nothing.

    Raises:
        StoreUnavailable: the database is away.
    """
    query = Job.select(Job, Document).join(Document).where(*_conditions(wanted))
    if after is not None:
        older = (Job.created_at < after.created_at) | (Job.job_id < after.job_id)
        query = query.where(Job.created_at <= after.created_at, older)
    with reading():
        return list(query.order_by(Job.created_at.desc(), Job.job_id.desc()).limit(most))


def _conditions(wanted: Wanted) -> list[Any]:
    found: list[Any] = [Document.deleted_at.is_null()]
    if wanted.tenant is not None:
        found.append(Job.tenant == wanted.tenant)
    if wanted.states is not None:
        found.append(Job.state.in_(list(wanted.states)))
    if wanted.document_id is not None:
        found.append(Job.document == wanted.document_id)
    if wanted.user_id is not None:
        found.append(Document.user_id == wanted.user_id)
    if wanted.text is not None:
        found.append(_says(wanted.text))
    if wanted.job_ids is not None:
        found.append(Job.job_id.in_(list(wanted.job_ids)))
    if wanted.batch_id is not None:
        found.append(Job.batch_id == wanted.batch_id)
    if wanted.since is not None:
        found.append(Job.created_at >= wanted.since)
    if wanted.until is not None:
        found.append(Job.created_at <= wanted.until)
    return found


def _says(text: str) -> Any:
    try:
        whole = UUID(text)
    except ValueError:
        return Document.filename.contains(text)
    return (Job.job_id == whole) | (Job.document == whole) | (Job.correlation_id == whole)
