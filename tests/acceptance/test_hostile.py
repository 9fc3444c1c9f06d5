"""Hostile requests against a running Parsegate, embedded and over RabbitMQ and PostgreSQL.

Each is met by one whole answer below 500, or a closed connection where it was no request, within 10 s, and without a
word about what is inside. Afterwards the process is healthy, ready and fast, and its log has no traceback, secret or
token. The tables of attacks, by kind, are in `tests.hostile_http`, `tests.hostile_texts`, `tests.hostile_urls` and
`tests.hostile_forms`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import hostile_forms, hostile_http, hostile_texts, hostile_urls
from tests.conftest import fresh_database, fresh_vhost
from tests.hostile_kit import Corpus, Target, check_afterwards, check_log, run_all, running_target

KINDS: dict[str, tuple[Corpus, int]] = {
    "two ways to read a length": (hostile_http.framing, 200),
    "odd first lines": (hostile_http.lines, 45),
    "requests in a row, promises and upgrades": (hostile_http.streams, 25),
    "signatures": (hostile_texts.signatures, 100),
    "JSON": (hostile_texts.json_bodies, 450),
    "ids": (hostile_texts.ids, 750),
    "parameters": (hostile_texts.queries, 650),
    "headers": (hostile_texts.headers, 150),
    "hosts": (hostile_texts.hosts, 12),
    "URLs": (hostile_urls.urls, 1100),
    "forms": (hostile_forms.forms, 200),
    "lengths that lie": (hostile_forms.lies, 40),
}
"""What there is of each kind, and how many at least: a table that lost its rows would find nothing."""


@pytest.fixture(scope="module", params=["embedded", "servers"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp(f"hostile-{request.param}")
    if request.param == "embedded":
        with running_target(folder) as running:
            yield running
        return
    with fresh_database() as database, fresh_vhost() as broker:
        settings = {"PARSEGATE_DATABASE_URL": database, "PARSEGATE_AMQP_URL": broker}
        with running_target(folder, settings) as running:
            yield running


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_requests(target: Target, kind: str) -> None:
    corpus, at_least = KINDS[kind]
    attacks = corpus(target)
    assert len(attacks) >= at_least
    run_all(target, attacks)
    check_log(target)


def test_healthy_and_fast_afterwards(target: Target) -> None:
    """The last one: after all of the above."""
    check_afterwards(target)
