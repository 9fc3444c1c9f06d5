"""What the actors work with, handed in when a process starts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Final, Protocol
from uuid import UUID

import httpx
import structlog

from actors.strangers import Strangers
from domain.backoff import growing_wait_s
from domain.clock import Clock
from domain.errors import StoreUnavailable
from domain.messages import Message
from domain.pace import Route as Call
from domain.settings import Mode, Settings
from llamaparse.client import LlamaParseClient
from llamaparse.parser_pool import ParserPool
from llamaparse.router import Route, choose
from models.breakers import EndpointView, view_breakers
from models.control import Cached, Exhausted, read_account
from models.database import after_commit
from models.pace import Pacer
from models.service_events import ServiceEvents
from models.store import Store
from models.tables import Job

LEASE: Final = timedelta(seconds=60)
"""How long after a nudge a job is looked at again if nothing came of it."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class EventSink(Protocol):
    """Where events for the events exchange go."""

    def __call__(self, routing_key: str, body: str, *, event_id: str) -> None:
        """Publish one event, confirmed.

        Raises:
            StoreUnavailable: the broker did not take it.
        """


@dataclass(frozen=True)
class Services:
    """Everything outside the actors' own rules.

    Args:
        mode: the mode in force.
        provider: None without an API key.
        send: publishes a message; it raises StoreUnavailable.
        emit: the events exchange; None where there is none (embedded).
        http: a guarded client for what strangers name.
        instance: this installation's id; it marks our jobs at the provider.
        pacer: hands out slots for calls to the provider.
        parsers: the local parser and page counter, in processes of their own.
        strangers: the places for calls to what strangers name.
        endpoints: the provider's circuit breakers, as they were within the last half second.
        account: what the provider last said of its account's credits, likewise.
    """

    settings: Settings
    clock: Clock
    store: Store
    mode: Callable[[], Mode]
    provider: LlamaParseClient | None
    send: Callable[[Message], None]
    emit: EventSink | None
    http: httpx.Client
    instance: str
    pacer: Pacer
    random: Random = field(default_factory=Random)
    parsers: ParserPool = field(default_factory=ParserPool)
    strangers: Strangers = field(default_factory=Strangers)
    endpoints: Cached[Sequence[EndpointView]] = field(init=False)
    account: Cached[Exhausted | None] = field(default_factory=lambda: Cached(read_account))

    def __post_init__(self) -> None:
        object.__setattr__(self, "endpoints", Cached(lambda: view_breakers(self.clock())))

    @property
    def events(self) -> ServiceEvents:
        """Events that are about no document."""
        return ServiceEvents(self.instance, exchange=self.emit is not None)

    def exhausted(self) -> Exhausted | None:
        """What the provider said of its account, while it has no credits left."""
        account = self.account()
        return account if account is not None and self.clock() < account.until else None

    def mode_of(self, job: Job) -> Mode:
        """The order's own mode, or the one in force."""
        return self.mode() if job.mode is None else Mode(job.mode)

    def route_of(self, job: Job) -> Route:
        """Where a job's attempt goes if it has not been sent: by the order's own mode, or the one in force."""
        return self.route(self.mode_of(job))

    def route(self, own: Mode | None = None) -> Route:
        """Where an attempt goes that has not been sent.

        Args:
            own: the mode that its order asked for.
        """
        mode = own or self.mode()
        return choose(mode, is_down=mode is Mode.HYBRID and self._is_down())

    def _is_down(self) -> bool:
        """True if sending needs an endpoint whose breaker is open. A refused key is for a person to mend."""
        now = self.clock()
        return any(
            view.keeps_out(now) and view.breaker.refused_key is None
            for view in self.endpoints()
            if view.route in {Call.UPLOAD, Call.CREATE}
        )

    def nudge(self, actor_name: str, **kwargs: UUID) -> None:
        """Ask an actor to look at something, once the transaction that is open is committed.

        It may get lost without harm: what is unfinished is due again.
        """
        message = Message.nudge(actor_name, self.clock(), **kwargs)
        after_commit(lambda: self._send(message))

    def _send(self, message: Message) -> None:
        try:
            self.send(message)
        except StoreUnavailable as error:
            said = {"actor": message.actor_name, "error": str(error), **message.kwargs}
            log.log(logging.WARNING, "nudge lost, the clock repeats it", **said)

    def after(self, seconds: float) -> datetime:
        """The moment `seconds` from now."""
        return self.clock() + timedelta(seconds=seconds)

    def retry_at(self, tries: int, *, first_s: float = 2.0, most_s: float = 300.0) -> datetime:
        """When to try again after `tries` failures."""
        return self.after(growing_wait_s(tries, first_s=first_s, most_s=most_s, random=self.random))
