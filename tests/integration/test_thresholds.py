"""Budgets that fill up and run out are told of once in each window."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from actors.thresholds import tell_thresholds
from domain.budgets import GLOBAL_DAY, parse_budget_key
from domain.errors import BadSetting
from domain.job_state import JobState
from domain.money import Millicredits
from domain.settings import read_settings
from llamaparse.simulator import RunningSimulator
from models.budgets import set_budget
from models.tables import BudgetWindow, Delivery
from tests.documents import new_pdf
from tests.noon import noon_zone
from tests.state import KINDS, state_of
from tests.world import World, world_of

TEN = str(Decimal(10 * 3) * Decimal("0.00125"))
"""Dollars for ten pages of `cost_effective`."""


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, simulator: RunningSimulator, tmp_path: Path) -> Iterator[World]:
    settings: dict[str, Any] = {"PARSEGATE_DAILY_BUDGET_USD": TEN, "PARSEGATE_BUDGET_TIMEZONE": noon_zone()}
    with state_of(request.param, tmp_path), world_of(simulator, tmp_path, **settings) as made:
        yield made


def order(world: World, pages: int, **said: Any) -> Any:
    pdf = new_pdf()
    for number in range(pages):
        pdf.add_page()
        pdf.set_font("Helvetica", size=12)
        pdf.cell(0, 10, f"Page {number} of {world.folder}, {len(list(world.folder.iterdir()))}")
    path = world.folder / f"{len(list(world.folder.iterdir()))}.pdf"
    path.write_bytes(bytes(pdf.output()))
    return world.order_file(path, **said)


def told(kind: str = "budget.threshold") -> list[dict[str, Any]]:
    found = Delivery.select().where(Delivery.event_type == kind).order_by(Delivery.created_at, Delivery.delivery_id)
    return [json.loads(delivery.body)["data"] for delivery in found]


def test_each_threshold_is_told_once(world: World) -> None:
    world.run_until(order(world, 4))
    tell_thresholds(world.services)
    assert told() == []
    world.run_until(order(world, 1))
    with capture_logs() as lines:
        for _ in range(3):
            tell_thresholds(world.services)
    (half,) = told()
    (line,) = [line for line in lines if line["event"] == "a budget has reached a threshold"]
    assert (line["log_level"], line["budget"], line["percent"]) == ("warning", "global/day", 50)
    assert (line["limit_credits"], line["spent_credits"], line["reserved_credits"]) == ("30", "15", "0")
    assert (half["percent"], half["budget"], half["limit_credits"], half["spent_credits"]) == (50, "global/day", 30, 15)
    assert half["spent_usd"] == pytest.approx(0.01875)
    world.run_until(order(world, 5))
    tell_thresholds(world.services)
    assert sorted(said["percent"] for said in told()) == [50, 80, 100]


def test_what_is_held_counts(world: World) -> None:
    """The budget that is held can't be given to anybody else: that is what people must know."""
    job = order(world, 9)
    while world.queue[0].actor_name != "start_parse":
        world.handle(world.queue.popleft())
    tell_thresholds(world.services)
    assert sorted(said["percent"] for said in told()) == [50, 80]
    assert {said["reserved_credits"] for said in told()} == {27}
    world.run_until(job)


def test_a_lowered_limit_reaches_thresholds_too(world: World) -> None:
    world.run_until(order(world, 4))
    zone = world.services.settings.budget_timezone
    set_budget(GLOBAL_DAY, Millicredits(15_000), who="test", now=world.now(), zone=zone)
    tell_thresholds(world.services)
    assert sorted(said["percent"] for said in told()) == [50, 80]


def test_every_budget_has_its_own(world: World) -> None:
    zone = world.services.settings.budget_timezone
    key = parse_budget_key("tenant:acme/month")
    set_budget(key, Millicredits(6_000), who="test", now=world.now(), zone=zone)
    set_budget(parse_budget_key("tenant:zero/day"), Millicredits(0), who="test", now=world.now(), zone=zone)
    world.run_until(order(world, 1, tenant="acme"))
    tell_thresholds(world.services)
    assert [(said["budget"], said["percent"]) for said in told()] == [("tenant:acme/month", 50)]


def test_a_new_day_tells_anew(world: World) -> None:
    world.run_until(order(world, 5))
    tell_thresholds(world.services)
    world.ahead += timedelta(days=1)
    world.run_until(order(world, 5))
    tell_thresholds(world.services)
    assert [said["percent"] for said in told()] == [50, 50]
    assert len({said["window"] for said in told()}) == 2


def test_two_clocks_tell_once(world: World) -> None:
    world.run_until(order(world, 5))
    BudgetWindow.update(fired=50).execute()
    tell_thresholds(world.services)
    assert told() == []


def test_what_did_not_fit_is_told_once_until_the_limit_changes(world: World) -> None:
    world.run_until(order(world, 9))
    deferred = [order(world, 2) for _ in range(3)]
    with capture_logs() as lines:
        for job in deferred:
            world.run_until(job, JobState.DEFERRED)
    (line,) = [line for line in lines if line["event"] == "the budget is exhausted: documents wait"]
    assert (line["log_level"], line["budget"]) == ("warning", "global/day")
    (said,) = told("budget.exhausted")
    assert (said["budget"], said["limit_credits"], said["free_credits"]) == ("global/day", 30, 3)
    zone = world.services.settings.budget_timezone
    set_budget(GLOBAL_DAY, Millicredits(31_000), who="test", now=world.now(), zone=zone)
    world.run_until(order(world, 3), JobState.DEFERRED)
    assert len(told("budget.exhausted")) == 2


@pytest.mark.parametrize(("text", "percents"), [("none", ()), ("90", (90,)), ("100, 25,25", (25, 100))])
def test_thresholds_can_be_set(text: str, percents: tuple[int, ...]) -> None:
    assert read_settings({"PARSEGATE_BUDGET_THRESHOLDS": text}, None).thresholds == percents


@pytest.mark.parametrize("text", ["0", "101", "half", "50;80", "-5", "5.5"])
def test_malformed_thresholds_are_refused(text: str) -> None:
    with pytest.raises(BadSetting, match="PARSEGATE_BUDGET_THRESHOLDS: must be percents from 1 to 100"):
        read_settings({"PARSEGATE_BUDGET_THRESHOLDS": text}, None)
