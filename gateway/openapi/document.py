"""The OpenAPI document, put together from the table of routes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import metadata
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import Field

from gateway.auth import Guarded
from gateway.openapi.description import JSON, Answer, Operation, Parameter
from gateway.openapi.schemas import COMES, GOES, Schemas
from gateway.problems import MEDIA_TYPE, LlamaCloudProblem, ProblemDetails, is_llamacloud
from models.tokens import Scope

Json = dict[str, Any]

VERSION: Final = "3.1.0"
METHODS: Final = ("get", "put", "post", "delete", "patch")
EVERYWHERE: Final = (500, 503)
"""Errors that any operation may end with: ours, and the store's."""
WITH_TOKEN: Final = (401, 403, 429)
WITH_BODY: Final = (400, 413)
PROBLEMS: Final[Mapping[str, Mapping[str, Any]]] = {
    "Problem": {MEDIA_TYPE: ProblemDetails},
    "LlamaCloudProblem": {JSON: LlamaCloudProblem},
}
_PART: Final = re.compile(r"{(\w+)(?::(\w+)(?:\(min=(\d+),max=(\d+)\))?)?}")
_HEADERS: Final[Mapping[int, Mapping[str, str]]] = {
    401: {"WWW-Authenticate": "How to say who asks."},
    429: {"Retry-After": "Seconds to wait."},
}
_CORRELATION_ID: Final[Json] = {
    "description": "The request's id, in every line of the log about it.",
    "required": True,
    "schema": {"type": "string", "format": "uuid"},
}


@dataclass(frozen=True)
class Described:
    """An operation where it is in the table."""

    template: str
    method: str
    resource: Guarded
    operation: Operation

    @property
    def path(self) -> str:
        """The template as OpenAPI writes it."""
        return _PART.sub(r"{\1}", self.template)

    @property
    def scope(self) -> Scope | None:
        """The scope that a token needs; None if none is needed."""
        scopes = self.resource.scopes
        return None if scopes is None else scopes.get(self.method.upper(), Scope.ADMIN)

    @property
    def fails(self) -> set[int]:
        """The statuses of its errors."""
        always = {
            *EVERYWHERE,
            *(WITH_TOKEN if self.scope is not None else ()),
            *(WITH_BODY if self.operation.body else ()),
        }
        return (always | {*self.operation.fails}) - set(self.operation.answers)

    @property
    def problem(self) -> str:
        """The kind of its errors, of `PROBLEMS`."""
        return "LlamaCloudProblem" if is_llamacloud(self.path) else "Problem"


def described(table: Mapping[str, Guarded]) -> Iterator[Described]:
    """Every operation of the table.

    Raises:
        KeyError: a responder that its resource does not describe.
    """
    for template, resource in table.items():
        for method in METHODS:
            if hasattr(resource, f"on_{method}"):
                yield Described(template, method, resource, resource.operations[method.upper()])


def document(table: Mapping[str, Guarded]) -> Json:
    """The document.

    Args:
        table: `gateway.app.routes`.
    """
    about, schemas, names = metadata("parsegate"), Schemas(), set[str]()
    paths: dict[str, Json] = {}
    for one in described(table):
        name = one.operation.name
        if name in names:
            # One resource on two routes: the longer one says what it has more.
            parts = [part.title().replace("_", "") for part, *_ in _PART.findall(one.template)]
            name = "By".join((name, *parts))
        names.add(name)
        paths.setdefault(one.path, {})[one.method] = _operation(one, name, schemas)
    return {
        "openapi": VERSION,
        "info": {
            "title": "Parsegate",
            "version": about["Version"],
            "summary": about["Summary"],
            "license": {"name": about["License-Expression"], "identifier": about["License-Expression"]},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "headers": {"Correlation-Id": _CORRELATION_ID},
            "responses": _problems(table, schemas),
            "schemas": schemas.fill(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "parsegate token create"}},
        },
    }


def _operation(one: Described, name: str, schemas: Schemas) -> Json:
    summary, _, rest = _words(one).partition("\n\n")
    needs = f"Needs a token with the scope `{one.scope}`." if one.scope is not None else "Needs no token."
    said: Json = {
        "operationId": name,
        "tags": [_tag(one.path)],
        "summary": " ".join(summary.split()),
        "description": "\n\n".join([*filter(None, [rest]), needs]),
        "security": [] if one.scope is None else [{"token": []}],
        "responses": _responses(one, schemas),
    }
    if one.scope is not None:
        said["x-required-scope"] = one.scope.value
    parameters = [*_path_parameters(one, schemas), *(_parameter(each, schemas) for each in _others(one.operation))]
    if parameters:
        said["parameters"] = parameters
    if one.operation.body:
        said["requestBody"] = {"required": True, "content": _content(one.operation.body, schemas, COMES)}
    return said


def _words(one: Described) -> str:
    """The responder's docstring, up to what it raises."""
    responder = getattr(one.resource, f"on_{one.method}")
    return (inspect.getdoc(responder) or "").split("\n\nRaises:", 1)[0]


def _tag(path: str) -> str:
    parts = path.strip("/").split("/")
    if is_llamacloud(path) or parts[0] == "downloads":
        return "llamacloud"
    return "webhooks" if "llamaparse" in parts else parts[1] if parts[0] == "v1" else "operation"


def _path_parameters(one: Described, schemas: Schemas) -> Iterator[Json]:
    known = {each.name: each for each in one.operation.parameters if each.where == "path"}
    for name, converter, least, most in _PART.findall(one.template):
        usual: Any = str
        if converter == "uuid":
            usual = UUID
        elif converter == "int":
            usual = Annotated[int, Field(ge=int(least), le=int(most))]
        yield _parameter(known.get(name, Parameter(name, usual, "", "path")), schemas)


def _others(operation: Operation) -> Iterator[Parameter]:
    return (each for each in operation.parameters if each.where != "path")


def _parameter(parameter: Parameter, schemas: Schemas) -> Json:
    said: Json = {"name": parameter.name, "in": parameter.where, "schema": schemas.of(parameter.type, COMES)}
    if parameter.words:
        said["description"] = parameter.words
    if parameter.required or parameter.where == "path":
        said["required"] = True
    return said


def _responses(one: Described, schemas: Schemas) -> Json:
    said = {status: _answer(status, each, schemas) for status, each in one.operation.answers.items()}
    said |= {status: {"$ref": f"#/components/responses/{one.problem}{status}"} for status in one.fails}
    return {str(status): said[status] for status in sorted(said)}


def _problems(table: Mapping[str, Guarded], schemas: Schemas) -> Json:
    """The errors that operations refer to."""
    kinds = sorted({(one.problem, status) for one in described(table) for status in one.fails})
    return {
        f"{kind}{status}": _answer(status, Answer(PROBLEMS[kind], _HEADERS.get(status, {})), schemas)
        for kind, status in kinds
    }


def _answer(status: int, answer: Answer, schemas: Schemas) -> Json:
    said: Json = {
        "description": HTTPStatus(status).phrase,
        "headers": {"Correlation-Id": {"$ref": "#/components/headers/Correlation-Id"}}
        | {
            name: {"description": words, "required": True, "schema": {"type": "string"}}
            for name, words in answer.headers.items()
        },
    }
    if answer.content:
        said["content"] = _content(answer.content, schemas, GOES)
    return said


def _content(content: Mapping[str, Any], schemas: Schemas, mode: Any) -> Json:
    return {media: {} if kind is None else {"schema": schemas.of(kind, mode)} for media, kind in content.items()}
