"""``/api/v1/beta/files``: upload, list, query, get, delete, and a link to the content."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Final, Literal
from uuid import UUID, uuid4

import falcon.asgi
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from domain.clock import parse_utc
from domain.errors import OrderRefused
from gateway.amounts import Time, time_text
from gateway.auth import bearer_of
from gateway.bodies import parse_json, read_json
from gateway.dependencies import Dependencies
from gateway.llamacloud.asked import MOST_PAGE, PAGES, ids, page_size, text, whole
from gateway.llamacloud.links import LIFETIME_S, MOST_LIFETIME_S, Links
from gateway.llamacloud.views import FileSaid, file_view, parsed_id
from gateway.openapi.description import EMPTY, FORM, JSON, Operation, Parameter, answer
from gateway.orders import FILE
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
ExternalId = Annotated[str, Field(max_length=MOST_NAME)]


class FileForm(BaseModel):
    """A file, and what it is for. What is empty counts as left out."""

    model_config = ConfigDict(extra="forbid")

    file: FILE
    purpose: Literal[PURPOSES]  # type: ignore[valid-type]
    external_file_id: ExternalId = ""
    project_id: str = ""


class FilesFilter(TypedDict, total=False):
    """Which files."""

    external_file_id: str | None
    file_name: str | None
    file_ids: list[str] | None


class FilesAsked(TypedDict, total=False):
    """Which files, and which page of them."""

    filter: FilesFilter | None
    page_size: Annotated[int, Field(ge=1)] | None
    page_token: str | None


class FilesSaid(TypedDict):
    """A page of files; `next_page_token` is null on the last one."""

    items: list[FileSaid]
    next_page_token: str | None
    total_size: None


class LinkSaid(TypedDict):
    """Where the bytes are to be had for a while."""

    url: str
    expires_at: Time
    form_fields: None


class Files:
    """``POST``, ``GET /api/v1/beta/files``."""

    scopes: Mapping[str, Scope] | None = {"POST": Scope.SUBMIT, "GET": Scope.READ}
    operations: Mapping[str, Operation] = {
        "POST": Operation("uploadFile", {200: answer(FileSaid)}, fails=(413, 415, 422), body={FORM: FileForm}),
        "GET": Operation(
            "listFiles",
            {200: answer(FilesSaid)},
            fails=(422,),
            parameters=[
                Parameter("order_by", Literal[ORDERS], "By what; when it came if it is left out."),
                Parameter("external_file_id", str, "With this id of the caller's own."),
                Parameter("file_name", str, "With this name."),
                Parameter("file_ids", list[str], "With one of these ids."),
                *PAGES,
            ],
        ),
    }

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

    def _keep(self, upload: Upload, tenant: str) -> FileSaid:
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
        asked = text(req, "order_by")
        order_by = ORDERS[0] if asked is None else asked
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
    operations: Mapping[str, Operation] = {
        "POST": Operation(
            "queryFiles", {200: answer(FilesSaid)}, fails=(415, 422), parameters=PAGES[:1], body={JSON: FilesAsked}
        )
    }

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool = dependencies.pool

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """A page of the tenant's files.

        Raises:
            Problem: 400, 415, 422.
        """
        said = await read_json(req, MAX_QUERY, 'send JSON: {"filter": {...}}')
        asked = said.get("filter") if isinstance(said, dict) else said
        asked = {} if isinstance(said, dict) and asked is None else asked
        if not isinstance(said, dict) or not isinstance(asked, dict):
            raise OrderRefused("the body must be a JSON object, and so must its filter")
        wanted = WantedFiles(
            bearer_of(req).tenant,
            _text_of(asked, "external_file_id"),
            _ids_of(asked),
            _text_of(asked, "file_name"),
        )
        usual, size, token = page_size(req), said.get("page_size"), _text_of(said, "page_token")
        size = usual if size is None else size
        if not isinstance(size, int) or isinstance(size, bool) or size <= 0:
            raise OrderRefused("page_size should be a whole number above 0")
        resp.media = await run_in(self._pool, _page, wanted, "created_at", min(size, MOST_PAGE), token)


class FileItem:
    """``GET``, ``DELETE /api/v1/beta/files/{file_id}``."""

    scopes: Mapping[str, Scope] | None = {"GET": Scope.READ, "DELETE": Scope.SUBMIT}
    operations: Mapping[str, Operation] = {
        "GET": Operation("getFile", {200: answer(FileSaid)}, fails=(404,)),
        "DELETE": Operation("deleteFile", {204: EMPTY}, fails=(404,)),
    }

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


_EXPIRES: Final = Parameter(
    "expires_at_seconds",
    Annotated[int, Field(ge=1, le=MOST_LIFETIME_S)],
    f"For how long the link is good; {LIFETIME_S} if it is left out.",
)


class FileContent:
    """``GET /api/v1/beta/files/{file_id}/content``."""

    scopes: Mapping[str, Scope] | None = {"GET": Scope.READ}
    operations: Mapping[str, Operation] = {
        "GET": Operation("getFileContent", {200: answer(LinkSaid)}, fails=(404, 422), parameters=[_EXPIRES])
    }

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
        said: LinkSaid = {"url": url, "expires_at": time_text(ends_at), "form_fields": None}
        resp.media = said


def _page(wanted: WantedFiles, order_by: str, size: int, token: str | None) -> FilesSaid:
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
