"""What becomes of a message whose actor raised: back to its queue, or to the dead letters with the reason."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog
from dramatiq import Broker, MessageProxy, Middleware
from dramatiq.middleware import SkipMessage
from dramatiq.worker import Worker

from actors.broker import Delivered
from domain.errors import ParsegateError, StoreUnavailable

MOST_WAIT_S: Final = 25 * 60.0
"""Below RabbitMQ's consumer timeout of 30 minutes."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Outcome(Middleware):
    """Keeps what could not be done now, and buries what never can.

    While our own database or store is away, the worker's threads wait here with what they hold, so nothing more is
    consumed; then the message goes back to its queue. Dramatiq's `Retries` is not used: it would acknowledge the
    message and publish another.

    Args:
        probe: raises StoreUnavailable while our own database or store is away.
        count: counts a failure on the job that a message's kwargs name, so that it does not go round for ever.
        monotonic: seconds on a clock that never goes back, `Delivered.taken_at` among them.
        pause: waits so many seconds, or answers True as soon as the worker stops.
    """

    def __init__(
        self,
        probe: Callable[[], None],
        count: Callable[[Mapping[str, Any], BaseException], None] = lambda said, error: None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        pause: Callable[[float], bool] | None = None,
    ) -> None:
        self._probe, self._count, self._monotonic = probe, count, monotonic
        self._stopping = threading.Event()
        self._pause = pause or self._stopping.wait
        self._failures = 0

    @property
    def actor_options(self) -> set[str]:
        """`throws`: exceptions that are expected, and not logged with a traceback."""
        return {"throws"}

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Let waiting threads go."""
        self._stopping.set()

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Hand back what comes while the store is known to be away and the worker stops."""
        if self._failures and self._stopping.is_set():
            self._give_back(message)
            raise SkipMessage("the worker stops")

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Sort a failure."""
        if exception is None:
            self._failures = 0
            return
        if isinstance(exception, StoreUnavailable):
            self._failures += 1
            log.warning("waiting, nothing is lost", actor=message.actor_name, error=str(exception))
            self._wait(message, min(2.0 ** min(self._failures - 1, 6), 60.0))
            self._give_back(message)
            return
        name = exception.reason if isinstance(exception, ParsegateError) else type(exception).__name__
        if isinstance(message, Delivered):
            message.reason = f"{name}: {exception}"
        message.fail()
        try:
            self._count(message.kwargs, exception)
        except StoreUnavailable as error:
            log.warning("a failure could not be counted", actor=message.actor_name, error=str(error))

    def _give_back(self, message: MessageProxy) -> None:
        if isinstance(message, Delivered):
            message.requeue = True
        message.fail()

    def _wait(self, message: MessageProxy, least_s: float) -> None:
        # RabbitMQ's patience began when it handed the message out, and a probe of a dead database takes long too.
        begun = message.taken_at if isinstance(message, Delivered) else self._monotonic()
        pause_s = least_s
        while (left_s := begun + MOST_WAIT_S - self._monotonic()) > 0 and not self._pause(min(pause_s, left_s)):
            pause_s = min(pause_s, 5.0)
            try:
                self._probe()
            except StoreUnavailable as error:
                log.warning("still waiting", error=str(error))
            else:
                return
