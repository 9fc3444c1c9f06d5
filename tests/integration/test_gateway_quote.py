"""``POST /v1/quote``: what documents would cost, and when they could start; nothing is stored or paid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from domain.budgets import GLOBAL_DAY, parse_budget_key
from domain.clock import format_utc
from gateway.counting import MAX_DOCUMENTS, MAX_FILES
from gateway.dependencies import host_now
from models.budgets import balance
from models.tables import Document, Job
from models.tokens import Scope
from tests.gateway_harness import Gateway, running_gateway, settings_of
from tests.money import ZONE, hold, limit, pdf, tomorrow
from tests.state import KINDS, state_of

JSON = {"Content-Type": "application/json"}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def gateway(kind: str, tmp_path: Path) -> Iterator[Gateway]:
    with state_of(kind, tmp_path), running_gateway(tmp_path / "store") as gateway:
        yield gateway


def quoted(http: httpx.Client, *files: tuple[str, bytes], **fields: str) -> dict[str, Any]:
    answer = http.post("/v1/quote", files=[("file", file) for file in files], data=fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_quote_says_pages_price_and_whether_it_fits(gateway: Gateway) -> None:
    limit(GLOBAL_DAY, 100)
    http = gateway.client(Scope.READ)
    said = quoted(http, ("a.pdf", pdf(7)), ("notes.txt", b"text"), tier="agentic")
    first, second = said["files"]
    assert first == {
        "filename": "a.pdf",
        "kind": "pdf",
        "pages": 7,
        "pages_guessed": False,
        "tier": "agentic",
        "credits": 70,
        "usd": 0.0875,
        "fits": True,
        "starts_at": None,
        "reason": None,
    }
    assert (second["pages"], second["pages_guessed"], second["credits"]) == (2, True, 20)
    assert (said["pages"], said["credits"], said["usd"], said["fits"], said["starts_at"]) == (9, 90, 0.1125, True, None)
    assert (said["tier"], said["mode"], said["waiting"]) == ("agentic", "mock", 0)


def test_what_does_not_fit_says_when_it_could_start(gateway: Gateway) -> None:
    limit(GLOBAL_DAY, 100)
    hold(60, settle=20)
    hold(30)
    http = gateway.client(Scope.SUBMIT)
    said = quoted(http, *[(f"{pages}.pdf", pdf(pages)) for pages in (4, 5, 1, 11)], tier="agentic")
    assert [file["fits"] for file in said["files"]] == [True, False, True, False]
    assert said["files"][1]["starts_at"] == format_utc(tomorrow())
    assert said["files"][1]["reason"] == "it costs $0.0625, and the daily budget has $0.0125 left"
    assert said["files"][3]["starts_at"] == "never"
    assert "more than the $0.1250 of a whole window of the daily budget" in said["files"][3]["reason"]
    assert (said["fits"], said["starts_at"], said["credits"]) == (False, "never", 210)
    assert said["on_budget_exhausted"] == "defer"


def test_the_tenants_and_the_users_budgets_count_too(gateway: Gateway) -> None:
    limit(GLOBAL_DAY, 1000)
    limit(parse_budget_key("tenant:acme/month"), 10)
    user = UUID(int=7)
    limit(parse_budget_key(f"user:{user}/day"), 2)
    acme = gateway.token(Scope.SUBMIT, "acme")
    other = gateway.token(Scope.SUBMIT, "other")

    def fits(token: str, pages: int, **said: object) -> bool:
        body = {"pages": pages, "tier": "fast", **said}
        answer = httpx.post(f"{gateway.url}/v1/quote", json=body, headers={"Authorization": f"Bearer {token}"})
        return bool(answer.json()["fits"])

    assert fits(acme, 10)
    assert not fits(acme, 11)
    assert fits(other, 11)
    assert not fits(other, 3, user_id=str(user))


def test_a_quote_stores_and_pays_nothing(gateway: Gateway) -> None:
    limit(GLOBAL_DAY, 100)
    before = gateway.files()
    quoted(gateway.client(), ("a.pdf", pdf(3)), tier="fast")
    assert gateway.files() == before
    assert (Document.select().count(), Job.select().count()) == (0, 0)
    assert balance(GLOBAL_DAY, host_now(), ZONE).reserved == 0


def test_pages_can_be_said_instead_of_sent(gateway: Gateway) -> None:
    http = gateway.client()
    said = http.post("/v1/quote", json={"pages": 40, "tier": "fast", "filename": "a.pdf"}).json()
    assert (said["files"][0]["filename"], said["pages"], said["credits"]) == ("a.pdf", 40, 40)
    documents = [{"pages": 2, "filename": "b.pdf", "pages_guessed": True, "kind": "office"}, {"pages": 3}]
    said = http.post("/v1/quote", json={"documents": documents, "options": {"page_ranges": {"max_pages": 2}}}).json()
    assert [(file["pages"], file["pages_guessed"], file["kind"]) for file in said["files"]] == [
        (2, True, "office"),
        (2, False, "unknown"),
    ]
    assert said["credits"] == 12, "the default tier"


def test_prices_are_the_settings(kind: str, tmp_path: Path) -> None:
    settings = settings_of(PARSEGATE_PRICES="fast=0.5", PARSEGATE_USD_PER_CREDIT="0.01")
    with state_of(kind, tmp_path), running_gateway(tmp_path / "store", settings=settings) as gateway:
        said = gateway.client().post("/v1/quote", json={"pages": 3, "tier": "fast"}).json()
        assert (said["credits"], said["usd"]) == (1.5, 0.015)
        http = gateway.client(Scope.ADMIN)
        assert http.put("/v1/budget", json={"daily_limit_usd": 12.5}).json()["budgets"][0]["limit_credits"] == 1250


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"pages": 1, "tier": "gold"}, 422, "unknown tier"),
        ({"pages": 1, "options": {"processing_options": {"forms": "enrich"}}}, 422, "can't be priced"),
        ({"pages": 1, "options": {"configuration_id": "x"}}, 422, "can't be used here"),
        ({"pages": 3, "options": {"page_ranges": {"target_pages": "9"}}}, 422, "none of those asked for"),
        ({"pages": 1, "source_url": "https://example.org/a.pdf"}, 422, "not fetched for a quote"),
        ({"pages": 1, "documents": [{"pages": 1}]}, 422, "say how many pages"),
        ({"tier": "fast"}, 422, "say how many pages"),
        ({"documents": []}, 422, "must be a list"),
        ({"documents": {}}, 422, "must be a list"),
        ({"documents": [{"pages": 1}] * (MAX_DOCUMENTS + 1)}, 422, "must be a list"),
        ({"documents": [7]}, 422, "must be an object"),
        ({"documents": [{"pages": 1, "tier": "fast"}]}, 422, "must be an object"),
        ({"documents": [{"pages": 1, "pages_guessed": "yes"}]}, 422, "true or false"),
        ({"pages": 1, "tenant": "other"}, 403, "another tenant"),
        ({"pages": 1, "user_id": "bob"}, 422, "user_id"),
        *[({"pages": pages}, 422, "pages must be a whole number") for pages in (0, -1, None, True, "3", 1.5, 10**9)],
    ],
)
def test_what_can_not_be_quoted_is_refused(gateway: Gateway, body: object, status: int, words: str) -> None:
    answer = gateway.client().post("/v1/quote", json=body)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"].lower()


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_forms_that_can_not_be_quoted_are_refused(tmp_path: Path, kind: str) -> None:
    with (
        state_of(kind, tmp_path),
        running_gateway(tmp_path / "store", settings=settings_of(PARSEGATE_MAX_FILE_MB="1")) as gateway,
    ):
        http = gateway.client()

        def refused(*files: tuple[str, bytes], **fields: str) -> tuple[int, str]:
            answer = http.post("/v1/quote", files=[("file", file) for file in files], data=fields)
            return answer.status_code, answer.json()["detail"]

        assert refused(("a.pdf", b"")) == (422, "File 'a.pdf' is empty")
        large = "File 'a.pdf' is larger than the limit of 1 MB (PARSEGATE_MAX_FILE_MB)"
        assert refused(("a.pdf", b"x" * 1_000_001)) == (413, large)
        assert "unknown field 'colour'" in refused(("a.pdf", b"x"), colour="red")[1].lower()
        assert refused(*[("a.txt", b"x")] * (MAX_FILES + 1))[0] == 422
        assert refused(("a.txt", b"x"), tier="gold")[0] == 422
        assert http.post("/v1/quote", content=b"x", headers={"Content-Type": "text/plain"}).status_code == 415
        assert http.post("/v1/quote", content=b"{", headers=JSON).status_code == 400
        assert http.post("/v1/quote", content=b"[]", headers=JSON).status_code == 422
        assert len(quoted(http, *[("a.txt", b"x")] * MAX_FILES)["files"]) == MAX_FILES
        assert gateway.files() == set()
