"""Publishing to a real RabbitMQ: returned means safe, and an outage is a clear word and then over."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import UUID, uuid4

import httpx
import pika
import pytest
import structlog
import uvloop
from pika.adapters.blocking_connection import BlockingChannel

from domain.backoff import growing_wait_s
from domain.errors import StoreRefused, StoreUnavailable
from domain.messages import QUEUES, Message, admit
from gateway.amqp_session import AmqpSession, Verdict, amqp_parameters
from gateway.dependencies import host_now
from gateway.publisher import AmqpPublisher, EmbeddedPublisher, Publisher
from models.database import open_database
from models.due import claim_due
from models.jobs import accept_order
from tests.gateway_harness import RecordingPublisher, running_gateway, worker_threads
from tests.servers import RabbitMQ, start_rabbitmq
from tests.state import an_order, state_of

READY_S = 60.0
QUEUE = "result-ingest"
SEED = 7


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """A test's coroutine, on the loop that the gateway uses; what it leaves undone is an error."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())


def event(job_id: str | None = None) -> Message:
    return Message("ingest_result", {"job_id": job_id or str(uuid4())}, str(uuid4()), 1_763_900_000_000)


async def until(holds: Callable[[], bool], within_s: float = READY_S) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def started(url: str, *, ready: bool = True, **said: Any) -> AsyncIterator[AmqpPublisher]:
    publisher = AmqpPublisher(url, random=Random(SEED), **said)
    await publisher.start()
    try:
        if ready:
            await until(lambda: publisher.ready)
        yield publisher
    finally:
        await publisher.stop()
        assert not publisher.ready


@contextmanager
def channel(url: str) -> Iterator[BlockingChannel]:
    """An outside view of the broker."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        yield connection.channel()
    finally:
        connection.close()


def take_all(url: str, queue: str = QUEUE) -> list[tuple[Any, bytes]]:
    """Everything that is in a queue now: (properties, body)."""
    taken: list[tuple[Any, bytes]] = []
    with channel(url) as outside:
        while True:
            method, properties, body = outside.basic_get(queue, auto_ack=True)
            if method is None:
                return taken
            taken.append((properties, body))


async def refused(sending: Awaitable[None]) -> tuple[str, float]:
    """The words of the StoreUnavailable it must raise, and how long that took."""
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable) as caught:
        await sending
    return str(caught.value), time.monotonic() - begun


def test_sent_message_is_in_its_queue(amqp_url: str) -> None:
    """Persistent, on disk at the broker, and as the queue's own rules admit it."""
    message = event()

    async def test() -> None:
        async with started(amqp_url) as publisher:
            await publisher.send(message)
            [(properties, body)] = take_all(amqp_url)
            assert (properties.delivery_mode, properties.message_id) == (2, message.message_id)
            assert admit(body, QUEUE) == message

    run(test)


def test_ready_means_that_everything_is_declared(fresh_amqp_url: str) -> None:
    """Outside publishers declare nothing: the queues and exchanges are there once a gateway is ready."""

    async def test() -> None:
        async with started(fresh_amqp_url):
            pass

    run(test)
    with channel(fresh_amqp_url) as outside:
        for queue in QUEUES:
            for name in (queue, f"{queue}.DQ", f"{queue}.XQ"):
                outside.queue_declare(name, passive=True)
        outside.exchange_declare("parsegate.events", passive=True)
        outside.confirm_delivery()
        outside.basic_publish("parsegate.submit", "", b"{}", mandatory=True)
    assert [body for _, body in take_all(fresh_amqp_url, "submit")] == [b"{}"]


def test_many_at_once_arrive_once_each_in_bounded_numbers(amqp_url: str) -> None:
    """2,000 sends together, at most 50 unconfirmed: each is in the queue, none twice."""
    messages = [event() for _ in range(2000)]
    outstanding = 0

    async def test() -> None:
        nonlocal outstanding
        async with started(amqp_url, max_outstanding=50) as publisher:
            sending = asyncio.gather(*(publisher.send(message) for message in messages))
            while not sending.done():
                session = publisher._session
                assert session is not None
                outstanding = max(outstanding, len(session._outstanding))
                await asyncio.sleep(0)
            await sending

    run(test)
    arrived = sorted(admit(body, QUEUE).message_id for _, body in take_all(amqp_url))
    assert arrived == sorted(message.message_id for message in messages)
    assert outstanding == 50


def test_deleted_queue_is_declared_again(fresh_amqp_url: str) -> None:
    """The broker hands the messages back; they are sent again and none is lost."""

    async def test() -> None:
        async with started(fresh_amqp_url) as publisher:
            await publisher.send(event())
            with channel(fresh_amqp_url) as outside:
                outside.queue_delete(QUEUE)
            with structlog.testing.capture_logs() as lines:
                await asyncio.gather(*(publisher.send(event()) for _ in range(20)))
            assert {line["event"] for line in lines} == {"a queue was gone, declaring all again"}
            assert publisher.ready

    run(test)
    assert len(take_all(fresh_amqp_url)) == 20


def test_refused_message_is_not_safe(fresh_amqp_url: str, management_url: str) -> None:
    """A full queue refuses (`reject-publish`): the sender is told. When there is room again, it goes on."""
    vhost = urlsplit(fresh_amqp_url).path.removeprefix("/")
    policy = f"{management_url}/api/policies/{quote(vhost, safe='')}/full"
    limit = {"pattern": f"^{QUEUE}$", "definition": {"max-length": 10}, "apply-to": "queues"}

    async def test() -> None:
        async with started(fresh_amqp_url) as publisher:
            httpx.put(policy, json=limit).raise_for_status()
            words = ""
            async with asyncio.timeout(READY_S):
                while not words:  # a policy takes a moment to be in force
                    try:
                        await publisher.send(event())
                    except StoreUnavailable as error:
                        words = str(error)
            assert "refused" in words
            assert publisher.ready
            assert take_all(fresh_amqp_url)
            last = event()
            await sent_at_last(publisher, last)
            assert [admit(body, QUEUE) for _, body in take_all(fresh_amqp_url)] == [last]

    run(test)


async def sent_at_last(publisher: Publisher, message: Message) -> None:
    """Send it until it is safe."""
    async with asyncio.timeout(READY_S):
        while True:
            try:
                return await publisher.send(message)
            except StoreUnavailable:
                await asyncio.sleep(0.05)


def test_wrong_password_is_said_without_the_password(amqp_url: str) -> None:
    """One visible line an attempt, with growing waits; nothing secret in line, error or repr."""
    parts = urlsplit(amqp_url)
    url = parts._replace(netloc=f"{parts.username}:wr0ng-secret@{parts.hostname}:{parts.port}").geturl()

    async def test() -> None:
        with structlog.testing.capture_logs() as lines:
            async with started(url, ready=False) as publisher:
                await until(lambda: len(lines) >= 3)
                words, _ = await refused(publisher.send(event()))
        assert {line["event"] for line in lines} == {"no RabbitMQ, trying again"}
        assert "ACCESS_REFUSED" in lines[0]["reason"]
        written = repr(lines) + words + repr(publisher) + str(vars(publisher))
        assert "wr0ng-secret" not in written
        assert all("\n" not in str(line["reason"]) for line in lines)

    run(test)


def test_waits_between_attempts_grow_and_scatter(unused_port: int) -> None:
    """Half a second, one, two, each scattered by the random numbers it was given."""

    async def test() -> None:
        with structlog.testing.capture_logs() as lines:
            async with started(f"amqp://a:b@127.0.0.1:{unused_port}/x", ready=False):
                await until(lambda: len(lines) >= 3)
        expected = [growing_wait_s(tries, first_s=0.5, most_s=10.0, random=scatter) for tries in range(3)]
        assert [line["wait_s"] for line in lines[:3]] == [round(wait_s, 1) for wait_s in expected]
        assert "ConnectionRefusedError" in lines[0]["reason"]

    scatter = Random(SEED)
    run(test)


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port that nobody listens on, for as long as the test runs."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A broker of the module's own, to be broken."""
    broker = start_rabbitmq(tmp_path_factory.mktemp("broker"))
    try:
        yield broker
    finally:
        broker.stop()


@contextmanager
def frozen(broker: RabbitMQ) -> Iterator[None]:
    """The broker's processes stand still: connections stay open, and nothing answers."""
    assert broker.main is not None
    os.killpg(broker.main.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        if broker.main.poll() is None:
            os.killpg(broker.main.pid, signal.SIGCONT)


def test_outage_fails_at_once_and_is_over_by_itself(broker: RabbitMQ) -> None:
    """Stopped and started again: a refusal without waiting, then the same publisher works, and nothing was lost."""
    before, after = event(), event()

    async def test() -> None:
        async with started(broker.url) as publisher:
            await publisher.send(before)
            await asyncio.to_thread(broker.stop_app)
            await until(lambda: not publisher.ready)
            words, took_s = await refused(publisher.send(event()))
            assert "not connected" in words
            assert took_s < 0.5
            with structlog.testing.capture_logs() as lines:
                await publisher.nudge(event())
            assert [line["event"] for line in lines if line.get("actor")] == ["nudge lost, the clock repeats it"]
            await asyncio.to_thread(broker.start_app)
            await until(lambda: publisher.ready)
            await publisher.send(after)

    run(test)
    assert [admit(body, QUEUE) for _, body in take_all(broker.url)] == [before, after]


def test_unconfirmed_message_is_not_safe(broker: RabbitMQ) -> None:
    """The broker stands still: the sender waits for as long as it was told, and no longer."""

    async def test() -> None:
        async with started(broker.url, confirm_timeout_s=1.0) as publisher:
            with frozen(broker):
                words, took_s = await refused(publisher.send(event()))
            assert "did not confirm" in words
            assert 0.9 < took_s < 5
            await sent_at_last(publisher, event())

    run(test)
    assert take_all(broker.url)


def test_room_is_made_by_confirms_and_not_by_giving_up(broker: RabbitMQ) -> None:
    """With room for three, a fourth waits behind them, and those who gave up still take their room."""

    async def test() -> None:
        async with started(broker.url, confirm_timeout_s=1.0, max_outstanding=3) as publisher:
            session = publisher._session
            assert session is not None
            with frozen(broker):
                for _ in range(2):
                    await asyncio.gather(*(refused(publisher.send(event())) for _ in range(5)))
                    assert len(session._outstanding) == 3
            await until(lambda: not session._outstanding)
            await asyncio.gather(*(publisher.send(event()) for _ in range(9)))

    run(test)
    assert len(take_all(broker.url)) == 3 + 9


def test_lost_connection_fails_what_is_not_confirmed(broker: RabbitMQ) -> None:
    """A power cut at the broker: who waits for a confirm learns of it at once, not when the time is up."""

    async def test() -> None:
        async with started(broker.url, confirm_timeout_s=60.0) as publisher:
            with frozen(broker):
                sending = asyncio.ensure_future(refused(publisher.send(event())))
                await asyncio.sleep(0)
                assert publisher._session is not None
                assert len(publisher._session._outstanding) == 1
                await asyncio.to_thread(broker.kill)
                words, took_s = await sending
            assert "lost" in words
            assert took_s < 5
            await asyncio.to_thread(broker.launch)
            await until(lambda: publisher.ready)
            await publisher.send(event())

    run(test)
    assert take_all(broker.url)


def test_alarm_blocks_at_once_until_it_is_over(broker: RabbitMQ) -> None:
    """A disk alarm: not ready, and refused without waiting; afterwards what was under way arrives too."""
    under_way, after = event(), event()

    async def test() -> None:
        async with started(broker.url, confirm_timeout_s=5.0) as publisher:
            await asyncio.to_thread(broker._control, "set_disk_free_limit", "900000GB")
            # The broker says that it is blocked when something is published to it.
            await refused(publisher.send(under_way))
            await until(lambda: not publisher.ready)
            words, took_s = await refused(publisher.send(event()))
            assert "alarm" in words
            assert took_s < 0.5
            await asyncio.to_thread(broker._control, "set_disk_free_limit", "50MB")
            await until(lambda: publisher.ready)
            await publisher.send(after)

    run(test)
    assert [admit(body, QUEUE) for _, body in take_all(broker.url)] == [under_way, after]


def test_broker_that_comes_later_is_found(broker: RabbitMQ) -> None:
    """Started before the broker: not ready, then ready, with everything declared."""
    broker.stop_app()

    async def test() -> None:
        async with started(broker.url, ready=False) as publisher:
            await refused(publisher.send(event()))
            await asyncio.to_thread(broker.start_app)
            await until(lambda: publisher.ready)
            await publisher.send(event())

    run(test)
    assert len(take_all(broker.url)) == 1


def test_webhook_is_204_when_in_the_queue_and_503_while_there_is_none(broker: RabbitMQ, tmp_path: Path) -> None:
    """The whole way: socket, signature, confirm. `/readyz` says the same."""
    jobs = [str(uuid4()) for _ in range(3)]

    def publisher(_: ThreadPoolExecutor) -> Publisher:
        return AmqpPublisher(broker.url)

    with state_of("sqlite", tmp_path), running_gateway(tmp_path / "store", publisher=publisher) as gateway:

        def ready() -> bool:
            return httpx.get(f"{gateway.url}/readyz").status_code == 200

        async def wait_until_ready(wanted: bool) -> None:
            await until(lambda: ready() is wanted)

        asyncio.run(wait_until_ready(True))
        assert gateway.post_event(jobs[0]).status_code == 204
        [(_, body)] = take_all(broker.url)
        assert admit(body, QUEUE).kwargs["job_id"] == jobs[0]
        broker.stop_app()
        asyncio.run(wait_until_ready(False))
        answer = gateway.post_event(jobs[1])
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/store_unavailable")
        assert broker.password not in answer.text
        ordered = gateway.client().post("/v1/documents", files={"file": ("a.pdf", b"%PDF")})
        assert ordered.status_code == 202
        broker.start_app()
        asyncio.run(wait_until_ready(True))
        assert gateway.post_event(jobs[2]).status_code == 204
    assert [admit(body, QUEUE).kwargs["job_id"] for _, body in take_all(broker.url)] == [jobs[2]]


class NoScatter(Random):
    """A fault inside the one who keeps the connection."""

    def random(self) -> float:
        raise LookupError("nobody thought of this")


def test_a_keeper_that_ends_by_itself_is_seen() -> None:
    """And whoever waits for the connection is told why there will be none."""

    async def test() -> None:
        publisher = AmqpPublisher("amqp://nobody:hush@127.0.0.1:1/v", random=NoScatter())
        await publisher.start()
        assert publisher.is_running
        await until(lambda: not publisher.is_running)
        with pytest.raises(StoreUnavailable, match="nobody thought of this"):
            publisher.check()
        await publisher.stop()

    run(test)


def test_check_says_why_there_is_no_connection(amqp_url: str) -> None:
    """After the first try at the latest."""

    async def test() -> None:
        async with started(amqp_url) as publisher:
            await asyncio.to_thread(publisher.check)
        async with started("amqp://nobody:hush@127.0.0.1:1/v", ready=False) as publisher:
            with pytest.raises(StoreUnavailable, match="refused"):
                await asyncio.to_thread(publisher.check)
        async with started(with_password(amqp_url, "hush"), ready=False) as publisher:
            with pytest.raises(StoreRefused, match="Login was refused"):
                await asyncio.to_thread(publisher.check)

    run(test)


def with_password(url: str, password: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", f":{password}@")).geturl()


def test_a_confirm_that_comes_after_the_end_hurts_nobody(amqp_url: str) -> None:
    """pika still hands out what it had read already."""

    async def test() -> None:
        session = await AmqpSession.open(amqp_parameters(amqp_url))
        verdict = session.publish(QUEUE, event().encode(), str(uuid4()))
        await session.close()
        assert verdict.result() is Verdict.LOST
        for multiple in (False, True):
            session._on_confirm(pika.frame.Method(1, pika.spec.Basic.Ack(1, multiple)))

    run(test)
    take_all(amqp_url)


def test_embedded_event_is_safe_by_a_commit(tmp_path: Path) -> None:
    """The job is due before the message is in the queue; so a crash in between loses nothing."""
    now = host_now()
    due_when_enqueued: list[list[UUID]] = []
    with state_of("sqlite", tmp_path), worker_threads() as pool:
        job = accept_order(an_order(), who="test", now=now, due_at=now + timedelta(hours=1)).job

        def enqueue(message: Message) -> None:
            claimed = claim_due(now, now + timedelta(hours=1), 10)
            due_when_enqueued.append([job_id for job_id, _, _ in claimed.jobs])

        async def test() -> None:
            publisher = EmbeddedPublisher(enqueue, pool, lambda: now)
            assert publisher.ready
            await publisher.nudge(event(str(job.job_id)))
            await publisher.send(event(str(job.job_id)))

        run(test)
    assert due_when_enqueued == [[], [job.job_id]]


def test_embedded_event_without_the_database_is_not_safe() -> None:
    """No commit, no 2xx, nothing enqueued."""
    open_database("postgresql://nobody:nothing@127.0.0.1:1/none")
    kept = RecordingPublisher()
    with worker_threads() as pool:

        async def test() -> None:
            await refused(EmbeddedPublisher(kept.nudged.append, pool, host_now).send(event()))

        run(test)
    assert kept.nudged == []
