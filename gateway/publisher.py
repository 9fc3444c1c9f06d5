"""How messages leave the gateway: confirmed by RabbitMQ, or committed and handed to the in-process broker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Final, Protocol
from uuid import UUID

import structlog

from domain.backoff import growing_wait_s
from domain.clock import Clock
from domain.errors import StoreUnavailable
from domain.messages import Message
from gateway.amqp_session import AmqpSession, Verdict, amqp_parameters
from gateway.pool import run_in
from models.due import wake

CONFIRM_TIMEOUT_S: Final = 10.0
"""How long a message may stay unconfirmed. The provider waits 30 s for our answer to an event."""
NUDGE_TIMEOUT_S: Final = 2.0
FIRST_WAIT_S: Final = 0.5
MOST_WAIT_S: Final = 10.0
MAX_OUTSTANDING: Final = 1000
"""Unconfirmed messages; who comes then waits for room."""
REPEAT_AFTER_S: Final = (0.05, 0.2)
"""A quorum queue that has just been declared refuses messages until it has a leader: what was refused is repeated."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Publisher(Protocol):
    """Where messages go."""

    @property
    def ready(self) -> bool:
        """True if `send` would work now."""

    async def start(self) -> None:
        """Begin to connect, in the running loop; `ready` says when it is done."""

    async def stop(self) -> None:
        """Let go of everything."""

    async def send(self, message: Message) -> None:
        """Return only when the message is safe.

        Raises:
            StoreUnavailable: it is not, or nobody knows; sending it again does no harm.
        """

    async def nudge(self, message: Message) -> None:
        """Try to send. A failure is logged and no more: what is unfinished is due again anyway."""


class AmqpPublisher:
    """Publishes to RabbitMQ over one connection that is kept up; confirms are pipelined.

    Args:
        url: ``amqp://user:password@host:port/vhost``, or ``amqps``.
        random: scatters the waits between attempts to connect.
        confirm_timeout_s: how long `send` waits for the broker's confirm.
        max_outstanding: how many messages may be unconfirmed at once.

    Raises:
        BadSetting: the URL is malformed.
    """

    def __init__(
        self,
        url: str,
        *,
        random: Random | None = None,
        confirm_timeout_s: float = CONFIRM_TIMEOUT_S,
        max_outstanding: int = MAX_OUTSTANDING,
    ) -> None:
        self._parameters = amqp_parameters(url)
        self._random = random or Random()  # noqa: S311 (it only scatters waits)
        self._confirm_timeout_s = confirm_timeout_s
        self._room = asyncio.Semaphore(max_outstanding)
        self._session: AmqpSession | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._tried = threading.Event()
        self._trouble: StoreUnavailable | None = None

    def __repr__(self) -> str:
        return f"AmqpPublisher({self._where})"

    @property
    def ready(self) -> bool:
        """True while connected, declared and not blocked by an alarm of the broker."""
        return self._session is not None and not self._session.closed.done() and not self._session.blocked

    @property
    def is_running(self) -> bool:
        """True while somebody sees to the connection; False once that has ended, for whatever reason."""
        return self._keeper is not None and not self._keeper.done()

    def check(self) -> None:
        """For another thread: wait until connecting was tried once, then say whether that helped.

        Raises:
            StoreUnavailable: why `ready` is False.
        """
        self._tried.wait()
        if not self.ready:
            raise self._trouble or StoreUnavailable("RabbitMQ takes nothing in now: a memory or disk alarm")

    async def start(self) -> None:
        """Begin to connect, and keep doing so until `stop`."""
        self._keeper = asyncio.create_task(self._keep_connected())
        self._keeper.add_done_callback(self._keeper_ended)

    async def stop(self) -> None:
        """Disconnect. What is not confirmed by then raises in its `send`."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send(self, message: Message) -> None:
        """Return when the broker has confirmed the message.

        Raises:
            StoreUnavailable: not connected, blocked, refused, or no confirm in time.
        """
        await self._publish(message, self._confirm_timeout_s)

    async def nudge(self, message: Message) -> None:
        """Publish if that is possible within two seconds; otherwise say so in the log."""
        try:
            await self._publish(message, min(NUDGE_TIMEOUT_S, self._confirm_timeout_s))
        except StoreUnavailable as error:
            job_id = message.kwargs.get("job_id")
            log.warning("nudge lost, the clock repeats it", actor=message.actor_name, job_id=job_id, error=str(error))

    async def _publish(self, message: Message, timeout_s: float) -> None:
        verdict = Verdict.LOST
        try:
            async with asyncio.timeout(timeout_s):
                for pause_s in (*REPEAT_AFTER_S, None):
                    verdict = await self._publish_once(message)
                    if verdict is Verdict.TAKEN:
                        return
                    if verdict is Verdict.LOST or pause_s is None:
                        break
                    await asyncio.sleep(pause_s)
        except TimeoutError:
            raise StoreUnavailable(f"RabbitMQ did not confirm a message within {timeout_s:g} s") from None
        raise StoreUnavailable(f"a message for {message.queue_name} was not taken: {verdict.value}")

    async def _publish_once(self, message: Message) -> Verdict:
        self._usable()
        await self._room.acquire()
        try:
            session = self._usable()
            seen = session.declared
            future = session.publish(message.queue_name, message.encode(), message.message_id)
        except StoreUnavailable:
            self._room.release()
            raise
        # Room is made by the broker's verdict, not by who gives up waiting: what is unconfirmed uses memory.
        future.add_done_callback(lambda _: self._room.release())
        await asyncio.wait({future})
        if future.result() is Verdict.RETURNED:
            log.warning("a queue was gone, declaring all again", queue=message.queue_name)
            await session.declare(seen)
        return future.result()

    def _usable(self) -> AmqpSession:
        if self._session is None or self._session.closed.done():
            raise StoreUnavailable("RabbitMQ is not connected")
        if self._session.blocked:
            raise StoreUnavailable("RabbitMQ takes nothing in now: a memory or disk alarm")
        return self._session

    async def _keep_connected(self) -> None:
        tries = 0
        while True:
            try:
                self._session = await AmqpSession.open(self._parameters)
            except StoreUnavailable as error:
                self._trouble = error
            else:
                tries, self._trouble = 0, None
                log.info("connected to RabbitMQ", where=self._where)
                self._tried.set()
                self._trouble = await asyncio.shield(self._session.closed)
                self._session = None
            self._tried.set()
            wait_s = growing_wait_s(tries, first_s=FIRST_WAIT_S, most_s=MOST_WAIT_S, random=self._random)
            reason = str(self._trouble)
            log.warning("no RabbitMQ, trying again", where=self._where, reason=reason, wait_s=round(wait_s, 1))
            tries += 1
            await asyncio.sleep(wait_s)

    def _keeper_ended(self, keeper: asyncio.Task[None]) -> None:
        error = None if keeper.cancelled() else keeper.exception()
        if error is not None:
            self._trouble = StoreUnavailable(f"nobody connects to RabbitMQ any more: {error!r}")
            log.error(str(self._trouble), exc_info=error)
        self._tried.set()

    @property
    def _where(self) -> str:
        return f"{self._parameters.host}:{self._parameters.port}/{self._parameters.virtual_host}"


class EmbeddedPublisher:
    """For one process with everything in it: the commit makes a message safe, the in-process queue makes it fast.

    Args:
        enqueue: hands a message to the in-process broker; it must not block.
        pool: where the database is used.
        clock: the time that the clock's sweep goes by; it is asked in the pool.
    """

    def __init__(self, enqueue: Callable[[Message], None], pool: ThreadPoolExecutor, clock: Clock) -> None:
        self._enqueue, self._pool, self._clock = enqueue, pool, clock

    @property
    def ready(self) -> bool:
        """Always: there is nothing to connect to."""
        return True

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Nothing to do."""

    async def send(self, message: Message) -> None:
        """Commit that the message's job is due now, then enqueue it.

        Raises:
            StoreUnavailable: the database is away.
        """
        job_id = UUID(str(message.kwargs["job_id"]))
        await run_in(self._pool, lambda: wake(job_id, self._clock()))
        self._enqueue(message)

    async def nudge(self, message: Message) -> None:
        """Enqueue."""
        self._enqueue(message)
