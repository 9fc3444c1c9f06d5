"""Links to content that need no token: signed, and for a while only."""

from __future__ import annotations

import hmac
import json
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import falcon.asgi
from pydantic import Field

from domain.errors import NotFound
from domain.orders import pages_path
from domain.signatures import HEX_FORM, derived_key
from gateway.dependencies import Dependencies
from gateway.llamacloud.views import DOWNLOADS, download, parsed_id
from gateway.openapi.description import JSON, Answer, Operation, Parameter
from gateway.pool import run_in
from gateway.problems import Problem
from models.files import find_file
from models.jobs import get_job
from models.store import CHUNK, Store
from models.tokens import Scope

LIFETIME_S: Final = 3600
MOST_LIFETIME_S: Final = 7 * 24 * 3600
BYTES: Final = "application/octet-stream"
FILE: Final = "file"
"""The kind of a link to a file's bytes; the others are parts of a job's result (`views.DOWNLOADS`)."""


class Links:
    """Makes and checks links.

    Args:
        dependencies: the newest secret key signs, and every one in force counts.
    """

    def __init__(self, dependencies: Dependencies) -> None:
        self._keys = [derived_key(key, "parsegate-links") for key in dependencies.settings.secret_key_bytes]
        self._public_url = dependencies.settings.public_url

    def to(self, req: falcon.asgi.Request, kind: str, about: UUID, ends_at: datetime) -> str:
        """A URL that anybody may get until `ends_at`.

        Raises:
            Problem: 503, there is no secret key to sign it with.
        """
        if not self._keys:
            raise Problem(503, "no_secret_key", "links need PARSEGATE_SECRET_KEY")
        ends = int(ends_at.timestamp())
        signature = _signature(self._keys[0], kind, about, ends)
        return f"{self._public_url or req.prefix}/downloads/{kind}/{about}?ends={ends}&signature={signature}"

    def check(self, req: falcon.asgi.Request, kind: str, about: UUID, now: datetime) -> None:
        """Let through what was signed here, and has not ended.

        Raises:
            Problem: 403, the same words whatever is wrong.
        """
        ends, signature = req.get_param("ends") or "", req.get_param("signature") or ""
        in_time = ends.isascii() and ends.isdigit() and len(ends) < 12 and int(ends) > now.timestamp()
        right = False
        for key in self._keys:
            expected = _signature(key, kind, about, int(ends)) if in_time else ""
            right |= hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))
        if not in_time or not right:
            raise Problem(403, "link_refused", "the link is not right, or has ended")


class Downloads:
    """``GET /downloads/{kind}/{about}``."""

    scopes: Mapping[str, Scope] | None = None
    operations: Mapping[str, Operation] = {
        "GET": Operation(
            "download",
            {200: Answer({BYTES: str, JSON: dict[str, Any]})},
            fails=(403, 404),
            parameters=[
                Parameter("kind", Literal[(FILE, *DOWNLOADS)], "Of what the link is.", "path"),
                Parameter("about", UUID, "The file or the job.", "path"),
                Parameter("ends", Annotated[str, Field(pattern="^[0-9]{1,11}$")], "When the link ends.", required=True),
                Parameter("signature", Annotated[str, Field(pattern=f"^{HEX_FORM}$")], "Of all that.", required=True),
            ],
        )
    }

    def __init__(self, dependencies: Dependencies, links: Links) -> None:
        self._pool, self._store, self._links = dependencies.pool, dependencies.store, links
        self._host_clock = dependencies.host_clock

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, kind: str, about: str) -> None:
        """What a link leads to: a file's bytes, or a part of a result.

        Raises:
            Problem: 403.
            NotFound: 404, it is gone.
        """
        known = parsed_id(about)
        if known is None:
            raise Problem(403, "link_refused", "the link is not right, or has ended")
        self._links.check(req, kind, known, self._host_clock().astimezone(UTC))
        if kind == FILE:
            resp.content_type = BYTES
            file = await run_in(self._pool, find_file, known)
            resp.content_length = file.bytes
            resp.stream = chunks(self._pool, self._store, file.path)
        else:
            resp.content_type = falcon.MEDIA_JSON
            resp.data = await run_in(self._pool, _part, known, kind, self._store)


async def chunks(pool: ThreadPoolExecutor, store: Store, path: str) -> AsyncIterator[bytes]:
    """A file of the store, a piece at a time: however large it is, little of it is in memory."""
    with ExitStack() as stack:
        opened = await run_in(pool, stack.enter_context, store.open(path))
        while piece := await run_in(pool, opened.read, CHUNK):
            yield piece


def _part(job_id: UUID, kind: str, store: Store) -> bytes:
    job = get_job(job_id)
    content = download(job, json.loads(store.read(pages_path(job.document.user_id, job.document_id))), kind)
    if content is None:
        raise NotFound("there is no such content")
    return json.dumps(content).encode()


def _signature(key: bytes, kind: str, about: UUID, ends: int) -> str:
    return hmac.new(key, f"{kind}:{about}:{ends}".encode(), sha256).hexdigest()
