"""Whatever is wrong at the start, or with a file, is said in one clear sentence, without a traceback."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from uuid import UUID

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

PROCESSES = [("gateway", "--port", "0"), ("worker",), ("clock",), ("up", "--port", "0")]


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
        ({"PARSEGATE_PARSE_LIMIT": "many"}, "PARSEGATE_PARSE_LIMIT: write COUNT/SECONDS"),
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


@pytest.mark.parametrize("command", PROCESSES)
def test_a_database_that_is_not_there_is_waited_for_and_then_said(
    start_program: Start, command: tuple[str, ...]
) -> None:
    program = start_program(*command, environment=DISTRIBUTED)
    line = refused(program)
    assert "waiting for the database at 127.0.0.1:9/none: " in program.output
    assert "the database at 127.0.0.1:9/none did not answer within 2 s" in line


@pytest.mark.parametrize("command", PROCESSES)
def test_a_broker_that_is_not_there_is_waited_for_and_then_said(
    start_program: Start, command: tuple[str, ...], postgres_url: str
) -> None:
    settings = DISTRIBUTED | {"PARSEGATE_DATABASE_URL": postgres_url}
    migrated = start_program("db", "migrate", environment=settings)
    assert migrated.process.wait(timeout=60) == 0
    program = start_program(*command, environment=settings)
    assert program.process.wait(timeout=60) != 0
    assert "waiting for RabbitMQ at 127.0.0.1:9/v: " in program.output
    assert "RabbitMQ at 127.0.0.1:9/v did not answer within 2 s" in program.output
    assert "ready" not in program.output
    assert "hush" not in program.output
    assert "Traceback" not in program.output


@pytest.mark.parametrize("command", [("gateway", "--port", "0"), ("worker",), ("clock",)])
def test_an_old_schema_stops_the_start(start_program: Start, command: tuple[str, ...], postgres_url: str) -> None:
    line = refused(start_program(*command, environment=DISTRIBUTED | {"PARSEGATE_DATABASE_URL": postgres_url}))
    assert "run 'parsegate db migrate'" in line


def test_a_newer_schema_stops_the_start(start_program: Start, tmp_path: Path) -> None:
    assert start_program("db", "migrate").process.wait(timeout=60) == 0
    with sqlite3.connect(tmp_path / "parsegate-data" / "parsegate.db") as connection:
        connection.execute("INSERT INTO schema_migration SELECT 9999, name, applied_at FROM schema_migration LIMIT 1")
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
        (("submit", "empty.txt"), "'empty.txt' is empty"),
        (("submit", "fifo"), "'fifo' is not a regular file"),
        (("quote", "fifo"), "'fifo' is not a regular file"),
        (("up", "--port", "abc"), "'abc' is not a port"),
        (("gateway", "--port", "65536"), "'65536' is not a port"),
        (("token", "create", "--name", "x"), "Missing option '--scope'. Choose from: submit, read, admin"),
        (("token", "create", "--name", " ", "--scope", "read"), "1 to 200 printable characters"),
        (("simulator", "--fault", "no-such=1"), "no-such"),
        (("simulator", "--fault", "webhook-lost"), "NAME=RATE"),
    ],
)
def test_bad_usage_is_one_sentence_and_2(
    start_program: Start, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "empty.txt").touch()
    os.mkfifo(tmp_path / "fifo")
    program = start_program(*arguments)
    assert words in refused(program, status=2)
    assert len(program.output.splitlines()) == 1


def test_a_client_without_a_server_says_how_to_start_one(start_program: Start, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    assert "PARSEGATE_TOKEN is not set" in refused(start_program("submit", "a.txt"))
    settings = {"PARSEGATE_TOKEN": "pg_x", "PARSEGATE_URL": "http://127.0.0.1:9"}
    assert "parsegate up" in refused(start_program("submit", "a.txt", environment=settings))


def test_files_that_can_not_be_taken(start_program: Start, tmp_path: Path) -> None:
    with (tmp_path / "large.pdf").open("wb") as large:
        large.truncate(1_000_001)
    start_program("up", "--port", "0", environment={"PARSEGATE_MAX_FILE_MB": "1"}).wait_for("ready on")
    (tmp_path / "fine.txt").write_text("Some text.")
    mixed = start_program("submit", "fine.txt", "large.pdf", "fine.txt", "--wait")
    words = "large.pdf is larger than the limit of 1 MB (PARSEGATE_MAX_FILE_MB)"
    assert refused(mixed) == f"parsegate: {words}"
    assert len(re.findall(r"^[0-9a-f-]{36}  received  fine.txt$", mixed.output, re.MULTILINE)) == 1
    fine = start_program("submit", "fine.txt", "--wait", "--json")
    assert fine.process.wait(timeout=60) == 0, fine.output
    assert '"provenance": "mock"' in fine.output


@pytest.mark.parametrize("content", [b"", b"not hex digits", b"\xff\xfe\x00"])
def test_a_broken_secret_key_is_said(start_program: Start, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "parsegate-data").mkdir()
    (tmp_path / "parsegate-data" / "secret-key").write_bytes(content)
    for command in (("up", "--port", "0"), ("secrets", "webhook", "0b9f6c1e-4f3d-4b6e-9d0e-2f7a54d5c001")):
        line = refused(start_program(*command))
        assert (
            "secret-key is broken (it must be 64 hex digits; several, comma-separated, while rotating): bring it"
            in line
        )


@pytest.mark.parametrize(
    "command",
    [("token", "list"), ("token", "revoke", "--name", "x"), ("doctor",), ("secrets", "webhook", str(UUID(int=1)))],
    ids=" ".join,
)
def test_a_look_in_a_wrong_folder_makes_nothing_there(
    start_program: Start, tmp_path: Path, command: tuple[str, ...]
) -> None:
    program = start_program(*command, environment={"PARSEGATE_SECRET_KEY": SECRET_KEY})
    program.wait()
    assert "there is no database" in program.output
    assert not (tmp_path / "parsegate-data").exists()


def test_a_stranger_and_a_mute_server_are_known_soon(start_program: Start, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    heard: list[str | None] = []

    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.headers["Authorization"])
            self.send_error(404)

    def client(url: str) -> str:
        return refused(start_program("submit", "a.txt", environment={"PARSEGATE_TOKEN": "pg_x", "PARSEGATE_URL": url}))

    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as stranger:
        Thread(target=stranger.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{stranger.server_port}"
        assert f"what answers at {url} is not a Parsegate (HTTP 404)" in client(url)
        stranger.shutdown()
    assert heard == [None]
    with socket.create_server(("127.0.0.1", 0)) as mute:
        began = time.monotonic()
        assert "timed out" in client(f"http://127.0.0.1:{mute.getsockname()[1]}")
        assert time.monotonic() - began < 20
