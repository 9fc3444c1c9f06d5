"""What is bound to the log while a message is handled: its ids and its job's correlation id, and nothing after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest
from dramatiq import Broker, Message, MessageProxy
from dramatiq.brokers.stub import StubBroker
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars

from actors.middleware.correlation import Correlation
from domain.errors import StoreUnavailable

OF_THE_JOB = uuid4()
BROKER: Broker = StubBroker(middleware=[])


def message(**said: Any) -> MessageProxy:
    return MessageProxy(Message("parse", "start_parse", (), said, {}))


def bound(correlation: Correlation, **said: Any) -> Mapping[str, Any]:
    """What is bound while a message is handled, after whatever was bound before it."""
    bind_contextvars(job_id="another", correlation_id="another", why="left over")
    correlation.before_process_message(BROKER, message(**said))
    now = dict(get_contextvars())
    assert (now.pop("actor"), len(now.pop("message_id"))) == ("start_parse", 36)
    return now


def of_the_job(said: Mapping[str, Any]) -> UUID:
    return OF_THE_JOB


def away(said: Mapping[str, Any]) -> UUID:
    raise StoreUnavailable("the database is away")


@pytest.mark.parametrize(
    ("look_up", "said", "found"),
    [
        (of_the_job, {"job_id": "j"}, {"job_id": "j", "correlation_id": str(OF_THE_JOB)}),
        (of_the_job, {"delivery_id": "d"}, {"delivery_id": "d", "correlation_id": str(OF_THE_JOB)}),
        (away, {"document_id": "d", "correlation_id": "c"}, {"document_id": "d", "correlation_id": "c"}),
        (of_the_job, {"correlation_id": None}, {"correlation_id": str(OF_THE_JOB)}),
        (away, {"job_id": "j"}, {"job_id": "j"}),
        (lambda said: None, {}, {}),
    ],
)
def test_the_ids_of_a_message_are_bound(
    look_up: Callable[[Mapping[str, Any]], UUID | None], said: dict[str, Any], found: dict[str, str]
) -> None:
    assert bound(Correlation(look_up), **said) == found


def test_nothing_stays_bound() -> None:
    """Whether the message was handled or skipped."""
    correlation = Correlation(of_the_job)
    for forget in (correlation.after_process_message, correlation.after_skip_message):
        bound(correlation, job_id="j")
        forget(BROKER, message())
        assert get_contextvars() == {}
    clear_contextvars()
