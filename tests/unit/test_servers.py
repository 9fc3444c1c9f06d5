"""What is said of our own servers: where they are, and whether they are away or refuse us. Never a password."""

from __future__ import annotations

import pika
import pytest
from pika.adapters.utils.connection_workflow import AMQPConnectorStackTimeout
from pika.exceptions import (
    ChannelClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    StreamLostError,
)

from domain.errors import BadSetting, StoreRefused, StoreUnavailable
from domain.servers import amqp_address, broker_trouble, database_trouble, place


def test_every_wait_for_the_broker_has_a_limit() -> None:
    read = pika.URLParameters(amqp_address("amqp://a:p%2Fw@host/v", name="us", blocked_timeout_s=30))
    assert (read.host, read.virtual_host, read.credentials.password) == ("host", "v", "p/w")
    assert (read.heartbeat, read.socket_timeout, read.stack_timeout) == (20, 5, 10)
    assert (read.blocked_connection_timeout, read.connection_attempts) == (30, 1)
    assert read.client_properties == {"connection_name": "us"}


def test_options_of_the_url_stay() -> None:
    read = pika.URLParameters(amqp_address("amqps://host?heartbeat=7&stack_timeout=1.5", name="us"))
    assert (read.virtual_host, read.heartbeat, read.stack_timeout) == ("parsegate", 7, 1.5)
    assert read.blocked_connection_timeout is None
    assert read.ssl_options is not None


@pytest.mark.parametrize("url", ["", "host", "http://a:hush@host", "amqp://", "amqp://a:hush@[host"])
def test_a_malformed_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(BadSetting, match="PARSEGATE_AMQP_URL") as refused:
        amqp_address(url, name="us")
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("amqp://user:hush@host:5671/v?password=hush", "host:5671/v"),
        ("postgresql://user:hu@sh@[::1]:5432/name#hush", "[::1]:5432/name"),
        ("postgresql://one:1,two:2/name", "one:1,two:2/name"),
        ("postgresql:///name?host=/run", "/name"),
        ("sqlite:////data/parsegate.db", "/data/parsegate.db"),
        ("sqlite:///parsegate.db", "parsegate.db"),
    ],
)
def test_a_place_is_said_without_credentials(url: str, where: str) -> None:
    assert place(url) == where


@pytest.mark.parametrize(
    "error",
    [
        ProbableAuthenticationError("ConnectionClosedByBroker: (403) 'ACCESS_REFUSED - Login was refused'"),
        ProbableAccessDeniedError("ConnectionClosedByBroker: (530) 'NOT_ALLOWED - vhost v not found'"),
        ChannelClosedByBroker(403, "ACCESS_REFUSED - access to queue 'submit' refused"),
        ChannelClosedByBroker(406, "PRECONDITION_FAILED - inequivalent arg 'x-queue-type'"),
    ],
)
def test_a_broker_that_refuses_is_not_away(error: Exception) -> None:
    trouble = broker_trouble(error)
    assert isinstance(trouble, StoreRefused)
    assert "PARSEGATE_AMQP_URL" in str(trouble)


@pytest.mark.parametrize(
    "error",
    [
        AMQPConnectorStackTimeout("no answer"),
        ConnectionRefusedError(111, "refused"),
        ProbableAuthenticationError("StreamLostError: ('gone',)"),
        StreamLostError("gone"),
    ],
)
def test_a_broker_that_is_away_does_not_refuse(error: Exception) -> None:
    assert type(broker_trouble(error)) is StoreUnavailable


@pytest.mark.parametrize(
    ("words", "refuses"),
    [
        ('FATAL:  password authentication failed for user "u"', True),
        ('FATAL:  database "d" does not exist', True),
        ('FATAL:  role "u" does not exist', True),
        ('FATAL:  no pg_hba.conf entry for host "h", user "u"', True),
        ("fe_sendauth: no password supplied", True),
        ("connection refused", False),
        ("FATAL:  the database system is starting up", False),
        ("FATAL:  sorry, too many clients already", False),
        ('relation "job" does not exist', False),
    ],
)
def test_a_database_refuses_or_is_away(words: str, refuses: bool) -> None:
    assert isinstance(database_trouble(words), StoreRefused) is refuses
