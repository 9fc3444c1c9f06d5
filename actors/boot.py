"""Starting: settings are read and connections made here, with a visible line while something is waited for."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any, TypeVar

import httpx
from dramatiq import Broker, Middleware

from actors.broker import RabbitBroker
from actors.logs import configure_logs
from actors.pacing import PacedClient
from actors.poison import unexpected
from actors.services import EventSink, Services, log
from domain.errors import BadSetting, Misconfigured, ParsegateError, StoreRefused, StoreUnavailable
from domain.messages import Message
from domain.money import ZERO, from_usd
from domain.pace import limits_of
from domain.servers import place
from domain.settings import Mode, Settings, read_settings
from llamaparse.transport import guarded_client
from models.budgets import configure_daily, reprice
from models.control import CachedMode, instance_id
from models.database import DatabaseClock, open_database, reading, server_now
from models.migrations import check_schema
from models.pace import Pacer
from models.service_events import ServiceEvents
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
    clock = DatabaseClock()
    configure_budget(settings, clock())
    instance = instance_id(clock())
    provider, told = None, ServiceEvents(instance, exchange=emit is not None)
    pacer = Pacer(limits_of(settings), server_now, slow_s=settings.slow_call_seconds, on_change=told.breaker_changed)
    if settings.api_key is not None:
        provider = PacedClient(settings.base_url, settings.api_key.get_secret_value())
        pacer.close_breakers(other_key_than=provider.key_id)
    return Services(
        settings=settings,
        clock=clock,
        store=tidied(Store(store_url(settings)), clock()),
        mode=CachedMode(settings.effective_mode, time.monotonic),
        provider=provider,
        send=send,
        emit=emit,
        http=guarded_client(settings.private_hosts, timeout=httpx.Timeout(30.0, connect=10.0)),
        instance=instance,
        pacer=pacer,
        random=Random(),  # noqa: S311 - scatters waits, guards nothing
    )


def tidied(store: Store, now: datetime) -> Store:
    """The store without what was cut off; if that can't be removed now, it is next time."""
    try:
        store.tidy(now)
    except StoreUnavailable as error:
        log.warning("leftovers stay", error=str(error))
    return store


def configure_budget(settings: Settings, now: datetime) -> None:
    """Take the daily budget from the settings, unless it was changed while running and the setting was not.

    Unset, it is zero: nothing real may be spent until somebody sets it. Limits in dollars get the price of today.
    """
    usd, price, zone = settings.daily_budget_usd, settings.prices_at(now).usd_per_credit, settings.budget_timezone
    if not settings.budget_is_set:
        configure_daily(ZERO, "unset", now=now, zone=zone)
    elif usd is None:
        configure_daily(None, "unlimited", now=now, zone=zone)
    else:
        configure_daily(from_usd(usd, price), f"{usd:f}", now=now, zone=zone, usd=usd)
    reprice(price, now=now, zone=zone)


def close_services(services: Services) -> None:
    """Close what the services hold open."""
    services.http.close()
    services.parsers.close()
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

    Args:
        what: what is waited for and where it is, for people.

    Raises:
        Misconfigured: it refuses us: no waiting mends that.
        StoreUnavailable: it did not work in time.
    """
    until, pause_s = time.monotonic() + seconds, 0.5
    while True:
        try:
            return attempt()
        except StoreRefused as error:
            raise Misconfigured(f"{what}: {error}") from error
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
        Misconfigured: it refuses us, or has another schema; says what helps.
    """
    url = database_url(settings)
    open_database(url)
    wait_for(f"the database at {place(url)}", check_schema, settings.start_wait_seconds)


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

    def unexpected(self, said: Mapping[str, Any], error: BaseException) -> None:
        """See `actors.poison.unexpected`."""
        unexpected(self.services(), said, error)

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
        url = settings.amqp_url_with_vhost()
        broker.connect_to(url)
        open_state(settings)
        wait_for(f"RabbitMQ at {place(url)}", broker.declare_topology, settings.start_wait_seconds)
        self._services = build_services(settings, send=broker.send, emit=broker.emit_event)
        return self._services

    def after_process_boot(self, broker: Broker) -> None:
        """Boot a process of Dramatiq's command line; a failed start ends it with one line.

        This is the top of that process: what is raised here Dramatiq would log, and go on without any services.
        """
        assert isinstance(broker, RabbitBroker)
        configure_logs()
        try:
            services = self.start(broker, read_settings())
            mode = services.mode().value
        except ParsegateError as error:
            print(f"parsegate worker: {error}", file=sys.stderr, flush=True)
            sys.exit(1)
        except Exception as error:  # noqa: BLE001 - see above
            if os.environ.get("PARSEGATE_DEBUG"):
                traceback.print_exc()
            words = f"unexpected {type(error).__name__}: {error} (PARSEGATE_DEBUG=1 shows where)"
            print(f"parsegate worker: {words}", file=sys.stderr, flush=True)
            sys.exit(1)
        log.info("worker ready", mode=mode)

    def before_worker_boot(self, broker: Broker, worker: Any) -> None:
        """Strangers' servers get a share of the threads that there are."""
        if self._services is not None:
            self._services.strangers.share(worker.worker_threads)

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        """Close what was opened."""
        if self._services is not None:
            close_services(self._services)
