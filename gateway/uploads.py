"""A document that comes as ``multipart/form-data``: streamed to the store in constant memory, put in place at the end.

The fields that say what the document is may come after the file, so the file waits in a staging folder of the store
until the whole form was read and the order was accepted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

import falcon
import falcon.asgi
from falcon.asgi.multipart import BodyPart, MultipartForm
from falcon.media.multipart import MultipartFormHandler, MultipartParseOptions

from domain.errors import OrderRefused
from domain.orders import safe_filename, size_limit
from gateway.bodies import check_text, declared_length, media_type
from gateway.openapi.description import FORM
from gateway.orders import FIELDS
from gateway.pool import run_in
from gateway.problems import Problem
from gateway.requests import header_text
from models.jobs import Content
from models.store import CHUNK, STAGING, Store, Writer

MAX_PARTS: Final = 64
MAX_FIELD: Final = 64 * 1024
"""Bytes of one text field."""


@dataclass
class Upload:
    """A form that was read to its end.

    Args:
        fields: the texts by name, in the order they came.
        filename: as the sender named it, without folders; None if it did not.
        path: where the bytes are in the store, for now.
        content: their hash and size.
    """

    fields: dict[str, list[str]]
    filename: str | None
    path: str
    content: Content


@dataclass
class _Draft:
    path: str = field(default_factory=lambda: f"{STAGING}/{uuid4()}")
    fields: dict[str, list[str]] = field(default_factory=dict)
    filename: str | None = None
    writer: Writer | None = None


class UploadDesk:
    """Receives uploads.

    Args:
        max_bytes: of a file.
        fields: the names of the text fields that a form may have.
    """

    def __init__(
        self, store: Store, pool: ThreadPoolExecutor, max_bytes: int, fields: Collection[str] = FIELDS
    ) -> None:
        self._store, self._pool, self._max_bytes, self._fields = store, pool, max_bytes, fields
        options = MultipartParseOptions()
        options.max_body_part_count, options.max_body_part_buffer_size = MAX_PARTS, MAX_FIELD
        self._handler = MultipartFormHandler(options)

    @asynccontextmanager
    async def receive(self, req: falcon.asgi.Request) -> AsyncIterator[Upload]:
        """The request's form; what was not moved from its staging path by the end of the block is removed.

        Raises:
            Problem: 400 for a malformed form, 415 for what is none.
            OrderRefused: no file, two, an empty or too large one, or an unknown field.
            StoreUnavailable: it can't be stored now.
        """
        self._check_length(req)
        draft = _Draft()
        try:
            await self._read_form(await self._form(req), draft)
            if draft.writer is None:
                raise OrderRefused("the form has no file: send it in a part named 'file'", reason="file_missing")
            content = await run_in(self._pool, draft.writer.commit)
            yield Upload(draft.fields, draft.filename, draft.path, content)
        finally:
            if draft.writer is not None:
                await run_in(self._pool, self._clean_up, draft.writer, draft.path)

    def _check_length(self, req: falcon.asgi.Request) -> None:
        declared = declared_length(req)
        if declared is not None and declared > self._max_bytes + MAX_PARTS * MAX_FIELD:
            raise OrderRefused(f"the file is larger than {size_limit(self._max_bytes)}", reason="file_too_large")

    async def _form(self, req: falcon.asgi.Request) -> MultipartForm:
        if media_type(req) != FORM:
            raise Problem(415, "unsupported_media_type", f"send {FORM} with a part named 'file'")
        form = await self._handler.deserialize_async(req.stream, header_text(req, "Content-Type"), None)
        assert isinstance(form, MultipartForm)
        return form

    async def _read_form(self, form: MultipartForm, draft: _Draft) -> None:
        async for part in form:
            name, filename = part_names(part)
            if name == "file":
                if draft.writer is not None:
                    raise OrderRefused("the form has two files: order each document by itself", reason="two_files")
                draft.filename = safe_filename(filename) if filename else None
                draft.writer = await run_in(
                    self._pool, self._store.new_writer, draft.path, max_bytes=self._max_bytes, allow_empty=False
                )
                await self._copy(part, draft.writer)
            elif name in self._fields:
                draft.fields.setdefault(name, []).append(await part_text(part, name))
            else:
                raise OrderRefused(f"unknown field {name[:80]!r}: known are file, {', '.join(sorted(self._fields))}")

    async def _copy(self, part: BodyPart, writer: Writer) -> None:
        """Write what comes in pieces of some size: each needs a thread."""
        pieces: list[bytes] = []
        size = 0
        async for piece in part.stream:
            pieces.append(piece)
            size += len(piece)
            if size >= CHUNK:
                await run_in(self._pool, writer.write, b"".join(pieces))
                pieces, size = [], 0
        if pieces:
            await run_in(self._pool, writer.write, b"".join(pieces))

    def _clean_up(self, writer: Writer, path: str) -> None:
        writer.discard()
        self._store.delete(path)


def part_names(part: BodyPart) -> tuple[str, str | None]:
    """A part's name and filename.

    Raises:
        Problem: 400, they are not UTF-8.
    """
    try:
        name, filename = part.name, part.filename
    except UnicodeDecodeError:
        raise Problem(400, "malformed_form", "a part's headers are not UTF-8") from None
    return name or "", filename


async def part_text(part: BodyPart, name: str) -> str:
    """A text field's value.

    Raises:
        OrderRefused: it is not UTF-8, or a text that can't be stored.
    """
    try:
        said = (await part.get_data()).decode()
        check_text(said)
    except UnicodeDecodeError:
        raise OrderRefused(f"field {name!r} is not UTF-8") from None
    except ValueError as error:
        raise OrderRefused(f"field {name!r} can't be read: {error}") from None
    return said
