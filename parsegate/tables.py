"""Tables for people, at the width that there is: columns go before anything is cut."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

Job = Mapping[str, Any]

STATE_STYLES: Final = {"completed": "green", "failed": "red", "rejected": "red", "cancelled": "yellow"}
WIDTH: Final = 160
"""Where the output is no terminal, and `COLUMNS` does not say."""


def print_jobs(jobs: Sequence[Job]) -> None:
    """Jobs as the HTTP interface gives them, a row each, on standard output."""
    console = _console()
    console.print(job_table(jobs, console))


def job_table(jobs: Sequence[Job], console: Console) -> Table:
    """The widest table of jobs that the console has room for; the last resort folds the names."""
    left = list(_COLUMNS)
    table = _job_table(jobs, left)
    for dropped in ("seconds", "tier", "dollars", "provenance", "credits"):
        if Measurement.get(console, console.options.update_width(10_000), table).maximum <= console.width:
            break
        left.remove(dropped)
        table = _job_table(jobs, left)
    return table


def job_notes(jobs: Sequence[Job]) -> Iterator[str]:
    """Why jobs did not complete, a line each."""
    for job in jobs:
        if job["state"] != "completed" and (job.get("message") or job.get("reason")):
            reason = f" ({job['reason']})" if job.get("reason") and job.get("message") else ""
            yield plain(f"{job['filename']}: {job.get('message') or job['reason']}{reason}")


def print_table(table: Table) -> None:
    """On standard output; as wide as it needs where that is not a terminal."""
    _console().print(table)


def text_table(*headings: str) -> Table:
    """An empty table of texts."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def text_cells(*texts: object) -> tuple[Text, ...]:
    """Texts from outside as cells."""
    return tuple(Text(plain(text)) for text in texts)


def plain(text: object) -> str:
    """A text from outside, without what a terminal would obey."""
    return "".join(character if character.isprintable() else "\ufffd" for character in str(text))


def _console() -> Console:
    console = Console()
    if not console.is_terminal and not os.environ.get("COLUMNS", "").isdigit():
        console = Console(width=WIDTH)
    return console


def _job_table(jobs: Sequence[Job], headings: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        right = heading in {"pages", "credits", "dollars", "seconds"}
        name = heading == "document"
        table.add_column(heading, justify="right" if right else "left", overflow="fold", no_wrap=not name)
    for job in jobs:
        table.add_row(*(_COLUMNS[heading](job) for heading in headings))
    return table


def _state(job: Job) -> Text:
    return Text(str(job["state"]), STATE_STYLES.get(job["state"], "cyan"))


def _pages(job: Job) -> Text:
    if job.get("parsed_pages") is not None:
        return Text(str(job["parsed_pages"]))
    if job["pages"] is None:
        return Text("-")
    return Text(f"<= {job['pages']}" if job.get("pages_guessed") else str(job["pages"]))


def _seconds(job: Job) -> Text:
    if not job["finished_at"]:
        return Text("-")
    taken = datetime.fromisoformat(job["finished_at"]) - datetime.fromisoformat(job["created_at"])
    return Text(f"{taken.total_seconds():.1f}")


_COLUMNS: Final[Mapping[str, Callable[[Job], Text]]] = {
    "document": lambda job: Text(plain(job["filename"])),
    "pages": _pages,
    "tier": lambda job: Text(plain(job["tier"])),
    "credits": lambda job: Text(f"{job['credits']:g}"),
    "dollars": lambda job: Text(f"${job['usd']:.5f}"),
    "state": _state,
    "provenance": lambda job: Text(str(job["provenance"] or "-")),
    "seconds": _seconds,
}


def time_words(text: str) -> str:
    """RFC 3339 as people read it, to a second."""
    return f"{text[:10]} {text[11:19]}"
