"""Following jobs to their end, while what they wait for is seen."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.text import Text

from domain.errors import ParsegateError
from domain.job_state import FINAL, JobState
from parsegate.api import Api
from parsegate.tables import plain

Job = Mapping[str, Any]
Show = Callable[[Sequence[Job]], None]

MOST_LINES: Final = 5
"""How many messages are shown under the bar at once."""


def follow(api: Api, ordered: Sequence[dict[str, Any]], names: Sequence[str], *, bar: bool) -> list[dict[str, Any]]:
    """The jobs once all have ended. What is interrupted says how to go on looking.

    Args:
        bar: show a progress bar, on a terminal; otherwise each new message is a line on standard error.
    """
    console = Console(stderr=True)
    watching = progress_bar(console, names, transient=True) if bar and console.is_terminal else _lines(names)
    now = list(ordered)
    try:
        with watching as show:
            for now in api.follow([job["job_id"] for job in ordered]):
                show(now)
    except (KeyboardInterrupt, ParsegateError):
        for name, job in zip(names, now, strict=True):
            if not has_ended(job):
                click.echo(f"the job goes on: parsegate jobs show {job['job_id']}  ({plain(name)})", err=True)
        raise
    return now


def has_ended(job: Job) -> bool:
    """True if nothing more happens to a job by itself."""
    return JobState(job["state"]) in FINAL


def count_states(jobs: Sequence[Job]) -> str:
    """How many jobs are in each state, such as ``2 completed, 1 parsing``."""
    counts = Counter(str(job["state"]) for job in jobs)
    return ", ".join(f"{count} {state}" for state, count in counts.items())


@contextlib.contextmanager
def progress_bar(console: Console, names: Sequence[str], *, transient: bool) -> Iterator[Show]:
    """A bar, and under it how many jobs are in each state and what the unfinished ones say."""
    progress = Progress(BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console)
    task = progress.add_task("", total=len(names))
    with Live(Group(progress, Text("ordered")), console=console, transient=transient) as live:

        def show(jobs: Sequence[Job]) -> None:
            progress.update(task, completed=sum(map(has_ended, jobs)))
            said = list(_messages(names, jobs).values())
            more = [f"and {len(said) - MOST_LINES} more"] if len(said) > MOST_LINES else []
            lines = [count_states(jobs), *said[:MOST_LINES], *more]
            live.update(Group(progress, *map(Text, lines)))

        yield show


@contextlib.contextmanager
def _lines(names: Sequence[str]) -> Iterator[Show]:
    said: dict[str, str] = {}

    def show(jobs: Sequence[Job]) -> None:
        for job_id, line in _messages(names, jobs).items():
            if said.get(job_id) != line:
                said[job_id] = line
                click.echo(line, err=True)

    yield show


def _messages(names: Sequence[str], jobs: Sequence[Job]) -> dict[str, str]:
    """What unfinished jobs say of themselves, by their ids."""
    return {
        str(job["job_id"]): plain(f"{name}: {job['state']}: {job['message']}")
        for name, job in zip(names, jobs, strict=True)
        if not has_ended(job) and job.get("message")
    }
