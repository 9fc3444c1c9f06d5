"""Every call of the client, and how the tests reach a server with it."""

from __future__ import annotations

import io
import traceback
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest

from domain.errors import ParsegateError
from llamaparse.client import LlamaParseClient, Timeouts
from llamaparse.schemas import ParseRequest
from tests.raw_server import RawServer, Script

KEY = "llx-0123456789abcdef"
SECRET = "f" * 64
DATE = "Wed, 21 Oct 2026 07:28:00 GMT"
DATED = {"Date": DATE}
MOMENT = datetime(2026, 10, 21, 7, 28, tzinfo=UTC)
JOB = {"id": "pjb-1", "project_id": "p", "status": "PENDING"}

REQUEST = ParseRequest(tier="fast", file_id="dfl-1", user_metadata={"parsegate_attempt": "a1"})
UPLOAD = ParseRequest(tier="fast")

Ask = Callable[[LlamaParseClient], object]

PAID: dict[str, Ask] = {
    "create_job": lambda client: client.create_job(REQUEST),
    "upload_and_create": lambda client: client.upload_and_create(io.BytesIO(b"%PDF"), "a.pdf", UPLOAD),
}
FREE: dict[str, Ask] = {
    "upload_file": lambda client: client.upload_file(io.BytesIO(b"%PDF"), "a.pdf"),
    "get_file": lambda client: client.get_file("dfl-1"),
    "delete_file": lambda client: client.delete_file("dfl-1"),
    "get_job": lambda client: client.get_job("pjb-1"),
    "list_jobs": lambda client: client.list_jobs(),
    "iterate_jobs": lambda client: list(client.iterate_jobs()),
    "cancel_job": lambda client: client.cancel_job("pjb-1"),
    "delete_job": lambda client: client.delete_job("pjb-1"),
    "versions": lambda client: client.versions(),
}
CALLS = [pytest.param(ask, name in PAID, id=name) for name, ask in (PAID | FREE).items()]
TYPED_CALLS = [call for call in CALLS if call.id != "delete_file"]

every_call = pytest.mark.parametrize(("ask", "paid"), CALLS)
every_typed_call = pytest.mark.parametrize(("ask", "paid"), TYPED_CALLS)


def connect(
    server: RawServer, *, deadline_s: float = 10.0, transport: httpx.BaseTransport | None = None, **limits: int
) -> LlamaParseClient:
    timeouts = Timeouts(deadline_s=deadline_s, result_deadline_s=deadline_s, upload_deadline_s=deadline_s)
    return LlamaParseClient(server.url, KEY, timeouts=timeouts, transport=transport, **limits)


def assert_secret_free(error: BaseException) -> None:
    """Nor in what the error drags along."""
    shown = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
    assert KEY not in shown
    assert SECRET not in shown
    chain: BaseException | None = error
    while chain is not None:
        assert not isinstance(chain, httpx.HTTPError)
        chain = chain.__cause__ or chain.__context__


def error_of(ask: Ask, script: Script, **options: float) -> ParsegateError:
    """The error that a call ends with; the request was sent once at most, and nothing of the error shows the key."""
    with RawServer(script) as server, connect(server, deadline_s=options.get("deadline_s", 10.0)) as client:
        with pytest.raises(ParsegateError) as caught:
            ask(client)
        assert server.connections == 1
        assert len(server.requests) <= 1
    assert_secret_free(caught.value)
    return caught.value
