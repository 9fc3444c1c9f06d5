"""How long a message is held, and what is counted: RabbitMQ takes back what is held for more than 30 minutes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

from actors.broker import Delivered
from actors.middleware.outcome import MOST_WAIT_S, Outcome
from domain.errors import OrderConflict, StoreUnavailable

AWAY = StoreUnavailable("no database")


@dataclass
class Time:
    """The test's own: a pause and a probe take their time, and a probe fails."""

    now: float = 10_000.0
    probe_s: float = 65.0

    def pause(self, seconds: float) -> bool:
        self.now += seconds
        return False

    def probe(self) -> None:
        self.now += self.probe_s
        raise AWAY


def message(time: Time) -> Delivered:
    body: dramatiq.Message[Any] = dramatiq.Message(
        queue_name="parse", actor_name="start_parse", args=(), kwargs={"job_id": "j"}, options={}
    )
    delivered = Delivered(body, None, 1)
    delivered.taken_at = time.now
    return delivered


@pytest.mark.parametrize("held_before_s", [0.0, 600.0, 2000.0])
def test_a_message_is_never_held_longer_than_the_broker_allows(held_before_s: float) -> None:
    time = Time()
    held = message(time)
    time.now += held_before_s
    outcome = Outcome(time.probe, monotonic=lambda: time.now, pause=time.pause)
    outcome.after_process_message(StubBroker(), held, exception=AWAY)
    assert held.requeue
    assert time.now - held.taken_at <= max(MOST_WAIT_S, held_before_s) + time.probe_s


def test_what_nobody_expected_is_counted_and_buried() -> None:
    time, counted = Time(), list[tuple[Any, BaseException]]()
    outcome = Outcome(time.probe, lambda said, error: counted.append((said, error)))
    held, error = message(time), LookupError("x")
    outcome.after_process_message(StubBroker(), held, exception=error)
    assert counted == [({"job_id": "j"}, error)]
    assert (held.failed, held.requeue, held.reason) == (True, False, "LookupError: x")


@pytest.mark.parametrize("error", [LookupError("x"), OrderConflict("y")])
def test_a_failure_that_can_not_be_counted_is_buried_all_the_same(error: Exception) -> None:
    def count(said: object, error: BaseException) -> None:
        raise AWAY

    held = message(Time())
    Outcome(lambda: None, count).after_process_message(StubBroker(), held, exception=error)
    assert (held.failed, held.requeue) == (True, False)


def test_what_only_waits_is_not_counted() -> None:
    counted = list[object]()
    outcome = Outcome(lambda: None, lambda said, error: counted.append(said), pause=lambda seconds: False)
    outcome.after_process_message(StubBroker(), message(Time()), exception=AWAY)
    outcome.after_process_message(StubBroker(), message(Time()))
    assert counted == []
