"""What a hostile document, or a slow source, does to a process: its own job fails or waits, and nothing else."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from actors.notify import notify
from actors.services import Services
from actors.strangers import Strangers
from actors.submit import submit_document
from domain.job_state import JobState
from domain.orders import Order
from domain.settings import Mode
from llamaparse.parser_pool import ParserPool
from llamaparse.simulator import RunningSimulator, SimulatorSettings, serve
from llamaparse.transport import guarded_client
from models import jobs
from models.database import close_connection
from models.tables import Delivery
from tests.hostile import nested_forms
from tests.raw_server import Conversation, RawServer, answering, reply
from tests.state import state_of
from tests.world import World, random_uuid, world_of


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    running = serve(SimulatorSettings(), "127.0.0.1", 0)
    yield running
    running.stop()


@pytest.fixture
def world(tmp_path: Path, simulator: RunningSimulator) -> Iterator[World]:
    with (
        state_of("sqlite", tmp_path),
        world_of(simulator, tmp_path, mode=Mode.MOCK, PARSEGATE_PRIVATE_HOSTS="127.0.0.1") as built,
    ):
        yield built


def with_pool(world: World, pool: ParserPool) -> ParserPool:
    world.services.parsers.close()
    world.services = replace(world.services, parsers=pool)
    return pool


def test_a_document_that_eats_memory_fails_and_the_next_is_parsed(world: World) -> None:
    with_pool(world, ParserPool(memory_bytes=512 * 1024 * 1024))
    hostile, note = world.folder / "forms.pdf", world.folder / "note.txt"
    hostile.write_bytes(nested_forms())
    note.write_text("A note.")
    failed = world.run_until(world.order_file(hostile))
    assert (failed.state, failed.reason) == (JobState.FAILED, "DOCUMENT_TOO_LARGE")
    assert world.run_until(world.order_file(note)).state == JobState.COMPLETED


def test_who_finds_every_parser_busy_waits_without_a_try(world: World) -> None:
    """To be counted, and to be parsed."""
    pool = with_pool(world, ParserPool(most=1, wait_s=0))
    note = world.folder / "note.txt"
    note.write_text("A note.")
    with pool._child():
        job = world.order_file(note)
        world.drain()
        waiting = jobs.get_job(job.job_id)
        assert (waiting.state, waiting.tries, waiting.message) == (
            JobState.RECEIVED,
            0,
            "every local parser is busy",
        )
    pool.count(io.BytesIO(b"A note."), "a.txt")
    assert world.run_until(job).state == JobState.COMPLETED


def test_slow_sources_leave_half_of_the_threads_to_others(world: World) -> None:
    """Four are fetched; the fifth waits without a try, and is called when one of them has ended."""
    hold, asked = threading.Event(), threading.Semaphore(0)

    def slow(conversation: Conversation) -> None:
        conversation.read()
        asked.release()
        hold.wait(30)
        conversation.send(reply(200, "A note."))

    services = world.services
    with RawServer(slow) as server, ThreadPoolExecutor(4) as threads:
        orders = [order_of(f"{server.url}/{number}.txt") for number in range(5)]
        try:
            fetching = [threads.submit(closing(submit_document), services, order) for order in orders[:4]]
            assert all(asked.acquire(timeout=30) for _ in range(4))
            fifth = world.submit(orders[4])
            waiting = jobs.get_job(fifth.job_id)
            said = (waiting.state, waiting.tries, waiting.message)
            assert said == (JobState.RECEIVED, 0, "waits until fewer sources are being fetched")
        finally:
            hold.set()
        for ended in fetching:
            ended.result(60)
        assert [message.kwargs for message in world.queue if message.actor_name == "fetch_source"] == [
            {"job_id": str(fifth.job_id)}
        ]
        assert world.run_until(fifth).state == JobState.COMPLETED


def test_slow_receivers_leave_most_threads_to_others(world: World) -> None:
    """A callback that finds no place is due again without a try, and called when one has ended."""
    places = world.services.strangers.callbacks
    others = [uuid4(), uuid4()]
    note = world.folder / "note.txt"
    note.write_text("A note.")
    assert all(places.take(other) for other in others)
    with RawServer(answering(reply(200, ""))) as server:
        world.run_until(world.order_file(note, callback_url=server.url))
        world.drain()
        (delivery,) = Delivery.select().where(Delivery.target == server.url)
        assert (delivery.tries, delivery.due_at is not None, server.connections) == (0, True, 0)
        assert places.leave() == delivery.delivery_id
        notify(world.services, delivery.delivery_id)
        (delivery,) = Delivery.select().where(Delivery.target == server.url)
        assert (delivery.due_at, server.connections) == (None, 1)


def test_strangers_get_a_share_of_the_threads_that_there_are() -> None:
    """Half for sources, a quarter for callbacks, and never none."""
    for threads, sources, callbacks in ((8, 4, 2), (3, 1, 1), (1, 1, 1)):
        strangers = Strangers()
        strangers.share(threads)
        for places, most in ((strangers.sources, sources), (strangers.callbacks, callbacks)):
            assert [places.take(uuid4()) for _ in range(most + 1)] == [True] * most + [False]


def resolving(world: World, allowed: Sequence[str], names: Mapping[str, str]) -> None:
    """Let the world's client for strangers' URLs find these names at these addresses."""
    world.services.http.close()
    client = guarded_client(allowed, timeout=httpx.Timeout(5.0), resolve=lambda host, port: [names[host]])
    world.services = replace(world.services, http=client)


def test_a_name_that_leads_to_a_private_place_is_not_connected_to(world: World) -> None:
    """Neither for a document nor for a callback; the same name at an allowed address is."""
    note = world.folder / "note.txt"
    note.write_text("A note.")
    with RawServer(answering(reply(200, "A note."))) as server:
        url = f"http://innocent.example:{server.port}/a.txt"
        resolving(world, [], {"innocent.example": "127.0.0.1"})
        failed = world.run_until(world.submit(order_of(url)))
        assert (failed.state, "PARSEGATE_PRIVATE_HOSTS" in str(failed.message)) == (JobState.FAILED, True)
        assert world.run_until(world.order_file(note, callback_url=url)).state == JobState.COMPLETED
        world.drain()
        (delivery,) = Delivery.select().where(Delivery.target == url)
        assert "PARSEGATE_PRIVATE_HOSTS" in str(delivery.last_error)
        assert server.connections == 0
        resolving(world, ["127.0.0.1"], {"innocent.example": "127.0.0.1"})
        assert world.run_until(world.submit(order_of(url))).state == JobState.COMPLETED
        assert server.connections == 1


def test_a_redirect_to_a_private_place_is_not_followed(world: World) -> None:
    """From an allowed host to another one that is not: the document fails, and nobody was asked there."""
    with RawServer(answering(reply(200, "A secret."))) as secret:
        redirect = reply(302, "", headers={"Location": f"http://inner.example:{secret.port}/"})
        with RawServer(answering(redirect)) as server:
            names = {"outer.example": "127.0.0.1", "inner.example": "127.0.0.1"}
            resolving(world, ["outer.example"], names)
            failed = world.run_until(world.submit(order_of(f"http://outer.example:{server.port}/a.txt")))
        assert (failed.state, server.connections, secret.connections) == (JobState.FAILED, 1, 0)


def order_of(source: str) -> Order:
    return Order.model_validate({"document_id": random_uuid(), "source": source})


def closing(work: Callable[[Services, Order], None]) -> Callable[[Services, Order], None]:
    """The same in a thread of its own, whose database connection is closed at the end."""

    def run(services: Services, order: Order) -> None:
        try:
            work(services, order)
        finally:
            close_connection()

    return run
