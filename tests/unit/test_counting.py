"""Documents of quotes are counted a few at a time, in bounded time, and take no thread while they wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import falcon.asgi
import pytest
from falcon.testing import ASGIRequestEventEmitter, create_scope

from domain.documents import PageCount
from domain.errors import OrderRefused
from gateway.counting import PLACES, CountingDesk, Counts
from gateway.problems import Problem
from llamaparse.parser_pool import ParserPool
from tests.hostile_forms import END, file_part

THREADS = PLACES + 1


class HeldParsers(ParserPool):
    """Count only once they are let, or have no more time."""

    def __init__(self) -> None:
        super().__init__()
        self.go, self.counting = threading.Event(), threading.Semaphore(0)

    def count(self, content: BinaryIO, filename: str, *, limit_s: float | None = None) -> PageCount:
        """One page, or a guess."""
        self.counting.release()
        return PageCount(1, guessed=not self.go.wait(limit_s), kind="text")


@pytest.fixture
def parsers() -> HeldParsers:
    return HeldParsers()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(THREADS) as pool:
        yield pool


def form(files: int = 1) -> falcon.asgi.Request:
    scope = create_scope(method="POST", headers={"Content-Type": "multipart/form-data; boundary=b"})
    scope["headers"] = [tuple(pair) for pair in scope["headers"]]  # iterators, which no server sends
    return falcon.asgi.Request(scope, ASGIRequestEventEmitter(file_part() * files + END))


def test_who_finds_no_place_is_told_to_come_again_and_takes_no_thread(
    parsers: HeldParsers, threads: ThreadPoolExecutor
) -> None:
    desk = CountingDesk(threads, 1000, parsers, wait_s=0.2)

    async def run() -> tuple[list[Counts], list[Counts | BaseException]]:
        first = [asyncio.create_task(desk.count(form())) for _ in range(PLACES)]
        for _ in first:
            assert await asyncio.to_thread(parsers.counting.acquire, timeout=10)
        others = asyncio.gather(*[desk.count(form()) for _ in range(10)], return_exceptions=True)
        # The one thread that is left is free all the time.
        assert await asyncio.get_running_loop().run_in_executor(threads, lambda: "free") == "free"
        refused = await others
        parsers.go.set()
        return [*await asyncio.gather(*first), await desk.count(form())], refused

    counted, refused = asyncio.run(run())
    assert [counts.documents[0].pages.guessed for counts in counted] == [False] * (PLACES + 1)
    for problem in refused:
        assert isinstance(problem, Problem)
        assert (problem.status_code, problem.reason, problem.headers) == (503, "counting_busy", {"Retry-After": "5"})


def test_a_form_has_one_time_limit(parsers: HeldParsers, threads: ThreadPoolExecutor) -> None:
    """Not one for each of its files; and the place is free again afterwards."""
    desk = CountingDesk(threads, 1000, parsers, form_s=0.3)

    async def run() -> Counts:
        for _ in range(PLACES + 1):
            with pytest.raises(OrderRefused, match=r"more than 0 s") as refusal:
                await desk.count(form(files=50))
            assert refusal.value.reason == "counting_takes_too_long"
        parsers.go.set()
        return await desk.count(form(files=50))

    assert len(asyncio.run(run()).documents) == 50
