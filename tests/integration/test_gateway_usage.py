"""``GET /v1/usage``: what was settled, for whom it is to see, and nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.budgets import GLOBAL_DAY
from domain.clock import format_utc
from gateway.dependencies import host_now
from models.tokens import Scope
from tests.gateway_harness import Gateway, running_gateway
from tests.money import hold, limit
from tests.state import KINDS, state_of

JSON = {"Content-Type": "application/json"}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def gateway(kind: str, tmp_path: Path) -> Iterator[Gateway]:
    with state_of(kind, tmp_path), running_gateway(tmp_path / "store") as gateway:
        yield gateway


@pytest.fixture
def spending(gateway: Gateway) -> Gateway:
    limit(GLOBAL_DAY, None)
    hold(10, settle=8, tenant="acme", tags=["=cmd|' /C calc'!A0", "q4"], tier="agentic")
    hold(10, settle=2, tenant="other", tags=["q4"], tier="fast")
    hold(10, tenant="other")
    return gateway


def test_usage_says_what_was_settled(spending: Gateway) -> None:
    http = spending.client(Scope.ADMIN)
    said = http.get("/v1/usage", params={"by": "tag"}).json()
    assert (said["by"], said["credits"], said["usd"], said["documents"]) == ("tag", 10, 0.0125, 2)
    assert [(row["key"], row["credits"]) for row in said["rows"]] == [("q4", 10), ("=cmd|' /C calc'!A0", 8)]
    today = host_now().date().isoformat()
    [row] = http.get("/v1/usage").json()["rows"]
    assert row == {"key": today, "documents": 2, "pages": 0, "credits": 10, "usd": 0.0125}
    assert http.get("/v1/usage", params={"tenant": "other"}).json()["credits"] == 2


def test_usage_of_a_span(spending: Gateway) -> None:
    http = spending.client(Scope.ADMIN)
    today, now = host_now().date().isoformat(), format_utc(host_now())
    for params, credits_amount in (
        ({"since": today}, 10),
        ({"until": today}, 10),
        ({"since": today, "until": today}, 10),
        ({"since": now}, 0),
        ({"until": "2020-01-01"}, 0),
        ({"until": now.replace("Z", "+00:00")}, 10),
    ):
        assert http.get("/v1/usage", params=params).json()["credits"] == credits_amount, params


def test_a_token_sees_its_own_tenants_usage(spending: Gateway) -> None:
    http = spending.client(Scope.READ, "acme")
    said = http.get("/v1/usage", params={"by": "tenant"}).json()
    assert ([row["key"] for row in said["rows"]], said["credits"]) == (["acme"], 8)
    assert http.get("/v1/usage", params={"tenant": "acme"}).json()["credits"] == 8
    assert http.get("/v1/usage", params={"tenant": "other"}).status_code == 422


def test_a_spreadsheet_runs_nothing(spending: Gateway) -> None:
    for tag in ("+1", "-1", "@SUM(A1)", "\t=1", "  =1", "fine", 'a,b"c'):
        hold(1, settle=1, tags=[tag])
    answer = spending.client(Scope.ADMIN).get("/v1/usage", params={"by": "tag", "format": "csv"})
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    head, *rows = list(csv.reader(io.StringIO(answer.text)))
    assert head == ["tag", "documents", "pages", "credits", "usd"]
    assert {row[0] for row in rows} == {
        "q4",
        "'=cmd|' /C calc'!A0",
        "'+1",
        "'-1",
        "'@SUM(A1)",
        "'\t=1",
        "'  =1",
        "fine",
        'a,b"c',
    }
    assert ["q4", "2", "0", "10", "0.01250"] in rows


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "query",
    [
        "by=planet",
        "by=",
        "by=day&by=tag",
        "since=yesterday",
        "since=2026-02-30",
        "since=2026-11-24T12:00:00",
        "until=9999-12-31T23:59:59-23:59",
        "until=9999-12-31",
        "since=2026-11-24&until=2026-11-23",
        "format=xml",
        "limit=7",
    ],
)
def test_a_question_that_is_none_is_422(gateway: Gateway, query: str) -> None:
    answer = gateway.client(Scope.READ).get(f"/v1/usage?{query}")
    assert (answer.status_code, bool(answer.json().get("detail"))) == (422, True)
