"""Our own servers, RabbitMQ and PostgreSQL: where they are, and what it means when they refuse.

Both entrances connect to RabbitMQ, and neither may import the other. What they must agree on is words and numbers, so
it stands here without pika, which each of them hands it to.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

from domain.errors import BadSetting, StoreRefused, StoreUnavailable

DEFAULT_VHOST: Final = "parsegate"
HEARTBEAT_S: Final = 20
CONNECT_TIMEOUT_S: Final = 5
BLOCKED_TIMEOUT_S: Final = 30
"""How long a worker waits for a RabbitMQ that takes nothing in (a memory or disk alarm) before it counts as away."""

_AMQP_REFUSAL: Final = re.compile(r"(?:ACCESS_REFUSED|NOT_ALLOWED|PRECONDITION_FAILED).*")
_DATABASE_REFUSAL: Final = re.compile(
    r"password authentication failed.*|(?:database|role) \"[^\"]*\" does not exist.*|no pg_hba\.conf entry.*"
    r"|permission denied for database.*|no password supplied.*"
)
"""PostgreSQL sends no code that its client shows while connecting. In another language than English this does not
match: then a start waits for as long as for a server that is away."""


def amqp_address(url: str, *, name: str, blocked_timeout_s: int | None = None) -> str:
    """``amqp://user:password@host:port/vhost`` (or ``amqps``) with a limit for every wait, as pika reads it.

    Without a path the vhost is `parsegate`; options that the query names already (``?heartbeat=10``) stay.

    Args:
        name: what the connection is called on RabbitMQ's management page.
        blocked_timeout_s: how long the connection may be blocked before it is given up; by default for ever.

    Raises:
        BadSetting: malformed. The words never hold the URL, which has a password in it.
    """
    options: dict[str, object] = {
        "heartbeat": HEARTBEAT_S,
        "socket_timeout": CONNECT_TIMEOUT_S,
        "stack_timeout": 2 * CONNECT_TIMEOUT_S,
        "connection_attempts": 1,
        "client_properties": {"connection_name": name},
    }
    if blocked_timeout_s is not None:
        options["blocked_connection_timeout"] = blocked_timeout_s
    try:
        parts = urlsplit(url)
        if parts.scheme not in {"amqp", "amqps"} or not parts.hostname:
            raise ValueError
    except ValueError:
        raise malformed_amqp_url() from None
    said = parse_qs(parts.query, keep_blank_values=True)
    added = [f"{option}={quote(str(value))}" for option, value in options.items() if option not in said]
    path = f"/{DEFAULT_VHOST}" if parts.path in {"", "/"} else parts.path
    return parts._replace(path=path, query="&".join([*filter(None, [parts.query]), *added])).geturl()


def malformed_amqp_url() -> BadSetting:
    """What is said of a broker's URL that can't be read."""
    return BadSetting("PARSEGATE_AMQP_URL must be amqp://user:password@host:port/vhost")


def place(url: str) -> str:
    """Where a server or a file is, for people: never a user, a password or an option."""
    scheme, _, rest = url.partition("://")
    address = re.split(r"[?#]", rest, maxsplit=1)[0]
    return address.removeprefix("/") if scheme == "sqlite" else address.rpartition("@")[2]


def cause(error: BaseException | None) -> str:
    """The cause inside pika's nested errors, in one line. pika puts no credentials into errors."""
    while error is not None:
        inner = getattr(error, "exceptions", None) or [getattr(error, "exception", None)]
        if not isinstance(inner[-1], BaseException):
            inner = error.args[:1] if error.args and isinstance(error.args[0], BaseException) else ()
        if not inner:
            break
        error = inner[-1]
    return " ".join(f"{type(error).__name__}: {error}".split())


def broker_trouble(error: BaseException) -> StoreUnavailable:
    """What an error of pika's means: RabbitMQ refuses us, or it is away."""
    words = cause(error)
    if words.startswith("AMQPConnectorStackTimeout"):
        return StoreUnavailable("RabbitMQ can't be used now: it accepts connections, and says nothing")
    found = _AMQP_REFUSAL.search(words)
    if found is None:
        return StoreUnavailable(f"RabbitMQ can't be used now: {words[:300]}")
    said = found[0].rstrip("'\") .")
    return StoreRefused(f"RabbitMQ refuses ({said[:300]}): check user, password and vhost in PARSEGATE_AMQP_URL")


def database_trouble(words: str) -> StoreUnavailable:
    """What the database's client said of a failure: it refuses us, or it is away."""
    words = " ".join(words.split())
    found = _DATABASE_REFUSAL.search(words)
    if found is None:
        return StoreUnavailable(f"the database can't be used now: {words}")
    return StoreRefused(f"the database refuses ({found[0]}): check PARSEGATE_DATABASE_URL")
