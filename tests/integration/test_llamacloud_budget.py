"""LlamaCloud's own interface when the budget is exhausted: 402 as the provider says it, or a job that waits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import llama_cloud
import pytest
from llama_cloud import LlamaCloud

from domain.budgets import GLOBAL_DAY
from models.tables import Job
from models.tokens import Scope
from tests.gateway_harness import Gateway, running_gateway, settings_of
from tests.integration.simulator_kit import make_pdf
from tests.money import limit
from tests.state import state_of


@contextmanager
def opened(tmp_path: Path, policy: str, mode: str = "real") -> Iterator[tuple[Gateway, LlamaCloud]]:
    settings = settings_of(PARSEGATE_ON_BUDGET_EXHAUSTED=policy, LLAMA_CLOUD_API_KEY="llx-test", PARSEGATE_MODE=mode)
    with state_of("sqlite", tmp_path), running_gateway(tmp_path / "store", settings=settings) as gateway:
        limit(GLOBAL_DAY, 5)
        token = gateway.token(Scope.SUBMIT)
        with LlamaCloud(base_url=gateway.url, api_key=token, max_retries=0) as sdk:
            yield gateway, sdk


def pdf(tmp_path: Path, pages: int) -> Path:
    return make_pdf(tmp_path / f"{pages}.pdf", ["some words"] * pages)


def test_what_does_not_fit_is_402_under_reject(tmp_path: Path) -> None:
    with opened(tmp_path, "reject") as (gateway, sdk):
        file = sdk.files.create(file=pdf(tmp_path, 2), purpose="parse").id
        with pytest.raises(llama_cloud.APIStatusError) as refused:
            sdk.parsing.create(tier="cost_effective", version="latest", file_id=file)
        assert refused.value.status_code == 402
        assert "budget" in refused.value.response.json()["detail"]
        with pytest.raises(llama_cloud.APIStatusError) as refused:
            sdk.parsing.create(tier="cost_effective", version="latest", upload_file=pdf(tmp_path, 2))
        assert refused.value.status_code == 402
        assert Job.select().count() == 0
        assert {path for path in gateway.files() if "staging" in path} == set()
        small = sdk.files.create(file=pdf(tmp_path, 1), purpose="parse").id
        assert sdk.parsing.create(tier="cost_effective", version="latest", file_id=small).status == "PENDING"
        only_one = {"page_ranges": {"target_pages": "2"}}
        assert sdk.parsing.create(tier="cost_effective", version="latest", file_id=file, extra_body=only_one).id


@pytest.mark.parametrize(("policy", "mode"), [("defer", "real"), ("mock", "real"), ("reject", "mock")])
def test_otherwise_it_waits_or_costs_nothing(tmp_path: Path, policy: str, mode: str) -> None:
    with opened(tmp_path, policy, mode) as (_, sdk):
        file = sdk.files.create(file=pdf(tmp_path, 9), purpose="parse").id
        assert sdk.parsing.create(tier="cost_effective", version="latest", file_id=file).status == "PENDING"


def test_a_repeat_is_answered_with_the_job_that_it_made(tmp_path: Path) -> None:
    with opened(tmp_path, "reject") as (_, sdk):
        file = sdk.files.create(file=pdf(tmp_path, 1), purpose="parse").id
        first = sdk.parsing.create(tier="cost_effective", version="latest", file_id=file)
        limit(GLOBAL_DAY, 0)
        again = sdk.parsing.create(
            tier="cost_effective", version="latest", file_id=file, extra_headers={"x-stainless-retry-count": "1"}
        )
        assert json.loads(again.to_json())["id"] == first.id
