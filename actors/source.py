"""Reading a document from where the order says it is."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import httpx

from domain.errors import OrderRefused, SourceUnavailable
from models.store import CHUNK

DEADLINE_S: Final = 600.0
"""Seconds that fetching one document may take in all."""
LEAST_BYTES_PER_S: Final = 10 * 1024
"""What a source must send at least, after a while (`llamaparse.transport.Pace`)."""


def is_remote(source: str) -> bool:
    """True if a source is asked for over the network."""
    return urlsplit(source).scheme.lower() in {"http", "https"}


def read_source(
    source: str, *, roots: Sequence[Path], private: Sequence[Path] = (), http: httpx.Client
) -> Iterator[bytes]:
    """The bytes at `source`, in chunks.

    Args:
        source: a ``file://``, ``http://`` or ``https://`` URL.
        roots: the folders that a file may lie in, links resolved.
        private: files and folders in them that no order may name.
        http: a client that refuses private addresses.

    Raises:
        OrderRefused: it can never be read: no such file, a folder, outside the roots, a refused host, a 4xx.
        SourceUnavailable: it can't be read now.
    """
    try:
        scheme = urlsplit(source).scheme.lower()
    except ValueError:
        raise OrderRefused("the source is not a URL", reason="source_refused") from None
    if scheme == "file":
        return _read_file(source, roots, private)
    if scheme in {"http", "https"}:
        return _read_http(source, http)
    raise OrderRefused("source must begin with file://, http:// or https://", reason="source_refused")


def _read_file(source: str, roots: Sequence[Path], private: Sequence[Path]) -> Iterator[bytes]:
    parts = urlsplit(source)
    if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
        raise OrderRefused("a file source is written file:///folder/name", reason="source_refused")
    named = unquote(parts.path)
    if "\0" in named:
        raise OrderRefused("the source's path holds a NUL character", reason="source_refused")
    path = Path(os.path.realpath(named))
    _check_place(path, named, roots, private)
    try:
        if path.is_dir():
            raise OrderRefused(f"{named} is a folder, not a file", reason="source_is_folder")
        # The file that is opened is judged once more: what has this name may have been swapped since. O_NONBLOCK, so
        # that a FIFO doesn't wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as opened:
            _check_place(Path(os.readlink(f"/proc/self/fd/{descriptor}")), named, roots, private)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OrderRefused(f"{named} is not a regular file", reason="source_refused")
            while chunk := opened.read(CHUNK):
                yield chunk
    except FileNotFoundError:
        raise OrderRefused(f"there is no file {named}", reason="source_missing") from None
    except PermissionError:
        raise OrderRefused(f"{named} may not be read", reason="source_refused") from None
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            raise OrderRefused(f"{named} is not a regular file", reason="source_refused") from None
        raise SourceUnavailable(f"{named} can't be read now: {error.strerror}") from error


def _check_place(path: Path, named: str, roots: Sequence[Path], private: Sequence[Path]) -> None:
    """Refuse what lies outside the folders that may be read, links resolved.

    Raises:
        OrderRefused: it does.
    """
    lies_in_root = any(path.is_relative_to(os.path.realpath(root)) for root in roots)
    if not lies_in_root or any(_is_or_lies_in(path, hidden) for hidden in private):
        raise OrderRefused(
            f"{named} lies in none of the folders that PARSEGATE_SOURCE_ROOTS names", reason="source_refused"
        )


def _is_or_lies_in(path: Path, hidden: Path) -> bool:
    """True also for another name of the same file, a hard link: opening the database would drop the locks on it."""
    if path.is_relative_to(os.path.realpath(hidden)):
        return True
    return hidden.is_file() and path.exists() and path.samefile(hidden)


def _read_http(source: str, http: httpx.Client) -> Iterator[bytes]:
    host = urlsplit(source).hostname
    try:
        with http.stream(
            "GET", source, extensions={"deadline_s": DEADLINE_S, "least_bytes_per_s": LEAST_BYTES_PER_S}
        ) as answer:
            if answer.status_code in {408, 425, 429} or answer.status_code >= 500:
                raise SourceUnavailable(f"{host} answered {answer.status_code}")
            if answer.status_code != 200:
                raise OrderRefused(
                    f"{host} answered {answer.status_code} for the source", reason=f"source_http_{answer.status_code}"
                )
            if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise OrderRefused(f"{host} sent the source compressed, unasked", reason="source_refused")
            yield from answer.iter_raw(CHUNK)
    except httpx.TransportError as error:
        raise SourceUnavailable(f"{host} can't be reached: {str(error) or type(error).__name__}") from error
    except httpx.InvalidURL:
        raise OrderRefused("the source is not a URL", reason="source_refused") from None
