"""What counts as a database that is away, on both kinds: everybody waits for that, and nothing is lost or buried."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from peewee import DataError, IntegrityError, ProgrammingError

from domain.errors import StoreRefused, StoreUnavailable
from domain.settings import Mode
from models import control
from models.control import ModeNow
from models.database import close_connection, database, open_database, reading, transaction
from models.migrations import migrate
from parsegate.data_folder import sole_use, write_private
from tests.state import state_of


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    with state_of("postgresql", tmp_path) as url:
        yield url


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Path]:
    with state_of("sqlite", tmp_path):
        yield tmp_path / "state.db"


def write() -> None:
    with transaction():
        database.execute_sql("DELETE FROM setting")


def make_read_only(url: str, read_only: bool) -> None:
    """As a demotion or a failover does it: the old connections are cut, the new ones may only read."""
    name = urlsplit(url).path[1:]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {read_only}")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                           " AND datname = current_database()")  # fmt: skip


def test_a_postgresql_that_may_only_be_read_is_away_until_it_is_not(postgres: str) -> None:
    write()
    make_read_only(postgres, True)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="read-only"):
            write()
    make_read_only(postgres, False)
    write()


def test_what_is_wrong_with_a_statement_is_not_taken_for_an_absence(postgres: str) -> None:
    wrong = {
        "SELECT * FROM nowhere": ProgrammingError,
        "SELECT 1/0": DataError,
        "INSERT INTO setting SELECT NULL, NULL, NULL, NULL": IntegrityError,
    }
    for statement, kind in wrong.items():
        with pytest.raises(kind), transaction():
            database.execute_sql(statement)


@pytest.mark.parametrize(("user", "password", "name"), [("", "wrong", ""), ("nobody", "", ""), ("", "", "nowhere")])
def test_a_postgresql_that_refuses_us_says_so(postgres: str, user: str, password: str, name: str) -> None:
    parts = urlsplit(postgres)
    netloc = f"{user or parts.username}:{password or parts.password}@{parts.hostname}:{parts.port}"
    close_connection()
    open_database(parts._replace(netloc=netloc, path=f"/{name}" if name else parts.path).geturl())
    with pytest.raises(StoreRefused, match="PARSEGATE_DATABASE_URL") as caught:
        write()
    assert (password or parts.password or "") not in str(caught.value)
    open_database(postgres)


def test_an_sqlite_that_may_only_be_read_is_away(sqlite: Path) -> None:
    database.execute_sql("PRAGMA query_only = 1")
    with pytest.raises(StoreUnavailable, match="readonly"):
        write()


def test_a_full_disk_under_sqlite_is_away(sqlite: Path) -> None:
    pages = database.execute_sql("PRAGMA page_count").fetchone()[0]
    database.execute_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreUnavailable, match="full"), transaction():
        database.execute_sql("CREATE TABLE more (x TEXT)")
        database.execute_sql("INSERT INTO more VALUES (?)", ("x" * 1_000_000,))


def test_a_file_that_is_no_database_is_said_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_text("Dear Sir or Madam," * 1000)
    open_database(f"sqlite:///{path}")
    for use in (migrate, reading_once):
        with pytest.raises(StoreRefused, match=r"state\.db is not an SQLite database: move it away"):
            use()


def reading_once() -> None:
    with reading():
        database.execute_sql("SELECT 1 FROM setting")


def test_who_reads_the_mode_holds_up_nobody_else() -> None:
    """A read may wait for a slow database; whoever comes meanwhile may go on to its own."""
    both = threading.Barrier(2, timeout=10)

    def read(configured: Mode) -> ModeNow:
        both.wait()
        return ModeNow(configured, "test")

    mode = control.CachedMode(Mode.MOCK, lambda: 0.0, read)
    found: list[Mode] = []
    threads = [threading.Thread(target=lambda: found.append(mode())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [Mode.MOCK] * 2
    assert mode() is Mode.MOCK


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("usual_umask")
def test_nobody_else_may_read_a_database_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state.db"
    open_database(f"sqlite:///{path}")
    migrate()
    files = {file.name: mode_of(file) for file in path.parent.iterdir()}
    close_connection()
    assert files == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}
    assert mode_of(path.parent) == 0o700


@pytest.mark.usefixtures("usual_umask")
def test_nobody_else_may_look_into_a_data_folder_of_ours(tmp_path: Path) -> None:
    with sole_use(tmp_path / "one"):
        assert mode_of(tmp_path / "one") == 0o700
    write_private(tmp_path / "two" / "secret-key", "hush")
    assert mode_of(tmp_path / "two") == 0o700
    assert mode_of(tmp_path / "two" / "secret-key") == 0o600


@pytest.mark.usefixtures("usual_umask")
def test_the_rights_of_a_folder_that_was_there_are_its_owner_s_choice(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir(mode=0o755)
    with sole_use(tmp_path / "shared"):
        assert mode_of(tmp_path / "shared") == 0o755


def test_another_process_that_comes_and_goes_takes_nothing_away(tmp_path: Path) -> None:
    """POSIX drops a process's locks on a file when it closes any descriptor of it (sqlite.org/howtocorrupt, 2.2).

    Without them the other process thinks that it is the last one, and removes the log that we write to.
    """
    with state_of("sqlite", tmp_path):
        later = threading.Thread(target=_connect_and_leave)
        control.set_mode(Mode.HYBRID, Mode.MOCK, who="first", now=datetime.now(UTC))
        later.start()
        later.join()
        file = Path(str(database.obj.database))
        assert _read_elsewhere(file) == "first"
        assert file.with_name(f"{file.name}-wal").exists()
        control.set_mode(Mode.HYBRID, Mode.MOCK, who="second", now=datetime.now(UTC))
        assert _read_elsewhere(file) == "second"


def _connect_and_leave() -> None:
    control.read_mode(Mode.MOCK)
    close_connection()


def _read_elsewhere(file: Path) -> str:
    """Who switched the mode, as another process reads it."""
    program = f"import sqlite3; c = sqlite3.connect({str(file)!r}); "
    program += "print(c.execute(\"SELECT changed_by FROM setting WHERE name = 'mode'\").fetchone()[0]); c.close()"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return answer.stdout.strip()
