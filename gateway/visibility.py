"""Which jobs a token may see."""

from __future__ import annotations

from uuid import UUID

from domain.errors import NotFound
from gateway.problems import Problem
from models.jobs import find_job
from models.tables import Job
from models.tokens import Bearer


def visible_job(job_id: UUID, bearer: Bearer) -> Job:
    """A job with its document, if it is of the token's tenant; an admin sees all.

    Raises:
        NotFound: the same words whether there is none or it is another tenant's.
        Problem: 410, its document was deleted.
    """
    job = job_or_remains(job_id, bearer)
    if job.document.deleted_at is not None:
        members = {"erasure": f"/v1/documents/{job_id}/erasure"}
        raise Problem(410, "document_deleted", "the job's document was deleted", members=members)
    return job


def job_or_remains(job_id: UUID, bearer: Bearer) -> Job:
    """The same, also if its document was deleted.

    Raises:
        NotFound: as with `visible_job`.
    """
    job = find_job(job_id)
    if job is None or bearer.sees not in (None, job.tenant):
        raise NotFound(f"there is no job {job_id}")
    return job
