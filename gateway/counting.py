"""Documents that come as ``multipart/form-data`` to be counted: each is read, its pages counted, and it is gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import IO, Annotated, Final

import falcon.asgi
from falcon.asgi.multipart import BodyPart, MultipartForm
from falcon.media.multipart import MultipartFormHandler, MultipartParseOptions
from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError, create_model
from pydantic_core import ErrorDetails

from domain.documents import PageCount
from domain.errors import OrderRefused, StoreUnavailable
from domain.orders import safe_filename, size_limit
from gateway.orders import FIELDS, FILE, form_fields, json_fields
from gateway.pool import run_in
from gateway.problems import RETRY_AFTER_S, Problem
from gateway.requests import header_text
from gateway.uploads import MAX_FIELD, part_names, part_text
from llamaparse.parser_pool import MOST_CHILDREN, ParserPool
from models.store import CHUNK, Store

MAX_FILES: Final = 100
MAX_DOCUMENTS: Final = 10_000
MAX_PAGES: Final = 1_000_000
PLACES: Final = MOST_CHILDREN
"""How many documents are counted at once: more would only wait for a child, each in a thread that others need."""
WAIT_S: Final = 5.0
"""How long a document waits for a place."""
FORM_S: Final = 30.0
"""How long a form's documents may wait and be counted, all together."""

Pages = Annotated[int, Field(ge=1, le=MAX_PAGES, strict=True)]


class CountedDocument(BaseModel):
    """A document whose pages the sender has counted."""

    model_config = ConfigDict(extra="forbid")

    pages: Pages
    filename: str | None = None
    pages_guessed: StrictBool = False
    kind: str = "unknown"


CountedPages: Final[type[BaseModel]] = create_model(
    "CountedPages",
    __doc__="One document by its pages, and how it would be ordered.",
    __config__=ConfigDict(extra="forbid"),
    pages=(Pages, ...),
    **json_fields(),
)
CountedDocuments: Final[type[BaseModel]] = create_model(
    "CountedDocuments",
    __doc__="Documents by their pages, and how they would be ordered.",
    __config__=ConfigDict(extra="forbid"),
    documents=(Annotated[list[CountedDocument], Field(min_length=1, max_length=MAX_DOCUMENTS)], ...),
    **json_fields(),
)
FormFiles: Final[type[BaseModel]] = create_model(
    "FormFiles",
    __doc__="Documents that are counted here, and how they would be ordered. Nothing of them is kept.",
    __config__=ConfigDict(extra="forbid"),
    file=(FILE | Annotated[list[FILE], Field(min_length=1, max_length=MAX_FILES)], ...),
    **form_fields(),
)


@dataclass(frozen=True)
class Counted:
    """A document, by its name and pages."""

    filename: str
    pages: PageCount


@dataclass
class Counts:
    """A form that was read to its end: its text fields, and its documents in their order.

    Args:
        left_s: how long its other documents may wait and be counted.
    """

    fields: dict[str, list[str]] = field(default_factory=dict)
    documents: list[Counted] = field(default_factory=list)
    left_s: float = FORM_S


class CountingDesk:
    """Counts the pages of what is sent, and keeps nothing of it.

    A document waits for a place before it takes a thread, so that slow ones leave the other threads to everybody else.
    There is no limit for each token: one often stands for a whole service, whose quotes may take all places.

    Args:
        max_bytes: of a file.
        wait_s, form_s: see `WAIT_S`, `FORM_S`.
    """

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        max_bytes: int,
        parsers: ParserPool,
        *,
        wait_s: float = WAIT_S,
        form_s: float = FORM_S,
    ) -> None:
        self._pool, self._max_bytes, self._parsers = pool, max_bytes, parsers
        self._places, self._wait_s, self._form_s = asyncio.Semaphore(PLACES), wait_s, form_s
        options = MultipartParseOptions()
        options.max_body_part_count, options.max_body_part_buffer_size = MAX_FILES + len(FIELDS), MAX_FIELD
        self._handler = MultipartFormHandler(options)

    async def count(self, req: falcon.asgi.Request) -> Counts:
        """The request's form, counted.

        Raises:
            Problem: 400 for a malformed form, 503 if others are being counted.
            OrderRefused: no file, too many, an empty or too large one, an unknown field, or they take too long.
            StoreUnavailable: there is no room to read one.
            Waiting: the process stops.
        """
        form = await self._handler.deserialize_async(req.stream, header_text(req, "Content-Type"), None)
        assert isinstance(form, MultipartForm)
        counts = Counts(left_s=self._form_s)
        async for part in form:
            name, filename = part_names(part)
            if name == "file":
                if len(counts.documents) == MAX_FILES:
                    raise OrderRefused(f"the form has more than {MAX_FILES} files: send fewer at a time")
                counts.documents.append(await self._count_part(part, safe_filename(filename or ""), counts))
            elif name in FIELDS:
                counts.fields.setdefault(name, []).append(await part_text(part, name))
            else:
                raise OrderRefused(f"unknown field {name[:80]!r}: known are file, {', '.join(sorted(FIELDS))}")
        if not counts.documents:
            raise OrderRefused("the form has no file: send it in a part named 'file'", reason="file_missing")
        return counts

    async def count_stored(self, store: Store, path: str, filename: str) -> Counted:
        """A document in the store, counted.

        Raises:
            Problem: 503 if others are being counted.
            NotFound, StoreUnavailable: it can't be read.
            OrderRefused: it takes too long.
        """
        counts = Counts(left_s=self._form_s)
        async with self._place(counts):
            return Counted(filename, await run_in(self._pool, self._count_in, store, path, filename, counts.left_s))

    def _count_in(self, store: Store, path: str, filename: str, limit_s: float) -> PageCount:
        with store.open(path) as content:
            return self._parsers.count(content, filename, limit_s=limit_s)

    async def _count_part(self, part: BodyPart, filename: str, counts: Counts) -> Counted:
        copy: IO[bytes] = await run_in(self._pool, TemporaryFile)
        try:
            if not await self._copy(part, copy, filename):
                raise OrderRefused(f"file {filename!r} is empty", reason="file_empty")
            async with self._place(counts):
                pages = await run_in(self._pool, self._count_copy, copy, filename, counts.left_s)
            return Counted(filename, pages)
        except OSError as error:
            raise StoreUnavailable(f"a file can't be read to be counted: {error.strerror or error}") from error
        finally:
            await run_in(self._pool, copy.close)

    @asynccontextmanager
    async def _place(self, counts: Counts) -> AsyncIterator[None]:
        """A place to count a document of this form; what it takes of the form's time is taken off."""
        begun, left_s = time.monotonic(), counts.left_s
        try:
            async with asyncio.timeout(min(self._wait_s, left_s)):
                await self._places.acquire()
        except TimeoutError:
            words = "too many documents are being counted: send it again, or say how many pages it has"
            raise Problem(503, "counting_busy", words, headers={"Retry-After": str(RETRY_AFTER_S)}) from None
        try:
            counts.left_s = left_s - (time.monotonic() - begun)
            yield
        finally:
            self._places.release()
            counts.left_s = left_s - (time.monotonic() - begun)
        if counts.left_s <= 0:
            words = f"its documents take more than {self._form_s:.0f} s to be counted: send fewer, or say their pages"
            raise OrderRefused(words, reason="counting_takes_too_long")

    async def _copy(self, part: BodyPart, copy: IO[bytes], filename: str) -> int:
        """Write what comes in pieces of some size: each needs a thread. Answers its size in bytes."""
        pieces: list[bytes] = []
        waiting = size = 0
        async for piece in part.stream:
            pieces.append(piece)
            waiting, size = waiting + len(piece), size + len(piece)
            if size > self._max_bytes:
                words = f"file {filename!r} is larger than {size_limit(self._max_bytes)}"
                raise OrderRefused(words, reason="file_too_large")
            if waiting >= CHUNK:
                await run_in(self._pool, copy.write, b"".join(pieces))
                pieces, waiting = [], 0
        await run_in(self._pool, copy.write, b"".join(pieces))
        return size

    def _count_copy(self, copy: IO[bytes], filename: str, limit_s: float) -> PageCount:
        copy.flush()
        return self._parsers.count(copy, filename, limit_s=limit_s)  # type: ignore[arg-type]


def counted_by_sender(body: Mapping[str, object]) -> Sequence[Counted]:
    """Documents whose pages the sender has counted: ``{"pages": 3}``, or ``{"documents": [{"pages": 3}, ...]}``.

    Raises:
        OrderRefused: with one sentence.
    """
    if ("pages" in body) == ("documents" in body):
        raise OrderRefused('say how many pages, as {"pages": 3}, or send multipart/form-data with files')
    documents = [{"pages": body["pages"], "filename": body.get("filename")}] if "pages" in body else body["documents"]
    if not isinstance(documents, list) or not 0 < len(documents) <= MAX_DOCUMENTS:
        raise OrderRefused(f"documents must be a list of 1 to {MAX_DOCUMENTS} objects")
    return [_said(document) for document in documents]


def _said(document: object) -> Counted:
    try:
        said = CountedDocument.model_validate(document)
    except ValidationError as error:
        raise OrderRefused(_fault(error.errors()[0])) from None
    pages = PageCount(said.pages, said.pages_guessed, said.kind[:20])
    return Counted(safe_filename(said.filename or "document"), pages)


def _fault(error: ErrorDetails) -> str:
    if error["type"] in {"model_type", "extra_forbidden", "missing"}:
        return "each of documents must be an object with pages, and filename, pages_guessed, kind if known"
    if error["loc"] == ("pages",):
        return f"pages must be a whole number from 1 to {MAX_PAGES:,}"
    return "pages_guessed must be true or false, filename and kind texts"
