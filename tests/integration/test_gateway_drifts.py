"""``/v1/drifts``: who sees a bill that is not what was priced, and what a person's word does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from domain.budgets import GLOBAL_DAY
from domain.money import Millicredits
from domain.settlement import DriftKind
from gateway.dependencies import host_now
from models import attempts, audit, drifts
from models.budgets import balance
from models.tables import Attempt, LedgerEntry
from models.tokens import Scope
from tests.gateway_harness import Gateway, running_gateway
from tests.money import ZONE, hold, limit
from tests.state import KINDS, state_of


@pytest.fixture(params=KINDS)
def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gateway]:
    with state_of(request.param, tmp_path), running_gateway(tmp_path / "store") as running:
        limit(GLOBAL_DAY, 8000)
        yield running


def assumed(tenant: str = "default") -> Attempt:
    """An attempt whose bill was zero, which nobody believes: settled at its hold of 30 credits."""
    attempt = hold(30, tenant=tenant)
    now = host_now()
    attempts.settle(attempt, Millicredits(30_000), now=now, why="assumed", assumed=True)
    assert drifts.report(attempt, DriftKind.UNEXPLAINED_ZERO, Millicredits(0), now=now)
    return attempt


def listed(gateway: Gateway, query: str = "", scope: Scope = Scope.ADMIN, tenant: str = "default") -> list[Any]:
    return list(gateway.client(scope, tenant).get(f"/v1/drifts{query}").raise_for_status().json()["items"])


def test_a_drift_is_listed_until_it_is_explained(gateway: Gateway) -> None:
    attempt, other = assumed(), assumed("other")
    told = [drift["attempt_id"] for drift in listed(gateway)]
    assert told == [str(other.attempt_id), str(attempt.attempt_id)]
    assert [drift["attempt_id"] for drift in listed(gateway, "?limit=1")] == told[:1]
    (drift,) = listed(gateway, scope=Scope.READ)
    assert (drift["attempt_id"], drift["job_id"]) == (str(attempt.attempt_id), str(attempt.job_id))
    assert (drift["kind"], drift["priced_credits"], drift["billed_credits"]) == ("unexplained_zero", 30, 0)
    assert (drift["settled_credits"], drift["assumed"], drift["explained_at"]) == (30, True, None)
    path = f"/v1/drifts/{drift['drift_id']}/explain"
    assert gateway.client(Scope.READ).post(path, json={"explanation": "ours"}).status_code == 403
    said = gateway.client(Scope.ADMIN).post(path, json={"explanation": " as agreed "}).raise_for_status().json()
    assert (said["explanation"], said["settled_credits"], said["asked_again_at"]) == ("as agreed", 30, None)
    assert said["explained_by"].startswith("admin")
    assert listed(gateway, scope=Scope.READ) == []
    (again,) = listed(gateway, "?all=true", Scope.READ)
    assert again == said


def test_who_knows_what_was_billed_settles_it(gateway: Gateway) -> None:
    attempt = assumed()
    (drift,) = listed(gateway)
    path = f"/v1/drifts/{drift['drift_id']}/explain"
    said = gateway.client(Scope.ADMIN).post(path, json={"explanation": "free of charge", "billed_credits": 0})
    assert (said.json()["settled_credits"], said.json()["assumed"]) == (0, False)
    assert balance(GLOBAL_DAY, host_now(), ZONE).spent == 0
    (entry,) = LedgerEntry.select().where(LedgerEntry.attempt == attempt.attempt_id, LedgerEntry.kind == "adjust")
    assert "free of charge" in entry.why
    assert audit.find_faults() == []


def test_a_persons_word_can_be_taken_back_and_the_providers_not(gateway: Gateway) -> None:
    attempt, http = assumed(), gateway.client(Scope.ADMIN)
    (drift,) = listed(gateway)
    path = f"/v1/drifts/{drift['drift_id']}/explain"
    for billed in (0, 9):
        said = http.post(path, json={"explanation": "by their mail", "billed_credits": billed}).raise_for_status()
        assert said.json()["settled_credits"] == billed
        assert balance(GLOBAL_DAY, host_now(), ZONE).spent == billed * 1000
    assert audit.find_faults() == []
    drifts.explain(drifts.get(drift["drift_id"]), "the provider billed 9 after all", now=host_now())
    refused = http.post(path, json={"explanation": "or not", "billed_credits": 0})
    assert (refused.status_code, "only what was assumed" in refused.text) == (422, True)
    assert attempts.get_attempt(attempt.attempt_id).billed == 9000
    (kept,) = listed(gateway, "?all=true")
    assert kept["explanation"] == "the provider billed 9 after all"


def test_what_was_explained_is_not_asked_about_again(gateway: Gateway) -> None:
    """The provider was being asked when a person explained it."""
    attempt = assumed()
    (known,) = drifts.to_be_asked(attempt.job_id)
    drifts.explain(known, "free of charge", now=host_now(), by="me")
    drifts.ask_later(known, now=host_now(), answered=True)
    assert drifts.get(known.drift_id).due_at is None


def test_more_than_was_held_is_a_drift_of_its_own(gateway: Gateway) -> None:
    assumed()
    (drift,) = listed(gateway)
    path = f"/v1/drifts/{drift['drift_id']}/explain"
    with capture_logs() as lines:
        said = gateway.client(Scope.ADMIN).post(path, json={"explanation": "their mail", "billed_credits": 45})
    assert said.json()["settled_credits"] == 45
    (left,) = listed(gateway)
    assert (left["kind"], left["priced_credits"], left["billed_credits"]) == ("over_reservation", 30, 45)
    assert [line["drift"] for line in lines if line["event"] == "the bill is not what was priced"] == [left["kind"]]
    assert audit.find_faults() == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("[]", 422),
        ("{}", 422),
        ('{"explanation": " "}', 422),
        ('{"explanation": 7}', 422),
        ('{"explanation": "a", "why": 1}', 422),
        ('{"explanation": "a", "billed_credits": -1}', 422),
        ('{"explanation": "a", "billed_credits": true}', 422),
        ('{"explanation": "a", "billed_credits": "3"}', 422),
        ('{"explanation": "a", "billed_credits": 0.0001}', 422),
        ('{"explanation": "a", "billed_credits": 1e12}', 422),
        ('{"explanation": "a", "billed_credits": NaN}', 400),
        ("{", 400),
    ],
)
def test_what_is_malformed_changes_nothing(gateway: Gateway, body: str, status: int) -> None:
    assumed()
    (drift,) = listed(gateway)
    headers = {"Content-Type": "application/json"}
    answer = gateway.client(Scope.ADMIN).post(f"/v1/drifts/{drift['drift_id']}/explain", content=body, headers=headers)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert listed(gateway) == [drift]


@pytest.mark.parametrize("path", ["7/explain", "0/explain", "9223372036854775808/explain", "x/explain"])
def test_a_drift_that_is_none_is_404(gateway: Gateway, path: str) -> None:
    answer = gateway.client(Scope.ADMIN).post(f"/v1/drifts/{path}", json={"explanation": "a"})
    assert answer.status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        "?limit=0",
        "?limit=1001",
        "?limit=x",
        "?limit=1_0",
        "?limit=%2B5",
        "?limit=1&limit=2",
        "?all=perhaps",
        "?all=yes",
    ],
)
def test_a_malformed_parameter_is_400(gateway: Gateway, query: str) -> None:
    assert gateway.client(Scope.READ).get(f"/v1/drifts{query}").status_code == 400
