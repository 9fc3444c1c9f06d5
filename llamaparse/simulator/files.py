"""Files on disk, never in memory: uploads are spooled to temporary files while they arrive."""

from __future__ import annotations

import hashlib
import mimetypes
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import httpx

from llamaparse.simulator.errors import ApiError
from llamaparse.simulator.pages import Unreadable
from llamaparse.simulator.settings import SimulatorSettings


@dataclass(frozen=True)
class StoredFile:
    """A file of a project. `sequence` orders files by their arrival."""

    id: str
    project_id: str
    name: str
    path: Path
    size: int
    sha256: str
    created_at: datetime
    sequence: int
    purpose: str | None = None
    external_file_id: str | None = None


@dataclass(frozen=True)
class Spooled:
    """Bytes on disk that are not a file of anybody's yet."""

    path: Path
    size: int
    sha256: str


class TooLarge(Exception):
    """More bytes came than the limit allows."""


class FileStore:
    """The files of all projects, in one temporary folder that `close` removes."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._limit = settings.max_file_bytes
        self._folder: Path | None = None
        self._files: dict[str, StoredFile] = {}
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._files)

    async def spool(self, chunks: AsyncIterator[bytes]) -> Spooled:
        """Write what comes to a new temporary file.

        Raises:
            TooLarge: more than the largest file came; nothing is kept.
        """
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="parsegate-simulator-"))
        path = self._folder / uuid.uuid4().hex
        digest, size, complete = hashlib.sha256(), 0, False
        try:
            with path.open("wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > self._limit:
                        raise TooLarge
                    digest.update(chunk)
                    file.write(chunk)
            complete = True
        finally:
            if not complete:
                path.unlink(missing_ok=True)
        return Spooled(path, size, digest.hexdigest())

    def add(
        self,
        spooled: Spooled,
        project_id: str,
        name: str,
        *,
        purpose: str | None = None,
        external_file_id: str | None = None,
    ) -> StoredFile:
        self._sequence += 1
        file = StoredFile(
            id=f"dfl-{uuid.uuid4()}",
            project_id=project_id,
            name=name,
            path=spooled.path,
            size=spooled.size,
            sha256=spooled.sha256,
            created_at=datetime.now(UTC),
            sequence=self._sequence,
            purpose=purpose,
            external_file_id=external_file_id,
        )
        self._files[file.id] = file
        return file

    def get(self, file_id: str, project_id: str) -> StoredFile:
        """The project's file.

        Raises:
            ApiError: 404, also for a file of another project.
        """
        file = self._files.get(file_id)
        if file is None or file.project_id != project_id:
            raise ApiError(404, f"File {file_id} not found")
        return file

    def find(self, file_id: str) -> StoredFile | None:
        """A file of any project."""
        return self._files.get(file_id)

    def of_project(self, project_id: str) -> list[StoredFile]:
        """Newest first."""
        return sorted(
            (file for file in self._files.values() if file.project_id == project_id),
            key=lambda file: file.sequence,
            reverse=True,
        )

    def delete(self, file: StoredFile) -> None:
        """A job that waits for the file fails; one that has opened it goes on."""
        del self._files[file.id]
        file.path.unlink(missing_ok=True)

    def close(self) -> None:
        self._files.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


async def fetch(client: httpx.AsyncClient, store: FileStore, url: str) -> tuple[Spooled, str]:
    """What lies behind a `source_url`, and a name for it.

    Raises:
        Unreadable: it can't be had (`SOURCE_URL_UNREACHABLE`) or is larger than a file may be (`DOCUMENT_TOO_LARGE`).
    """
    try:
        async with client.stream("GET", url) as answer:
            if not answer.is_success:
                raise Unreadable("SOURCE_URL_UNREACHABLE")
            return await store.spool(answer.aiter_bytes()), _name_of(url, answer.headers)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise Unreadable("SOURCE_URL_UNREACHABLE") from error
    except TooLarge as error:
        raise Unreadable("DOCUMENT_TOO_LARGE") from error


def _name_of(url: str, headers: Mapping[str, str]) -> str:
    name = PurePosixPath(unquote(urlsplit(url).path)).name or "document"
    if PurePosixPath(name).suffix:
        return name
    return name + (mimetypes.guess_extension(headers.get("content-type", "").partition(";")[0].strip()) or "")
