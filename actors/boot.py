"""Starting: settings are read and connections made here, with a visible line while something is waited for."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any, TypeVar

import httpx
from dramatiq import Broker, Middleware

from actors.broker import RabbitBroker
from actors.logs import configure_logs
from actors.services import EventSink, Services, log
from domain.errors import BadSetting, ParsegateError, StoreUnavailable
from domain.messages import Message
from domain.settings import Mode, Settings, read_settings
from llamaparse.client import LlamaParseClient
from llamaparse.transport import guarded_client
from models.control import CachedMode, instance_id
from models.database import DatabaseClock, open_database, reading, server_now
from models.migrations import check_schema
from models.store import Store

_T = TypeVar("_T")


def build_services(
    settings: Settings,
    *,
    send: Callable[[Message], None],
    emit: EventSink | None,
) -> Services:
    """Everything the actors work with. The database is open and its schema known.

    Raises:
        BadSetting: a setting that is needed is unset or malformed.
        StoreUnavailable: the database is away.
    """
    clock = DatabaseClock(time.monotonic)
    provider = None
    if settings.api_key is not None:
        provider = LlamaParseClient(settings.base_url, settings.api_key.get_secret_value())
    return Services(
        settings=settings,
        clock=clock,
        store=Store(store_url(settings)),
        mode=CachedMode(settings.effective_mode, time.monotonic),
        provider=provider,
        send=send,
        emit=emit,
        http=guarded_client(settings.private_hosts, timeout=httpx.Timeout(30.0, connect=10.0)),
        instance=instance_id(clock()),
        random=Random(),  # noqa: S311 - scatters waits, guards nothing
    )


def close_services(services: Services) -> None:
    """Close what the services hold open."""
    services.http.close()
    if services.provider is not None:
        services.provider.close()


def store_url(settings: Settings) -> str:
    """Where raw files and results lie: a folder beside the data by default."""
    return settings.results_url or str(settings.data_dir.absolute() / "store")


def database_url(settings: Settings) -> str:
    """Where the state is: SQLite in the data folder by default."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return f"sqlite:///{settings.data_dir.absolute() / 'parsegate.db'}"


def check_start(settings: Settings) -> None:
    """Refuse to start with settings that would fail or overspend later.

    Raises:
        BadSetting: one sentence that says what to set.
    """
    mode = settings.effective_mode
    if mode is Mode.MOCK:
        return
    if settings.api_key is None:
        raise BadSetting(f"LLAMA_CLOUD_API_KEY is not set; mode {mode} needs it (or set PARSEGATE_MODE=mock)")
    if not settings.budget_is_set:
        raise BadSetting(f"PARSEGATE_DAILY_BUDGET_USD is not set; mode {mode} needs it: dollars a day, or 'unlimited'")
    if settings.public_url is not None and not settings.secret_key:
        raise BadSetting("PARSEGATE_SECRET_KEY is not set; with PARSEGATE_PUBLIC_URL it is needed to sign webhooks")


def wait_for(what: str, attempt: Callable[[], _T], seconds: float) -> _T:
    """Try until it works, with a line on standard error for each failure, growing waits, and a limit.

    Raises:
        StoreUnavailable: it did not work in time.
    """
    until, pause_s = time.monotonic() + seconds, 0.5
    while True:
        try:
            return attempt()
        except StoreUnavailable as error:
            if time.monotonic() + pause_s > until:
                raise StoreUnavailable(f"{what} did not answer within {seconds:.0f} s: {error}") from error
            print(f"waiting for {what}: {error}", file=sys.stderr, flush=True)
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 5.0)


def open_state(settings: Settings) -> None:
    """Open the database and check its schema, waiting for it if it is not there yet.

    Raises:
        StoreUnavailable: it did not come.
        WrongSchema: says which command helps.
    """
    open_database(database_url(settings))
    wait_for("the database", check_schema, settings.start_wait_seconds)


def probe(services: Services) -> None:
    """Check that our own database and store can be used.

    Raises:
        StoreUnavailable: one can't.
    """
    with reading():
        server_now()
    services.store.write_bytes("probe", datetime.now(UTC).isoformat().encode())


class Boot(Middleware):
    """Wires the actors when a worker process boots, so that ``dramatiq actors`` is a plain Dramatiq worker."""

    def __init__(self) -> None:
        self._services: Services | None = None

    def services(self) -> Services:
        """What the actors work with.

        Raises:
            StoreUnavailable: the process has not booted.
        """
        if self._services is None:
            raise StoreUnavailable("this process has not booted")
        return self._services

    def probe(self) -> None:
        """See `actors.boot.probe`."""
        probe(self.services())

    def start(self, broker: RabbitBroker, settings: Settings) -> Services:
        """Connect to RabbitMQ and the database, and wire the services.

        Raises:
            BadSetting, StoreUnavailable, WrongSchema: with one sentence that says what to do.
        """
        if settings.amqp_url is None:
            raise BadSetting("PARSEGATE_AMQP_URL is not set: a worker needs RabbitMQ ('parsegate up' does not)")
        if settings.database_url is None:
            raise BadSetting("PARSEGATE_DATABASE_URL is not set: a worker needs the database that the gateway uses")
        check_start(settings)
        broker.connect_to(settings.amqp_url_with_vhost())
        open_state(settings)
        wait_for("RabbitMQ", broker.declare_topology, settings.start_wait_seconds)
        self._services = build_services(settings, send=broker.send, emit=broker.emit_event)
        return self._services

    def after_process_boot(self, broker: Broker) -> None:
        """Boot a process of Dramatiq's command line; a failed start ends it with one line."""
        assert isinstance(broker, RabbitBroker)
        configure_logs()
        try:
            self.start(broker, read_settings())
        except ParsegateError as error:
            print(f"parsegate worker: {error}", file=sys.stderr, flush=True)
            sys.exit(1)
        log.info("worker ready")

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        """Close what was opened."""
        if self._services is not None:
            close_services(self._services)
