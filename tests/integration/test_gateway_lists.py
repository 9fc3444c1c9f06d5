"""``GET /v1/documents``: filters, search, and pages that nothing shifts."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.errors import OrderRefused
from gateway.dependencies import host_now
from models import jobs
from models.database import transaction
from models.tables import Job
from models.tokens import Scope
from tests.gateway_harness import Gateway, running_gateway
from tests.state import KINDS, an_order, state_of

ONLY_ALONE = {"history", "queue_position", "expected_start_at"}
"""What a job tells only if it is asked for by itself."""


@pytest.fixture(params=KINDS)
def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gateway]:
    with state_of(request.param, tmp_path), running_gateway(tmp_path / "store") as running:
        yield running


def ordered(number: int = 0, **said: Any) -> str:
    """A job; those with the same number were ordered at the same moment."""
    now = host_now() - timedelta(days=1) + timedelta(seconds=number)
    return str(jobs.accept_order(an_order(**said), who="test", now=now, due_at=now).job.job_id)


def listed(gateway: Gateway, query: str = "", scope: Scope = Scope.ADMIN, tenant: str = "default") -> dict[str, Any]:
    return dict(gateway.client(scope, tenant).get(f"/v1/documents{query}").raise_for_status().json())


def ids(page: dict[str, Any]) -> list[str]:
    return [job["job_id"] for job in page["items"]]


def test_pages_have_every_job_once_whatever_comes_meanwhile(gateway: Gateway) -> None:
    """Many of the same moment among them."""
    known = [ordered(number // 5) for number in range(23)]
    seen: list[str] = []
    page = listed(gateway, "?limit=4")
    while True:
        seen += ids(page)
        ordered(1000)
        if page["next_cursor"] is None:
            break
        page = listed(gateway, f"?limit=4&cursor={page['next_cursor']}")
        assert len(page["items"]) <= 4
    assert sorted(seen) == sorted(known)
    times = [Job.get_by_id(UUID(job_id)).created_at for job_id in seen]
    assert times == sorted(times, reverse=True)
    assert listed(gateway, "?limit=1000")["next_cursor"] is None


def test_an_item_is_the_job_without_its_history(gateway: Gateway) -> None:
    job_id = ordered(filename="policy.pdf")
    (item,) = listed(gateway)["items"]
    whole = gateway.client(Scope.ADMIN).get(f"/v1/documents/{job_id}").json()
    assert item == {name: value for name, value in whole.items() if name not in ONLY_ALONE}
    assert (item["filename"], item["credits"], item["state"]) == ("policy.pdf", 0, "received")


def test_filters_hold_together(gateway: Gateway) -> None:
    user, document, correlation = uuid4(), uuid4(), uuid4()
    mine = ordered(
        1, user_id=user, document_id=document, filename="Annual REPORT 50%_a.pdf", correlation_id=correlation
    )
    failed, other = ordered(2, user_id=user), ordered(3, tenant="other", filename="report.txt")
    with transaction():
        jobs.fail(jobs.get_job(UUID(failed)), OrderRefused("no"), who="t", now=host_now())
    for query, found in {
        f"?document_id={document}": [mine],
        f"?user_id={user}": [failed, mine],
        f"?user_id={user}&state=received": [mine],
        "?state=failed": [failed],
        "?state=failed,received": [other, failed, mine],
        "?q=report": [other, mine],
        "?q=50%25_": [mine],
        "?q=0%25_": [mine],
        "?q=_": [mine],
        "?q=%25": [mine],
        f"?q={document}": [mine],
        f"?q={correlation}": [mine],
        f"?q={failed}": [failed],
        "?tenant=other": [other],
        "?q=nothing": [],
        f"?document_id={uuid4()}": [],
    }.items():
        assert ids(listed(gateway, query)) == found, query


def test_a_token_sees_its_tenants_jobs(gateway: Gateway) -> None:
    mine, foreign = ordered(1), ordered(2, tenant="other", filename="secret.pdf")
    assert ids(listed(gateway, scope=Scope.READ)) == [mine]
    assert ids(listed(gateway, "?q=secret", scope=Scope.READ)) == []
    assert ids(listed(gateway, f"?q={foreign}", scope=Scope.READ)) == []
    assert ids(listed(gateway, scope=Scope.READ, tenant="other")) == [foreign]
    refused = gateway.client(Scope.READ).get("/v1/documents?tenant=other")
    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/foreign_tenant")


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=1001", "limit=many", "state=done", "state=", "document_id=1", "user_id=x", "page=2"),
        *("cursor=", "cursor=%00", "cursor=%C3%A9", "cursor=abc", "q=", "q=%00", f"q={'a' * 201}"),
        f"cursor={urlsafe_b64encode(b'2026-01-01 ' + str(uuid4()).encode()).decode()}",
        f"cursor={urlsafe_b64encode(b'0001-01-01T00:00:00+14:00 ' + str(uuid4()).encode()).decode()}",
        f"cursor={urlsafe_b64encode(b'2026-01-01T00:00:00+00:00 1').decode()}",
    ],
)
def test_what_is_malformed_is_400(gateway: Gateway, query: str) -> None:
    answer = gateway.client(Scope.READ).get(f"/v1/documents?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json"), answer.text


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_read_from_an_index(kind: str, tmp_path: Path) -> None:
    """However many jobs there are: the plan sorts nothing."""
    with state_of(kind, tmp_path) as url:
        assert url
        now = host_now()
        jobs.accept_order(an_order(), who="test", now=now, due_at=now)
        plans = {
            "": Job.select(Job.job_id),
            "tenant": Job.select(Job.job_id).where(Job.tenant == "default"),
            "state": Job.select(Job.job_id).where(Job.state == "failed"),
        }
        for name, query in plans.items():
            sql, values = query.order_by(Job.created_at.desc(), Job.job_id.desc()).limit(50).sql()
            explain = "EXPLAIN QUERY PLAN " if kind == "sqlite" else "EXPLAIN "
            with transaction() as _:
                database = Job._meta.database
                if kind == "postgresql":
                    database.execute_sql("SET LOCAL enable_seqscan = off")
                plan = " ".join(str(row) for row in database.execute_sql(explain + sql, values).fetchall())
            assert "Sort" not in plan, (name, plan)
            assert "TEMP B-TREE" not in plan, (name, plan)
