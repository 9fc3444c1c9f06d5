"""Files that wait for an order by their id (LlamaCloud's interface)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from domain.errors import NotFound
from models.database import reading, transaction
from models.tables import UploadFile

ORDERS: Final = ("created_at", "name", "id")


@dataclass(frozen=True)
class WantedFiles:
    """Which files of a tenant; None is any."""

    tenant: str
    external_file_id: str | None = None
    file_ids: Sequence[UUID] | None = None
    name: str | None = None


def add_file(file: UploadFile, put_in_place: Callable[[], None]) -> None:
    """Put a file on record and its bytes in their place, or do neither."""
    with transaction():
        file.save(force_insert=True)
        put_in_place()


def get_file(file_id: UUID | None, tenant: str) -> UploadFile:
    """A tenant's file.

    Raises:
        NotFound: there is none.
    """
    with reading():
        found: UploadFile | None = UploadFile.get_or_none(UploadFile.file_id == file_id, UploadFile.tenant == tenant)
    if found is None:
        raise NotFound("File not found")
    return found


def find_file(file_id: UUID) -> UploadFile:
    """A file, whosever it is.

    Raises:
        NotFound: there is none.
    """
    with reading():
        found: UploadFile | None = UploadFile.get_or_none(UploadFile.file_id == file_id)
    if found is None:
        raise NotFound("File not found")
    return found


def forget_file(file: UploadFile) -> None:
    """Take a file off the record; its bytes are the caller's to remove. Documents made of it have their own."""
    with transaction():
        UploadFile.delete().where(UploadFile.file_id == file.file_id).execute()


def find_aged(until: datetime, limit: int) -> Sequence[UploadFile]:
    """Files that were uploaded before a moment, oldest first."""
    query = UploadFile.select().where(UploadFile.created_at <= until)
    with reading():
        return list(query.order_by(UploadFile.created_at).limit(limit))


def list_files(
    wanted: WantedFiles, order_by: str, most: int, after: tuple[Any, UUID] | None = None
) -> Sequence[UploadFile]:
    """At most so many files: the newest first, or by name or id.

    Args:
        order_by: one of `ORDERS`.
        after: the key and the id of the last one of the page before, which may be gone.
    """
    key: Any = {"created_at": UploadFile.created_at, "name": UploadFile.name, "id": UploadFile.file_id}[order_by]
    newest_first, query = order_by == "created_at", UploadFile.select().where(*_conditions(wanted))
    if after is not None:
        value, file_id = after
        if newest_first:
            query = query.where(key <= value, (key < value) | (UploadFile.file_id < file_id))
        else:
            query = query.where(key >= value, (key > value) | (UploadFile.file_id > file_id))
    order = (key.desc(), UploadFile.file_id.desc()) if newest_first else (key, UploadFile.file_id)
    with reading():
        return list(query.order_by(*order).limit(most))


def _conditions(wanted: WantedFiles) -> list[Any]:
    found: list[Any] = [UploadFile.tenant == wanted.tenant]
    if wanted.external_file_id is not None:
        found.append(UploadFile.external_file_id == wanted.external_file_id)
    if wanted.file_ids is not None:
        found.append(UploadFile.file_id.in_(list(wanted.file_ids)))
    if wanted.name is not None:
        found.append(UploadFile.name == wanted.name)
    return found
