"""The store of raw files and results: any fsspec URL, a local folder by default. Every write is atomic."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from hashlib import sha256
from typing import Any, BinaryIO, Final, cast
from uuid import uuid4

import fsspec
from fsspec.implementations.local import LocalFileSystem

from domain.errors import BadSetting, NotFound, OrderRefused, StoreUnavailable
from domain.orders import size_limit
from models.jobs import Content

CHUNK: Final = 256 * 1024
"""Bytes moved at a time."""
STAGING: Final = "staging"
"""Where files lie until they are whole."""
LEFTOVER_S: Final = 24 * 3600.0


class Store:
    """Files by path below one URL.

    Raises:
        BadSetting: the URL's scheme is unknown, or its library is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise BadSetting(f"PARSEGATE_RESULTS_URL can't be used: {error}") from None
        self.url = url.rstrip("/")
        self._local = isinstance(self._files, LocalFileSystem)

    def __repr__(self) -> str:
        return f"Store({self._root!r})"

    def write(self, path: str, chunks: Iterable[bytes], *, max_bytes: int | None = None) -> Content:
        """Write a file as a whole or not at all, and answer its hash and size.

        Raises:
            OrderRefused: nothing in it, or more than `max_bytes`.
            StoreUnavailable: it can't be written now (disk full, service away).
        """
        with self.writing(path, max_bytes=max_bytes) as writer:
            for chunk in chunks:
                writer.write(chunk)
        return writer.content

    def write_bytes(self, path: str, data: bytes) -> Content:
        """Write a whole file at once; it may be empty."""
        with self.writing(path, allow_empty=True) as writer:
            writer.write(data)
        return writer.content

    @contextmanager
    def writing(self, path: str, *, max_bytes: int | None = None, allow_empty: bool = False) -> Iterator[Writer]:
        """A writer whose file appears at `path` when the block ends well, and never otherwise."""
        writer = self.new_writer(path, max_bytes=max_bytes, allow_empty=allow_empty)
        try:
            yield writer
            writer.commit()
        finally:
            writer.discard()

    def new_writer(self, path: str, *, max_bytes: int | None = None, allow_empty: bool = False) -> Writer:
        """A writer that the caller ends with `commit` and then `discard`, or `discard` alone."""
        part = f"{self._root}/{STAGING}/{uuid4().hex}.part" if self._local else None
        return Writer(self._files, f"{self._root}/{path}", part, max_bytes, allow_empty)

    def tidy(self, now: datetime) -> int:
        """Remove what writes and uploads that were cut off have left in `staging`, once it is a day old.

        Raises:
            StoreUnavailable: it can't be removed now.
        """
        folder, removed = f"{self._root}/{STAGING}", 0
        if not self._local or not os.path.isdir(folder):
            return 0
        try:
            with os.scandir(folder) as found:
                for entry in found:
                    if now.timestamp() - entry.stat().st_mtime > LEFTOVER_S:
                        os.unlink(entry.path)
                        removed += 1
        except OSError as error:
            raise StoreUnavailable(f"the store can't be cleaned up now: {error.strerror or error}") from error
        return removed

    @contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        """A file to read, seekable.

        Raises:
            NotFound: there is none.
            StoreUnavailable: it can't be opened now.
        """
        try:
            opened = self._files.open(f"{self._root}/{path}", "rb")
        except FileNotFoundError:
            raise NotFound(f"the store has no {path}") from None
        except OSError as error:
            raise StoreUnavailable(f"the store can't be read now: {error.strerror or error}") from error
        with opened:
            yield cast(BinaryIO, opened)

    def read(self, path: str) -> bytes:
        """A whole file."""
        with self.open(path) as opened:
            return opened.read()

    def share(self, source: str, target: str) -> None:
        """Let a file's bytes appear under another path too; on a local disk they are there once.

        No file is ever changed in its place, so neither sees what becomes of the other.

        Raises:
            NotFound: there is no `source`.
            StoreUnavailable: it can't be written now.
        """
        old, new = f"{self._root}/{source}", f"{self._root}/{target}"
        try:
            if self._local:
                os.makedirs(os.path.dirname(new), mode=0o700, exist_ok=True)
                os.link(old, new)
            else:
                self._files.cp_file(old, new)
        except FileNotFoundError:
            raise NotFound(f"the store has no {source}") from None
        except OSError as error:
            raise StoreUnavailable(f"the store can't be written now: {error.strerror or error}") from error

    def move(self, source: str, target: str) -> None:
        """Let a file appear under another path, over what is there. Atomic on a local disk.

        Raises:
            NotFound: there is no `source`.
            StoreUnavailable: it can't be moved now.
        """
        old, new = f"{self._root}/{source}", f"{self._root}/{target}"
        try:
            if self._local:
                os.makedirs(os.path.dirname(new), mode=0o700, exist_ok=True)
                os.replace(old, new)
                _sync_folder(os.path.dirname(new))
            else:
                self._files.makedirs(os.path.dirname(new), exist_ok=True)
                self._files.mv(old, new)
        except FileNotFoundError:
            raise NotFound(f"the store has no {source}") from None
        except OSError as error:
            raise StoreUnavailable(f"the store can't be written now: {error.strerror or error}") from error

    def delete(self, path: str) -> None:
        """Remove a file; if there is none, nothing happens.

        Raises:
            StoreUnavailable: it can't be removed now.
        """
        try:
            self._files.rm_file(f"{self._root}/{path}")
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreUnavailable(f"the store can't be written now: {error.strerror or error}") from error

    def exists(self, path: str) -> bool:
        """True if there is such a file."""
        return bool(self._files.exists(f"{self._root}/{path}"))


class Writer:
    """A file being written; nobody sees it before `commit`."""

    def __init__(self, files: Any, path: str, part: str | None, max_bytes: int | None, allow_empty: bool) -> None:
        self._files, self._path, self._part = files, path, part
        self._max_bytes, self._allow_empty = max_bytes, allow_empty
        self._file: Any
        self._hash, self._size = sha256(), 0
        try:
            if part is None:
                files.makedirs(os.path.dirname(path), exist_ok=True)
                # Elsewhere than on a local disk a file appears when it is closed, as a whole.
                self._file = files.open(path, "wb", autocommit=False)
            else:
                for folder in (os.path.dirname(path), os.path.dirname(part)):
                    os.makedirs(folder, mode=0o700, exist_ok=True)
                self._file = os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        except OSError as error:
            raise StoreUnavailable(f"the store can't be written now: {error.strerror or error}") from error

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._size

    @property
    def content(self) -> Content:
        """Hash and size of what was written."""
        return Content(self._hash.hexdigest(), self._size)

    def write(self, chunk: bytes) -> None:
        """Add to the file.

        Raises:
            OrderRefused: it would be larger than allowed.
            StoreUnavailable: the disk is full, or the service away.
        """
        self._size += len(chunk)
        if self._max_bytes is not None and self._size > self._max_bytes:
            raise OrderRefused(f"the file is larger than {size_limit(self._max_bytes)}", reason="file_too_large")
        self._hash.update(chunk)
        try:
            self._file.write(chunk)
        except OSError as error:
            raise StoreUnavailable(f"the store can't be written now: {error.strerror or error}") from error

    def commit(self) -> Content:
        """Let the file appear, safe on the disk.

        Raises:
            OrderRefused: it is empty.
            StoreUnavailable: it can't be written now.
        """
        if not self._size and not self._allow_empty:
            raise OrderRefused("the file is empty", reason="file_empty")
        try:
            if self._part is None:
                self._file.close()
                self._file.commit()
                return self.content
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._part, self._path)
            _sync_folder(os.path.dirname(self._path))
        except OSError as error:
            raise StoreUnavailable(f"the store can't be written now: {error.strerror or error}") from error
        self._part = None
        return self.content

    def discard(self) -> None:
        """Forget what was not committed; after a commit it does nothing."""
        if self._file.closed and self._part is None:
            return
        try:
            if self._part is None:
                self._file.close()
                self._file.discard()
            else:
                # Closing writes what is buffered, which a full disk refuses; the part goes all the same.
                with suppress(OSError):
                    self._file.close()
                os.unlink(self._part)
        except OSError as error:
            raise StoreUnavailable(f"the store can't be cleaned up now: {error.strerror or error}") from error
        self._part = None


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
