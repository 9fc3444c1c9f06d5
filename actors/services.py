"""What the actors work with, handed in when a process starts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final, Protocol
from uuid import UUID, uuid4

import httpx
import structlog

from domain.backoff import growing_wait_s
from domain.clock import Clock
from domain.errors import StoreUnavailable
from domain.messages import Message
from domain.settings import Mode, Settings
from llamaparse.client import LlamaParseClient
from models.store import Store

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
    random: Random = field(default_factory=Random)

    def nudge(self, actor_name: str, **kwargs: UUID) -> None:
        """Ask an actor to look at something. It may get lost without harm: what is unfinished is due again."""
        now = self.clock()
        values: dict[str, Any] = {name: str(value) for name, value in kwargs.items()}
        message = Message(actor_name, values, str(uuid4()), int(now.timestamp() * 1000))
        try:
            self.send(message)
        except StoreUnavailable as error:
            log.log(logging.WARNING, "nudge lost, the clock repeats it", actor=actor_name, error=str(error), **values)

    def after(self, seconds: float) -> datetime:
        """The moment `seconds` from now."""
        return self.clock() + timedelta(seconds=seconds)

    def retry_at(self, tries: int, *, first_s: float = 2.0, most_s: float = 300.0) -> datetime:
        """When to try again after `tries` failures."""
        return self.after(growing_wait_s(tries, first_s=first_s, most_s=most_s, random=self.random))
