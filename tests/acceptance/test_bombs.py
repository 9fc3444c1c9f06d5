"""Documents that would fill a machine's memory, or keep it busy for hours: each job ends, and nobody else notices."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from llamaparse.parser_pool import MEMORY_BYTES
from tests.bombs import bombs
from tests.hostile_kit import Target, check_afterwards, check_log, normal_request, running_target
from tests.load_kit import MB, family, p99_ms

BOMBS = bombs()
END_S = 60
P99_MS = 200
GROWTH_MB = 100
"""What the process that answers may hold more than before its first bomb."""
LOOK_S = 0.05


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with running_target(tmp_path_factory.mktemp("bombs")) as running:
        with running.http() as http:
            for number in range(20):
                normal_request(http, number)
        yield running


@pytest.fixture(scope="module")
def at_first(target: Target) -> float:
    """What the process that answers holds without bombs, in MB."""
    return resident_mb(target.pid)


@pytest.fixture(scope="module")
def seconds() -> list[float]:
    """How long normal requests took while bombs were counted and parsed, over all of them."""
    return []


def resident_mb(pid: int) -> float:
    """What one process holds; 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(status.partition("VmRSS:")[2].partition("kB")[0] or 0) * 1024 / MB


class Watch:
    """The most that each process of a target held, looked at all the time; and how long others waited meanwhile."""

    def __init__(self, target: Target, seconds: list[float]) -> None:
        self._target, self._seconds = target, seconds
        self._over = threading.Event()
        self.own_mb = self.child_mb = 0.0

    def __enter__(self) -> Watch:
        self._threads = ThreadPoolExecutor(2)
        self._looking = [self._threads.submit(self._look), self._threads.submit(self._ask)]
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._threads.shutdown()

    def result(self) -> None:
        """Once it is over: raise what went wrong in its threads."""
        for looking in self._looking:
            looking.result()

    def _look(self) -> None:
        while not self._over.wait(LOOK_S):
            own, *children = map(resident_mb, family(self._target.pid))
            self.own_mb, self.child_mb = max(self.own_mb, own), max([self.child_mb, *children])

    def _ask(self) -> None:
        with self._target.http() as http:
            while not self._over.wait(LOOK_S):
                self._seconds.append(normal_request(http, len(self._seconds)))


def ends(http: httpx.Client, name: str, content: bytes) -> str:
    """Order it; the state that its job ends in."""
    answer = http.post("/v1/documents", files={"file": (name, content)})
    assert answer.status_code == 202, answer.text
    until = time.monotonic() + END_S
    while True:
        job = http.get(f"/v1/documents/{answer.json()['job_id']}").json()
        if job["state"] in {"completed", "failed"}:
            return f"{job['state']} ({job.get('reason')})"
        assert time.monotonic() < until, f"{name} is {job['state']} after {END_S} s"
        time.sleep(0.1)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_hurts_its_own_job_alone(target: Target, at_first: float, seconds: list[float], name: str) -> None:
    content = BOMBS[name]()
    with target.http() as http, Watch(target, seconds) as watch:
        http.timeout = httpx.Timeout(END_S)
        begun = time.monotonic()
        quote = http.post("/v1/quote", files={"file": (name, content)})
        quoted = time.monotonic()
        ended = ends(http, name, content)
        took = time.monotonic() - quoted
    watch.result()
    print(f"\n{name}, {len(content):,} bytes: {ended} in {took:.1f} s; quoted in {quoted - begun:.1f} s;", end=" ")
    print(f"own {watch.own_mb - at_first:+.0f} MB, a parser {watch.child_mb:.0f} MB")
    assert quote.status_code == 200, quote.text
    assert watch.child_mb <= MEMORY_BYTES / MB
    assert watch.own_mb - at_first <= GROWTH_MB
    check_log(target)


def test_nobody_else_noticed(target: Target, seconds: list[float]) -> None:
    """The last one: after, and over, all of the above."""
    with target.http() as http:
        assert ends(http, "note.txt", b"A note.").startswith("completed")
    check_afterwards(target)
    print(f"\n{len(seconds)} requests meanwhile: p99 {p99_ms(seconds):.0f} ms, slowest {max(seconds) * 1000:.0f} ms")
    assert len(seconds) >= 100
    assert p99_ms(seconds) < P99_MS
