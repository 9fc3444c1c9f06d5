"""The correlation id of what a message is about, on both databases, in one query."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from domain.errors import StoreUnavailable
from models import jobs
from models.correlation import correlation_of
from models.database import close_connection, open_database
from models.deliveries import About, add_deliveries
from tests.state import KINDS, an_order, state_of

NOON: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture(params=KINDS)
def _state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    with state_of(request.param, tmp_path):
        yield


@pytest.mark.usefixtures("_state")
def test_a_message_is_about_a_job_or_an_event_of_one() -> None:
    one, other = (jobs.accept_order(an_order(), who="test", now=NOON, due_at=NOON).job for _ in range(2))
    assert one.correlation_id != other.correlation_id
    for job in (one, other):
        (delivery,) = add_deliveries(About(job.tenant, job.job_id), "document.parsed", {"events": "{}"}, NOON)
        assert correlation_of({"job_id": str(job.job_id)}) == job.correlation_id
        assert correlation_of({"delivery_id": str(delivery)}) == job.correlation_id
    (of_none,) = add_deliveries(About(), "budget.exhausted", {"events": "{}"}, NOON)
    for said in ({"delivery_id": of_none}, {"job_id": uuid4()}, {"delivery_id": uuid4()}, {"document_id": uuid4()}, {}):
        assert correlation_of({name: str(value) for name, value in said.items()}) is None


def test_an_absent_database_is_said_to_be_away(tmp_path: Path) -> None:
    open_database("postgresql://nobody@127.0.0.1:1/nothing")
    try:
        with pytest.raises(StoreUnavailable):
            correlation_of({"job_id": str(uuid4())})
    finally:
        close_connection()
