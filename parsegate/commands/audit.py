"""The command that shows who changed what."""

from __future__ import annotations

import json
from typing import Any

import click

from domain.settings import read_settings
from parsegate.api import connect


@click.command("audit", short_help="Who changed what: budgets, mode, limits, tokens, keys.")
@click.option("--what", default=None, help="Only changes of this kind, such as budget.limit or token.created.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many at most.")
@click.option("--before", type=click.IntRange(1), default=None, help="Go on where an earlier page ended.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def audit(what: str | None, limit: int, before: int | None, as_json: bool) -> None:
    """Who changed what about the service, newest first. What happens to jobs is in their history.

    Example: parsegate audit --what budget.limit
    """
    asked = {"what": what, "limit": str(limit), "before": None if before is None else str(before)}
    with connect(read_settings()) as api:
        page = api.changes({name: value for name, value in asked.items() if value is not None})
    if as_json:
        click.echo(json.dumps(page, indent=2))
        return
    if not page["items"]:
        click.echo("nothing was changed")
        return
    from parsegate.tables import print_table, text_cells, text_table, time_words

    table = text_table("at", "who", "what", "of", "from", "to")
    for one in page["items"]:
        at = time_words(one["at"])
        table.add_row(
            *text_cells(at, one["who"], one["what"], one["subject"], _said(one["before"]), _said(one["after"]))
        )
    print_table(table)
    if page["next_before"] is not None:
        click.echo(f"there are more: add --before {page['next_before']}", err=True)


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_said(one)}" for name, one in value.items())
    return "-" if value is None else str(value)
