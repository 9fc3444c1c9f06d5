"""A call that is repeated makes one job: while the first is under way, too, and whoever of them is faster."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from models import jobs
from models.database import close_connection
from models.made_calls import REMEMBERED, forget_calls, made_once
from models.tables import Job, MadeCall
from tests.state import KINDS, an_order, state_of

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
CALL = "a" * 64


@pytest.fixture(params=KINDS, autouse=True)
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    with state_of(request.param, tmp_path):
        yield


def make() -> UUID:
    return jobs.accept_order(an_order(), who="test", now=NOW, due_at=NOW).job.job_id


def called(repeats: int, *, arrived: float = 0.0, now: float = 0.0, call: str = CALL) -> tuple[UUID, bool]:
    at = [NOW + timedelta(seconds=seconds) for seconds in (arrived, now)]
    return made_once(call, make, is_repeat=repeats > 0, arrived_at=at[0], now=at[1])


def test_a_repeat_gets_the_job_and_a_new_call_makes_one() -> None:
    first, made = called(0)
    assert made
    assert called(1) == called(2) == (first, False)
    second, made = called(0, arrived=5, now=5)
    assert (made, second != first) == (True, True)
    assert called(1, arrived=6, now=6) == (second, False)
    assert called(1, call="b" * 64)[1], "another call"
    assert Job.select().count() == 3


def test_a_first_call_that_its_own_repeat_overtook_makes_nothing() -> None:
    """It came first, and was slow: it stands still while its repeat is answered."""
    made = called(1, arrived=60, now=61)
    assert called(0, arrived=0, now=70) == (made[0], False)
    assert called(0, arrived=80, now=81)[1], "a later one is meant"


def test_what_failed_is_made_by_the_repeat() -> None:
    def fail() -> UUID:
        raise LookupError

    with pytest.raises(LookupError):
        made_once(CALL, fail, is_repeat=False, arrived_at=NOW, now=NOW)
    assert not MadeCall.select().exists()
    assert called(1)[1]


def test_many_repeats_at_the_same_moment_make_one_job() -> None:
    barrier = threading.Barrier(6)

    def call(number: int) -> UUID:
        barrier.wait()
        try:
            return called(number, arrived=number, now=10)[0]
        finally:
            close_connection()

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(call, range(6)))) == 1
    assert Job.select().count() == 1


def test_calls_are_forgotten_when_nobody_repeats_them_any_more() -> None:
    called(0)
    assert forget_calls(NOW + REMEMBERED) == 0
    assert forget_calls(NOW + REMEMBERED + timedelta(seconds=1)) == 1
    assert called(1, arrived=1, now=1)[1]
