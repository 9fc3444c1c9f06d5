"""The brokers' promises on a real RabbitMQ: what can't be done now goes back, what never can is kept."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import dramatiq
import pika
import pytest
from dramatiq.errors import ConnectionClosed

from actors.broker import REASON_HEADER, AdmittingConsumer, Delivered, EmbeddedBroker, RabbitBroker
from actors.declare import declare_actors
from actors.middleware.correlation import Correlation
from actors.middleware.outcome import Outcome
from actors.services import Services
from domain.errors import StoreRefused, StoreUnavailable
from domain.messages import QUEUES, Message, queue_arguments

LIMIT_S = 30.0


def job_message() -> Message:
    return Message("check_budget", {"job_id": str(uuid4())}, str(uuid4()), 1)


def until(fact: Callable[[], Any], what: str) -> Any:
    """What `fact` answers, once that is true."""
    end = time.monotonic() + LIMIT_S
    while not (found := fact()):
        assert time.monotonic() < end, f"not in {LIMIT_S:.0f} s: {what}"
    return found


@contextmanager
def working(broker: dramatiq.Broker) -> Iterator[dramatiq.Worker]:
    worker = dramatiq.Worker(broker, worker_threads=2, worker_timeout=100)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop(10_000)


@pytest.fixture
def channel(fresh_amqp_url: str) -> Iterator[Any]:
    connection = pika.BlockingConnection(pika.URLParameters(fresh_amqp_url))
    yield connection.channel()
    connection.close()


def rabbit(url: str, services: Callable[[], Services], probe: Callable[[], None] = lambda: None) -> RabbitBroker:
    broker = RabbitBroker(confirm_delivery=True, middleware=[Correlation(), Outcome(probe)])
    broker.connect_to(url)
    declare_actors(broker, services)
    broker.declare_topology()
    return broker


def never() -> Services:
    raise AssertionError("not to be asked for")


def count(channel: Any, queue: str) -> int:
    return int(channel.queue_declare(queue, passive=True).method.message_count)


def dead_letter(channel: Any, queue: str) -> tuple[bytes, str]:
    def get() -> Any:
        method, properties, body = channel.basic_get(f"{queue}.XQ", auto_ack=True)
        return (body, properties.headers[REASON_HEADER]) if method is not None else None

    found: tuple[bytes, str] = until(get, f"a dead letter in {queue}.XQ")
    return found


def test_every_queue_is_a_quorum_queue_and_dead_letters_stay(fresh_amqp_url: str, channel: Any) -> None:
    broker = rabbit(fresh_amqp_url, never)
    broker.declare_topology()
    for queue in QUEUES:
        channel.queue_declare(queue, durable=True, arguments=queue_arguments(queue))
        channel.queue_declare(f"{queue}.DQ", durable=True, arguments=queue_arguments(queue))
        channel.queue_declare(f"{queue}.XQ", durable=True, arguments={"x-queue-type": "quorum"})
    channel.exchange_declare("parsegate.submit", passive=True)
    channel.exchange_declare("parsegate.events", passive=True)
    broker.close()


def test_a_message_waits_while_the_store_is_away_and_is_done_afterwards(fresh_amqp_url: str, channel: Any) -> None:
    away, tries = threading.Event(), []
    away.set()

    def services() -> Services:
        tries.append(away.is_set())
        if away.is_set():
            raise StoreUnavailable("no database")
        raise LookupError("reached the actor")

    def probe() -> None:
        if away.is_set():
            raise StoreUnavailable("still none")

    broker = rabbit(fresh_amqp_url, services, probe)
    with working(broker):
        message = job_message()
        broker.send(message)
        until(lambda: tries, "the first try")
        away.clear()
        body, reason = dead_letter(channel, "budget-check")
    assert tries[0] is True
    assert tries[-1] is False
    assert json.loads(body)["message_id"] == message.message_id
    assert reason == "LookupError: reached the actor"
    assert count(channel, "budget-check") == 0
    broker.close()


def test_what_a_stopping_worker_holds_goes_back_to_its_queue(fresh_amqp_url: str, channel: Any) -> None:
    tried = threading.Event()

    def services() -> Services:
        tried.set()
        raise StoreUnavailable("no database")

    def probe() -> None:
        raise StoreUnavailable("still none")

    broker = rabbit(fresh_amqp_url, services, probe)
    with working(broker):
        broker.send(job_message())
        assert tried.wait(LIMIT_S)
    until(lambda: count(channel, "budget-check") == 1, "the message is back")
    assert count(channel, "budget-check.XQ") == 0
    broker.close()


def test_a_late_acknowledgement_does_not_hit_another_message(fresh_amqp_url: str, channel: Any) -> None:
    broker = rabbit(fresh_amqp_url, never)
    broker.send(job_message())
    first = broker.consume("budget-check", prefetch=1, timeout=100)
    assert isinstance(first, AdmittingConsumer)
    old = until(lambda: next(first), "the message")
    first.close()  # type: ignore[no-untyped-call]
    second = broker.consume("budget-check", prefetch=1, timeout=100)
    again = until(lambda: next(second), "the message again")
    assert isinstance(old, Delivered)
    assert isinstance(again, Delivered)
    assert old.tag == again.tag
    second.ack(old)
    second.nack(old)
    second.close()
    until(lambda: count(channel, "budget-check") == 1, "the message is still there")
    assert count(channel, "budget-check.XQ") == 0
    broker.close()


def test_a_broker_that_is_away_is_said_in_one_sentence() -> None:
    broker = RabbitBroker(confirm_delivery=True, middleware=[])
    broker.connect_to("amqp://user:hush@127.0.0.1:9/v?connection_attempts=1&socket_timeout=1")
    for call in (broker.declare_topology, lambda: broker.send(job_message())):
        with pytest.raises(StoreUnavailable) as caught:
            call()
        assert "hush" not in str(caught.value)


@pytest.fixture
def silent_url() -> Iterator[str]:
    """A server that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"amqp://user:hush@127.0.0.1:{silent.getsockname()[1]}/v?stack_timeout=0.2"


def test_a_broker_that_says_nothing_is_away(silent_url: str) -> None:
    broker = RabbitBroker(confirm_delivery=True, middleware=[])
    broker.connect_to(silent_url)
    for call in (broker.declare_topology, lambda: broker.send(job_message())):
        with pytest.raises(StoreUnavailable, match="RabbitMQ can't be used now") as caught:
            call()
        assert "hush" not in str(caught.value)
    with pytest.raises(ConnectionClosed):
        broker.consume("budget-check", timeout=100)


def test_a_broker_that_refuses_us_says_so(fresh_amqp_url: str) -> None:
    parts = urlsplit(fresh_amqp_url)
    wrong = parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":hush@")).geturl()
    for url, words in ((wrong, "Login was refused"), (parts._replace(path="/nowhere").geturl(), "nowhere")):
        broker = RabbitBroker(confirm_delivery=True, middleware=[])
        broker.connect_to(url)
        with pytest.raises(StoreRefused, match=words) as caught:
            broker.declare_topology()
        assert "hush" not in str(caught.value)


def test_an_event_without_listeners_is_no_fault(fresh_amqp_url: str) -> None:
    broker = rabbit(fresh_amqp_url, never)
    broker.emit_event("document.parsed", "{}", event_id="e")
    broker.close()


def test_a_connection_that_the_server_closed_is_made_anew(fresh_amqp_url: str, channel: Any) -> None:
    broker = rabbit(fresh_amqp_url, never)
    broker.send(job_message())
    broker.connection.close()
    broker.send(job_message())
    until(lambda: count(channel, "budget-check") == 2, "both messages")
    broker.close()


def test_the_embedded_broker_runs_the_same_actors() -> None:
    asked = threading.Event()

    def services() -> Services:
        asked.set()
        raise LookupError("reached")

    broker = EmbeddedBroker(middleware=[Outcome(lambda: None)])
    declare_actors(broker, services)
    with working(broker):
        broker.send(job_message())
        assert asked.wait(LIMIT_S)
    assert broker.dead_letters == []
