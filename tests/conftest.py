"""Fixtures for every test: the servers that `scripts/test` started, each test with a database or vhost of its own."""

from __future__ import annotations

import base64
import os
import secrets
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from urllib.parse import quote, unquote, urlsplit

import psycopg
import pytest
from psycopg import sql

from tests.processes import Program

ONE_SIGNAL_S = 2.0


def pytest_configure() -> None:
    """Let SIGTERM end the run as Ctrl-C does, so that tests still stop what they started."""
    interrupted_at = [-ONE_SIGNAL_S]

    def interrupt(signum: int, frame: FrameType | None) -> None:
        # One wish to stop may arrive twice: from the terminal or `timeout`, and passed on by scripts/test.
        if time.monotonic() - interrupted_at[0] < ONE_SIGNAL_S:
            return
        interrupted_at[0] = time.monotonic()
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)


def server_url(variable: str) -> str:
    """The address of a test server; a test that needs one fails without it, and is never skipped."""
    url = os.environ.get(variable)
    if not url:
        pytest.fail(f"{variable} is not set: run scripts/test", pytrace=False)
    return url


def _with_path(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{quote(name, safe='')}").geturl()


def _unique(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(6)}"


@contextmanager
def fresh_database() -> Iterator[str]:
    """The URL of an empty PostgreSQL database, dropped afterwards together with whoever is still connected."""
    server, name = server_url("PARSEGATE_TEST_DATABASE_URL"), _unique("parsegate_test")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield _with_path(server, name)
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def fresh_vhost() -> Iterator[str]:
    """The URL of an empty RabbitMQ vhost, deleted afterwards; without a management API, the given one as it is."""
    broker, management = server_url("PARSEGATE_TEST_AMQP_URL"), os.environ.get("PARSEGATE_TEST_MANAGEMENT_URL")
    if not management:
        yield broker
        return
    name = _unique("parsegate-test")
    user = unquote(urlsplit(broker).username or "guest")
    _manage(management, "PUT", f"/api/vhosts/{name}", b"{}")
    try:
        rights = b'{"configure": ".*", "write": ".*", "read": ".*"}'
        _manage(management, "PUT", f"/api/permissions/{name}/{quote(user, safe='')}", rights)
        yield _with_path(broker, name)
    finally:
        _manage(management, "DELETE", f"/api/vhosts/{name}")


def _manage(management: str, method: str, path: str, body: bytes | None = None) -> None:
    parts = urlsplit(management)
    login = base64.b64encode(f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()).decode()
    request = urllib.request.Request(
        f"{parts.scheme}://{parts.hostname}:{parts.port}{path}",
        data=body,
        method=method,
        headers={"Authorization": f"Basic {login}", "Content-Type": "application/json"},
    )
    without_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    without_proxy.open(request, timeout=30).close()


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """A PostgreSQL database of the test's own."""
    with fresh_database() as url:
        yield url


@pytest.fixture(scope="module")
def module_postgres_url() -> Iterator[str]:
    """A PostgreSQL database that the tests of a module share."""
    with fresh_database() as url:
        yield url


@pytest.fixture(scope="module")
def amqp_url() -> Iterator[str]:
    """A RabbitMQ vhost that the tests of a module share."""
    with fresh_vhost() as url:
        yield url


@pytest.fixture
def fresh_amqp_url() -> Iterator[str]:
    """A RabbitMQ vhost of the test's own."""
    with fresh_vhost() as url:
        yield url


@pytest.fixture(scope="session")
def management_url() -> str:
    """RabbitMQ's management HTTP API, with user and password; it serves every vhost."""
    return server_url("PARSEGATE_TEST_MANAGEMENT_URL")


@pytest.fixture
def start_program(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Start `parsegate ARGUMENTS` with `environment`; everything started ends with the test, the last one first."""
    with ExitStack() as running:

        def start(*arguments: str, environment: dict[str, str] | None = None) -> Program:
            return running.enter_context(Program(*arguments, folder=tmp_path, environment=environment))

        yield start
