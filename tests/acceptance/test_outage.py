"""The provider is away for half a minute under load, in hybrid mode: nothing is lost, and all of it ends in time."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pika
import psycopg
import pytest

from tests.acceptance.fifty import billed, stats_of, submit_message
from tests.acceptance.system import Installation, Start, free_port, installation
from tests.documents import TestDocument
from tests.line import line_to

A_SECOND = 5
"""Orders."""
BEFORE_S, AWAY_S, AFTER_S = 12, 30, 20
LIMIT_S = 180.0


@dataclass(frozen=True)
class Story:
    """What the database says, in seconds after the line was cut.

    Args:
        opened, closed: when the breakers of sending did.
        mocked: when documents were completed by the local parser.
        sent: when the provider's jobs were made.
    """

    opened: Sequence[float]
    closed: Sequence[float]
    mocked: Sequence[float]
    sent: Sequence[float]


@contextmanager
def ordering(amqp_url: str, folder: Path) -> Iterator[list[str]]:
    """Orders go in at a steady pace, by message; answers their document ids."""
    ids, stop = list[str](), threading.Event()

    def order() -> None:
        connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
        channel = connection.channel()
        channel.confirm_delivery()
        while not stop.wait(1 / A_SECOND):
            path, document_id = folder / f"letter-{len(ids)}.txt", uuid4()
            path.write_text(f"Letter {len(ids)}\nabout policy {uuid4()}\n")
            message = submit_message(TestDocument(path.name, path, (), "text"), "fast", document_id)
            channel.basic_publish("", "submit", message, mandatory=True)
            ids.append(str(document_id))
        connection.close()

    thread = threading.Thread(target=order)
    thread.start()
    try:
        yield ids
    finally:
        stop.set()
        thread.join(30)


def story_of(database_url: str, cut_at: datetime) -> Story:
    with psycopg.connect(database_url) as connection:

        def moments(query: str, *values: str) -> list[float]:
            rows = connection.execute(query.encode(), values).fetchall()
            return sorted((moment - cut_at).total_seconds() for (moment,) in rows)

        events = "SELECT created_at FROM delivery WHERE event_type = %s"
        return Story(
            moments(events, "service.degraded"),
            moments(events, "service.recovered"),
            moments("SELECT finished_at FROM job WHERE provenance = 'mock'"),
            moments("SELECT at FROM history WHERE attempt_id IS NOT NULL AND after = 'sent'"),
        )


def fallbacks(database_url: str, cut_at: datetime, opened_s: float, mended_s: float) -> list[float]:
    """How long each document that the local parser stood in for took, from its order or the breaker's opening."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "SELECT created_at, finished_at FROM job WHERE provenance = 'mock' AND finished_at < %s",
            (cut_at + timedelta(seconds=mended_s),),
        ).fetchall()
    opened_at = cut_at + timedelta(seconds=opened_s)
    return sorted((finished - max(created, opened_at)).total_seconds() for created, finished in rows)


def until(is_so: Callable[[], bool]) -> None:
    limit = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < limit
        time.sleep(0.5)


def states(database_url: str, where: str = "TRUE") -> Counter[tuple[str, str | None]]:
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(f"SELECT state, provenance FROM job WHERE {where}".encode()).fetchall()
    return Counter((str(state), provenance) for state, provenance in rows)


def all_completed(database_url: str, count: int) -> bool:
    found = states(database_url)
    return sum(found.values()) == count and {state for state, _ in found} == {"completed"}


@pytest.mark.timeout(600)
def test_thirty_seconds_without_the_provider(
    start_program: Start, fresh_amqp_url: str, postgres_url: str, tmp_path: Path
) -> None:
    port = free_port()
    simulator = ("simulator", "--port", str(port), "--parse-limit", "500/1", "--upload-limit", "500/1")
    worker = ("worker", "--processes", "2")
    with (
        line_to(port) as line,
        installation(
            start_program,
            fresh_amqp_url,
            postgres_url,
            tmp_path,
            workers=[worker],
            simulator=simulator,
            LLAMA_CLOUD_BASE_URL=line.url,
            PARSEGATE_MODE="hybrid",
            PARSEGATE_DOUBT_SECONDS="10",
            PARSEGATE_PARSE_LIMIT="500/10",
            PARSEGATE_UPLOAD_LIMIT="500/10",
        ) as system,
    ):
        with ordering(fresh_amqp_url, tmp_path) as ids:
            time.sleep(BEFORE_S)
            cut_at = datetime.now(UTC)
            line.cut()
            time.sleep(AWAY_S)
            line.mend()
            mended_s = (datetime.now(UTC) - cut_at).total_seconds()
            time.sleep(AFTER_S)
        until(lambda: all_completed(postgres_url, len(ids)))
        story, found = story_of(postgres_url, cut_at), states(postgres_url)
        first_mock = min(moment for moment in story.mocked if moment > story.opened[0]) - story.opened[0]
        back = min(moment for moment in story.sent if moment > mended_s) - mended_s
        took = fallbacks(postgres_url, cut_at, story.opened[0], mended_s)
        print(
            f"\n{len(ids)} documents: {dict(found)}\n"
            f"the breaker opened {story.opened[0]:.2f} s after the line was cut\n"
            f"the local parser stood in {first_mock:.2f} s later; a document took it {took[len(took) // 2]:.2f} s, "
            f"and {took[-1]:.2f} s at the most\n"
            f"the provider was used again {back:.2f} s after it was back"
        )
        assert first_mock < 2
        assert took[-1] < 2
        assert back < 30
        assert found["completed", "mock"] > 0
        assert found["completed", "real"] > 0
        assert not [moment for moment in story.sent if 2 < moment < mended_s], "nothing was sent while it was away"
        stats = stats_of(system.simulator_url)
        assert set(stats["by_parsegate_job"].values()) == {1}
        assert billed(stats) == spent(system.http)
        redo(system, postgres_url, len(ids), found["completed", "mock"])


def spent(http: httpx.Client) -> int:
    """Millicredits."""
    credits: float = http.get("/v1/usage").json()["credits"]
    return round(credits * 1000)


def redo(system: Installation, database_url: str, documents: int, mocked: int) -> None:
    """What the local parser stood in for is done again for real, at the price that was quoted."""
    before = billed(stats_of(system.simulator_url))
    quoted = system.http.post("/v1/redo", json={"provenance": "mock", "dry_run": True}).json()
    assert quoted["documents"] == mocked
    ordered = system.http.post("/v1/redo", json={"provenance": "mock"}).json()["jobs"]
    assert len(ordered) == mocked
    until(lambda: all_completed(database_url, documents + mocked))
    assert states(database_url, "redoes IS NOT NULL") == {("completed", "real"): mocked}
    stats = stats_of(system.simulator_url)
    assert billed(stats) - before <= round(quoted["credits"] * 1000)
    assert billed(stats) == spent(system.http)
    answer = system.http.get(f"/v1/documents/{ordered[0]['redoes']}/result")
    assert answer.headers["Parsegate-Provenance"] == "real"


@pytest.mark.timeout(300)
def test_a_switch_of_the_mode_is_in_force_within_a_second(
    start_program: Start, fresh_amqp_url: str, postgres_url: str, tmp_path: Path
) -> None:
    worker = ("worker", "--processes", "2")
    with (
        installation(start_program, fresh_amqp_url, postgres_url, tmp_path, workers=[worker]) as system,
        ordering(fresh_amqp_url, tmp_path) as ids,
    ):
        time.sleep(4)
        switched_at = datetime.now(UTC)
        assert system.http.put("/v1/mode", json={"mode": "mock"}).json()["mode"] == "mock"
        time.sleep(4)
        events = last_sent(postgres_url)
        until(lambda: sum(states(postgres_url).values()) >= len(ids) - A_SECOND)
        took_s = (events - switched_at).total_seconds()
        print(f"\nthe last document was sent {took_s:.2f} s after the switch")
        assert took_s < 1
        assert states(postgres_url)["completed", "mock"] > 0


def last_sent(database_url: str) -> datetime:
    """When the last paid call was claimed."""
    with psycopg.connect(database_url) as connection:
        row: Any = connection.execute("SELECT max(submitted_at) FROM attempt").fetchone()
    moment: datetime = row[0]
    return moment
