"""What every answer says for safety, a token's rate, and whose word about the sender is believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from domain.errors import BadSetting
from domain.settings import Rate, read_settings
from gateway.auth import Rates
from gateway.dependencies import host_now
from models.jobs import get_job
from models.tables import Document
from models.tokens import Scope, create_token
from tests.gateway_harness import Gateway, running_gateway, settings_of, uuid_of
from tests.processes import Program
from tests.state import state_of

Start = Callable[..., Program]
HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    settings = settings_of(PARSEGATE_TOKEN_RATE="3/1000")
    with (
        state_of("sqlite", tmp_path),
        running_gateway(tmp_path / "store", settings=settings, monotonic=lambda: 1500.0) as running,
    ):
        yield running


def test_every_answer_is_guarded(gateway: Gateway) -> None:
    for path, status in (("/healthz", 200), ("/v1/documents", 401), ("/nowhere", 404)):
        answer = httpx.get(gateway.url + path)
        assert answer.status_code == status
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
        assert "server" not in answer.headers


def test_a_token_that_sends_too_much_waits_and_others_do_not(gateway: Gateway) -> None:
    busy, other = gateway.token(Scope.READ), gateway.token(Scope.READ)

    def asked(token: str) -> httpx.Response:
        return httpx.get(f"{gateway.url}/v1/documents", headers={"Authorization": f"Bearer {token}"})

    assert [asked(busy).status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = asked(busy)
    assert (refused.json()["type"], refused.headers["retry-after"]) == ("/problems/too_many_requests", "500")
    assert "3 requests in 1000 s" in refused.json()["detail"]
    assert asked(other).status_code == 200


def test_a_rate_is_counted_anew_in_the_next_window() -> None:
    now = [9.5]
    rates = Rates((Rate(2, 10), Rate(3, 60)), lambda: now[0])
    token_id = uuid4()
    assert [rates.wait_s(token_id) for _ in range(3)] == [0.0, 0.0, 0.5]
    now[0] = 10.0
    assert rates.wait_s(token_id) == 50.0, "the longer window counts the refused one too"
    now[0] = 60.0
    assert rates.wait_s(token_id) == 0.0


@pytest.mark.parametrize(("options", "scheme"), [((), "http"), (("--proxy-headers", "127.0.0.1"), "https")])
def test_a_proxys_word_counts_only_if_it_is_named(
    start_program: Start, tmp_path: Path, options: tuple[str, ...], scheme: str
) -> None:
    up = start_program("up", "--port", "0", *options)
    url = up.ready_url()
    token = (tmp_path / "parsegate-data" / "admin-token").read_text().strip()
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as http:
        file = http.post("/api/v1/beta/files", files={"file": ("a.txt", b"a")}, data={"purpose": "parse"}).json()
        link = http.get(f"/api/v1/beta/files/{file['id']}/content", headers={"X-Forwarded-Proto": "https"}).json()
    assert link["url"].startswith(f"{scheme}://")


def test_a_proxy_that_is_no_address_stops_the_start() -> None:
    with pytest.raises(BadSetting, match="PARSEGATE_TRUSTED_PROXIES"):
        read_settings({"PARSEGATE_TRUSTED_PROXIES": "proxy.example.org"}, None)


def test_a_token_that_is_bound_to_a_user_orders_for_that_one(tmp_path: Path) -> None:
    user, other = uuid4(), uuid4()
    with state_of("sqlite", tmp_path), running_gateway(tmp_path / "store") as gateway:
        token = create_token("bound", Scope.SUBMIT, now=host_now(), user_id=user)
        headers = {"Authorization": f"Bearer {token}"}
        order = {"source_url": "https://example.org/a.pdf"}
        for said in ({}, {"user_id": str(user)}):
            made = httpx.post(f"{gateway.url}/v1/documents", json=order | said, headers=headers).raise_for_status()
            job = httpx.get(gateway.url + made.headers["location"], headers=headers).json()
            assert job["user_id"] == str(user)
        refused = httpx.post(f"{gateway.url}/v1/documents", json=order | {"user_id": str(other)}, headers=headers)
        assert (refused.status_code, refused.json()["type"]) == (403, "/problems/foreign_user")
        batch = {"documents": [order["source_url"], order | {"user_id": str(other)}]}
        assert httpx.post(f"{gateway.url}/v1/batches", json=batch, headers=headers).status_code == 403
        file = httpx.post(
            f"{gateway.url}/api/v1/beta/files",
            files={"file": ("a.txt", b"a")},
            data={"purpose": "parse"},
            headers=headers,
        ).json()
        asked = {"tier": "fast", "version": "latest", "file_id": file["id"]}
        made = httpx.post(f"{gateway.url}/api/v2/parse", json=asked, headers=headers).raise_for_status()
        assert Document.get(Document.document_id == get_job(uuid_of(made.json()["id"])).document_id).user_id == user
