"""Limits that are set while running, over HTTP and from the command line: in force at once, explained, undone."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

import models.database
import models.pace
import models.slots
from domain.errors import OrderRefused
from domain.job_state import JobState
from domain.pace import Outcome, Route, limits_of
from models import jobs
from models.database import server_now
from models.limits import change, check_limit
from models.pace import Pacer, Promised, Taken
from models.service_tables import Pace, Slot
from models.tables import Job
from models.tokens import Scope
from tests.gateway_harness import Gateway, running_gateway, settings_of
from tests.processes import Program
from tests.state import KINDS, an_order, state_of

SETTINGS = {"PARSEGATE_PARSE_LIMIT": "50/10,200/60", "PARSEGATE_HOURLY_LIMIT": "1000/3600"}


@pytest.fixture(params=KINDS)
def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gateway]:
    with state_of(request.param, tmp_path), running_gateway(tmp_path, settings=settings_of(**SETTINGS)) as running:
        yield running


def another_process() -> Pacer:
    return Pacer(limits_of(settings_of(**SETTINGS)), server_now)


def entry(said: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [limit for limit in said["limits"] if limit["name"] == name]
    return dict(found)


def test_what_is_set_is_shown_and_explained(gateway: Gateway) -> None:
    said = gateway.client(Scope.READ).get("/v1/limits").raise_for_status().json()
    assert {name: said[name] for name in ("parse", "upload", "read", "hourly", "in_flight")} == {
        "parse": "50/10,200/60",
        "upload": "50/5",
        "read": "300/10",
        "hourly": "1000/3600",
        "in_flight": None,
    }
    assert entry(said, "parse")["explanation"] == "50 per 10 s and 200 per 60 s"
    assert entry(said, "hourly")["explanation"] == "0 of 1000 per 3600 s used"


def test_each_waiting_job_is_told_with_what_it_waits_for(gateway: Gateway) -> None:
    """In the order in which they go; a tenant's token sees nobody else's."""
    pacer = Pacer(limits_of(settings_of(PARSEGATE_PARSE_LIMIT="1/60")), server_now)
    assert isinstance(pacer.take(Route.CREATE, uuid4()), Taken)
    orders = {tenant: a_job(tenant) for tenant in ("default", "other", "third")}
    for tenant in ("other", "default"):
        Job.update(state=JobState.RESERVED).where(Job.job_id == orders[tenant]).execute()
        assert isinstance(pacer.take(Route.CREATE, uuid4(), orders[tenant]), Promised)
    Job.update(turn=1, message="waits for its turn").where(Job.job_id == orders["third"]).execute()
    Job.update(twin_of=orders["third"], message="waits for job").where(Job.job_id == (twin := a_job("twins"))).execute()
    Job.update(message="the source did not answer").where(Job.job_id == (again := a_job("again"))).execute()
    a_job("fresh")
    said = gateway.client(Scope.ADMIN).get("/v1/limits").raise_for_status().json()["waiting"]
    assert [(job["job_id"], job["limit"], job["why"]) for job in said] == [
        (str(orders["other"]), "parse", "1 per 60 s"),
        (str(orders["default"]), "parse", "1 per 60 s"),
        (str(orders["third"]), "admission", "waits for its turn"),
        (str(twin), "twin", "waits for job"),
        (str(again), "retry", "the source did not answer"),
    ]
    assert said[0]["at"] < said[1]["at"]
    assert len(gateway.client(Scope.ADMIN).get("/v1/limits?waiting=2").json()["waiting"]) == 2
    (own,) = gateway.client(Scope.READ).get("/v1/limits").json()["waiting"]
    assert own["job_id"] == str(orders["default"])
    for malformed in ("-1", "1001", "many"):
        refused = gateway.client(Scope.READ).get(f"/v1/limits?waiting={malformed}")
        assert (refused.status_code, refused.headers["content-type"]) == (400, "application/problem+json")


def a_job(tenant: str) -> UUID:
    now = server_now()
    return jobs.accept_order(an_order(tenant=tenant), who="test", now=now, due_at=now).job.job_id


def test_a_change_is_in_force_on_every_process_at_once_and_is_undone(gateway: Gateway) -> None:
    http, elsewhere = gateway.client(Scope.ADMIN), another_process()
    said = http.put("/v1/limits", json={"parse": "1/60", "in_flight": 7}).raise_for_status().json()
    assert (said["parse"], said["in_flight"]) == ("1/60", 7)
    assert entry(said, "parse")["configured"] == "50/10,200/60"
    assert entry(said, "parse")["set_by"].startswith("admin")
    assert isinstance(elsewhere.take(Route.CREATE, uuid4()), Taken)
    waiting = elsewhere.take(Route.CREATE, uuid4())
    assert isinstance(waiting, Promised)
    shown = entry(http.get("/v1/limits").json(), "parse")
    assert (shown["waiting"], shown["under_way"], shown["used"]) == (1, 1, [{"window": "1/60", "calls": 1}])
    assert "the next in line goes at" in shown["explanation"]
    undone = http.put("/v1/limits", json={"parse": "default", "in_flight": "default"}).json()
    assert (undone["parse"], undone["in_flight"]) == ("50/10,200/60", None)
    (slot,) = Slot.select().where(Slot.used_at.is_null())
    assert slot.at < waiting.at, "a raised limit lets those who wait go sooner"


def test_what_was_learned_is_shown_and_forgotten_at_a_persons_word(gateway: Gateway) -> None:
    elsewhere, http = another_process(), gateway.client(Scope.ADMIN)
    for _ in range(3):
        answer = elsewhere.take(Route.CREATE, uuid4())
        assert isinstance(answer, Taken)
        elsewhere.finish(answer.slot_id)
    refused = elsewhere.take(Route.CREATE, uuid4())
    assert isinstance(refused, Taken)
    elsewhere.finish(refused.slot_id, Outcome.BUSY, retry_after_s=20.0)
    shown = entry(http.get("/v1/limits").json(), "parse")
    assert (shown["learned"]["ceiling"], shown["learned"]["seconds"]) == (3, 10)
    assert shown["explanation"].startswith("1 per 10 s, learned: the provider answered 429 at ")
    assert "after 3 in 10 s; it grows back to 50 per 10 s" in shown["explanation"]
    assert "as the provider asked" in shown["explanation"]
    held = elsewhere.take(Route.CREATE, uuid4())
    assert isinstance(held, Promised)
    assert (held.at - server_now()).total_seconds() == pytest.approx(20, abs=5)
    assert entry(http.put("/v1/limits", json={"parse": "50/10"}).json(), "parse")["learned"] is None
    assert isinstance(elsewhere.take(Route.CREATE, uuid4()), Taken)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"parse": "0/10"}, 422, "such as 50/10, or 'default'"),
        ({"parse": "none"}, 422, "such as 50/10"),
        ({"parse": -5}, 422, "such as 50/10"),
        ({"parse": None}, 422, "such as 50/10"),
        ({"parse": "50/10,"}, 422, "such as 50/10"),
        ({"upload": "1e9/1"}, 422, "such as 50/10"),
        ({"in_flight": 0}, 422, "a whole number from 1 to 1000000"),
        ({"in_flight": 1.5}, 422, "a whole number"),
        ({"in_flight": True}, 422, "a whole number"),
        ({"in_flight": "NaN"}, 422, "a whole number"),
        ({"hourly": ["1/1"]}, 422, "such as 50/10"),
        ({"in_flight": {}}, 422, "a whole number"),
        ({"speed": "50/10"}, 422, "here is no limit 'speed'"),
        ({"upload": "9/9", "speed": "50/10"}, 422, "here is no limit 'speed'"),
        ({}, 422, 'end {"parse"'),
        ([], 422, 'end {"parse"'),
    ],
)
def test_what_is_malformed_is_one_clear_sentence_and_changes_nothing(
    tmp_path: Path, body: object, status: int, words: str
) -> None:
    with state_of("sqlite", tmp_path), running_gateway(tmp_path) as gateway:
        answer = gateway.client(Scope.ADMIN).put("/v1/limits", json=body)
        assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text
        assert all(row.override is None for row in Pace.select())
        for kind, refused in (("text/plain", 415), ("application/json", 400)):
            sent = gateway.http.put("/v1/limits", content=b"{", headers={"Content-Type": kind})
            assert sent.status_code == refused
        assert gateway.client(Scope.READ).put("/v1/limits", json={"parse": "1/1"}).status_code == 403


def test_none_lifts_only_what_may_be_lifted() -> None:
    assert check_limit("hourly", "none") == check_limit("in_flight", None) == "none"
    assert check_limit("in_flight", 7.0) == "7"
    assert check_limit("parse", "default") is None
    assert check_limit("read", "5/1, 20/60") == "5/1,20/60"
    with pytest.raises(OrderRefused):
        change({"upload": "none"}, "me")


def test_the_command_line_shows_and_sets(start_program: Callable[..., Program], tmp_path: Path) -> None:
    start_program("up", "--port", "0").wait_for("ready on")

    def run(*arguments: str) -> tuple[int, str]:
        program = start_program("limits", *arguments)
        return program.process.wait(timeout=60), program.output

    status, shown = run("set", "parse", "10/2", "--json")
    assert (status, json.loads(shown)["parse"]) == (0, "10/2")
    status, shown = run("show")
    assert status == 0
    assert "set by admin" in shown or "set by" in shown
    assert "parse: 10 per 2 s" in shown
    assert json.loads(run("set", "parse", "default", "--json")[1])["parse"] == "50/10"
    status, said = run("set", "parse", "quick")
    assert status == 1
    assert said.startswith("parsegate: parse: write ")
    assert said.endswith("COUNT/SECONDS, both from 1, such as 50/10, or 'default'\n")
    assert run("set", "speed", "1/1")[0] == 2


def test_the_command_line_tells_each_waiting_job(start_program: Callable[..., Program], tmp_path: Path) -> None:
    start_program("up", "--simulator", "--port", "0").wait_for("ready on")

    def run(*arguments: str) -> str:
        program = start_program(*arguments)
        assert program.process.wait(timeout=60) == 0, program.output
        return program.output

    run("limits", "set", "parse", "1/600")
    assert "waiting job" not in run("limits", "show")
    names = [f"{name}.txt" for name in ("first", "second", "third")]
    for name in names:
        (tmp_path / name).write_text(f"A note, the {name}.\n")
    ids = {job["job_id"] for job in json.loads(run("submit", *names, "--json"))}
    row = re.compile(r"^ *([-0-9a-f]{36}) +parse +\d{4}-\d\d-\d\d .*1 per 600 s", re.MULTILINE)
    until = time.monotonic() + 30
    while len(found := row.findall(shown := run("limits", "show"))) < 2:
        assert time.monotonic() < until, shown
    assert set(found) < ids
    assert len(row.findall(run("limits", "show", "--waiting", "1"))) == 1


def test_the_limiter_goes_by_the_databases_clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A host whose own clock is an hour fast gets no slot sooner, and takes none away."""

    class Fast(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Fast:
            return cls.fromtimestamp(time.time() + 3600, tz)

    with state_of("postgresql", tmp_path):
        pacer = Pacer(limits_of(settings_of(PARSEGATE_PARSE_LIMIT="1/60")), server_now)
        assert isinstance(pacer.take(Route.CREATE, uuid4()), Taken)
        truth = server_now()
        for module in (models.database, models.pace, models.slots):
            monkeypatch.setattr(module, "datetime", Fast, raising=False)
        promised = Pacer(limits_of(settings_of(PARSEGATE_PARSE_LIMIT="1/60")), server_now).take(Route.CREATE, uuid4())
        assert isinstance(promised, Promised)
        assert timedelta(seconds=50) < promised.at - truth < timedelta(seconds=200)
