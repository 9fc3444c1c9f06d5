"""``/api/v1/beta/files``: upload, list, query, get, delete, and a link to the content."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import falcon.asgi

from domain.clock import parse_utc
from domain.errors import OrderRefused
from gateway.amounts import time_text
from gateway.auth import bearer_of
from gateway.bodies import parse_json, read_json
from gateway.dependencies import Dependencies
from gateway.llamacloud.asked import MOST_PAGE, ids, page_size, text, whole
from gateway.llamacloud.links import LIFETIME_S, MOST_LIFETIME_S, Links
from gateway.llamacloud.views import file_view, parsed_id
from gateway.pool import run_in
from gateway.problems import Problem
from gateway.uploads import Upload, UploadDesk
from models.files import ORDERS, WantedFiles, add_file, forget_file, get_file, list_files
from models.tables import UploadFile
from models.tokens import Scope

PURPOSES: Final = ("user_data", "parse", "extract", "split", "classify", "sheet", "agent_app")
"""SDK, `FileCreateParams.purpose`."""
FIELDS: Final = frozenset({"purpose", "external_file_id", "project_id"})
MAX_QUERY: Final = 64 * 1024
MOST_NAME: Final = 255


class Files:
    """``POST``, ``GET /api/v1/beta/files``."""

    scopes: Mapping[str, Scope] | None = {"POST": Scope.SUBMIT, "GET": Scope.READ}

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool, self._clock, self._store = dependencies.pool, dependencies.clock, dependencies.store
        self._uploads = UploadDesk(self._store, self._pool, dependencies.settings.max_file_bytes, FIELDS)

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """The file, once its bytes are in the store. Free of charge: nothing is sent before it is ordered.

        Raises:
            Problem: 400.
            OrderRefused: 413, 422.
            StoreUnavailable: 503.
        """
        tenant = bearer_of(req).tenant
        async with self._uploads.receive(req) as upload:
            resp.media = await run_in(self._pool, self._keep, upload, tenant)

    def _keep(self, upload: Upload, tenant: str) -> dict[str, Any]:
        said = {name: values[0] for name, values in upload.fields.items() if values[0]}
        if said.get("purpose") not in PURPOSES:
            raise OrderRefused(f"purpose should be one of {', '.join(PURPOSES)}")
        external = said.get("external_file_id")
        if external is not None and len(external) > MOST_NAME:
            raise OrderRefused(f"external_file_id may have {MOST_NAME} characters")
        file_id = uuid4()
        file = UploadFile(
            file_id=file_id,
            tenant=tenant,
            name=upload.filename or "document",
            purpose=said["purpose"],
            external_file_id=external,
            sha256=upload.content.sha256,
            bytes=upload.content.size,
            path=f"files/uploads/{file_id}",
            created_at=self._clock(),
        )
        add_file(file, lambda: self._store.move(upload.path, file.path))
        return file_view(file)

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """A page of the tenant's files.

        Raises:
            Problem: 422.
        """
        order_by = text(req, "order_by") or "created_at"
        if order_by not in ORDERS:
            raise Problem(422, "bad_parameter", f"order_by should be one of {', '.join(ORDERS)}")
        wanted = WantedFiles(
            bearer_of(req).tenant, text(req, "external_file_id"), ids(req, "file_ids"), text(req, "file_name")
        )
        size, token = page_size(req), text(req, "page_token")
        resp.media = await run_in(self._pool, _page, wanted, order_by, size, token)


class FilesQuery:
    """``POST /api/v1/beta/files/query``: deprecated by LlamaCloud in favour of the list; older clients call it."""

    scopes: Mapping[str, Scope] | None = {"POST": Scope.READ}

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool = dependencies.pool

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """A page of the tenant's files.

        Raises:
            Problem: 400, 415, 422.
        """
        said = await read_json(req, MAX_QUERY, 'send JSON: {"filter": {...}}')
        asked = said.get("filter") or {} if isinstance(said, dict) else None
        if not isinstance(asked, dict):
            raise OrderRefused("the body must be a JSON object, and so must its filter")
        wanted = WantedFiles(
            bearer_of(req).tenant,
            _text_of(asked, "external_file_id"),
            _ids_of(asked),
            _text_of(asked, "file_name"),
        )
        size, token = said.get("page_size") or page_size(req), _text_of(said, "page_token")
        if not isinstance(size, int) or size <= 0:
            raise OrderRefused("page_size should be a whole number above 0")
        resp.media = await run_in(self._pool, _page, wanted, "created_at", min(size, MOST_PAGE), token)


class FileItem:
    """``GET``, ``DELETE /api/v1/beta/files/{file_id}``."""

    scopes: Mapping[str, Scope] | None = {"GET": Scope.READ, "DELETE": Scope.SUBMIT}

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool, self._store = dependencies.pool, dependencies.store

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, file_id: str) -> None:
        """The file.

        Raises:
            NotFound: 404.
        """
        resp.media = file_view(await run_in(self._pool, get_file, parsed_id(file_id), bearer_of(req).tenant))

    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, file_id: str) -> None:
        """204: the file is gone. Documents that were made of it keep their own bytes.

        Raises:
            NotFound: 404.
        """
        await run_in(self._pool, self._delete, parsed_id(file_id), bearer_of(req).tenant)
        resp.status = falcon.HTTP_204

    def _delete(self, file_id: UUID | None, tenant: str) -> None:
        file = get_file(file_id, tenant)
        self._store.delete(file.path)
        forget_file(file)


class FileContent:
    """``GET /api/v1/beta/files/{file_id}/content``."""

    scopes: Mapping[str, Scope] | None = {"GET": Scope.READ}

    def __init__(self, dependencies: Dependencies, links: Links) -> None:
        self._pool, self._host_clock, self._links = dependencies.pool, dependencies.host_clock, links

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, file_id: str) -> None:
        """A link to the bytes, for a while.

        Raises:
            NotFound: 404.
            Problem: 422.
        """
        file = await run_in(self._pool, get_file, parsed_id(file_id), bearer_of(req).tenant)
        seconds = whole(req, "expires_at_seconds", usual=LIFETIME_S, most=MOST_LIFETIME_S)
        ends_at = self._host_clock() + timedelta(seconds=seconds)
        url = self._links.to(req, "file", file.file_id, ends_at)
        resp.media = {"url": url, "expires_at": time_text(ends_at), "form_fields": None}


def _page(wanted: WantedFiles, order_by: str, size: int, token: str | None) -> dict[str, Any]:
    found = list_files(wanted, order_by, size + 1, None if token is None else _place_at(token, order_by))
    shown = found[:size]
    following = _token_of(shown[-1], order_by) if len(found) > size else None
    return {"items": [file_view(file) for file in shown], "next_page_token": following, "total_size": None}


def _token_of(file: UploadFile, order_by: str) -> str:
    """What follows a file, which may be gone when that is asked for."""
    key = {"created_at": file.created_at.isoformat(), "name": file.name, "id": str(file.file_id)}[order_by]
    return urlsafe_b64encode(json.dumps([order_by, key, str(file.file_id)]).encode()).decode()


def _place_at(token: str, order_by: str) -> tuple[Any, UUID]:
    try:
        # Not ours alone: anybody may send one.
        named, key, file_id = parse_json(urlsafe_b64decode(token.encode()))
        if named != order_by or not isinstance(key, str):
            raise ValueError("it is of another order")
        keys: Mapping[str, Callable[[str], Any]] = {"created_at": parse_utc, "name": str, "id": UUID}
        return keys[order_by](key), UUID(file_id)
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise Problem(422, "bad_parameter", "page_token is not one of these pages'") from None


def _text_of(said: Mapping[str, Any], name: str) -> str | None:
    value = said.get(name)
    if value is not None and not isinstance(value, str):
        raise OrderRefused(f"{name} should be text")
    return value


def _ids_of(said: Mapping[str, Any]) -> Sequence[UUID] | None:
    value = said.get("file_ids")
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise OrderRefused("file_ids should be a list of texts")
    return [found for found in map(parsed_id, value) if found is not None]
