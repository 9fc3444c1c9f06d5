"""Receivers' URLs are part of keys, and a row of an index has room for 2,704 bytes on PostgreSQL."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from peewee import OperationalError
from pydantic import ValidationError

from domain.orders import MOST_CALLBACK
from gateway.dependencies import host_now
from models import deliveries, endpoints, jobs
from models.database import transaction
from models.deliveries import About
from models.tables import Job
from tests.state import KINDS, an_order, state_of


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with state_of(request.param, tmp_path):
        yield str(request.param)


def url_of(size: int) -> str:
    """A URL that nothing makes shorter."""
    letters = random.Random(7).choices(string.ascii_letters + string.digits, k=size)
    return f"https://example.org/{''.join(letters)}"[:size]


def received(**said: str) -> Job:
    return jobs.accept_order(an_order(**said), who="test", now=host_now(), due_at=host_now()).job


@pytest.mark.usefixtures("kind")
def test_the_longest_callback_url_fits_every_index() -> None:
    url, tenant = url_of(MOST_CALLBACK), "t" * 255
    job = received(callback_url=url)
    assert len(deliveries.add_deliveries(About(tenant, job.job_id), "document.parsed", {url: "{}"}, host_now())) == 1
    with transaction():
        endpoints.failed(tenant, url, "answered 500", host_now())
    assert endpoints.find_failing(tenant, url) is not None


@pytest.mark.parametrize("url", [url_of(MOST_CALLBACK + 1), "https://example.org/" + "\u00e4" * 1000])
def test_a_longer_one_is_refused_with_its_order(url: str) -> None:
    with pytest.raises(ValidationError, match="at most 2000 bytes"):
        an_order(callback_url=url)


def test_what_is_too_large_for_postgresql_does_not_read_as_away(kind: str) -> None:
    about, bodies = About("t", received().job_id), {url_of(4000): "{}"}
    if kind == "sqlite":
        assert deliveries.add_deliveries(about, "document.parsed", bodies, host_now()), "SQLite has no such limit"
        return
    with pytest.raises(OperationalError, match="index row size"):
        deliveries.add_deliveries(about, "document.parsed", bodies, host_now())
