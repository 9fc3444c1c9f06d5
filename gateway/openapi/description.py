"""What a resource says about itself beside its responders: parameters, bodies, answers.

A resource has `operations` next to its `scopes`, one for each method. The words come from the responders' docstrings,
and whatever holds for every route (a token, the errors that may always come) is added by `gateway.openapi.document`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

JSON: Final = "application/json"
FORM: Final = "multipart/form-data"


@dataclass(frozen=True)
class Parameter:
    """A parameter.

    Args:
        type: anything pydantic can describe.
        words: one sentence.
        where: a parameter of the path is only named to say more of it than the route's template does.
    """

    name: str
    type: Any
    words: str
    where: Literal["query", "header", "path"] = "query"
    required: bool = False


@dataclass(frozen=True)
class Answer:
    """An answer that is no error.

    Args:
        content: what pydantic can describe, by media type, or None for a part of such; nothing for an empty body.
        headers: what they say, by name; each is always there.
    """

    content: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """One method of a resource.

    Args:
        name: the `operationId`.
        answers: by status.
        fails: the statuses of errors that are its own; those of every operation need not be named.
        parameters: of the query and the headers; those of the path are in the route's template.
        body: what pydantic can describe, by media type.
    """

    name: str
    answers: Mapping[int, Answer]
    fails: Sequence[int] = ()
    parameters: Sequence[Parameter] = ()
    body: Mapping[str, Any] = field(default_factory=dict)


def answer(shape: Any, **headers: str) -> Answer:
    """JSON of a shape, with headers; ``_`` in their names stands for ``-``."""
    return Answer({JSON: shape}, {name.replace("_", "-"): words for name, words in headers.items()})


EMPTY: Final = Answer()
"""No body at all."""
