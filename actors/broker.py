"""The two brokers: RabbitMQ with quorum queues and publisher confirms, and the in-process one for embedded use.

Both let in only what `domain.messages.admit` accepts. What is refused, or fails for good, goes to the dead letters
with its reason in the header `x-parsegate-reason`; what could not be done now goes back to its queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import dramatiq
import pika
import structlog
from dramatiq.brokers.rabbitmq import RabbitmqBroker, _RabbitmqConsumer
from dramatiq.brokers.stub import StubBroker, _StubConsumer
from dramatiq.errors import ConnectionClosed
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPChannelError, AMQPConnectionError, AMQPError

from domain.errors import StoreUnavailable
from domain.messages import EVENTS_EXCHANGE, Message, MessageRefused, admit, declarations, queue_arguments
from domain.servers import BLOCKED_TIMEOUT_S, amqp_address, broker_trouble, malformed_amqp_url

REASON_HEADER: Final = "x-parsegate-reason"
PUBLISH_TRIES: Final = 3
AWAY: Final = (AMQPError, AMQPConnectorException, OSError)
"""What pika raises when RabbitMQ can't be used. The second kind is no `AMQPError`: a server that accepts a connection
and says nothing."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class RabbitBroker(RabbitmqBroker):
    """RabbitMQ. Made without any I/O; `parameters` are set before the first connection."""

    @property
    def consumer_class(self) -> type[AdmittingConsumer]:
        """Consumers that admit before they dispatch."""
        return AdmittingConsumer

    def connect_to(self, url: str) -> None:
        """Say where RabbitMQ is. No wait for it is without a limit.

        Raises:
            BadSetting: the URL is malformed.
        """
        try:
            address = amqp_address(url, name="parsegate worker", blocked_timeout_s=BLOCKED_TIMEOUT_S)
            self.parameters = pika.URLParameters(address)
        except (ValueError, TypeError):
            raise malformed_amqp_url() from None

    def declare_topology(self) -> None:
        """Declare every exchange, queue and binding.

        Raises:
            StoreUnavailable: RabbitMQ can't be reached.
            StoreRefused: it refuses us, or has a queue of the same name with other arguments.
        """
        try:
            for method, arguments in declarations():
                getattr(self.channel, method)(**arguments)
        except AWAY as error:
            del self.connection
            raise broker_trouble(error) from error
        self.queues_pending.clear()

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> dramatiq.Consumer:
        """A consumer of a queue.

        Raises:
            ConnectionClosed: RabbitMQ can't be used now; Dramatiq tries again.
        """
        try:
            return super().consume(queue_name, prefetch, timeout)
        except AWAY as error:
            del self.connection
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]

    def send(self, message: Message) -> None:
        """Publish a message to its queue, confirmed.

        Raises:
            StoreUnavailable: RabbitMQ did not take it.
        """
        self.publish("", message.queue_name, message.encode(), _headers(message))

    def emit_event(self, routing_key: str, body: str, *, event_id: str) -> None:
        """Publish an event to the events exchange, confirmed; it is no fault if nobody listens.

        Raises:
            StoreUnavailable: RabbitMQ did not take it.
        """
        self.publish(
            EVENTS_EXCHANGE,
            routing_key,
            body.encode(),
            {},
            content_type="application/cloudevents+json",
            message_id=event_id,
        )

    def publish(
        self, exchange: str, routing_key: str, body: bytes, headers: Mapping[str, Any], **properties: Any
    ) -> None:
        """Publish, persistent and confirmed; to a queue it must arrive.

        Raises:
            StoreUnavailable: RabbitMQ did not take it.
        """
        said: dict[str, Any] = {"content_type": "application/json", "delivery_mode": 2, **properties}
        for left in reversed(range(PUBLISH_TRIES)):
            try:
                self.channel.basic_publish(
                    exchange,
                    routing_key,
                    body,
                    pika.BasicProperties(headers=dict(headers), **said),
                    mandatory=not exchange,
                )
                return
            except AWAY as error:
                # The connection of a thread that was idle for long is closed by the server: a new one is tried.
                del self.connection
                if not left or isinstance(error, AMQPConnectorException):
                    raise broker_trouble(error) from error

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        return queue_arguments(queue_name.removesuffix(".DQ"))

    def _declare_xq_queue(self, queue_name: str) -> Any:
        arguments = {"x-queue-type": "quorum"}
        return self.channel.queue_declare(queue=f"{queue_name}.XQ", durable=True, arguments=arguments)


class Delivered(dramatiq.MessageProxy):
    """A message with the consumer it came from.

    Delivery tags start anew with every connection, so a tag alone could acknowledge another message after a
    reconnect.

    Args:
        taken_at: when it was handed out, in `time.monotonic` seconds.
        requeue: set if it could not be done now and must go back to its queue.
        reason: why it goes to the dead letters.
    """

    def __init__(self, message: dramatiq.Message[Any], consumer: object, tag: int) -> None:
        super().__init__(message)
        self.consumer = consumer
        self.tag = tag
        self.taken_at = time.monotonic()
        self.requeue = False
        self.reason = "failed"

    def __str__(self) -> str:
        # Dramatiq logs messages as text; their arguments may hold signed URLs.
        return f"{self.actor_name} {self.message_id}"

    __repr__ = __str__


class AdmittingConsumer(_RabbitmqConsumer):
    """Dramatiq's consumer, which lets in only what the queue is for, and loses nothing that it refuses."""

    def __next__(self) -> Delivered | None:
        try:
            method, properties, body = next(self.iterator)
        except (AssertionError, AMQPConnectionError, AMQPChannelError) as error:
            if getattr(error, "reply_code", None) == 404:
                self.broker.queues_pending.add(self.queue_name.removesuffix(".DQ"))
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]
        if method is None:
            return None
        try:
            admitted = admit(body, self.queue_name)
        except MessageRefused as error:
            log.warning("message refused", queue=self.queue_name, reason=str(error))
            self._bury(body, properties.headers, str(error))
            self.channel.basic_ack(method.delivery_tag)
            return None
        message: dramatiq.Message[Any] = dramatiq.Message(
            queue_name=self.queue_name,
            actor_name=admitted.actor_name,
            args=(),
            kwargs=dict(admitted.kwargs),
            options={},
            message_id=admitted.message_id,
            message_timestamp=admitted.message_timestamp,
        )
        self.known_tags.add(method.delivery_tag)
        return Delivered(message, self, method.delivery_tag)

    def ack(self, message: dramatiq.MessageProxy) -> None:
        """Acknowledge, on the connection that it came from; a reconnect has given it back to the queue already."""
        tag = self._take(message)
        if tag is not None:
            self._soon(lambda: self.channel.basic_ack(tag))

    def nack(self, message: dramatiq.MessageProxy) -> None:
        """Give it back to its queue, or move it to the dead letters with its reason."""
        if not isinstance(message, Delivered) or not self._holds(message):
            return
        if not message.requeue:
            self._bury(message.encode(), {}, message.reason)
            self.ack(message)
            return
        tag = self._take(message)
        if tag is not None:
            self._soon(lambda: self.channel.basic_nack(tag, requeue=True))

    def _holds(self, message: Delivered) -> bool:
        return message.consumer is self and message.tag in self.known_tags

    def _take(self, message: dramatiq.MessageProxy) -> int | None:
        if not isinstance(message, Delivered) or not self._holds(message):
            return None
        self.known_tags.discard(message.tag)
        return message.tag

    def _soon(self, act: Callable[[], None]) -> None:
        try:
            self.connection.add_callback_threadsafe(act)
        except (AMQPConnectionError, AMQPChannelError):
            # The message was given back when the connection ended.
            log.info("connection ended before an acknowledgement", queue=self.queue_name)

    def _bury(self, body: bytes, headers: Mapping[str, Any] | None, reason: str) -> None:
        kept = {name: value for name, value in (headers or {}).items() if not name.startswith("x-death")}
        dead_letters = f"{self.queue_name.removesuffix('.DQ')}.XQ"
        try:
            self.broker.publish("", dead_letters, body, {**kept, REASON_HEADER: reason[:1000]})
        except StoreUnavailable as error:
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]


class EmbeddedBroker(StubBroker):
    """The in-process broker. What it loses is due again: the database is the truth."""

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 100) -> dramatiq.Consumer:
        """A consumer that keeps no dead letters: every message here is a nudge."""
        return _ForgettingConsumer(self.queues[queue_name], [], prefetch, timeout)  # type: ignore[no-untyped-call]

    def send(self, message: Message) -> None:
        """Put a message on its queue."""
        self.queues[message.queue_name].put(message.encode())


class _ForgettingConsumer(_StubConsumer):
    def nack(self, message: Any) -> None:
        self.ack(message)  # type: ignore[no-untyped-call]


def _headers(message: Message) -> dict[str, str]:
    job_id = message.kwargs.get("job_id")
    return {"job_id": str(job_id)} if job_id is not None else {}
