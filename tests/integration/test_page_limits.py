"""The provider is told the pages that were held, and a result that may not be whole says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from actors.outcome import is_truncated
from actors.parse import parse_request
from domain.money import Millicredits
from llamaparse.simulator import RunningSimulator
from models import attempts
from models.tables import Attempt, Job
from tests.documents import new_pdf
from tests.state import state_of
from tests.world import World, world_of


@pytest.fixture
def world(simulator: RunningSimulator, tmp_path: Path) -> Iterator[World]:
    with state_of("sqlite", tmp_path), world_of(simulator, tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    ("pages", "guessed", "options", "parsed", "truncated"),
    [
        (3, False, {}, 3, False),
        (3, False, {}, 2, True),
        (3, True, {}, 2, False),
        (3, True, {}, 3, True),
        (3, True, {"page_ranges": {"max_pages": 3}}, 3, False),
        (3, True, {"page_ranges": {"max_pages": 2}}, 3, False),
        (3, True, {"page_ranges": {"max_pages": 100}}, 3, True),
        (3, True, {"page_ranges": {"target_pages": "1-3"}}, 3, False),
        (3, True, {"page_ranges": {"target_pages": "1-3,9"}}, 3, True),
        (None, False, {}, 3, False),
    ],
)
def test_what_may_not_be_whole_says_so(
    pages: int | None, guessed: bool, options: dict[str, Any], parsed: int, truncated: bool
) -> None:
    job = Job(job_id=uuid4(), pages=pages, pages_guessed=guessed, options=options)
    assert is_truncated(job, parsed) is truncated


@pytest.mark.parametrize(
    ("pages", "options", "most", "target"),
    [
        (7, {}, 7, None),
        (2, {"page_ranges": {"max_pages": 100}}, 2, None),
        (2, {"page_ranges": {"target_pages": "3,5-9"}}, None, "3,5"),
    ],
)
def test_the_provider_is_told_what_was_held(
    world: World, pages: int, options: dict[str, Any], most: int | None, target: str | None
) -> None:
    job = Job(job_id=uuid4(), pages=pages, tier="fast", options=options)
    request = parse_request(world.services, job, Attempt(attempt_id=uuid4(), file_id="dfl-1"))
    assert (request.max_pages, request.target_pages) == (most, target)


def test_a_count_that_was_too_low_costs_no_more_and_shows(world: World) -> None:
    """Five pages, of which two were held: two are parsed and billed, and the result says that it may not be whole."""
    pdf = new_pdf()
    for number in range(5):
        pdf.add_page()
        pdf.set_font("Helvetica", size=12)
        pdf.cell(0, 10, f"Page {number}")
    path = world.folder / "five.pdf"
    path.write_bytes(bytes(pdf.output()))
    job = world.order_file(path)
    while world.queue[0].actor_name != "start_parse":
        world.handle(world.queue.popleft())
    Job.update(pages=2, pages_guessed=True).where(Job.job_id == job.job_id).execute()
    attempt = attempts.attempt_under_way(job.job_id)
    assert attempt is not None
    attempts.set_attempt(attempt, estimate=Millicredits(6000))
    ended = world.run_until(job)
    assert (ended.parsed_pages, ended.truncated, ended.cost) == (2, True, 6000)
