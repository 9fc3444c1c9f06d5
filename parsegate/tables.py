"""Tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

STATE_STYLES: Final = {"completed": "green", "failed": "red", "rejected": "red", "cancelled": "yellow"}


def job_table(jobs: Sequence[Mapping[str, Any]]) -> Table:
    """Jobs as the HTTP interface gives them, a row each."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("document", "pages", "tier", "credits", "dollars", "state", "provenance", "seconds"):
        table.add_column(heading, justify="right" if heading in {"pages", "credits", "dollars", "seconds"} else "left")
    for job in jobs:
        state = str(job["state"])
        reason = f" ({job['reason']})" if job.get("reason") else ""
        table.add_row(
            str(job["filename"]),
            _pages(job),
            str(job["tier"]),
            f"{job['credits']:g}",
            f"${job['usd']:.5f}",
            f"[{STATE_STYLES.get(state, 'cyan')}]{state}[/]{reason}",
            str(job["provenance"] or "-"),
            _seconds(job),
        )
    return table


def print_table(table: Table) -> None:
    """On standard output; as wide as it needs where that is not a terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table)


def _pages(job: Mapping[str, Any]) -> str:
    if job["pages"] is None:
        return "-"
    return f"<= {job['pages']}" if job.get("pages_guessed") else str(job["pages"])


def _seconds(job: Mapping[str, Any]) -> str:
    if not job["finished_at"]:
        return "-"
    taken = datetime.fromisoformat(job["finished_at"]) - datetime.fromisoformat(job["created_at"])
    return f"{taken.total_seconds():.1f}"
