"""What holds for every route and every error."""

from __future__ import annotations

import inspect
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from domain import errors, signatures
from domain.settings import Mode, Settings
from gateway.app import routes
from gateway.auth import Guarded
from gateway.dependencies import Dependencies, host_now
from gateway.problems import STATUS_BY_REASON, status_of
from models.store import Store
from tests.gateway_harness import RecordingPublisher

PUBLIC = {
    *("/webhooks/llamaparse/{job_id}", "/api/v1/webhooks/llamaparse", "/webhook/llamaparse/{job_id}"),
    *("/healthz", "/readyz", "/metrics", "/openapi.json"),
    "/downloads/{kind}/{about}",
}


@pytest.fixture
def table(tmp_path: Path) -> dict[str, Guarded]:
    pool = ThreadPoolExecutor(1)
    dependencies = Dependencies(
        Settings(), RecordingPublisher(), Store(str(tmp_path)), host_now, Mode.MOCK, pool
    )  # fmt: skip
    return routes(dependencies)


def test_only_named_routes_are_open_to_everybody(table: dict[str, Guarded]) -> None:
    """A new route asks for a token unless somebody decides otherwise here."""
    assert {template for template, resource in table.items() if resource.scopes is None} == PUBLIC


def test_every_responder_says_its_scope(table: dict[str, Guarded]) -> None:
    """And no scope is named for what does not exist."""
    for template, resource in table.items():
        responders = {
            name.removeprefix("on_").upper() for name, _ in inspect.getmembers(resource) if name.startswith("on_")
        }
        if resource.scopes is not None:
            assert set(resource.scopes) == responders, template


STATUSES = {
    "ParsegateError": 500,
    "Waiting": 503,
    "Transient": 503,
    "ProviderUnavailable": 503,
    "AnswerLost": 503,
    "ProviderBusy": 503,
    "OddAnswer": 503,
    "SourceUnavailable": 503,
    "StoreUnavailable": 503,
    "StoreRefused": 503,
    "Permanent": 422,
    "OrderRefused": 422,
    "OrderConflict": 409,
    "DocumentRefused": 422,
    "CallRefused": 422,
    "NotFound": 404,
    "Misconfigured": 500,
    "BadSetting": 500,
    "WrongSchema": 503,
    "CredentialRefused": 500,
    "CreditsExhausted": 500,
}


def test_every_error_of_the_tree_has_its_status() -> None:
    """The table above is the whole tree."""
    tree = {
        name: kind
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.ParsegateError)
    }
    assert set(tree) == set(STATUSES)
    for name, kind in tree.items():
        error = errors.CallRefused("words", status=404) if kind is errors.CallRefused else kind("words")
        assert status_of(error) == STATUSES[name], name
    assert status_of(signatures.BadSignature()) == 401


def test_a_reason_may_have_a_status_of_its_own() -> None:
    """Too large a file is 413, though it is a refused order like any other."""
    assert STATUS_BY_REASON == {"file_too_large": 413}
    assert status_of(errors.OrderRefused("too large", reason="file_too_large")) == 413
    assert status_of(errors.OrderRefused("empty", reason="file_empty")) == 422
