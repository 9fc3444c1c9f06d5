"""Wiring: which parts run in a process, and in which order they start and stop."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Final

import dramatiq
from pydantic import SecretStr

import actors
from actors.boot import (
    build_services,
    check_start,
    close_services,
    configure_budget,
    database_url,
    open_state,
    probe,
    store_url,
    wait_for,
)
from actors.broker import EmbeddedBroker
from actors.clock import run_clock
from actors.declare import declare_actors
from actors.doubt import recover
from actors.middleware.correlation import Correlation
from actors.middleware.outcome import Outcome
from actors.middleware.rate_limit import RateLimit
from actors.poison import unexpected
from actors.services import Services
from domain.clock import Clock
from domain.errors import BadSetting, StoreUnavailable
from domain.servers import place
from domain.settings import Settings
from gateway.app import Dependencies, create_app
from gateway.publisher import AmqpPublisher, EmbeddedPublisher, Publisher
from llamaparse.simulator import RunningSimulator, SimulatorSettings, serve
from models.correlation import correlation_of
from models.database import CLOCK_CHECK_S, DatabaseClock, close_connection, open_database
from models.migrations import migrate
from models.store import Store
from parsegate.data_folder import URL_FILE, ensure_admin_token, sole_use, with_secret_key, write_private
from parsegate.parts import Part, Running, running_thread
from parsegate.server import ServerThread, bind

POOL_THREADS: Final = 8
WORKER_THREADS: Final = 8
STOP_MS: Final = 10_000
SIMULATOR_PORT: Final = 9009
SIMULATOR_KEY: Final = "llx-simulator"
SIMULATOR_BUDGET_USD: Final = Decimal(10)


@contextlib.contextmanager
def running_up(
    settings: Settings, host: str, port: int, simulator: SimulatorSettings | None = None
) -> Iterator[Running]:
    """Gateway, workers and clock in this process, over RabbitMQ and PostgreSQL if they are set, else embedded.

    Args:
        simulator: also run the provider's stand-in, and use it.

    Raises:
        Misconfigured, StoreUnavailable: with one sentence that says what to do.
    """
    with contextlib.ExitStack() as stack:
        listening = bind(host, port)
        stack.callback(listening.close)
        if simulator is not None:
            settings = with_simulator(settings, stack.enter_context(running_simulator(simulator)), listening)
        settings = with_secret_key(settings)
        check_start(settings)
        if settings.amqp_url is None:
            stack.enter_context(sole_use(settings.data_dir))
        _migrate(settings)
        if settings.amqp_url is None:
            running = stack.enter_context(_embedded(settings, listening))
        else:
            clock = stack.enter_context(running_worker(settings))
            gateway = stack.enter_context(running_gateway(settings, listening))
            running = Running(gateway.url, (clock, *gateway.parts))
        ensure_admin_token(settings.data_dir, DatabaseClock()())
        write_private(settings.data_dir / URL_FILE, running.url)
        yield running


def _migrate(settings: Settings) -> None:
    url = database_url(settings)
    open_database(url)
    wait_for(f"the database at {place(url)}", migrate, settings.start_wait_seconds)
    close_connection()


@contextlib.contextmanager
def _embedded(settings: Settings, listening: socket.socket) -> Iterator[Running]:
    """SQLite and the in-process broker."""
    with contextlib.ExitStack() as stack:
        broker = EmbeddedBroker(middleware=[])
        services = build_services(settings, send=broker.send, emit=None)
        stack.callback(close_services, services)
        outcome = Outcome(lambda: probe(services), lambda said, error: unexpected(services, said, error))
        for middleware in (Correlation(correlation_of), outcome, RateLimit(lambda: services)):
            broker.add_middleware(middleware)
        declare_actors(broker, lambda: services)
        recover(services)
        worker = dramatiq.Worker(broker, worker_threads=WORKER_THREADS, worker_timeout=100)
        worker.start()
        stack.callback(worker.stop, STOP_MS)
        clock = stack.enter_context(running_clock(services))
        pool = stack.enter_context(_pool())
        publisher = EmbeddedPublisher(broker.send, pool, services.clock)
        gateway = stack.enter_context(_serving(settings, publisher, pool, listening))
        yield Running(gateway.url, (clock, *gateway.parts))


@contextlib.contextmanager
def running_gateway(settings: Settings, listening: socket.socket) -> Iterator[Running]:
    """The gateway over RabbitMQ, which is waited for. The database is open.

    Raises:
        StoreUnavailable: RabbitMQ did not come in time.
        Misconfigured: it refuses us.
    """
    configure_budget(settings, DatabaseClock()())
    url = settings.amqp_url_with_vhost()
    publisher = AmqpPublisher(url)
    keeper = Part("the gateway's connection to RabbitMQ", lambda: publisher.is_running)
    with _pool() as pool, _serving(settings, publisher, pool, listening) as gateway:
        wait_for(f"RabbitMQ at {place(url)}", publisher.check, settings.start_wait_seconds)
        yield Running(gateway.url, (*gateway.parts, keeper))


@contextlib.contextmanager
def _serving(
    settings: Settings, publisher: Publisher, pool: ThreadPoolExecutor, listening: socket.socket
) -> Iterator[Running]:
    with _ticking_clock() as (clock, ticking):
        dependencies = Dependencies(
            settings=settings,
            publisher=publisher,
            store=Store(store_url(settings)),
            clock=clock,
            configured_mode=settings.effective_mode,
            pool=pool,
        )
        gateway = ServerThread(
            create_app(dependencies),
            listening,
            before=publisher.start,
            after=publisher.stop,
            proxies=settings.trusted_proxies,
        )
        gateway.start()
        try:
            yield Running(gateway.url, (Part("the gateway", lambda: gateway.is_running), ticking))
        finally:
            gateway.stop()
            dependencies.parsers.close()


@contextlib.contextmanager
def _ticking_clock() -> Iterator[tuple[Clock, Part]]:
    """The database's time for an event loop: a thread asks the database, the loop never waits for it."""
    clock = DatabaseClock()
    clock.refresh()

    def run(stop: threading.Event) -> None:
        while not stop.wait(CLOCK_CHECK_S):
            clock.refresh()

    with running_thread("the database's time", run) as part:
        yield clock.steady, part


@contextlib.contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for what blocks; each closes its database connection at the end."""
    pool = ThreadPoolExecutor(POOL_THREADS, thread_name_prefix="gateway-pool")
    try:
        yield pool
    finally:
        barrier = threading.Barrier(POOL_THREADS)
        for _ in range(POOL_THREADS):
            pool.submit(_leave, barrier)
        pool.shutdown()


def _leave(barrier: threading.Barrier) -> None:
    # Each thread comes here once: none may take two of these calls while another has not closed its connection.
    barrier.wait()
    close_connection()


@contextlib.contextmanager
def running_worker(settings: Settings) -> Iterator[Part]:
    """Worker threads and a clock in this process, over RabbitMQ."""
    services = actors.boot.start(actors.broker, settings)
    worker = dramatiq.Worker(actors.broker, worker_threads=WORKER_THREADS)
    worker.start()
    try:
        with running_clock(services) as part:
            yield part
    finally:
        worker.stop(STOP_MS)
        actors.broker.close()


@contextlib.contextmanager
def running_clock(services: Services) -> Iterator[Part]:
    """The clock in a thread."""
    with running_thread("the clock", lambda stop: run_clock(services, stop)) as part:
        yield part


@contextlib.contextmanager
def running_simulator(settings: SimulatorSettings) -> Iterator[RunningSimulator]:
    """The provider's stand-in, on its usual port if that is free."""
    try:
        bind("127.0.0.1", SIMULATOR_PORT).close()
        port = SIMULATOR_PORT
    except StoreUnavailable:
        port = 0
    simulator = serve(settings, "127.0.0.1", port)
    try:
        yield simulator
    finally:
        simulator.stop()


def with_simulator(settings: Settings, simulator: RunningSimulator, listening: socket.socket) -> Settings:
    """The settings that use the simulator in the provider's place."""
    changes: dict[str, object] = {"base_url": simulator.base_url, "api_key": SecretStr(SIMULATOR_KEY)}
    if settings.public_url is None:
        changes["public_url"] = f"http://127.0.0.1:{listening.getsockname()[1]}"
    if not settings.budget_is_set:
        changes["daily_budget_usd"] = SIMULATOR_BUDGET_USD
    return settings.model_copy(update=changes)


def distributed(settings: Settings) -> Settings:
    """Check what a process of its own needs, and open its database.

    Raises:
        Misconfigured, StoreUnavailable: with one sentence that says what to do.
    """
    if settings.amqp_url is None:
        raise BadSetting("PARSEGATE_AMQP_URL is not set; 'parsegate up' needs no broker")
    if settings.database_url is None:
        raise BadSetting("PARSEGATE_DATABASE_URL is not set; 'parsegate up' needs no database")
    if not settings.secret_key:
        raise BadSetting(
            "PARSEGATE_SECRET_KEY is not set: 64 hex digits, the same for every process (openssl rand -hex 32)"
        )
    check_start(settings)
    open_state(settings)
    return settings
