"""How many are before a job, and when it is expected to start."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.clock import parse_utc
from domain.job_state import JobState
from domain.money import Millicredits
from domain.pace import Route, limits_of
from models import admission, jobs
from models.database import server_now
from models.pace import Pacer, Promised, Taken
from models.tables import Job
from models.tokens import Scope
from tests.gateway_harness import Gateway, running_gateway, settings_of
from tests.state import KINDS, an_order, state_of

SETTINGS = settings_of(PARSEGATE_PARSE_LIMIT="50/10,60/60")
"""A document a second: the window that allows least counts."""


@pytest.fixture(params=KINDS)
def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gateway]:
    with state_of(request.param, tmp_path), running_gateway(tmp_path, settings=SETTINGS) as running:
        yield running


def ordered(*, waits: bool = True, **said: Any) -> UUID:
    now = server_now()
    job = jobs.accept_order(an_order(**said), who="test", now=now, due_at=now).job
    if waits:
        admission.enqueue(
            job, pages=1, pages_guessed=False, estimate=Millicredits(3000), work_key=None, due_at=server_now()
        )
    return job.job_id


def told(gateway: Gateway, job_id: UUID) -> tuple[int | None, float | None]:
    """The place, and the seconds from now to the expected start."""
    said = gateway.client(Scope.ADMIN).get(f"/v1/documents/{job_id}").raise_for_status().json()
    at = said["expected_start_at"]
    return said["queue_position"], None if at is None else (parse_utc(at) - server_now()).total_seconds()


def test_who_waits_is_told_its_place_and_its_time(gateway: Gateway) -> None:
    waiting = [ordered() for _ in range(4)]
    urgent, uncounted = ordered(priority=9), ordered(waits=False)
    assert told(gateway, uncounted) == (None, None)
    assert told(gateway, urgent)[0] == 0
    place, seconds = told(gateway, waiting[3])
    assert place == 4
    assert seconds == pytest.approx(4.0, abs=0.9)
    gateway.client(Scope.ADMIN).put("/v1/limits", json={"parse": "1/10"}).raise_for_status()
    assert told(gateway, waiting[3])[1] == pytest.approx(40.0, abs=0.9)


def test_who_is_deferred_starts_with_its_budget(gateway: Gateway) -> None:
    job_id, until = ordered(), server_now() + timedelta(hours=5)
    Job.update(state=JobState.DEFERRED, due_at=until).where(Job.job_id == job_id).execute()
    assert told(gateway, job_id)[1] == pytest.approx(5 * 3600, abs=5)


def test_who_has_a_slot_starts_with_it_and_who_has_started_waits_for_nothing(gateway: Gateway) -> None:
    gateway.client(Scope.ADMIN).put("/v1/limits", json={"parse": "1/60"}).raise_for_status()
    pacer = Pacer(limits_of(SETTINGS), server_now)
    assert isinstance(pacer.take(Route.CREATE, uuid4()), Taken)
    job_id = ordered()
    Job.update(state=JobState.RESERVED, turn=None).where(Job.job_id == job_id).execute()
    promised = pacer.take(Route.CREATE, uuid4(), job_id)
    assert isinstance(promised, Promised)
    place, seconds = told(gateway, job_id)
    assert place == 0
    assert seconds == pytest.approx((promised.at - server_now()).total_seconds(), abs=0.9)
    Job.update(state=JobState.PARSING).where(Job.job_id == job_id).execute()
    assert told(gateway, job_id) == (None, None)
