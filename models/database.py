"""The database: SQLite embedded, PostgreSQL distributed, the same models on both.

Peewee binds models to a database once for each process, through `database`; `open_database` says which.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from peewee import (
    Database,
    DatabaseError,
    DatabaseProxy,
    Field,
    InterfaceError,
    Model,
    OperationalError,
    PeeweeException,
    PostgresqlDatabase,
    SqliteDatabase,
)

from domain.clock import format_utc, parse_utc
from domain.errors import BadSetting, StoreRefused, StoreUnavailable
from domain.servers import database_trouble

database: Final = DatabaseProxy()
"""Peewee's one binding of models to a database; set by `open_database`."""

BUSY_TIMEOUT_S: Final = 30
CONNECT_TIMEOUT_S: Final = 5
CLOCK_CHECK_S: Final = 30.0
_AWAY_CODES: Final = ("08", "25006", "53", "57P")
"""PostgreSQL's codes for: no connection, read only, out of resources, shutting down or starting up."""
_TOO_MUCH: Final = "54"
_NO_SQLITE: Final = "file is not a database"


class Base(Model):
    """Every table's base."""

    class Meta:
        database = database
        legacy_table_names = False


class _Utc:
    """An aware UTC datetime: TIMESTAMPTZ on PostgreSQL, RFC 3339 text with microseconds on SQLite (it sorts)."""

    field_type = "TIMESTAMPTZ"

    def db_value(self, value: Any) -> Any:
        return format_utc(value) if isinstance(value, datetime) else value

    def python_value(self, value: Any) -> Any:
        if isinstance(value, datetime):
            return value.astimezone(UTC)
        return parse_utc(value) if isinstance(value, str) else value


if TYPE_CHECKING:
    _Moment = Field[datetime]
    _MaybeMoment = Field[datetime | None]
else:
    # Peewee's fields are generic in its stubs only.
    _Moment = _MaybeMoment = Field


class UtcField(_Utc, _Moment):
    """A moment."""


class OptionalUtcField(_Utc, _MaybeMoment):
    """A moment, or NULL."""

    def __init__(self) -> None:
        super().__init__(null=True)


class EmbeddedDatabase(SqliteDatabase):
    """SQLite with one writer at a time in this process: without it a thread was seen starved for a second."""

    def __init__(self, path: str) -> None:
        pragmas = {"journal_mode": "wal", "synchronous": "full", "foreign_keys": 1}
        super().__init__(path, pragmas=pragmas, timeout=BUSY_TIMEOUT_S, lock_type="IMMEDIATE")
        self.writer = threading.RLock()

    def connect(self, reuse_if_open: bool = False) -> bool:
        """Connect; a file that is not there yet is made, for its owner alone."""
        # SQLite gives its other files (-wal, -shm) the rights of this one: nobody else may read documents' names.
        # A file that is there is never opened: closing it would drop the locks of this process's other connections, and
        # the next process that leaves would take itself for the last one and remove the log (sqlite.org/howtocorrupt).
        with contextlib.suppress(OSError):
            os.close(os.open(self.database, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        return super().connect(reuse_if_open)


def open_database(url: str) -> Database:
    """Bind the models to the database at `url`. Nothing is connected before the first query.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or ``postgresql://user:password@host:port/name``.

    Raises:
        BadSetting: another scheme, or no name.
    """
    parts = urlsplit(url)
    opened: Database
    if parts.scheme == "sqlite":
        path = unquote(parts.path)[1:]
        if not path:
            raise BadSetting("PARSEGATE_DATABASE_URL names no file: write sqlite:///folder/parsegate.db")
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        opened = EmbeddedDatabase(path)
    elif parts.scheme in {"postgresql", "postgres"}:
        opened = PostgresqlDatabase(
            "postgresql://" + url.split("://", 1)[1],
            prefer_psycopg3=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            options="-c timezone=UTC",
            application_name="parsegate",
        )
    else:
        raise BadSetting(f"PARSEGATE_DATABASE_URL must begin with postgresql:// or sqlite:///, not {parts.scheme}://")
    database.initialize(opened)
    return opened


def is_postgres() -> bool:
    """True if the models are bound to PostgreSQL."""
    return isinstance(database.obj, PostgresqlDatabase)


def is_away(error: PeeweeException) -> bool:
    """True if the database could not be used, rather than refusing what was asked of it.

    A PostgreSQL that was demoted, or is in recovery after a failover, answers, but lets nothing be written: that is an
    `InternalError`, with a code (https://www.postgresql.org/docs/current/errcodes-appendix.html).
    """
    code = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
    if isinstance(error, OperationalError | InterfaceError):
        # psycopg counts what is too large for PostgreSQL's own limits among these.
        return not code.startswith(_TOO_MUCH)
    return _NO_SQLITE in str(error) or code.startswith(_AWAY_CODES)


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Around queries that change nothing.

    Raises:
        StoreUnavailable: the database is away; this thread's connection is closed, so that the next use reconnects.
        StoreRefused: it refuses us (password, name, rights).
    """
    try:
        yield
    except (DatabaseError, InterfaceError) as error:
        if not is_away(error):
            raise
        close_connection()
        if _NO_SQLITE in str(error):
            where = database.obj.database
            raise StoreRefused(f"{where} is not an SQLite database: move it away, or name another file") from error
        raise database_trouble(str(error) or type(error).__name__) from error
    except StoreUnavailable:
        close_connection()
        raise


class _AfterCommit(threading.local):
    """What this thread does once its transaction is committed."""

    def __init__(self) -> None:
        self.actions: list[Callable[[], None]] = []
        self.depth = 0
        self.is_broken = False
        """A part of the open transaction failed: it must not be committed."""


_after: Final = _AfterCommit()


def after_commit(action: Callable[[], None]) -> None:
    """Do something once the transaction that is open is committed, or at once if none is; never if it is rolled back.

    So that no call over the network is made inside a transaction, and none about what did not happen.
    """
    if _after.depth:
        _after.actions.append(action)
    else:
        action()


@contextlib.contextmanager
def _collecting() -> Iterator[None]:
    known = len(_after.actions)
    _after.depth += 1
    committed = False
    try:
        yield
        committed = True
    finally:
        _after.depth -= 1
        if not committed:
            del _after.actions[known:]
    if not _after.depth:
        actions, _after.actions = _after.actions, []
        for action in actions:
            action()


@contextlib.contextmanager
def transaction() -> Iterator[None]:
    """All of it is committed at the end, or nothing; then `after_commit` has its turn. `BEGIN IMMEDIATE` on SQLite.

    Inside another one it is a part of that one, and if it fails, so does the whole; see `savepoint`.

    Raises:
        StoreUnavailable: the database is away; nothing was committed, or, if it went away during the commit, all of it
            may have been: what runs again must find out by compare-and-set.
    """
    if database.transaction_depth():
        with _part():
            yield
        return
    with _collecting(), contextlib.ExitStack() as stack:
        stack.enter_context(reading())
        writer = getattr(database.obj, "writer", None)
        if writer is not None:
            stack.enter_context(writer)
        _begin(stack)
        _after.is_broken = False
        yield
        if _after.is_broken:
            raise RuntimeError("a part of a transaction failed, and the rest was about to be committed")


@contextlib.contextmanager
def savepoint() -> Iterator[None]:
    """A part of the open transaction that may fail alone: then it is undone, and the rest can go on."""
    if not database.transaction_depth():
        with transaction():
            yield
        return
    was_broken, is_undone = _after.is_broken, True
    try:
        with _collecting(), database.savepoint():
            yield
        is_undone = False
    finally:
        if is_undone:
            _after.is_broken = was_broken


@contextlib.contextmanager
def _part() -> Iterator[None]:
    is_broken = True
    try:
        with _collecting():
            yield
        is_broken = _after.is_broken
    finally:
        _after.is_broken = is_broken


def _begin(stack: contextlib.ExitStack) -> None:
    try:
        stack.enter_context(database.atomic())
    except (DatabaseError, InterfaceError) as error:
        if database.transaction_depth() or not is_postgres() or not is_away(error):
            raise
        # The server was restarted since this connection was last used; nothing was done on it yet.
        close_connection()
        stack.enter_context(database.atomic())


def close_connection() -> None:
    """Close this thread's connection, if it has one."""
    with contextlib.suppress(OperationalError, InterfaceError, sqlite3.Error):
        if not database.is_closed():
            database.close()


def server_now() -> datetime:
    """The database's own time, so that hosts with skewed clocks agree; on SQLite this host's.

    Raises:
        StoreUnavailable: the database is away.
    """
    if not is_postgres():
        return datetime.now(UTC)
    with reading():
        moment: datetime = database.execute_sql("SELECT clock_timestamp()").fetchone()[0]
    return moment.astimezone(UTC)


def boot_seconds() -> float:
    """Seconds since this host started, those in which it slept included: `time.monotonic` stands still meanwhile."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class DatabaseClock:
    """The database's time, asked for now and then and counted on in between.

    Args:
        monotonic: seconds on a clock that never goes back, and goes on while the host sleeps.
    """

    def __init__(self, monotonic: Callable[[], float] = boot_seconds) -> None:
        self._monotonic = monotonic
        self._known: tuple[float, datetime] | None = None

    def __call__(self) -> datetime:
        """Now, as an aware UTC datetime; the database is asked if it was not for half a minute.

        Raises:
            StoreUnavailable: the database is away, and was never asked before.
        """
        stale = self._known is None or self._monotonic() - self._known[0] >= CLOCK_CHECK_S
        # Not inside a transaction: a failure there would undo it.
        if stale and not database.transaction_depth():
            self.refresh()
        return self.steady()

    def steady(self) -> datetime:
        """Now, without asking the database: for an event loop, which must not wait.

        Raises:
            StoreUnavailable: the database was never asked.
        """
        if self._known is None:
            raise StoreUnavailable("the database's time is not known yet")
        return self._known[1] + timedelta(seconds=self._monotonic() - self._known[0])

    def refresh(self) -> None:
        """Ask the database; while it is away, what is known goes on.

        Raises:
            StoreUnavailable: the database is away, and was never asked before.
        """
        try:
            self._known = (self._monotonic(), server_now())
        except StoreUnavailable:
            if self._known is None:
                raise
