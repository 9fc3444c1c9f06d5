"""SELECTs whose SQL is made once. Peewee takes longer to write one of forty columns than PostgreSQL to answer it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from peewee import Field, Value

from models.database import database, is_postgres

_Row = TypeVar("_Row")


class Prepared(Generic[_Row]):
    """A query with values left open. Call it inside `reading` or a transaction.

    Args:
        make: the query, given a placeholder for each of `fields`. It must use each, and nothing that changes.
        fields: how the values are converted.
    """

    def __init__(self, make: Callable[..., Any], *fields: Field) -> None:
        self._make, self._fields = make, tuple[Any, ...](fields)
        self._made: dict[bool, tuple[Any, str, list[Any]]] = {}

    def rows(self, *values: object) -> list[_Row]:
        """What matches these values."""
        kind = is_postgres()
        if kind not in self._made:
            self._made[kind] = self._prepare()
        query, sql, parameters = self._made[kind]
        given = [field.db_value(value) for field, value in zip(self._fields, values, strict=True)]
        said = [given[part.number] if isinstance(part, _Place) else part for part in parameters]
        # What `query.execute()` does with its cursor, whatever rows it makes: models, with what was joined, or tuples.
        return list(query._get_cursor_wrapper(database.execute_sql(sql, said)))

    def first(self, *values: object) -> _Row | None:
        """The first row that matches."""
        found = self.rows(*values)
        return found[0] if found else None

    def _prepare(self) -> tuple[Any, str, list[Any]]:
        places = [Value(_Place(number), converter=False) for number in range(len(self._fields))]
        query = self._make(*places)
        sql, parameters = query.sql()
        used = {part.number for part in parameters if isinstance(part, _Place)}
        assert used == set(range(len(self._fields))), "every value must be a part of the query"
        return query, sql, list(parameters)


class _Place:
    """Stands for a value."""

    def __init__(self, number: int) -> None:
        self.number = number
