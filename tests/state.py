"""The state's own fixtures: both databases, migrated, and orders to put into them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from domain.orders import Order
from models.database import close_connection, open_database
from models.migrations import migrate
from tests.conftest import fresh_database

KINDS = ("sqlite", "postgresql")


@contextmanager
def database_of(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database of a kind."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'state.db'}"
    else:
        with fresh_database() as url:
            yield url


@contextmanager
def state_of(kind: str, folder: Path) -> Iterator[str]:
    """A migrated database of a kind, which the models are bound to."""
    with database_of(kind, folder) as url:
        open_database(url)
        migrate()
        try:
            yield url
        finally:
            close_connection()


def an_order(**said: object) -> Order:
    """An order of a new document."""
    return Order.model_validate({"document_id": uuid4(), "source": "file:///srv/a.pdf", **said})
