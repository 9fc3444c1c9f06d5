"""Reading a document from where the order says it is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import httpx

from domain.errors import OrderRefused, SourceUnavailable
from models.store import CHUNK

DEADLINE_S: Final = 600.0
"""Seconds that fetching one document may take in all."""


def read_source(source: str, *, roots: Sequence[Path], http: httpx.Client) -> Iterator[bytes]:
    """The bytes at `source`, in chunks.

    Args:
        source: a ``file://``, ``http://`` or ``https://`` URL.
        roots: the folders that a file may lie in, links resolved.
        http: a client that refuses private addresses.

    Raises:
        OrderRefused: it can never be read: no such file, a folder, outside the roots, a refused host, a 4xx.
        SourceUnavailable: it can't be read now.
    """
    scheme = urlsplit(source).scheme.lower()
    if scheme == "file":
        return _read_file(source, roots)
    if scheme in {"http", "https"}:
        return _read_http(source, http)
    raise OrderRefused("source must begin with file://, http:// or https://", reason="source_refused")


def _read_file(source: str, roots: Sequence[Path]) -> Iterator[bytes]:
    parts = urlsplit(source)
    if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
        raise OrderRefused("a file source is written file:///folder/name", reason="source_refused")
    named = unquote(parts.path)
    if "\0" in named:
        raise OrderRefused("the source's path holds a NUL character", reason="source_refused")
    path = Path(os.path.realpath(named))
    if not any(path.is_relative_to(os.path.realpath(root)) for root in roots):
        raise OrderRefused(
            f"{named} lies in none of the folders that PARSEGATE_SOURCE_ROOTS names", reason="source_refused"
        )
    try:
        if path.is_dir():
            raise OrderRefused(f"{named} is a folder, not a file", reason="source_is_folder")
        if path.exists() and not path.is_file():
            raise OrderRefused(f"{named} is not a regular file", reason="source_refused")
        with path.open("rb") as opened:
            while chunk := opened.read(CHUNK):
                yield chunk
    except FileNotFoundError:
        raise OrderRefused(f"there is no file {named}", reason="source_missing") from None
    except PermissionError:
        raise OrderRefused(f"{named} may not be read", reason="source_refused") from None
    except OSError as error:
        raise SourceUnavailable(f"{named} can't be read now: {error.strerror}") from error


def _read_http(source: str, http: httpx.Client) -> Iterator[bytes]:
    host = urlsplit(source).hostname
    try:
        with http.stream("GET", source, extensions={"deadline_s": DEADLINE_S}) as answer:
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
