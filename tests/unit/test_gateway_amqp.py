"""The broker's address, and its errors in words."""

from __future__ import annotations

from random import Random

import pika
import pytest
from pika.adapters.utils.connection_workflow import AMQPConnectionWorkflowFailed, AMQPConnectorSocketConnectError
from pika.exceptions import AMQPConnectionError, ChannelClosedByBroker, StreamLostError

from domain.errors import BadSetting
from domain.servers import HEARTBEAT_S, cause
from gateway.amqp_session import amqp_parameters
from gateway.publisher import AmqpPublisher


@pytest.mark.parametrize(
    ("url", "vhost", "port"),
    [
        ("amqp://a:b@host", "parsegate", 5672),
        ("amqp://a:b@host/", "parsegate", 5672),
        ("amqp://a:b@host:1/other", "other", 1),
        ("amqp://a:b@host/%2f", "/", 5672),
        ("amqps://a:b@host", "parsegate", 5671),
    ],
)
def test_address(url: str, vhost: str, port: int) -> None:
    """A vhost of our own by default, TLS with a check of the certificate by its scheme, heartbeats always."""
    parameters = amqp_parameters(url)
    assert (parameters.host, parameters.virtual_host, parameters.port) == ("host", vhost, port)
    assert parameters.heartbeat == HEARTBEAT_S
    assert (parameters.ssl_options is not None) == url.startswith("amqps")
    if parameters.ssl_options is not None:
        assert parameters.ssl_options.context.check_hostname


def test_password_is_unquoted_and_options_are_taken() -> None:
    """As any AMQP client reads the URL."""
    parameters = amqp_parameters("amqp://us%40er:p%2Fw@host/v?heartbeat=7")
    assert isinstance(parameters.credentials, pika.PlainCredentials)
    assert (parameters.credentials.username, parameters.credentials.password) == ("us@er", "p/w")
    assert parameters.heartbeat == 7


@pytest.mark.parametrize(
    "url",
    ["", "host", "http://a:s3cret@host", "amqp://", "amqp://a:s3cret@host:x", "amqp://a:s3cret@host/v?colour=red",
     "amqp://a:s3cret@host/v?heartbeat=x", "amqp://s3cret@host", "amqp://a:s3cret@[host"],
)  # fmt: skip
def test_malformed_address_is_refused_without_its_password(url: str) -> None:
    """At once, not when it is used."""
    with pytest.raises(BadSetting, match="PARSEGATE_AMQP_URL") as refused:
        AmqpPublisher(url, random=Random(1))
    assert "s3cret" not in str(refused.value)
    assert refused.value.__suppress_context__


def test_cause_is_found_inside_pika_s_wrappings() -> None:
    """One line that an operator can go by."""
    refused = ConnectionRefusedError(111, "Connection refused")
    wrapped = AMQPConnectionError(AMQPConnectionWorkflowFailed([AMQPConnectorSocketConnectError(refused)]))
    assert cause(wrapped) == "ConnectionRefusedError: [Errno 111] Connection refused"
    assert cause(StreamLostError("gone\n  away")) == "StreamLostError: gone away"
    assert cause(ChannelClosedByBroker(406, "PRECONDITION_FAILED")) == (
        "ChannelClosedByBroker: (406, 'PRECONDITION_FAILED')"
    )
