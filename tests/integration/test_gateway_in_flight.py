"""How much may be under way at once: the same `Idempotency-Key`, and one token's uploads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from gateway import uploads
from models.tables import Job
from models.tokens import Scope
from tests.gateway_harness import Gateway, RawConnection, running_gateway
from tests.state import state_of

FILE = b"a word " * 100_000
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n' + FILE + b"\r\n--b--\r\n"
REST = 9
"""Bytes that are sent last."""
FEW = 3
"""Uploads of a token at once, here."""


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setattr(uploads, "MOST_A_TOKEN", FEW)
    with state_of("sqlite", tmp_path), running_gateway(tmp_path / "store") as running:
        yield running


def begun(gateway: Gateway, token: str, key: str | None) -> RawConnection:
    """An upload whose last bytes are still to come."""
    connection = RawConnection(gateway.address)
    named = "" if key is None else f"\nIdempotency-Key: {key}"
    connection.send(
        f"""POST /v1/documents HTTP/1.1
Host: x
Authorization: Bearer {token}
Content-Type: multipart/form-data; boundary=b
Content-Length: {len(PART)}{named}
""",
        PART[:-REST],
    )
    return connection


def uploaded(gateway: Gateway, token: str, key: str | None = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} | ({} if key is None else {"Idempotency-Key": key})
    return gateway.http.post("/v1/documents", files={"file": ("a.txt", FILE)}, headers=headers)


def wait_for_a_file(gateway: Gateway, count: int) -> None:
    """The uploads have arrived, so far as they were sent."""
    while len(gateway.files()) < count:
        assert gateway.http.get("/healthz").status_code == 200


def test_a_key_that_is_in_flight_is_refused_and_then_answered_alike(gateway: Gateway) -> None:
    token, other = gateway.token(Scope.SUBMIT), gateway.token(Scope.SUBMIT)
    with begun(gateway, token, "k") as first:
        wait_for_a_file(gateway, 1)
        refused = uploaded(gateway, token, "k")
        assert (refused.status_code, refused.json()["type"]) == (409, "/problems/request_in_flight")
        assert refused.headers["retry-after"] == "1"
        assert uploaded(gateway, token, "another").status_code == 202
        assert uploaded(gateway, other, "k").status_code == 202, "another token's key is another key"
        first.socket.sendall(PART[-REST:])
        status, _, body = first.answer()
    assert status == 202
    again = uploaded(gateway, token, "k")
    assert (again.status_code, again.content) == (202, body)
    assert Job.select().count() == 3


def test_a_key_whose_request_was_cut_off_is_free_again(gateway: Gateway) -> None:
    token = gateway.token(Scope.SUBMIT)
    with begun(gateway, token, "k"):
        wait_for_a_file(gateway, 1)
    answer = uploaded(gateway, token, "k")
    while answer.status_code == 409:
        answer = uploaded(gateway, token, "k")
    assert answer.status_code == 202


def test_one_tokens_uploads_keep_nobody_else_out(gateway: Gateway) -> None:
    token, other = gateway.token(Scope.SUBMIT), gateway.token(Scope.SUBMIT)
    with begun(gateway, token, None), begun(gateway, token, None), begun(gateway, token, None):
        wait_for_a_file(gateway, FEW)
        refused = uploaded(gateway, token)
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/too_many_uploads")
        assert uploaded(gateway, other, str(uuid4())).status_code == 202
