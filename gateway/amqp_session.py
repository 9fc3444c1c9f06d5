"""One connection to RabbitMQ with one confirming channel: pika's callbacks as futures on the running loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from itertools import takewhile
from typing import Any, Final

import pika
from pika import spec
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.exceptions import AMQPError

from domain.errors import StoreUnavailable
from domain.messages import declarations
from domain.servers import CONNECT_TIMEOUT_S, amqp_address, broker_trouble, malformed_amqp_url

CLOSE_TIMEOUT_S: Final = 5.0


class Verdict(Enum):
    """What became of one published message."""

    TAKEN = "it is safe at the broker"
    REFUSED = "the broker refused it"
    RETURNED = "its queue does not exist"
    LOST = "the connection was lost before it was confirmed"


def amqp_parameters(url: str) -> pika.URLParameters:
    """What pika needs to know from ``amqp://user:password@host:port/vhost`` (see `domain.servers.amqp_address`).

    Raises:
        BadSetting: malformed. The words never hold the URL, which has a password in it.
    """
    try:
        return pika.URLParameters(amqp_address(url, name="parsegate gateway"))
    except (ValueError, TypeError):
        raise malformed_amqp_url() from None


class AmqpSession:
    """A connection from its opening to its end; it is never opened twice.

    `closed` gets the reason when the connection or its channel ended, whoever ended it. `blocked` is True while the
    broker takes nothing in (a memory or disk alarm). `declared` counts how often the topology was declared.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[StoreUnavailable] = self._loop.create_future()
        self.blocked = False
        self.declared = 0
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._declaring = asyncio.Lock()
        self._connection: Any = None
        self._channel: Any = None
        self._last_tag = 0
        self._outstanding: dict[int, tuple[str, asyncio.Future[Verdict]]] = {}
        self._returned: set[str] = set()

    @classmethod
    async def open(cls, parameters: pika.URLParameters) -> AmqpSession:
        """Connect, ask for confirms, and declare the topology; only then anything may be published.

        Raises:
            StoreUnavailable: the broker can't be reached, or refuses us or a declaration.
        """
        session, opened = cls(), False
        try:
            async with asyncio.timeout(3 * CONNECT_TIMEOUT_S):
                await session._open(parameters)
                await session.declare(0)
            opened = True
        except TimeoutError:
            raise StoreUnavailable("RabbitMQ does not answer in time") from None
        except AMQPError as error:
            raise broker_trouble(error) from error
        finally:
            if not opened:
                session._end(StoreUnavailable("it was not opened in full"))
        return session

    async def close(self) -> None:
        """Say goodbye to the broker, and wait for its answer for at most 5 seconds."""
        self._end(StoreUnavailable("closed by us"))
        await asyncio.wait({self._gone}, timeout=CLOSE_TIMEOUT_S)

    def publish(self, queue: str, body: bytes, message_id: str) -> asyncio.Future[Verdict]:
        """Send one persistent message to a queue; the future gets the broker's verdict, never an exception.

        Raises:
            StoreUnavailable: the connection is closed; nothing was sent.
        """
        properties = spec.BasicProperties(delivery_mode=2, content_type="application/json", message_id=message_id)
        try:
            self._channel.basic_publish("", queue, body, properties, mandatory=True)
        except AMQPError as error:
            raise broker_trouble(error) from error
        self._last_tag += 1
        verdict: asyncio.Future[Verdict] = self._loop.create_future()
        self._outstanding[self._last_tag] = message_id, verdict
        return verdict

    async def declare(self, seen: int) -> None:
        """Declare every queue, exchange and binding, unless somebody has done so since `declared` was `seen`.

        Raises:
            StoreUnavailable: the broker refuses one (it exists with other arguments, or we have no right to).
        """
        async with self._declaring:
            if self.declared != seen:
                return
            for method, arguments in declarations():
                await self._call(getattr(self._channel, method), **arguments)
            self.declared += 1

    async def _open(self, parameters: pika.URLParameters) -> None:
        self._connection = await self._connect(parameters)
        self._connection.add_on_close_callback(self._on_gone)
        self._connection.add_on_connection_blocked_callback(lambda *_: self._set_blocked(True))
        self._connection.add_on_connection_unblocked_callback(lambda *_: self._set_blocked(False))
        channel_opened: asyncio.Future[Any] = self._loop.create_future()
        self._channel = self._connection.channel(on_open_callback=_into(channel_opened))
        self._channel.add_on_close_callback(lambda _channel, error: self._end(broker_trouble(error)))
        self._channel.add_on_return_callback(self._on_return)
        await self._until(channel_opened)
        await self._call(self._channel.confirm_delivery, self._on_confirm)

    async def _connect(self, parameters: pika.URLParameters) -> Any:
        answered: asyncio.Future[Any] = self._loop.create_future()
        AsyncioConnection.create_connection([parameters], on_done=_into(answered), custom_ioloop=self._loop)
        try:
            await asyncio.wait({answered})
        finally:
            if not answered.done():
                # pika can't give up a handshake without a failure inside it: this one runs out by its own limit.
                answered.add_done_callback(_close_late)
        if isinstance(answered.result(), BaseException):
            raise broker_trouble(answered.result())
        return answered.result()

    async def _call(self, method: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        answered: asyncio.Future[Any] = self._loop.create_future()
        try:
            method(*args, **kwargs, callback=_into(answered))
        except AMQPError as error:
            raise broker_trouble(error) from error
        await self._until(answered)

    async def _until(self, answered: asyncio.Future[Any]) -> None:
        await asyncio.wait({answered, self.closed}, return_when=asyncio.FIRST_COMPLETED)
        if not answered.done():
            raise self.closed.result()

    def _set_blocked(self, blocked: bool) -> None:
        self.blocked = blocked

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        tags = [method.delivery_tag]
        if method.multiple:
            # Tags only grow, and a dict keeps their order.
            tags = list(takewhile(lambda tag: tag <= method.delivery_tag, self._outstanding))
        for tag in tags:
            # After the end nobody waits for a confirm that was on its way.
            message_id, verdict = self._outstanding.pop(tag, (None, None))
            if verdict is None:
                continue
            if isinstance(method, spec.Basic.Nack):
                verdict.set_result(Verdict.REFUSED)
            elif message_id in self._returned:
                self._returned.remove(message_id)
                verdict.set_result(Verdict.RETURNED)
            else:
                verdict.set_result(Verdict.TAKEN)

    def _on_return(self, _channel: Any, _method: Any, properties: Any, _body: bytes) -> None:
        # The broker says so before it acknowledges the same message (rabbitmq.com/confirms.html).
        self._returned.add(properties.message_id)

    def _on_gone(self, _connection: Any, error: BaseException) -> None:
        self._end(broker_trouble(error))
        if not self._gone.done():
            self._gone.set_result(None)

    def _end(self, reason: StoreUnavailable) -> None:
        if not self.closed.done():
            self.closed.set_result(reason)
        lost = [verdict for _, verdict in self._outstanding.values()]
        self._outstanding.clear()
        for verdict in lost:
            verdict.set_result(Verdict.LOST)
        if self._connection is not None and not (self._connection.is_closed or self._connection.is_closing):
            self._connection.close()


def _into(future: asyncio.Future[Any]) -> Callable[[Any], None]:
    def answer(value: Any) -> None:
        if not future.done():
            future.set_result(value)

    return answer


def _close_late(answered: asyncio.Future[Any]) -> None:
    if isinstance(answered.result(), AsyncioConnection):
        answered.result().close()
