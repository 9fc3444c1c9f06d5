"""The provider's limit under load: four worker processes, counted by the simulator itself."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pika
import pytest

from tests.acceptance.fifty import stats_of, submit_message
from tests.acceptance.system import Start, installation
from tests.documents import TestDocument

WORKERS = 4
LIMIT_S = 240.0


@dataclass(frozen=True)
class Load:
    """So many documents, at a provider that lets through `count` of them in `seconds`."""

    count: int
    seconds: int
    documents: int

    @property
    def permitted_s(self) -> float:
        """How long so many documents take at the permitted rate."""
        return self.documents * self.seconds / self.count

    @property
    def simulator(self) -> tuple[str, ...]:
        """The command that starts such a provider."""
        return ("simulator", "--port", "0", "--parse-limit", f"{self.count}/{self.seconds}")


@dataclass(frozen=True)
class Run:
    """What came of it, by the simulator's own count.

    Args:
        used: the part of the permitted rate that was used, from the first order to the last paid call.
    """

    refused: int
    used: float
    peak: int


def order_messages(folder: Path, count: int) -> list[bytes]:
    """Orders of small documents, no two alike."""
    messages = []
    for number in range(count):
        path = folder / f"letter-{number}.txt"
        path.write_text(f"Letter {number}\nabout policy {uuid4()}\n")
        messages.append(submit_message(TestDocument(path.name, path, (), "text"), "fast", uuid4()))
    return messages


def run(amqp_url: str, simulator_url: str, messages: list[bytes], load: Load) -> Run:
    """Order everything at once, and wait until the last document was paid for."""
    began_at = time.monotonic()
    connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
    channel = connection.channel()
    channel.confirm_delivery()
    for message in messages:
        channel.basic_publish("", "submit", message, mandatory=True)
    connection.close()
    while (made := int(stats_of(simulator_url)["jobs_created"])) < load.documents:
        assert time.monotonic() < began_at + LIMIT_S, f"{made} of {load.documents} made"
        time.sleep(0.25)
    took_s = time.monotonic() - began_at
    stats = stats_of(simulator_url)
    assert all(count == 1 for count in stats["by_parsegate_job"].values())
    return Run(int(stats["answers_429"]), load.permitted_s / took_s, int(stats["max_creates_in_window"]))


@pytest.mark.timeout(600)
def test_a_limit_that_is_set_right_is_used_and_never_hit(
    start_program: Start, fresh_amqp_url: str, postgres_url: str, tmp_path: Path
) -> None:
    load = Load(50, 10, 500)
    messages = order_messages(tmp_path, load.documents)
    with installation(
        *(start_program, fresh_amqp_url, postgres_url, tmp_path),
        workers=[("worker",)] * WORKERS,
        simulator=load.simulator,
        PARSEGATE_PARSE_LIMIT=f"{load.count}/{load.seconds}",
    ) as system:
        done = run(fresh_amqp_url, system.simulator_url, messages, load)
    print(done)
    assert done.refused == 0
    assert done.peak == load.count
    assert done.used >= 0.97


@pytest.mark.timeout(600)
def test_a_limit_that_nobody_told_is_learned(
    start_program: Start, fresh_amqp_url: str, postgres_url: str, tmp_path: Path
) -> None:
    load = Load(50, 10, 500)
    messages = order_messages(tmp_path, load.documents)
    with installation(
        *(start_program, fresh_amqp_url, postgres_url, tmp_path),
        workers=[("worker",)] * WORKERS,
        simulator=load.simulator,
        PARSEGATE_PARSE_LIMIT="5000/10",
    ) as system:
        done = run(fresh_amqp_url, system.simulator_url, messages, load)
    print(done)
    assert done.refused < 10
    assert done.used >= 0.85
