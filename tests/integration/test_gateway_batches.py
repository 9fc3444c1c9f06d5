"""``/v1/batches``: what may be ordered together, what is answered, and who may see it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from domain.budgets import GLOBAL_DAY
from models.tables import Batch, Document, Job
from models.tokens import Scope
from tests.gateway_harness import Gateway, running_gateway
from tests.money import limit
from tests.state import KINDS, state_of

URLS = ["https://example.org/a.pdf", "https://example.org/b.pdf"]


@pytest.fixture(params=KINDS)
def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gateway]:
    with state_of(request.param, tmp_path), running_gateway(tmp_path / "store") as running:
        yield running


def posted(gateway: Gateway, body: Any, **headers: str) -> httpx.Response:
    return gateway.client(Scope.SUBMIT).post("/v1/batches", json=body, headers=headers)


def test_many_documents_are_one_order(gateway: Gateway) -> None:
    named = str(uuid4())
    body = {
        "documents": [URLS[0], {"source_url": URLS[1], "document_id": named, "tier": "agentic", "tags": ["own"]}],
        "tier": "fast",
        "tags": ["together"],
        "priority": 7,
        "callback_url": "https://example.org/hook",
    }
    answer = posted(gateway, body)
    said = answer.raise_for_status().json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/batches/{said['batch_id']}"
    assert [item["document_id"] for item in said["items"]][1] == named
    first, second = (Job.get_by_id(UUID(item["job_id"])) for item in said["items"])
    assert (first.tier, first.tags, first.priority, first.callback_url) == ("fast", ["together"], 7, None)
    assert (second.tier, second.tags, second.priority) == ("agentic", ["own"], 7)
    assert str(first.correlation_id) == said["correlation_id"] == str(second.correlation_id)
    shown = gateway.client(Scope.READ).get(answer.headers["location"]).json()
    assert shown == {name: value for name, value in said.items() if name != "items"}
    assert (shown["state"], shown["documents"], shown["ended"], shown["states"]) == ("running", 2, 0, {"received": 2})
    assert (shown["quote"]["documents"], shown["quote"]["fits"]) == (0, True)
    listed = gateway.http.get(shown["jobs"]).raise_for_status().json()["items"]
    assert {item["job_id"] for item in listed} == {item["job_id"] for item in said["items"]}
    assert {item["batch_id"] for item in listed} == {said["batch_id"]}


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"documents": []}, 422, "1 to 1000"),
        ({"documents": [URLS[0]] * 1001}, 422, "1 to 1000"),
        ({"documents": "https://example.org"}, 422, "1 to 1000"),
        ({"documents": URLS, "colour": 1}, 422, "nknown field 'colour'"),
        ({"documents": URLS, "batch_id": "x"}, 422, "batch_id must be a UUID"),
        ({"documents": [URLS[0], {}]}, 422, "documents[1] must be a URL"),
        ({"documents": [URLS[0], 7]}, 422, "documents[1] must be a URL"),
        ({"documents": [URLS[0], "http://127.0.0.1/a"]}, 422, "documents[1]: "),
        ({"documents": [{"source_url": URLS[0], "tier": "gold"}]}, 422, "documents[0]: "),
        ({"documents": URLS, "callback_url": "http://169.254.169.254/"}, 422, ""),
        ({"documents": [{"source_url": URLS[0], "tenant": "other"}]}, 403, "another tenant"),
        ({"documents": URLS, "mode": "mock"}, 403, "mode"),
        ([], 422, "JSON object"),
    ],
)
def test_what_is_wrong_orders_nothing(gateway: Gateway, body: Any, status: int, words: str) -> None:
    answer = posted(gateway, body)
    assert (answer.status_code, words in answer.text) == (status, True), answer.text
    assert (Batch.select().count(), Document.select().count()) == (0, 0)


def test_the_same_key_is_the_same_batch(gateway: Gateway) -> None:
    client = gateway.client(Scope.SUBMIT)
    first, again = (
        client.post("/v1/batches", json={"documents": URLS}, headers={"Idempotency-Key": "k"}).json() for _ in "ab"
    )
    assert first["items"] == again["items"]
    other = client.post("/v1/batches", json={"documents": URLS[:1]}, headers={"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency_key_reused")
    by_id = client.post("/v1/batches", json={"documents": URLS[:1], "batch_id": first["batch_id"]})
    assert (by_id.status_code, by_id.json()["type"]) == (409, "/problems/order_conflict")
    assert Job.select().count() == 2


def test_a_tenants_batch_is_its_own(gateway: Gateway) -> None:
    batch_id = posted(gateway, {"documents": URLS}).json()["batch_id"]
    path = f"/v1/batches/{batch_id}"
    assert gateway.client(Scope.READ).post("/v1/batches", json={"documents": URLS}).status_code == 403
    assert gateway.client(Scope.READ).post(f"{path}/cancel").status_code == 403
    for method, rest in (("GET", ""), ("POST", "/cancel")):
        assert gateway.client(Scope.SUBMIT, "other").request(method, path + rest).status_code == 404
    assert gateway.client(Scope.ADMIN, "other").get(path).status_code == 200
    cancelled = gateway.client(Scope.SUBMIT).post(f"{path}/cancel").raise_for_status().json()
    assert (cancelled["state"], cancelled["ended"], cancelled["states"]) == ("completed", 2, {"cancelled": 2})
    assert gateway.http.post(f"{path}/cancel").json()["states"] == {"cancelled": 2}


def test_its_quote_is_about_the_budget_of_today(gateway: Gateway) -> None:
    limit(GLOBAL_DAY, 10)
    said = posted(gateway, {"documents": URLS}).json()
    Job.update(estimate=6000, pages=2).execute()
    quote = gateway.http.get(f"/v1/batches/{said['batch_id']}").json()["quote"]
    assert (quote["documents"], quote["pages"], quote["credits"], quote["fits"]) == (2, 4, 12, False)
    assert quote["starts_at"] not in (None, "never")
    assert "left" in quote["reason"]
