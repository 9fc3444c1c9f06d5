"""Tokens, the mode, health, and the shape of every answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
import structlog

from domain.settings import Mode, Settings
from gateway.auth import CACHE_S
from gateway.dependencies import host_now
from models.control import read_mode, set_mode
from models.database import close_connection, open_database
from models.service_tables import Token
from models.tokens import Scope, create_token, revoke_token
from tests.gateway_harness import Gateway, RecordingPublisher, running_gateway
from tests.state import state_of

ROUTES = {
    ("POST", "/v1/documents"): Scope.SUBMIT,
    ("GET", f"/v1/documents/{UUID(int=7)}"): Scope.READ,
    ("GET", f"/v1/documents/{UUID(int=7)}/result"): Scope.READ,
    ("GET", "/v1/mode"): Scope.READ,
    ("PUT", "/v1/mode"): Scope.ADMIN,
    ("DELETE", "/v1/mode"): Scope.ADMIN,
    ("POST", "/v1/quote"): Scope.READ,
    ("POST", "/v1/redo"): Scope.ADMIN,
    ("GET", "/v1/budget"): Scope.READ,
    ("PUT", "/v1/budget"): Scope.ADMIN,
    ("GET", "/v1/usage"): Scope.READ,
}
"""What a request needs; a method that does not exist is for admins to find out."""
WITH_BUDGET = {"PARSEGATE_DAILY_BUDGET_USD": "10"}
WITH_KEY = {"LLAMA_CLOUD_API_KEY": "llx-very-secret"}


@dataclass
class Monotonic:
    """A clock that goes when told to."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def monotonic() -> Monotonic:
    return Monotonic()


@pytest.fixture
def publisher() -> RecordingPublisher:
    return RecordingPublisher()


@pytest.fixture
def gateway(tmp_path: Path, monotonic: Monotonic, publisher: RecordingPublisher) -> Iterator[Gateway]:
    with (
        state_of("sqlite", tmp_path),
        running_gateway(tmp_path / "store", monotonic=monotonic, publisher=lambda _: publisher) as gateway,
    ):
        yield gateway


def ask(gateway: Gateway, authorization: str | None, route: tuple[str, str] = ("GET", "/v1/mode")) -> httpx.Response:
    headers = {} if authorization is None else {"Authorization": authorization}
    return httpx.request(route[0], gateway.url + route[1], headers=headers)


@pytest.mark.parametrize("route", ROUTES)
def test_token_needs_the_scope(gateway: Gateway, route: tuple[str, str]) -> None:
    """403 below it, past the door from it on; 401 without a token."""
    order = [Scope.READ, Scope.SUBMIT, Scope.ADMIN]
    for scope in order:
        answer = ask(gateway, f"Bearer {gateway.token(scope)}", route)
        if order.index(scope) < order.index(ROUTES[route]):
            assert (answer.status_code, answer.json()["type"]) == (403, "/problems/scope_missing")
        else:
            assert answer.status_code not in {401, 403}
    assert ask(gateway, None, route).status_code == 401


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer pg_wrong", "Basic {}", "{}", "Bearer {}x", "Bearer " + "x" * 9999],
)
def test_what_is_no_token_in_force_is_401(gateway: Gateway, authorization: str) -> None:
    """Always the same answer."""
    answer = ask(gateway, authorization.format(gateway.token()))
    assert (answer.status_code, answer.json()["type"]) == (401, "/problems/token_refused")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_two_tokens_are_none(gateway: Gateway) -> None:
    """Who is asking must not hang on which of them is read."""
    headers = [("Authorization", f"Bearer {gateway.token()}")] * 2
    assert httpx.get(f"{gateway.url}/v1/mode", headers=headers).status_code == 401


def test_scheme_is_bearer_in_any_case(gateway: Gateway) -> None:
    """RFC 9110, 11.1."""
    assert ask(gateway, f"bEARER  {gateway.token()}").status_code == 200


def test_revoked_token_is_refused_within_two_seconds(gateway: Gateway, monotonic: Monotonic) -> None:
    """Known for so long, it needs no look-up; after that it does."""
    token = create_token("leaving", Scope.READ, now=host_now())
    assert ask(gateway, f"Bearer {token}").status_code == 200
    revoke_token("leaving", host_now())
    monotonic.now += CACHE_S - 0.1
    assert ask(gateway, f"Bearer {token}").status_code == 200
    monotonic.now += 0.2
    assert ask(gateway, f"Bearer {token}").status_code == 401


def test_expired_token_is_refused(gateway: Gateway) -> None:
    """By the clock that all hosts agree on."""
    token = create_token("brief", Scope.READ, now=host_now())
    Token.update(expires_at=host_now()).where(Token.name == "brief").execute()
    assert ask(gateway, f"Bearer {token}").status_code == 401


def test_token_that_can_t_be_looked_up_is_503(tmp_path: Path) -> None:
    """The database is away: nobody is let in, nobody is told that the token is bad, and nothing of it is told."""
    open_database("postgresql://secret-user:secret-word@127.0.0.1:1/secret-name")
    with running_gateway(tmp_path) as gateway:
        answer = ask(gateway, "Bearer pg_x")
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/store_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert "secret" not in answer.text
    assert "127.0.0.1" not in answer.text


def test_mode_is_read_and_switched(gateway: Gateway) -> None:
    """The switch is in the database, for every process; who made it is known."""
    http = gateway.client(Scope.ADMIN)
    said = http.get("/v1/mode").json()
    assert (said["mode"], said["source"], said["out_of_credits_until"]) == ("mock", "default", None)
    assert [endpoint["endpoint"] for endpoint in said["endpoints"]] == ["upload", "create", "read"]
    set_mode(Mode.HYBRID, Mode.MOCK, who="someone else", now=host_now())
    assert http.get("/v1/mode").json()["mode"] == "hybrid"
    answer = http.put("/v1/mode", json={"mode": "mock"})
    assert answer.status_code == 200
    assert answer.json() == http.get("/v1/mode").json()
    assert answer.json()["mode"] == "mock"
    assert "switched by admin-" in answer.json()["source"]
    assert read_mode(Mode.MOCK).mode is Mode.MOCK


@pytest.mark.parametrize("mode", ["real", "hybrid"])
@pytest.mark.parametrize(
    ("said", "lacking"),
    [(WITH_BUDGET, "LLAMA_CLOUD_API_KEY"), (WITH_KEY, "PARSEGATE_DAILY_BUDGET_USD")],
)
def test_mode_that_lacks_a_setting_is_422(tmp_path: Path, mode: str, said: dict[str, str], lacking: str) -> None:
    """It is named, and the mode stays what it was."""
    settings = Settings.model_validate({"PARSEGATE_MODE": "mock"} | said)
    with state_of("sqlite", tmp_path), running_gateway(tmp_path / "store", settings=settings) as gateway:
        answer = gateway.client(Scope.ADMIN).put("/v1/mode", json={"mode": mode})
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/setting_missing")
        assert lacking in answer.json()["detail"]
        said_now = gateway.http.get("/v1/mode").json()
        assert (said_now["mode"], said_now["source"]) == ("mock", "setting")


@pytest.mark.parametrize("mode", ["real", "hybrid", "mock"])
def test_every_mode_can_be_switched_to_with_its_settings(tmp_path: Path, mode: str) -> None:
    """The key itself is never told."""
    settings = Settings.model_validate(WITH_BUDGET | WITH_KEY)
    with state_of("sqlite", tmp_path), running_gateway(tmp_path / "store", settings=settings) as gateway:
        answer = gateway.client(Scope.ADMIN).put("/v1/mode", json={"mode": mode})
        assert answer.json()["mode"] == mode
        assert "llx" not in answer.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"mode": "fake"}', 422),
        ('{"mode": "Mock"}', 422),
        ('{"mode": null}', 422),
        ('{"mode": ["mock"]}', 422),
        ('{"mode": "mock", "who": "me"}', 422),
        ("[]", 422),
        ("{}", 422),
        ("{", 400),
        ("", 400),
        (" " * 70_000, 413),
    ],
)
def test_unknown_mode_is_422(gateway: Gateway, body: str, status: int) -> None:
    """So is everything that is not exactly a mode."""
    http = gateway.client(Scope.ADMIN)
    assert http.put("/v1/mode", content=body, headers={"Content-Type": "application/json"}).status_code == status
    assert http.put("/v1/mode", content=body, headers={"Content-Type": "text/plain"}).status_code == 415


def test_ready_once_everything_is_there(gateway: Gateway, publisher: RecordingPublisher) -> None:
    """No token is asked for; what is missing is said."""
    assert httpx.get(f"{gateway.url}/readyz").json() == {"status": "ready", "missing": []}
    publisher.ready = False
    answer = httpx.get(f"{gateway.url}/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
    assert answer.json()["missing"] == ["RabbitMQ is not connected, or takes nothing in"]
    assert httpx.get(f"{gateway.url}/healthz").json() == {"status": "ok"}


def test_not_ready_without_the_database(tmp_path: Path) -> None:
    """Alive, though. Nothing of the address is told."""
    open_database("postgresql://secret-user:secret-word@127.0.0.1:1/secret-name")
    with running_gateway(tmp_path) as gateway:
        answer = httpx.get(f"{gateway.url}/readyz")
        assert (answer.status_code, answer.json()["missing"]) == (503, ["the database does not answer"])
        assert httpx.get(f"{gateway.url}/healthz").status_code == 200


def test_not_ready_on_an_unknown_schema(tmp_path: Path) -> None:
    """The answer names the command that helps."""
    open_database(f"sqlite:///{tmp_path / 'empty.db'}")
    with running_gateway(tmp_path / "store") as gateway:
        answer = httpx.get(f"{gateway.url}/readyz")
    close_connection()
    assert answer.status_code == 503
    assert "parsegate db migrate" in answer.json()["missing"][0]


def test_every_answer_has_a_correlation_id(gateway: Gateway) -> None:
    """The caller's own if it is one UUID, else a new one; in errors of every kind too."""
    mine = str(uuid4())
    for path in ("/healthz", "/v1/mode", "/nowhere"):
        assert httpx.get(gateway.url + path, headers={"Correlation-Id": mine}).headers["Correlation-Id"] == mine
        for odd in ("", "x", "7", mine + "\t" + mine, "é" * 36):
            answer = httpx.get(gateway.url + path, headers=[(b"Correlation-Id", odd.encode())])
            theirs = answer.headers["Correlation-Id"]
            assert UUID(theirs).version == 4
            assert theirs != mine


def test_unknown_route_is_a_problem(gateway: Gateway) -> None:
    """RFC 9457, with the path as it can stand in a URL."""
    answer = httpx.get(f"{gateway.url}/nowhere/%C3%A9%20%22?token=secret")
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")
    problem = answer.json()
    assert (problem["type"], problem["title"], problem["status"]) == ("/problems/not_found", "Not found", 404)
    assert problem["instance"] == "/nowhere/%C3%A9%20%22"
    assert "secret" not in answer.text


def test_unexpected_error_tells_the_log_and_nobody_else(tmp_path: Path) -> None:
    """500 in general words; the log has the rest, once, under the same correlation id."""

    class Faulty(RecordingPublisher):
        @property
        def ready(self) -> bool:
            raise RuntimeError("an inner secret")

        @ready.setter
        def ready(self, value: bool) -> None:
            pass

    with (
        state_of("sqlite", tmp_path),
        running_gateway(tmp_path / "store", publisher=lambda _: Faulty()) as gateway,
        structlog.testing.capture_logs() as lines,
    ):
        answer = httpx.get(f"{gateway.url}/readyz")
    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/internal_error")
    assert "inner secret" not in answer.text
    assert "Error" not in answer.text
    [line] = [line for line in lines if line["event"] == "unexpected error"]
    assert str(line["exc_info"]) == "an inner secret"
    assert line["correlation_id"] == answer.json()["correlation_id"]


def test_log_line_holds_no_secret(gateway: Gateway, monotonic: Monotonic) -> None:
    """Method, route template, status and time; never the path, the query or a header."""
    token = gateway.token()
    with structlog.testing.capture_logs() as lines:
        httpx.get(
            f"{gateway.url}/v1/documents/{UUID(int=7)}?token=in-the-query", headers={"Authorization": f"Bearer {token}"}
        )
        httpx.get(f"{gateway.url}/in-the-path")
    written = repr(lines)
    assert [(line["method"], line["route"], line["status"], line["problem"]) for line in lines] == [
        ("GET", "/v1/documents/{job_id:uuid}", 404, "not_found"),
        ("GET", "-", 404, "not_found"),
    ]
    assert {line["ms"] for line in lines} == {0.0}
    for secret in (token, "in-the-query", "in-the-path"):
        assert secret not in written


def test_no_server_banner(gateway: Gateway) -> None:
    """Which software it is, is nobody's business."""
    assert "Server" not in httpx.get(f"{gateway.url}/healthz").headers
