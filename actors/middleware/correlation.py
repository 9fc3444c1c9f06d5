"""Every log line of an actor says which message and job it is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID

from dramatiq import Broker, MessageProxy, Middleware
from structlog.contextvars import bind_contextvars, clear_contextvars

from domain.errors import StoreUnavailable

IDS: Final = ("job_id", "document_id", "delivery_id")


class Correlation(Middleware):
    """Binds the message's ids, and its job's correlation id, for as long as its actor runs.

    Args:
        look_up: the correlation id of what a message's kwargs name, where they don't say it themselves.
    """

    def __init__(self, look_up: Callable[[Mapping[str, Any]], UUID | None] = lambda said: None) -> None:
        self._look_up = look_up

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Bind the ids."""
        clear_contextvars()
        ids = {name: message.kwargs[name] for name in IDS if name in message.kwargs}
        bind_contextvars(actor=message.actor_name, message_id=message.message_id, **ids)
        correlation_id = message.kwargs.get("correlation_id") or self._found(message.kwargs)
        if correlation_id is not None:
            bind_contextvars(correlation_id=str(correlation_id))

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Forget them."""
        clear_contextvars()

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        """Forget them."""
        clear_contextvars()

    def _found(self, said: Mapping[str, Any]) -> UUID | None:
        try:
            return self._look_up(said)
        except StoreUnavailable:
            # The actor meets the same, and says so.
            return None
