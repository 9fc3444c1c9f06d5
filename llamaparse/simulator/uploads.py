"""Multipart bodies, spooled to disk while they arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import falcon
import falcon.asgi
from falcon.asgi.multipart import BodyPart
from falcon.errors import DelimiterError

from llamaparse.simulator.errors import ApiError, invalid
from llamaparse.simulator.files import FileStore, Spooled, TooLarge

MULTIPART_OVERHEAD: Final = 2 * 1024 * 1024
"""How much longer a body may be than its file: the other fields and the boundaries."""


@dataclass
class Form:
    """The fields of a form; its file lies on disk until somebody keeps or discards it."""

    fields: dict[str, bytes]
    file: Spooled
    filename: str

    def text(self, name: str) -> str | None:
        raw = self.fields.get(name)
        return None if raw is None else raw.decode(errors="replace")

    def discard(self) -> None:
        self.file.path.unlink(missing_ok=True)


async def read_form(req: falcon.asgi.Request, store: FileStore, max_file_bytes: int) -> Form:
    """Read a multipart body to its end.

    Raises:
        ApiError: 413, the file is too large; 422, it is no multipart body, it breaks off, or it has no file.
    """
    if not (req.content_type or "").lower().startswith("multipart/form-data"):
        raise _no_file()
    if (req.content_length or 0) > max_file_bytes + MULTIPART_OVERHEAD:
        raise _too_large()
    fields: dict[str, bytes] = {}
    found: list[tuple[str, Spooled]] = []
    complete = False
    try:
        async for part in await req.get_media():
            if part.name == "file" and not found:
                found.append((_base_name(part), await store.spool(_chunks(part))))
            else:
                fields[part.name or ""] = await part.get_data()
        complete = True
    except TooLarge as error:
        raise _too_large() from error
    except (falcon.MediaMalformedError, falcon.HTTPInvalidHeader, DelimiterError, UnicodeDecodeError) as error:
        raise invalid(("body",), "There was an error parsing the body", "multipart_invalid") from error
    finally:
        if not complete:
            for _name, spooled in found:
                spooled.path.unlink(missing_ok=True)
    if not found:
        raise _no_file()
    filename, file = found[0]
    return Form(fields, file, filename)


async def _chunks(part: BodyPart) -> AsyncIterator[bytes]:
    async for chunk in part.stream:
        yield chunk


def _base_name(part: BodyPart) -> str:
    return (part.filename or "upload").replace("\\", "/").rpartition("/")[2] or "upload"


def _no_file() -> ApiError:
    return invalid(("body", "file"), "Field required", "missing")


def _too_large() -> ApiError:
    return ApiError(413, "File too large")
