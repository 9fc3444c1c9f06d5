"""The audit log: each change of the service with who, what, from what and to what; and never a secret."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from domain.budgets import GLOBAL_DAY
from domain.errors import NotFound, OrderRefused
from domain.sealing import seal, unseal
from gateway.dependencies import host_now
from models import jobs
from models.changes import What, list_changes
from models.job_webhooks import Webhook, add_webhooks, reseal
from models.service_tables import Change
from models.tables import JobWebhook
from models.tokens import Scope, create_token, revoke_token
from tests.gateway_harness import SECRET_KEY, Gateway, running_gateway, settings_of
from tests.money import limit
from tests.state import KINDS, an_order, state_of


@pytest.fixture(params=KINDS)
def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gateway]:
    settings = settings_of(LLAMA_CLOUD_API_KEY="llx-test")
    with state_of(request.param, tmp_path), running_gateway(tmp_path / "store", settings=settings) as running:
        yield running


def changes(what: What) -> list[tuple[str, Any, Any]]:
    return [(one.subject, one.before, one.after) for one in list_changes(100, what=what)]


def test_who_changes_money_mode_and_pace_is_on_record(gateway: Gateway) -> None:
    limit(GLOBAL_DAY, 10)
    client = gateway.client(Scope.ADMIN)
    client.put("/v1/budget", json={"daily_limit_usd": 5}).raise_for_status()
    client.put("/v1/mode", json={"mode": "mock"}).raise_for_status()
    client.put("/v1/limits", json={"parse": "7/1"}).raise_for_status()
    client.put("/v1/limits", json={"parse": "9/1"}).raise_for_status()
    now, before = changes(What.BUDGET_LIMIT)[:2]
    assert now == ("global/day", {"credits": 10.0, "usd": None}, {"credits": 4000.0, "usd": "5"}), now
    assert before[1:] == (None, {"credits": 10.0, "usd": None})
    assert changes(What.MODE) == [("mode", "real", "mock")]
    assert changes(What.PACE_LIMIT) == [("parse", "7/1", "9/1"), ("parse", None, "7/1")]
    said = client.get("/v1/audit", params={"what": "limit", "limit": 1}).raise_for_status().json()
    (one,) = said["items"]
    assert one["who"].startswith("admin-")
    following = client.get("/v1/audit", params={"what": "limit", "before": said["next_before"]}).json()
    assert [(one["before"], one["after"]) for one in following["items"]] == [(None, "7/1")]
    assert following["next_before"] is None


def test_what_is_refused_is_no_change(gateway: Gateway) -> None:
    client = gateway.client(Scope.ADMIN)
    assert client.put("/v1/mode", json={"mode": "fast"}).status_code == 422
    assert client.put("/v1/limits", json={"parse": "x"}).status_code == 422
    with pytest.raises(NotFound):
        revoke_token("nobody", host_now())
    assert Change.select().where(Change.what != What.TOKEN_CREATED).count() == 0


def test_tokens_come_and_go_on_record_without_their_secret(gateway: Gateway) -> None:
    now = host_now()
    secret = create_token("uploads", Scope.SUBMIT, now=now, tenant="t", expires_at=now + timedelta(days=1))
    with pytest.raises(OrderRefused):
        create_token("uploads", Scope.ADMIN, now=now)
    revoke_token("uploads", now)
    assert changes(What.TOKEN_REVOKED) == [("uploads", None, None)]
    (made,) = [one for one in changes(What.TOKEN_CREATED) if one[0] == "uploads"]
    assert (made[2]["scope"], made[2]["tenant"]) == ("submit", "t")
    assert secret not in str([change.__data__ for change in Change.select()])


def test_only_an_admin_reads_it(gateway: Gateway) -> None:
    assert gateway.client(Scope.SUBMIT).get("/v1/audit").status_code == 403
    assert gateway.client(Scope.ADMIN).get("/v1/audit?what=nothing").status_code == 400


def test_what_callers_gave_outlives_the_key_that_sealed_it(gateway: Gateway) -> None:
    old, new = bytes.fromhex(SECRET_KEY), bytes.fromhex("ab" * 32)
    now = host_now()
    job = jobs.accept_order(an_order(document_id=str(uuid4())), who="t", now=now, due_at=now).job
    add_webhooks(job, [Webhook("https://example.org", [], "json", seal([old], {"secret": "s"}))], now)
    assert reseal([new, old]) == 1
    assert unseal([new], JobWebhook.get().sealed) == {"secret": "s"}
