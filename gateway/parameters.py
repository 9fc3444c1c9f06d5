"""Parameters of a query that are read and described by one declaration."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, Generic, TypeVar
from uuid import UUID

import falcon.asgi
from pydantic import Field

from gateway.openapi.description import Parameter
from gateway.problems import Problem

_T = TypeVar("_T", bound=StrEnum)
_TRUTHS: Final = {"true": True, "false": False}


@dataclass(frozen=True)
class Whole:
    """A whole number.

    Args:
        usual: if it is left out.
        words: one sentence about it.
    """

    name: str
    usual: int
    least: int
    most: int
    words: str

    def of(self, req: falcon.asgi.Request) -> int:
        """What a request says.

        Raises:
            Problem: 400.
        """
        said = once(req, self.name)
        if said is None:
            return self.usual
        # Python reads more than that as a number: signs, spaces, underscores, the digits of every script.
        if not said.isascii() or not said.isdigit() or len(said) > 18 or not self.least <= int(said) <= self.most:
            words = f"{self.name} must be a whole number from {self.least} to {self.most}"
            raise Problem(400, "bad_parameter", words)
        return int(said)

    @property
    def described(self) -> Parameter:
        """For ``/openapi.json``."""
        kind = Annotated[int, Field(ge=self.least, le=self.most, json_schema_extra={"default": self.usual})]
        return Parameter(self.name, kind, self.words)


@dataclass(frozen=True)
class Truth:
    """Yes or no; no if it is left out."""

    name: str
    words: str

    def of(self, req: falcon.asgi.Request) -> bool:
        """What a request says.

        Raises:
            Problem: 400.
        """
        said = once(req, self.name)
        if said is not None and said not in _TRUTHS:
            raise Problem(400, "bad_parameter", f"{self.name} must be true or false")
        return _TRUTHS.get(said or "", False)

    @property
    def described(self) -> Parameter:
        """For ``/openapi.json``."""
        return Parameter(self.name, bool, self.words)


@dataclass(frozen=True)
class Choice(Generic[_T]):
    """One of the members of an enumeration, by its value.

    Args:
        kind: the enumeration.
    """

    name: str
    kind: type[_T]
    words: str

    def of(self, req: falcon.asgi.Request) -> _T | None:
        """What a request says; None if it is left out.

        Raises:
            Problem: 400.
        """
        said = once(req, self.name)
        try:
            return None if said is None else self.kind(said)
        except ValueError:
            raise Problem(400, "bad_parameter", f"{self.name} must be one of {', '.join(self.kind)}") from None

    @property
    def described(self) -> Parameter:
        """For ``/openapi.json``."""
        return Parameter(self.name, self.kind, self.words)


@dataclass(frozen=True)
class Uuid:
    """An id."""

    name: str
    words: str

    def of(self, req: falcon.asgi.Request) -> UUID | None:
        """What a request says; None if it is left out.

        Raises:
            Problem: 400.
        """
        said = once(req, self.name)
        try:
            return None if said is None else UUID(said)
        except ValueError:
            raise Problem(400, "bad_parameter", f"{self.name} must be a UUID") from None

    @property
    def described(self) -> Parameter:
        """For ``/openapi.json``."""
        return Parameter(self.name, UUID, self.words)


def once(req: falcon.asgi.Request, name: str) -> str | None:
    """A parameter's text; None without it.

    Raises:
        Problem: 400, it comes more than once, and which one counts is not ours to guess.
    """
    said = req.params.get(name)
    if isinstance(said, list):
        raise Problem(400, "bad_parameter", f"{name} comes {len(said)} times")
    return said
