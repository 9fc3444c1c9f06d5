"""Receivers of events that fail for days: they are disabled, told of, and posted to again at a person's word."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from actors.clock import sweep
from actors.notify import notify
from domain.errors import NotFound
from domain.events import EventType
from domain.job_state import JobState
from llamaparse.simulator import RunningSimulator, SimulatorSettings, serve
from models import deliveries, endpoints
from models.cancel import cancel_job
from models.service_tables import Endpoint
from models.tables import Delivery, Job
from models.tokens import Scope
from parsegate.sample_documents import SAMPLES, sample_path
from tests.gateway_harness import RecordingPublisher, running_gateway
from tests.integration.simulator_kit import Receiver
from tests.state import KINDS, state_of
from tests.world import World, world_of

pytest_plugins = ["tests.integration.simulator_fixtures"]
MANY = [503] * 200


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    running = serve(SimulatorSettings(), "127.0.0.1", 0)
    yield running
    running.stop()


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path, simulator: RunningSimulator) -> Iterator[World]:
    with (
        state_of(request.param, tmp_path),
        world_of(simulator, tmp_path, PARSEGATE_PRIVATE_HOSTS="127.0.0.1") as built,
    ):
        yield built


def told(world: World, receiver: Receiver, tenant: str = "t") -> Delivery:
    """An event for the receiver: a job of its own, cancelled."""
    path = world.folder / f"{uuid4()}.pdf"
    path.write_bytes(sample_path(SAMPLES[0]).read_bytes())
    job = world.order_file(path, callback_url=receiver.url, tenant=tenant)
    cancel_job(job.job_id, who="me", now=world.now(), instance="test-instance", exchange=True)
    found: Delivery = Delivery.get(Delivery.job == job.job_id, Delivery.target == receiver.url)
    return found


def pass_hours(world: World, hours: int) -> None:
    for _ in range(hours):
        world.ahead += timedelta(hours=1)
        sweep(world.services)
        world.drain()


def row_of(receiver: Receiver) -> Endpoint | None:
    return Endpoint.get_or_none(Endpoint.url == receiver.url)


def seen_again(delivery: Delivery) -> Delivery:
    found: Delivery = Delivery.get_by_id(delivery.delivery_id)
    return found


def test_who_fails_for_three_days_is_disabled_and_that_is_told_once(world: World, receiver: Receiver) -> None:
    receiver.statuses[:] = MANY
    first = told(world, receiver)
    pass_hours(world, 71)
    row = row_of(receiver)
    assert row is not None
    assert (row.tenant, row.disabled_at, row.last_error) == ("t", None, "answered 503")
    assert seen_again(first).due_at is not None, "not three days yet"
    pass_hours(world, 12)
    row = row_of(receiver)
    assert row is not None
    assert row.disabled_at is not None
    assert row.failures >= endpoints.DISABLE_FAILURES
    assert seen_again(first).given_up_at is not None
    posted = len(receiver.received)
    later = told(world, receiver)
    pass_hours(world, 2)
    assert len(receiver.received) == posted, "nothing is posted to it"
    assert "the receiver has failed since" in str(seen_again(later).last_error)
    (event,) = [json.loads(body) for key, body in world.events if key == EventType.ENDPOINT_DISABLED]
    assert (event["data"]["url"], event["data"]["tenant"]) == (receiver.url, "t")


def test_one_success_forgets_what_was_held_against_it(world: World, receiver: Receiver) -> None:
    receiver.statuses[:] = [500, 500, 500]
    delivery = told(world, receiver)
    pass_hours(world, 1)
    assert row_of(receiver) is not None
    pass_hours(world, 12)
    assert seen_again(delivery).delivered_at is not None
    assert row_of(receiver) is None


def test_another_tenants_receiver_at_the_same_url_is_not_disabled_with_it(world: World, receiver: Receiver) -> None:
    receiver.statuses[:] = MANY
    told(world, receiver)
    pass_hours(world, 84)
    receiver.statuses.clear()
    other = told(world, receiver, tenant="u")
    pass_hours(world, 1)
    assert seen_again(other).delivered_at is not None
    assert Endpoint.select().where(Endpoint.tenant == "t", Endpoint.disabled_at.is_null(False)).count() == 1


def test_our_own_trouble_is_not_held_against_it(world: World, receiver: Receiver) -> None:
    delivery = told(world, receiver)
    Delivery.update(target="http://10.0.0.1/hook").where(Delivery.delivery_id == delivery.delivery_id).execute()
    notify(world.services, delivery.delivery_id)
    assert seen_again(delivery).given_up_at is not None, "an address that is refused"
    assert Endpoint.select().count() == 0


def test_a_person_has_an_event_sent_again_and_a_success_enables_the_receiver(world: World, receiver: Receiver) -> None:
    receiver.statuses[:] = MANY
    delivery = told(world, receiver)
    pass_hours(world, 84)
    assert seen_again(delivery).given_up_at is not None
    first = receiver.received[0]
    receiver.statuses.clear()
    assert deliveries.send_again(delivery.delivery_id, who="me", now=world.now())
    pass_hours(world, 1)
    last = receiver.received[-1]
    assert (last.headers["webhook-id"], last.body) == (first.headers["webhook-id"], first.body)
    assert seen_again(delivery).delivered_at is not None
    assert row_of(receiver) is None


def test_an_event_that_is_sent_again_to_a_disabled_receiver_gets_one_try(world: World, receiver: Receiver) -> None:
    receiver.statuses[:] = MANY
    delivery = told(world, receiver)
    pass_hours(world, 84)
    posted = len(receiver.received)
    deliveries.send_again(delivery.delivery_id, who="me", now=world.now())
    pass_hours(world, 30)
    assert len(receiver.received) == posted + 1
    assert seen_again(delivery).given_up_at is not None


def test_who_is_enabled_is_posted_to_again(world: World, receiver: Receiver) -> None:
    receiver.statuses[:] = MANY
    told(world, receiver)
    pass_hours(world, 84)
    row = row_of(receiver)
    assert row is not None
    with pytest.raises(NotFound):
        endpoints.enable(row.endpoint_id, "u", who="me", now=world.now())
    assert endpoints.enable(row.endpoint_id, "t", who="me", now=world.now()).url == receiver.url
    receiver.statuses.clear()
    later = told(world, receiver)
    pass_hours(world, 1)
    assert seen_again(later).delivered_at is not None


def test_over_http_each_tenant_sees_its_own(world: World, receiver: Receiver, tmp_path: Path) -> None:
    receiver.statuses[:] = MANY
    delivery = told(world, receiver)
    pass_hours(world, 84)
    publisher = RecordingPublisher()
    with running_gateway(tmp_path / "gateway", publisher=lambda pool: publisher) as gateway:
        said: dict[str, Any] = gateway.client(Scope.READ, "t").get("/v1/deliveries?state=given_up").json()
        (one,) = said["items"]
        assert (one["delivery_id"], one["state"], one["url"]) == (
            str(delivery.delivery_id),
            "given_up",
            receiver.url,
        )
        assert gateway.http.get(f"/v1/deliveries?job_id={uuid4()}").json()["items"] == []
        assert gateway.http.get("/v1/deliveries?state=lost").status_code == 400
        path = f"/v1/deliveries/{delivery.delivery_id}/redeliver"
        assert gateway.http.post(path).status_code == 403
        for tenant in ("u", "default"):
            client = gateway.client(Scope.SUBMIT, tenant)
            assert client.get("/v1/deliveries").json()["items"] == []
            assert client.get("/v1/endpoints").json()["items"] == []
            assert client.post(path).status_code == 404
        again = gateway.client(Scope.SUBMIT, "t").post(path)
        assert (again.status_code, again.json()["state"]) == (202, "open")
        assert publisher.nudged[-1].kwargs == {"delivery_id": str(delivery.delivery_id)}
        (found,) = gateway.http.get("/v1/endpoints").json()["items"]
        assert (found["url"], found["disabled_at"] is None) == (receiver.url, False)
        enable = f"/v1/endpoints/{found['endpoint_id']}/enable"
        assert gateway.client(Scope.SUBMIT, "u").post(enable).status_code == 404
        assert gateway.client(Scope.SUBMIT, "t").post(enable).json()["url"] == receiver.url
        Delivery.update(body="").execute()
        Job.update(state=JobState.CANCELLED).execute()
        gone = gateway.http.post(path)
        assert (gone.status_code, gone.json()["type"]) == (409, "/problems/body_gone")
