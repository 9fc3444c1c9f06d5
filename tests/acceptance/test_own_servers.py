"""RabbitMQ and PostgreSQL that refuse us, or say nothing; and parts of a process that end by themselves."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.processes import Program

Start = Callable[..., Program]
GATEWAY, WORKER, CLOCK, UP = ("gateway", "--port", "0"), ("worker",), ("clock",), ("up", "--port", "0")


def settings(database_url: str, amqp_url: str = "amqp://nobody:hush@127.0.0.1:9/v") -> dict[str, str]:
    """Of processes that would wait for ten minutes."""
    return {
        "PARSEGATE_AMQP_URL": amqp_url,
        "PARSEGATE_DATABASE_URL": database_url,
        "PARSEGATE_SECRET_KEY": "0123456789abcdef" * 4,
        "PARSEGATE_START_WAIT_SECONDS": "600",
        "PARSEGATE_MODE": "mock",
    }


def with_wrong(url: str, wrong: str) -> str:
    """A server's URL with a wrong password, or with a database or vhost that it does not have."""
    parts = urlsplit(url)
    if wrong == "password":
        return parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":hush@")).geturl()
    return parts._replace(path="/nowhere").geturl()


def ended(program: Program) -> str:
    """The output of a process that ended with one clear sentence."""
    assert program.wait() != 0
    for never in ("Traceback", "hush"):
        assert never not in program.output
    return program.output


def migrated(start: Start, environment: dict[str, str]) -> None:
    assert start("db", "migrate", environment=environment).wait() == 0


@pytest.mark.parametrize(
    ("command", "wrong"), [(GATEWAY, "password"), (WORKER, "name"), (CLOCK, "password"), (UP, "name")]
)
def test_a_database_that_refuses_us_ends_the_start_at_once(
    start_program: Start, command: tuple[str, ...], wrong: str, postgres_url: str
) -> None:
    output = ended(start_program(*command, environment=settings(with_wrong(postgres_url, wrong))))
    assert "check PARSEGATE_DATABASE_URL" in output
    assert "waiting for" not in output


@pytest.mark.parametrize(
    ("command", "wrong"), [(GATEWAY, "password"), (WORKER, "vhost"), (CLOCK, "password"), (UP, "vhost")]
)
def test_a_broker_that_refuses_us_ends_the_start_at_once(
    start_program: Start, command: tuple[str, ...], wrong: str, postgres_url: str, amqp_url: str
) -> None:
    environment = settings(postgres_url, with_wrong(amqp_url, wrong))
    migrated(start_program, environment)
    output = ended(start_program(*command, environment=environment))
    assert "check user, password and vhost in PARSEGATE_AMQP_URL" in output
    assert "waiting for" not in output


@pytest.mark.parametrize("command", [GATEWAY, WORKER])
def test_a_broker_that_accepts_and_says_nothing_is_waited_for_and_then_said(
    start_program: Start, command: tuple[str, ...], postgres_url: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"127.0.0.1:{silent.getsockname()[1]}/v"
        environment = settings(postgres_url, f"amqp://nobody:hush@{where}?stack_timeout=0.5")
        migrated(start_program, environment)
        output = ended(start_program(*command, environment=environment | {"PARSEGATE_START_WAIT_SECONDS": "2"}))
    assert f"waiting for RabbitMQ at {where}: " in output
    assert f"RabbitMQ at {where} did not answer within 2 s" in output
    assert "ready" not in output


def test_a_file_that_is_no_database_ends_the_start_at_once(start_program: Start, tmp_path: Path) -> None:
    (tmp_path / "parsegate-data").mkdir()
    (tmp_path / "parsegate-data" / "parsegate.db").write_text("Dear Sir or Madam," * 1000)
    output = ended(start_program("up", "--port", "0"))
    assert "parsegate.db is not an SQLite database: move it away" in output
    assert "waiting for" not in output


@pytest.mark.parametrize("command", [CLOCK, UP])
def test_a_clock_that_ends_by_itself_ends_its_process(
    start_program: Start, command: tuple[str, ...], postgres_url: str, amqp_url: str
) -> None:
    environment = settings(postgres_url, amqp_url)
    migrated(start_program, environment)
    program = start_program(*command, environment=environment)
    program.wait_for("^ready")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE delivery RENAME TO elsewhere")
    assert program.wait() == 1
    assert "the clock ended unexpectedly" in program.output
    last = program.output.splitlines()[-1]
    assert last == "parsegate: the clock has stopped by itself, so this process ends; the log says why"
