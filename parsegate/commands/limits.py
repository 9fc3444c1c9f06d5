"""Commands about the provider's pace."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from domain.settings import read_settings
from parsegate.api import connect

NAMES: Final = ("parse", "upload", "read", "hourly", "in_flight")


@click.group()
def limits() -> None:
    """Show or set the provider's pace.

    Example: parsegate limits show
    """


@limits.command("show")
@click.option("--waiting", type=click.IntRange(0, 1000), default=20, show_default=True, help="How many jobs to show.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_limits(waiting: int, as_json: bool) -> None:
    """What is in force and was learned, what limits now, and why each waiting job waits.

    Example: parsegate limits show
    """
    with connect(read_settings()) as api:
        said = api.limits(waiting=waiting)
    _print(said, as_json)
    if not as_json and said["waiting"]:
        _print_waiting(said["waiting"])


@limits.command("set")
@click.argument("name", type=click.Choice(NAMES))
@click.argument("value")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def set_limit(name: str, value: str, as_json: bool) -> None:
    """Set a limit on every process at once; what was learned about it is forgotten.

    VALUE is COUNT/SECONDS (several, comma-separated, hold at once), a whole number for in_flight, or 'none' for hourly
    and in_flight. 'default' brings the setting back.

    Example: parsegate limits set parse 10/2
    """
    with connect(read_settings()) as api:
        _print(api.set_limit(name, value), as_json)


def _print_waiting(jobs: Sequence[Mapping[str, Any]]) -> None:
    from parsegate.tables import print_table, text_cells, text_table, time_words

    table = text_table("waiting job", "for", "at", "why")
    for job in jobs:
        at = "-" if job["at"] is None else time_words(job["at"])
        table.add_row(*text_cells(job["job_id"], job["limit"], at, job["why"]))
    print_table(table)


def _print(said: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(said, indent=2))
        return
    from rich import box
    from rich.table import Table

    from parsegate.tables import print_table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("limit", "in force", "from", "used now", "under way", "waiting"):
        table.add_column(heading, justify="right" if heading in {"used now", "under way", "waiting"} else "left")
    for limit in said["limits"]:
        origin = f"set by {limit['set_by']} (setting: {limit['configured']})" if limit["set_by"] else "setting"
        used = ", ".join(f"{window['calls']} of {window['window']}" for window in limit["used"])
        table.add_row(
            limit["name"], limit["in_force"], origin, used or "-", str(limit["under_way"]), str(limit["waiting"])
        )
    print_table(table)
    for limit in said["limits"]:
        click.echo(f"{limit['name']}: {limit['explanation']}")
