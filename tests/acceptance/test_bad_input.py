"""Whatever is wrong at the start, or with a file, is said in one clear sentence, without a traceback."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import Program

Start = Callable[..., Program]
SECRET_KEY = "0123456789abcdef" * 4
DISTRIBUTED = {
    "PARSEGATE_AMQP_URL": "amqp://nobody:hush@127.0.0.1:9/v",
    "PARSEGATE_DATABASE_URL": "postgresql://nobody:hush@127.0.0.1:9/none",
    "PARSEGATE_SECRET_KEY": SECRET_KEY,
    "PARSEGATE_START_WAIT_SECONDS": "2",
    "PARSEGATE_MODE": "mock",
}


def refused(program: Program, status: int = 1) -> str:
    """The last line of a program that ended as it should have."""
    assert program.process.wait(timeout=60) == status, program.output
    assert "Traceback" not in program.output
    assert "hush" not in program.output
    return program.output.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"PARSEGATE_MODE": "real"}, "LLAMA_CLOUD_API_KEY is not set"),
        ({"LLAMA_CLOUD_API_KEY": "llx-x"}, "PARSEGATE_DAILY_BUDGET_USD is not set"),
        ({"PARSEGATE_PARSE_LIMIT": "many"}, "PARSEGATE_PARSE_LIMIT write it as COUNT/SECONDS"),
        ({"PARSEGATE_DATABASE_URL": "mysql://x/y"}, "must begin with postgresql://"),
        ({"PARSEGATE_RESULTS_URL": "nonsense://x"}, "PARSEGATE_RESULTS_URL"),
        ({"PARSEGATE_SECRET_KEY": "short"}, "64 hex digits"),
    ],
)
def test_a_setting_that_is_wrong_stops_the_start(start_program: Start, environment: dict[str, str], words: str) -> None:
    assert words in refused(start_program("up", "--port", "0", environment=environment))


def test_a_port_in_use(start_program: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for command in (["up"], ["simulator"]):
            line = refused(start_program(*command, "--port", str(port)))
            assert f"port {port} on 127.0.0.1 is in use: choose another with --port" in line


@pytest.mark.parametrize("command", [("gateway", "--port", "0"), ("worker",), ("clock",), ("up", "--port", "0")])
def test_a_database_that_is_not_there_is_waited_for_and_then_said(
    start_program: Start, command: tuple[str, ...]
) -> None:
    program = start_program(*command, environment=DISTRIBUTED)
    line = refused(program)
    assert "waiting for the database" in program.output
    assert "the database did not answer within 2 s" in line


@pytest.mark.parametrize("command", [("worker",), ("clock",), ("up", "--port", "0")])
def test_a_broker_that_is_not_there_is_waited_for_and_then_said(
    start_program: Start, command: tuple[str, ...], postgres_url: str
) -> None:
    settings = DISTRIBUTED | {"PARSEGATE_DATABASE_URL": postgres_url}
    migrated = start_program("db", "migrate", environment=settings)
    assert migrated.process.wait(timeout=60) == 0
    program = start_program(*command, environment=settings)
    assert program.process.wait(timeout=60) != 0
    assert "waiting for RabbitMQ" in program.output
    assert "RabbitMQ did not answer within 2 s" in program.output
    assert "hush" not in program.output
    assert "Traceback" not in program.output


@pytest.mark.parametrize("command", [("gateway", "--port", "0"), ("worker",), ("clock",)])
def test_an_old_schema_stops_the_start(start_program: Start, command: tuple[str, ...], postgres_url: str) -> None:
    line = refused(start_program(*command, environment=DISTRIBUTED | {"PARSEGATE_DATABASE_URL": postgres_url}))
    assert "run 'parsegate db migrate'" in line


def test_a_newer_schema_stops_the_start(start_program: Start, tmp_path: Path) -> None:
    assert start_program("db", "migrate").process.wait(timeout=60) == 0
    with sqlite3.connect(tmp_path / "parsegate-data" / "parsegate.db") as connection:
        connection.execute("UPDATE schema_migration SET number = 9999")
    connection.close()
    assert "install the newer Parsegate" in refused(start_program("up", "--port", "0"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("submit", "nowhere.pdf"), "'nowhere.pdf' does not exist"),
        (("submit", "."), "is a directory"),
        (("submit",), "Missing argument"),
        (("submit", "a.txt", "--tier", "premium"), "'premium' is not one of"),
        (("jobs", "show", "17"), "not a valid UUID"),
        (("mode", "set", "quick"), "'quick' is not one of"),
        (("nonsense",), "No such command 'nonsense'"),
        (("simulator", "--fault", "no-such=1"), "no-such"),
        (("simulator", "--fault", "webhook-lost"), "NAME=RATE"),
    ],
)
def test_bad_usage_is_one_sentence_and_2(
    start_program: Start, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    (tmp_path / "a.txt").write_text("text")
    line = refused(start_program(*arguments), status=2)
    assert words in line


def test_a_client_without_a_server_says_how_to_start_one(start_program: Start, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    assert "PARSEGATE_TOKEN is not set" in refused(start_program("submit", "a.txt"))
    settings = {"PARSEGATE_TOKEN": "pg_x", "PARSEGATE_URL": "http://127.0.0.1:9"}
    assert "parsegate up" in refused(start_program("submit", "a.txt", environment=settings))


def test_files_that_can_not_be_taken(start_program: Start, tmp_path: Path) -> None:
    (tmp_path / "empty.pdf").touch()
    with (tmp_path / "large.pdf").open("wb") as large:
        large.truncate(1_000_001)
    start_program("up", "--port", "0", environment={"PARSEGATE_MAX_FILE_MB": "1"}).wait_for("ready on")
    assert "empty" in refused(start_program("submit", "empty.pdf"))
    assert "larger than" in refused(start_program("submit", "large.pdf"))
    (tmp_path / "fine.txt").write_text("Some text.")
    fine = start_program("submit", "fine.txt", "--wait", "--json")
    assert fine.process.wait(timeout=60) == 0, fine.output
    assert '"provenance": "mock"' in fine.output
