"""The description of the HTTP interface: complete, and valid OpenAPI 3.1. Whether it is true: `tests/acceptance`."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis

from domain.settings import Mode, Settings
from gateway.app import routes
from gateway.auth import Guarded
from gateway.dependencies import Dependencies, host_now
from gateway.openapi.document import document
from models.store import Store
from tests.gateway_harness import RecordingPublisher

METHODS = {"get", "put", "post", "delete", "patch"}


@pytest.fixture
def table(tmp_path: Path) -> dict[str, Guarded]:
    dependencies = Dependencies(
        Settings(), RecordingPublisher(), Store(str(tmp_path)), host_now, Mode.MOCK, ThreadPoolExecutor(1)
    )  # fmt: skip
    return routes(dependencies)


@pytest.fixture
def said(table: dict[str, Guarded]) -> dict[str, Any]:
    return json.loads(json.dumps(document(table)))  # type: ignore[no-any-return]


def operations(said: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in said["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def test_every_route_and_method_is_described(table: dict[str, Guarded], said: dict[str, Any]) -> None:
    served = set()
    for template, resource in table.items():
        methods = {name.removeprefix("on_") for name, _ in inspect.getmembers(resource) if name.startswith("on_")}
        assert methods <= METHODS, f"{template} serves a method that the document does not look for"
        assert set(resource.operations) == {method.upper() for method in methods}, template
        served |= {(re.sub(r"{(\w+)[^}]*}", r"{\1}", template), method) for method in methods}
    assert {(path, method) for path, method, _ in operations(said)} == served


def test_it_is_valid(said: dict[str, Any]) -> None:
    """By the metaschemas of OpenAPI 3.1 and of its JSON Schemas, and every reference leads somewhere."""
    assert said["openapi"] == "3.1.0"
    schemathesis.openapi.from_dict(said).validate()
    for schema in said["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(said)):
        found: Any = said
        for part in reference.split("/"):
            found = found[part]


def test_every_operation_can_be_called_by_what_is_said(table: dict[str, Guarded], said: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(said)]
    assert len(set(names)) == len(names)
    for path, method, operation in operations(said):
        named = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path)), path
        assert len(operation["summary"]) > 5, path
        scope = operation.get("x-required-scope")
        assert operation["security"] == ([] if scope is None else [{"token": []}]), path
        assert ("401" in operation["responses"]) or scope is None, (path, method)


def test_it_names_this_version(said: dict[str, Any]) -> None:
    assert said["info"]["version"] == version("parsegate")
    assert said["servers"] == [{"url": "/"}]
