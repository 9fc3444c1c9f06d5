"""Deleting documents: what is on record of them is blanked at once, the rest is removed thing by thing, each recorded.

The money stays: an attempt keeps its hold, and is asked about at the provider, until it is settled. The document's row
stays as a tombstone, so that no late message orders it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from peewee import fn

from domain.job_state import FINAL
from domain.orders import pages_path, parsed_path
from models.cancel import cancel_job
from models.changes import What, record_change
from models.database import is_postgres, reading, transaction
from models.jobs import lock_document
from models.store import Store
from models.tables import Attempt, Delivery, Document, ErasedThing, Erasure, Job, JobWebhook

GONE: Final = "its document was deleted"
FIRST_LOOK: Final = timedelta(seconds=60)
"""When the clock looks at an erasure if the nudge got lost."""
BLANK: Final = "deleted"
"""In the place of the file's name."""


class Thing(StrEnum):
    """What of a document is removed."""

    RAW_FILE = "raw_file"
    RESULT = "result"
    PROVIDER_FILE = "provider_file"
    PROVIDER_JOB = "provider_job"
    WEBHOOK_PAYLOADS = "webhook_payloads"


class Removal(StrEnum):
    """How that ended."""

    REMOVED = "removed"
    ABSENT = "absent"
    GIVEN_UP = "given_up"


@dataclass(frozen=True)
class AtProvider:
    """A file or a job at the provider.

    Args:
        base_url: where it went to.
    """

    what: Thing
    base_url: str
    thing_id: str

    @property
    def place(self) -> str:
        """Its URL."""
        kind = "api/v1/beta/files" if self.what is Thing.PROVIDER_FILE else "api/v2/parse"
        return f"{self.base_url}/{kind}/{self.thing_id}"


def open_erasure(document_id: UUID, *, who: str, why: str, now: datetime, instance: str, exchange: bool) -> None:
    """Delete a document: jobs that have not ended are cancelled, and nobody sees it any more. Asked twice, it is one.

    Args:
        who: by whose word.
        instance, exchange: see `models.job_events.announce`.
    """
    with transaction():
        if lock_document(document_id).deleted_at is None:
            for job in _open_jobs(document_id):
                cancel_job(job.job_id, who=who, now=now, instance=instance, exchange=exchange)
            record_change(What.DOCUMENT_DELETED, str(document_id), who=who, now=now, after=why)
            _delete(document_id, who=who, why=why, now=now)


def _open_jobs(document_id: UUID) -> Sequence[Job]:
    """The jobs that have not ended, locked: who ends one at this moment is waited for, and it is not among them."""
    query = Job.select().where(Job.document == document_id, Job.state.not_in(FINAL)).order_by(Job.job_id)
    return list(query.for_update() if is_postgres() else query)


def open_aged_erasure(document_id: UUID, until: datetime, *, why: str, now: datetime) -> bool:
    """Delete a document all of whose jobs had ended by `until`; False if that is not so (any more)."""
    with transaction():
        if lock_document(document_id).deleted_at is not None:
            return False
        if (
            Job.select()
            .where(Job.document == document_id, Job.finished_at.is_null() | (Job.finished_at > until))
            .exists()
        ):
            return False
        _delete(document_id, who="retention", why=why, now=now)
        return True


def _delete(document_id: UUID, *, who: str, why: str, now: datetime) -> None:
    _blank(document_id, now)
    # Whoever asks for it nudges, and may remove the files itself: two at once would tell each other's as absent.
    Erasure.create(document=document_id, asked_at=now, asked_by=who, why=why, due_at=now + FIRST_LOOK)


def _blank(document_id: UUID, now: datetime) -> None:
    Document.update(deleted_at=now, filename=BLANK, source=None).where(Document.document_id == document_id).execute()
    Job.update(erased_at=now, user_metadata=None, callback_url=None, message=GONE, work_key=None).where(
        Job.document == document_id
    ).execute()


def find_aged(until: datetime, limit: int) -> Sequence[UUID]:
    """Documents that are kept still, all of whose jobs had ended by `until`, oldest first."""
    other: Any = Job.alias()
    younger = other.select().where(
        other.document == Job.document, other.finished_at.is_null() | (other.finished_at > until)
    )
    query = Job.select(Job.document).where(Job.finished_at <= until, Job.erased_at.is_null(), ~fn.EXISTS(younger))
    with reading():
        return [row.document_id for row in query.order_by(Job.finished_at).limit(limit)]


def get_erasure(document_id: UUID) -> Erasure | None:
    """The erasure of a document, with the document; None if it was not deleted."""
    with reading():
        found: Erasure | None = (
            Erasure.select(Erasure, Document).join(Document).where(Erasure.document == document_id).get_or_none()
        )
    return found


def things_of(document_id: UUID) -> Sequence[ErasedThing]:
    """What was removed, in the order in which that happened."""
    with reading():
        return list(ErasedThing.select().where(ErasedThing.document == document_id).order_by(ErasedThing.thing_id))


def record_removal(document_id: UUID, what: Thing, place: str, outcome: Removal, now: datetime) -> None:
    """Put on record what was removed; the first word about a thing stays."""
    with transaction():
        ErasedThing.insert(
            document=document_id, what=what, place=place, outcome=outcome, at=now
        ).on_conflict_ignore().execute()


def remove_stored(store: Store, document: Document, now: datetime) -> None:
    """Remove a deleted document's bytes and results from our own store, and put that on record.

    Raises:
        StoreUnavailable: the store or the database can't be used now.
    """
    user_id, document_id = document.user_id, document.document_id
    places = {
        document.raw_path: Thing.RAW_FILE,
        parsed_path(user_id, document_id): Thing.RESULT,
        pages_path(user_id, document_id): Thing.RESULT,
    }
    known = {thing.place for thing in things_of(document_id)}
    for place, what in places.items():
        if place not in known:
            was_there = store.exists(place)
            store.delete(place)
            record_removal(document_id, what, place, Removal.REMOVED if was_there else Removal.ABSENT, now)


def left_at_provider(document_id: UUID) -> Sequence[AtProvider]:
    """What the document's attempts have left at the provider and was not removed, jobs before the files they are of."""
    known = {(thing.what, thing.place) for thing in things_of(document_id)}
    jobs, files = [], []
    for attempt in _attempts(document_id):
        if attempt.base_url is None:
            continue
        if attempt.provider_job_id is not None:
            jobs.append(AtProvider(Thing.PROVIDER_JOB, attempt.base_url, attempt.provider_job_id))
        if attempt.file_id is not None:
            files.append(AtProvider(Thing.PROVIDER_FILE, attempt.base_url, attempt.file_id))
    return [thing for thing in dict.fromkeys([*jobs, *files]) if (thing.what, thing.place) not in known]


def money_is_open(document_id: UUID) -> bool:
    """True while an attempt is not settled: the provider's job is needed there to tell what it did and cost.

    What was settled at its estimate is not waited for: who wants a document gone is not to wait for a correction.
    """
    return any(attempt.settled_at is None for attempt in _attempts(document_id))


def _attempts(document_id: UUID) -> Sequence[Attempt]:
    with reading():
        return list(Attempt.select().join(Job).where(Job.document == document_id).order_by(Attempt.created_at))


def blank_deliveries(document_id: UUID) -> bool:
    """Blank the events about a document that need not be sent any more; False while some are on their way."""
    with transaction():
        of_document = Job.select(Job.job_id).where(Job.document == document_id)
        Delivery.update(body="", last_error=None).where(
            Delivery.job.in_(of_document), Delivery.due_at.is_null()
        ).execute()
        if Delivery.select().where(Delivery.job.in_(of_document), Delivery.due_at.is_null(False)).exists():
            return False
        JobWebhook.delete().where(JobWebhook.job.in_(of_document)).execute()
        return True


def finish_erasure(document_id: UUID, now: datetime) -> bool:
    """Nothing is left; False if something has come after all: whoever reopens it changes the row that is held here."""
    with transaction():
        if is_postgres():
            Erasure.select().where(Erasure.document == document_id).for_update().get()
        if left_at_provider(document_id) or money_is_open(document_id):
            return False
        Erasure.update(finished_at=now, due_at=None, last_error=None).where(
            Erasure.document == document_id, Erasure.due_at.is_null(False)
        ).execute()
        return True


def postpone_erasure(document_id: UUID, due_at: datetime, *, why: str) -> None:
    """Something can't be removed yet."""
    with transaction():
        Erasure.update(due_at=due_at, last_error=why[:500], tries=Erasure.tries + 1).where(
            Erasure.document == document_id, Erasure.due_at.is_null(False)
        ).execute()


def reopen_erasure(document_id: UUID, now: datetime) -> None:
    """Something came after all, such as the answer to an upload that was under way. Quick where nothing was deleted."""
    with transaction():
        Erasure.update(due_at=now, finished_at=None).where(Erasure.document == document_id).execute()
