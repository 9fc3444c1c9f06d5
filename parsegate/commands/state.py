"""The database, for commands that use it directly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from actors.boot import database_url, open_state
from domain.settings import Settings
from models.database import close_connection
from parsegate.data_folder import check_database_file


@contextmanager
def opened_state(settings: Settings) -> Iterator[None]:
    """The database, open; made by nobody who only looks.

    Raises:
        BadSetting: there is none.
        StoreUnavailable, WrongSchema: it can't be used.
    """
    check_database_file(database_url(settings))
    open_state(settings)
    try:
        yield
    finally:
        close_connection()
