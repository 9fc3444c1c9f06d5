"""``/api/v1/beta/files``: upload, list, query, get, delete, and a link to the content."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import falcon
import falcon.asgi
from pydantic import BaseModel, ConfigDict, Field

from llamaparse.simulator.errors import INTERNAL, TOO_MANY_REQUESTS, ApiError, invalid
from llamaparse.simulator.files import StoredFile
from llamaparse.simulator.http import answer, json_body, page_of, page_size, text_list, validated
from llamaparse.simulator.links import LIFETIME_S, Links
from llamaparse.simulator.simulator import Simulator
from llamaparse.simulator.uploads import Form, read_form
from llamaparse.simulator.views import file_view, instant

PURPOSES: Final = ("user_data", "parse", "extract", "split", "classify", "sheet", "agent_app")
"""SDK, `FileCreateParams.purpose`."""
MAX_LINK_LIFETIME_S: Final = 7 * 24 * 3600

Request = falcon.asgi.Request
Response = falcon.asgi.Response


class FileFilter(BaseModel):
    """SDK, `FileQueryParams.Filter`; every file here was uploaded by hand, so `data_source_id` matches none."""

    model_config = ConfigDict(extra="forbid")

    data_source_id: str | None = None
    external_file_id: str | None = None
    file_ids: list[str] | None = None
    file_name: str | None = None
    only_manually_uploaded: bool | None = None
    project_id: str | None = None

    def takes(self, file: StoredFile) -> bool:
        return (
            self.data_source_id is None
            and self.external_file_id in (None, file.external_file_id)
            and (self.file_ids is None or file.id in self.file_ids)
            and self.file_name in (None, file.name)
            and self.project_id in (None, file.project_id)
        )


class FileQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    filter: FileFilter | None = None
    order_by: str | None = None
    page_size: Annotated[int, Field(ge=1)] | None = None
    page_token: str | None = None


class Files:
    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    async def on_post(self, req: Request, resp: Response) -> None:
        simulator = self._simulator
        if not simulator.may_upload(req.context.project_id):
            raise ApiError(*TOO_MANY_REQUESTS)
        form = await read_form(req, simulator.files, simulator.settings.max_file_bytes)
        try:
            purpose = _purpose(form)
            if simulator.faults.strikes("upload-500"):
                raise ApiError(*INTERNAL)
        except ApiError:
            form.discard()
            raise
        external = form.text("external_file_id")
        file = simulator.files.add(
            form.file, req.context.project_id, form.filename, purpose=purpose, external_file_id=external
        )
        simulator.tally.uploads += 1
        answer(resp, file_view(file))

    async def on_get(self, req: Request, resp: Response) -> None:
        settings = self._simulator.settings
        order_by = req.get_param("order_by")
        if order_by not in (None, "name", "id", "created_at"):
            raise invalid(("query", "order_by"), "Input should be 'name', 'id' or 'created_at'")
        asked = FileFilter(
            external_file_id=req.get_param("external_file_id"),
            file_ids=text_list(req, "file_ids") or None,
            file_name=req.get_param("file_name"),
        )
        files = [file for file in self._simulator.files.of_project(req.context.project_id) if asked.takes(file)]
        size = page_size(req, settings.page_size, settings.max_page_size)
        answer(resp, _page(files, order_by, size, req.get_param("page_token"), "query"))


class FilesQuery:
    """Deprecated by the provider in favour of the list, and still called by older clients."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    async def on_post(self, req: Request, resp: Response) -> None:
        settings, data = self._simulator.settings, await json_body(req)
        query = validated(lambda: FileQuery.model_validate(data), "body")
        asked = query.filter or FileFilter()
        files = [file for file in self._simulator.files.of_project(req.context.project_id) if asked.takes(file)]
        size = min(query.page_size or settings.page_size, settings.max_page_size)
        answer(resp, _page(files, None, size, query.page_token, "body"))


class FileItem:
    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    async def on_get(self, req: Request, resp: Response, file_id: str) -> None:
        answer(resp, file_view(self._simulator.files.get(file_id, req.context.project_id)))

    async def on_delete(self, req: Request, resp: Response, file_id: str) -> None:
        self._simulator.files.delete(self._simulator.files.get(file_id, req.context.project_id))
        resp.status = falcon.HTTP_204


class FileContent:
    def __init__(self, simulator: Simulator, links: Links) -> None:
        self._simulator = simulator
        self._links = links

    async def on_get(self, req: Request, resp: Response, file_id: str) -> None:
        file = self._simulator.files.get(file_id, req.context.project_id)
        asked = req.get_param("expires_at_seconds") or str(LIFETIME_S)
        if not asked.isascii() or not asked.isdigit() or len(asked) > 9 or not 0 < int(asked) <= MAX_LINK_LIFETIME_S:
            raise invalid(("query", "expires_at_seconds"), f"Input should be from 1 to {MAX_LINK_LIFETIME_S}")
        lifetime_s = int(asked)
        expires = datetime.now(UTC) + timedelta(seconds=lifetime_s)
        answer(
            resp,
            {
                "url": self._links.to(req, f"files/{file.id}", lifetime_s),
                "expires_at": instant(expires),
                "form_fields": None,
            },
        )


def _purpose(form: Form) -> str:
    purpose = form.text("purpose")
    if purpose is None:
        raise invalid(("body", "purpose"), "Field required", "missing")
    if purpose not in PURPOSES:
        raise invalid(("body", "purpose"), f"Input should be one of {', '.join(PURPOSES)}", "enum")
    return purpose


def _page(
    files: Sequence[StoredFile], order_by: str | None, size: int, token: str | None, location: str
) -> dict[str, object]:
    if order_by in ("name", "id"):
        ranked = sorted(files, key=lambda file: (file.name if order_by == "name" else "", file.id))
        rank = {file.id: len(ranked) - place for place, file in enumerate(ranked)}
    else:
        ranked, rank = list(files), {file.id: file.sequence for file in files}
    page = page_of(ranked, lambda file: rank[file.id], size, token, location)
    rows = [file_view(file) for file in page.items]
    return {"items": rows, "next_page_token": page.next_page_token, "total_size": None}
