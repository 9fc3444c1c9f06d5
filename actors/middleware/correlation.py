"""Every log line of an actor says which message and job it is about."""

from __future__ import annotations

from typing import Any, Final

from dramatiq import Broker, MessageProxy, Middleware
from structlog.contextvars import bind_contextvars, clear_contextvars

IDS: Final = ("job_id", "document_id", "correlation_id", "delivery_id")


class Correlation(Middleware):
    """Binds the message's ids for as long as its actor runs."""

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Bind the ids."""
        clear_contextvars()
        ids = {
            name: message.kwargs[name] for name in ("job_id", "document_id", "delivery_id") if name in message.kwargs
        }
        bind_contextvars(actor=message.actor_name, message_id=message.message_id, **ids)

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Forget them."""
        clear_contextvars()
