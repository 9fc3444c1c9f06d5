"""`/metrics`, read as Prometheus reads it."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from domain.budgets import GLOBAL_DAY, parse_budget_key
from domain.money import Millicredits
from domain.pace import Outcome, Route, limits_of
from domain.settlement import DriftKind
from gateway.dependencies import host_now
from models import drifts
from models.budgets import set_budget
from models.database import server_now
from models.pace import Pacer, Taken
from models.tables import Attempt
from models.tokens import Scope
from tests.gateway_harness import Gateway, running_gateway, settings_of
from tests.state import KINDS, state_of


def numbers(gateway: Gateway) -> dict[tuple[str, ...], float]:
    answer = httpx.get(f"{gateway.url}/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_are_those_of_the_moment(kind: str, tmp_path: Path) -> None:
    settings = settings_of()
    with state_of(kind, tmp_path), running_gateway(tmp_path / "store", settings=settings) as gateway:
        assert numbers(gateway)["parsegate_unexplained_drifts", "wrong_tier"] == 0
        zone, now = settings.budget_timezone, host_now()
        set_budget(GLOBAL_DAY, Millicredits(8_000_000), who="test", now=now, zone=zone)
        set_budget(parse_budget_key("tenant:secret/day"), Millicredits(1), who="test", now=now, zone=zone)
        set_budget(parse_budget_key("global/month"), None, who="test", now=now, zone=zone)
        posted = gateway.client(Scope.SUBMIT).post("/v1/documents", files={"file": ("a.txt", b"A note.")})
        job_id = UUID(posted.json()["job_id"])
        attempt = Attempt.create(
            attempt_id=uuid4(), job=job_id, number=1, state="open", provenance="real", estimate=0, created_at=now
        )
        drifts.report(attempt, DriftKind.WRONG_TIER, Millicredits(45_000), now=now)
        pacer = Pacer(limits_of(settings), server_now)
        taken = pacer.take(Route.UPLOAD, uuid4())
        assert isinstance(taken, Taken)
        pacer.finish(taken.slot_id, Outcome.REFUSED, said="401", key_id="key")
        found = numbers(gateway)
        assert found["parsegate_unfinished_jobs", "received"] == 1
        assert found["parsegate_unexplained_drifts", "wrong_tier"] == 1
        assert found["parsegate_budget_limit_credits", "global/day"] == 8000
        assert found["parsegate_budget_limit_credits", "global/month"] == float("inf")
        assert found["parsegate_budget_spent_credits", "global/day"] == 0
        assert found["parsegate_endpoint_up", "create"] == 0
        assert "secret" not in httpx.get(f"{gateway.url}/metrics").text
