"""A job's progress as server-sent events: nothing is missed, and the stream ends with the job."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.documents import ParsedPage
from domain.errors import OrderRefused
from domain.job_state import JobState
from gateway.dependencies import host_now
from gateway.progress import MOST_A_TOKEN
from models import jobs
from models.database import transaction
from models.tokens import Scope
from tests.gateway_harness import Gateway, complete, running_gateway
from tests.state import KINDS, an_order, state_of


@pytest.fixture(params=KINDS)
def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gateway]:
    with state_of(request.param, tmp_path), running_gateway(tmp_path / "store") as running:
        yield running


def ordered(**said: Any) -> str:
    now = host_now()
    return str(jobs.accept_order(an_order(**said), who="test", now=now, due_at=now).job.job_id)


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The events of a stream, `data` as JSON."""
    found: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if not line and found:
            yield found | {"data": json.loads(found["data"])}
            found = {}
        elif line and name:
            found[name] = value


def follow(gateway: Gateway, job_id: str, **headers: str) -> Any:
    sent: Mapping[str, str] = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.client(Scope.READ).stream("GET", f"/v1/documents/{job_id}/events", headers=sent, timeout=20)


def test_what_was_and_what_comes_is_told_and_then_the_end(gateway: Gateway) -> None:
    job_id = ordered()
    with follow(gateway, job_id) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        told = events(answer.iter_lines())
        first = next(told)
        assert (first["event"], first["data"]["after"]) == ("step", "received")
        complete(gateway, job_id, (ParsedPage(1, "# One", "One"),))
        rest = list(told)
    assert rest[-1]["event"] == "end"
    assert (rest[-1]["data"]["job_id"], rest[-1]["data"]["state"]) == (job_id, "completed")
    after = [one["data"]["after"] for one in rest[:-1]]
    whole = gateway.client(Scope.READ).get(f"/v1/documents/{job_id}").json()["history"]
    assert ["received", *after] == [step["after"] for step in whole]
    # Who was cut off goes on where it was.
    with follow(gateway, job_id, Last_Event_ID=first["id"]) as answer:
        assert list(events(answer.iter_lines())) == rest
    with follow(gateway, job_id, Last_Event_ID=rest[-1]["id"]) as answer:
        assert answer.status_code == 204


@pytest.mark.parametrize("last", ["", "x", "-1", "9" * 19])
def test_an_odd_last_event_id_is_400(gateway: Gateway, last: str) -> None:
    headers = {"Last-Event-ID": last}
    assert gateway.client(Scope.READ).get(f"/v1/documents/{ordered()}/events", headers=headers).status_code == 400


def test_who_leaves_leaves_nothing_behind(gateway: Gateway) -> None:
    """So many may follow at once; those that have gone make room, within seconds."""
    job_id, followed, until = ordered(), 0, time.monotonic() + 30
    http = gateway.client(Scope.READ)
    while followed < 2 * MOST_A_TOKEN:
        assert time.monotonic() < until
        with http.stream("GET", f"/v1/documents/{job_id}/events") as answer:
            if answer.status_code == 503:
                time.sleep(0.1)
                continue
            next(events(answer.iter_lines()))
            followed += 1


def test_one_token_does_not_keep_another_one_out(gateway: Gateway) -> None:
    job_id, http = ordered(), gateway.client(Scope.READ)
    with ExitStack() as stack:
        path = f"/v1/documents/{job_id}/events"
        for _ in range(MOST_A_TOKEN):
            assert stack.enter_context(http.stream("GET", path)).status_code == 200
        assert stack.enter_context(http.stream("GET", path)).status_code == 503
        assert stack.enter_context(follow(gateway, job_id)).status_code == 200


def test_a_stream_is_its_tenants(gateway: Gateway) -> None:
    foreign = ordered(tenant="other")
    for job_id in (foreign, str(uuid4())):
        with follow(gateway, job_id) as answer:
            assert answer.status_code == 404
    with transaction():
        jobs.fail(jobs.get_job(UUID(foreign)), OrderRefused("no"), who="t", now=host_now())
    assert jobs.get_job(UUID(foreign)).state == JobState.FAILED
    with follow(gateway, ordered(), Last_Event_ID="x") as answer:
        assert answer.status_code == 400
