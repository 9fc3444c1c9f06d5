"""The database: SQLite embedded, PostgreSQL distributed, the same models on both.

Peewee binds models to a database once for each process, through `database`; `open_database` says which.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from peewee import (
    Database,
    DatabaseProxy,
    Field,
    InterfaceError,
    Model,
    OperationalError,
    PostgresqlDatabase,
    SqliteDatabase,
)

from domain.clock import format_utc, parse_utc
from domain.errors import BadSetting, StoreUnavailable

database: Final = DatabaseProxy()
"""Peewee's one binding of models to a database; set by `open_database`."""

BUSY_TIMEOUT_S: Final = 30
CONNECT_TIMEOUT_S: Final = 5
CLOCK_CHECK_S: Final = 30.0


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
        Path(path).parent.mkdir(parents=True, exist_ok=True)
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


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Around queries that change nothing.

    Raises:
        StoreUnavailable: the database is away; this thread's connection is closed, so that the next use reconnects.
    """
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        close_connection()
        words = " ".join(str(error).split()) or type(error).__name__
        raise StoreUnavailable(f"the database can't be used now: {words}") from error
    except StoreUnavailable:
        close_connection()
        raise


@contextlib.contextmanager
def transaction() -> Iterator[None]:
    """All of it is committed at the end, or nothing. `BEGIN IMMEDIATE` on SQLite.

    Raises:
        StoreUnavailable: the database is away; nothing was committed, or, if it went away during the commit, all of it
            may have been: what runs again must find out by compare-and-set.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(reading())
        writer = getattr(database.obj, "writer", None)
        if writer is not None:
            stack.enter_context(writer)
        _begin(stack)
        yield


def _begin(stack: contextlib.ExitStack) -> None:
    try:
        stack.enter_context(database.atomic())
    except (OperationalError, InterfaceError):
        if database.transaction_depth() or not is_postgres():
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


class DatabaseClock:
    """The database's time, asked for now and then and counted on in between.

    Args:
        monotonic: seconds on a clock that never goes back.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
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
