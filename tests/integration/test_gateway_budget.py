"""``/v1/budget``: what may be spent, who may see and change it, and who is woken by a raise."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from domain.budgets import GLOBAL_DAY, parse_budget_key
from domain.clock import format_utc, parse_utc
from gateway.dependencies import host_now
from models.tables import Job
from models.tokens import Scope
from tests.gateway_harness import Gateway, RecordingPublisher, running_gateway
from tests.money import a_job, defer, hold, limit, tomorrow
from tests.state import KINDS, state_of

JSON = {"Content-Type": "application/json"}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def publisher() -> RecordingPublisher:
    return RecordingPublisher()


@pytest.fixture
def gateway(kind: str, tmp_path: Path, publisher: RecordingPublisher) -> Iterator[Gateway]:
    with state_of(kind, tmp_path), running_gateway(tmp_path / "store", publisher=lambda _: publisher) as gateway:
        yield gateway


def test_the_budget_is_shown_with_what_is_spent_and_held(gateway: Gateway) -> None:
    limit(GLOBAL_DAY, 8000)
    hold(100, settle=80)
    hold(40)
    said = gateway.client(Scope.READ).get("/v1/budget").json()
    assert (said["daily_limit_usd"], said["spent_usd"], said["reserved_usd"], said["free_usd"]) == (10, 0.1, 0.05, 9.85)
    assert parse_utc(said["window"]["ends_at"]) == tomorrow()
    assert parse_utc(said["window"]["starts_at"]) == tomorrow() - timedelta(days=1)
    assert said["note"] is None
    [daily] = said["budgets"]
    assert (daily["budget"], daily["name"], daily["limit_credits"]) == ("global/day", "the daily budget", 8000)
    assert (daily["spent_credits"], daily["reserved_credits"], daily["free_credits"]) == (80, 40, 7880)
    assert daily["forecast"] == said["forecast"]
    forecast = said["forecast"]
    assert 0.15 <= forecast["low_usd"] <= forecast["expected_usd"] <= forecast["high_usd"]
    assert forecast["past_days"] == 0


def test_without_a_daily_budget_it_says_so(gateway: Gateway) -> None:
    said = gateway.client(Scope.READ).get("/v1/budget").json()
    assert (said["daily_limit_usd"], said["budgets"], said["forecast"]) == (None, [], None)
    assert parse_utc(said["window"]["ends_at"]) == tomorrow()


def test_a_limit_is_set_and_shown(gateway: Gateway) -> None:
    http = gateway.client(Scope.ADMIN)
    for value, shown in ((12.5, 12.5), (0, 0), ("unlimited", "unlimited"), (1_000_000, 1_000_000)):
        answer = http.put("/v1/budget", json={"daily_limit_usd": value})
        assert answer.status_code == 200, answer.text
        assert answer.json()["daily_limit_usd"] == shown
        assert http.get("/v1/budget").json()["daily_limit_usd"] == shown
    answer = http.put("/v1/budget", json={"budget": "tenant:acme/month", "limit_credits": 1500.5})
    acme = answer.json()["budgets"][1]
    assert (acme["budget"], acme["limit_credits"], acme["limit_usd"]) == ("tenant:acme/month", 1500.5, 1.875625)
    assert acme["changed_by"].startswith("admin-")


def test_a_limit_below_what_is_spent_is_allowed_and_said(gateway: Gateway) -> None:
    limit(GLOBAL_DAY, 8000)
    hold(4000, settle=4000)
    hold(800)
    said = gateway.client(Scope.ADMIN).put("/v1/budget", json={"daily_limit_usd": 2}).json()
    assert (said["daily_limit_usd"], said["spent_usd"], said["reserved_usd"], said["free_usd"]) == (2, 5, 1, 0)
    assert said["note"].startswith("$6.0000 are spent or held of $2.0000: nothing new starts before ")
    assert said["forecast"]["reaches_limit_at"] is not None


def test_a_temporary_increase_counts_until_it_ends(gateway: Gateway) -> None:
    limit(GLOBAL_DAY, 800)
    http = gateway.client(Scope.ADMIN)
    until = host_now() + timedelta(hours=1)
    said = http.put("/v1/budget", json={"extra_usd": 5, "until": format_utc(until)}).json()
    assert (said["daily_limit_usd"], said["free_usd"]) == (1, 6)
    assert (said["budgets"][0]["extra_usd"], said["budgets"][0]["extra_until"]) == (5, format_utc(until))
    taken_back = http.put("/v1/budget", json={"extra_usd": 0}).json()
    assert (taken_back["free_usd"], taken_back["budgets"][0]["extra_usd"]) == (1, 0)
    assert taken_back["budgets"][0]["extra_until"] is None
    past = http.put("/v1/budget", json={"extra_usd": 5, "until": "2020-01-01T00:00:00Z"})
    assert (past.status_code, "has passed" in past.json()["detail"]) == (422, True)
    unset = http.put("/v1/budget", json={"budget": "tenant:x", "extra_usd": 5, "until": format_utc(until)})
    assert unset.status_code == 404


def test_a_raise_wakes_what_waits_and_nothing_else_does(gateway: Gateway, publisher: RecordingPublisher) -> None:
    limit(GLOBAL_DAY, 800)
    now, far = host_now(), host_now() + timedelta(hours=9)
    first, second, other = (a_job(now, document_id=UUID(int=number)) for number in range(3))
    defer(second, far, turn=2)
    defer(first, far, turn=1)
    Job.update(due_at=far).where(Job.job_id == other.job_id).execute()
    http = gateway.client(Scope.ADMIN)

    def due(job: Job) -> bool:
        due_at = Job.get_by_id(job.job_id).due_at
        assert due_at is not None
        return due_at <= host_now()

    for lower in (0.5, 0.5, 0.25):
        http.put("/v1/budget", json={"daily_limit_usd": lower})
    http.put("/v1/budget", json={"budget": "tenant:default", "limit_usd": 50})
    assert (publisher.nudged, due(first)) == ([], False)
    http.put("/v1/budget", json={"daily_limit_usd": 20})
    assert [(message.actor_name, dict(message.kwargs)) for message in publisher.nudged] == [
        ("check_budget", {"job_id": str(first.job_id)})
    ]
    assert (due(first), due(second), due(other)) == (True, True, False)
    defer(first, far)
    until = format_utc(host_now() + timedelta(hours=1))
    http.put("/v1/budget", json={"extra_usd": 5, "until": until})
    assert due(first)
    defer(first, far)
    http.put("/v1/budget", json={"daily_limit_usd": "unlimited"})
    assert due(first)
    assert len(publisher.nudged) == 3


def test_a_token_sees_its_own_tenants_budgets_and_everybodys(gateway: Gateway) -> None:
    limit(GLOBAL_DAY, 800)
    for name in ("tenant:acme/day", "tenant:other/day", f"user:{UUID(int=1)}/day"):
        limit(parse_budget_key(name), 10)

    def seen(scope: Scope, tenant: str) -> list[str]:
        return [found["budget"] for found in gateway.client(scope, tenant).get("/v1/budget").json()["budgets"]]

    assert seen(Scope.READ, "acme") == ["global/day", "tenant:acme/day"]
    assert seen(Scope.SUBMIT, "other") == ["global/day", "tenant:other/day"]
    assert len(seen(Scope.ADMIN, "acme")) == 4
    for scope in (Scope.READ, Scope.SUBMIT):
        assert gateway.client(scope).put("/v1/budget", json={"daily_limit_usd": 5}).status_code == 403


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        *[
            (f'{{"daily_limit_usd": {number}}}', 422)
            for number in ("null", "-1", "-0.01", "NaN", "Infinity", "-Infinity", "1e999", "1000000.01", "true", '"5"')
        ],
        ('{"daily_limit_usd": 1' + "0" * 5000 + "}", 422),
        ('{"daily_limit_usd": [5]}', 422),
        ('{"limit_usd": 5, "budget": "acme"}', 422),
        ('{"extra_usd": 5, "until": "soon"}', 422),
        ("{}", 422),
        ("[]", 422),
        ("null", 422),
        ("{", 400),
        ("", 400),
        ("[" * 100_000, 413),
        ("[" * 60_000, 400),
    ],
)
def test_a_budget_that_is_none_is_refused_and_changes_nothing(gateway: Gateway, body: str, status: int) -> None:
    limit(GLOBAL_DAY, 800)
    answer = gateway.client(Scope.ADMIN).put("/v1/budget", content=body, headers=JSON)
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]
    assert gateway.client(Scope.READ).get("/v1/budget").json()["daily_limit_usd"] == 1
    assert gateway.client(Scope.ADMIN).put("/v1/budget", content="{}").status_code == 415
