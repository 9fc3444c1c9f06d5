"""Commands about the webhooks that come in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from domain.settings import read_settings
from parsegate.api import connect


@click.group()
def webhooks() -> None:
    """Look at webhooks that were not let in.

    Example: parsegate webhooks rejected
    """


@webhooks.command("rejected")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many at most.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with their headers.")
def show_rejected(limit: int, as_json: bool) -> None:
    """How many webhooks were rejected for which reason, and the last of them, newest first.

    The sender was told none of this. Bodies are not kept, only their hash.

    Example: parsegate webhooks rejected --limit 5 --json
    """
    with connect(read_settings()) as api:
        said = api.rejected_webhooks(limit=limit)
    if as_json:
        click.echo(json.dumps(said, indent=2))
        return
    if not said["counts"]:
        click.echo("no webhook was rejected")
        return
    _print(said)


def _print(said: Mapping[str, Any]) -> None:
    from parsegate.tables import plain, print_table, text_cells, text_table

    for reason, count in said["counts"].items():
        click.echo(plain(f"{count:,} {reason.replace('_', ' ')}"))
    table = text_table("at", "reason", "job", "body")
    for one in said["items"]:
        body = "-" if one["body_sha256"] is None else f"{one['body_bytes']:,} bytes, {one['body_sha256'][:12]}"
        at = f"{one['at'][:10]} {one['at'][11:19]}"
        table.add_row(*text_cells(at, one["reason"].replace("_", " "), one["job_id"] or "-", body))
    print_table(table)
