"""Documents that come as ``multipart/form-data`` to be counted: each is read, its pages counted, and it is gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from gateway.requests import header_text
from gateway.uploads import MAX_FIELD, part_names, part_text
from llamaparse.parser_pool import ParserPool
from models.store import CHUNK

MAX_FILES: Final = 100
MAX_DOCUMENTS: Final = 10_000
MAX_PAGES: Final = 1_000_000

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
    """A form that was read to its end: its text fields, and its documents in their order."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    documents: list[Counted] = field(default_factory=list)


class CountingDesk:
    """Counts the pages of what is sent, and keeps nothing of it.

    Args:
        max_bytes: of a file.
    """

    def __init__(self, pool: ThreadPoolExecutor, max_bytes: int, parsers: ParserPool) -> None:
        self._pool, self._max_bytes, self._parsers = pool, max_bytes, parsers
        options = MultipartParseOptions()
        options.max_body_part_count, options.max_body_part_buffer_size = MAX_FILES + len(FIELDS), MAX_FIELD
        self._handler = MultipartFormHandler(options)

    async def count(self, req: falcon.asgi.Request) -> Counts:
        """The request's form, counted.

        Raises:
            Problem: 400 for a malformed form.
            OrderRefused: no file, too many, an empty or too large one, or an unknown field.
            StoreUnavailable: there is no room to read one.
            Waiting: nobody is free to count them.
        """
        form = await self._handler.deserialize_async(req.stream, header_text(req, "Content-Type"), None)
        assert isinstance(form, MultipartForm)
        counts = Counts()
        async for part in form:
            name, filename = part_names(part)
            if name == "file":
                if len(counts.documents) == MAX_FILES:
                    raise OrderRefused(f"the form has more than {MAX_FILES} files: send fewer at a time")
                counts.documents.append(await self._count_part(part, safe_filename(filename or "")))
            elif name in FIELDS:
                counts.fields.setdefault(name, []).append(await part_text(part, name))
            else:
                raise OrderRefused(f"unknown field {name[:80]!r}: known are file, {', '.join(sorted(FIELDS))}")
        if not counts.documents:
            raise OrderRefused("the form has no file: send it in a part named 'file'", reason="file_missing")
        return counts

    async def _count_part(self, part: BodyPart, filename: str) -> Counted:
        copy: IO[bytes] = await run_in(self._pool, TemporaryFile)
        try:
            if not await self._copy(part, copy, filename):
                raise OrderRefused(f"file {filename!r} is empty", reason="file_empty")
            return Counted(filename, await run_in(self._pool, self._count_copy, copy, filename))
        except OSError as error:
            raise StoreUnavailable(f"a file can't be read to be counted: {error.strerror or error}") from error
        finally:
            await run_in(self._pool, copy.close)

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

    def _count_copy(self, copy: IO[bytes], filename: str) -> PageCount:
        copy.flush()
        return self._parsers.count(copy, filename)  # type: ignore[arg-type]


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
