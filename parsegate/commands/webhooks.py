"""Commands about the webhooks that come in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from domain.settings import read_settings
from parsegate.api import connect


@click.group()
def webhooks() -> None:
    """Look at webhooks that were not let in, and at those that we send.

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
    from parsegate.tables import plain, print_table, text_cells, text_table, time_words

    for reason, count in said["counts"].items():
        click.echo(plain(f"{count:,} {reason.replace('_', ' ')}"))
    table = text_table("at", "reason", "job", "body")
    for one in said["items"]:
        body = "-" if one["body_sha256"] is None else f"{one['body_bytes']:,} bytes, {one['body_sha256'][:12]}"
        at = time_words(one["at"])
        table.add_row(*text_cells(at, one["reason"].replace("_", " "), one["job_id"] or "-", body))
    print_table(table)


@webhooks.command("deliveries")
@click.option("--state", type=click.Choice(["open", "delivered", "given_up"]), default=None, help="Only these.")
@click.option("--job", "job_id", type=click.UUID, default=None, help="Only this job's.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many at most.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_deliveries(state: str | None, job_id: object, limit: int, as_json: bool) -> None:
    """Events for callback URLs and webhooks, newest first, and what became of them.

    Example: parsegate webhooks deliveries --state given_up
    """
    asked = {"state": state, "job_id": None if job_id is None else str(job_id), "limit": str(limit)}
    with connect(read_settings()) as api:
        found = api.deliveries({name: value for name, value in asked.items() if value is not None})["items"]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    if not found:
        click.echo("no event was to be sent")
        return
    from parsegate.tables import print_table, text_cells, text_table

    table = text_table("delivery", "event", "state", "tries", "to", "last error")
    table.columns[0].no_wrap = True  # an id is copied as a whole
    for one in found:
        cells = one["delivery_id"], one["event"], one["state"], str(one["tries"]), one["url"], one["last_error"] or ""
        table.add_row(*text_cells(*cells))
    print_table(table)


@webhooks.command("redeliver")
@click.argument("delivery_ids", nargs=-1, required=True, type=click.UUID)
def redeliver(delivery_ids: Sequence[object]) -> None:
    """Have events sent once more: the same events, with the same ids.

    Example: parsegate webhooks redeliver 0b9f6c1e-4f3d-4b6e-9d0e-2f7a54d5c001
    """
    with connect(read_settings()) as api:
        for delivery_id in delivery_ids:
            said = api.redeliver(str(delivery_id))
            click.echo(f"{said['delivery_id']}  {said['state']}")


@webhooks.command("endpoints")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_endpoints(as_json: bool) -> None:
    """Receivers of our events that fail; to those that are disabled nothing is posted.

    Example: parsegate webhooks endpoints
    """
    with connect(read_settings()) as api:
        found = api.endpoints()["items"]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    if not found:
        click.echo("every receiver takes what it is sent")
        return
    from parsegate.tables import print_table, text_cells, text_table, time_words

    table = text_table("endpoint", "state", "failing since", "failures", "url", "last error")
    table.columns[0].no_wrap = True
    for one in found:
        since = time_words(one["failing_since"])
        state = "failing" if one["disabled_at"] is None else "disabled"
        table.add_row(
            *text_cells(one["endpoint_id"], state, since, str(one["failures"]), one["url"], one["last_error"])
        )
    print_table(table)


@webhooks.command("enable")
@click.argument("endpoint_id", type=click.UUID)
def enable_endpoint(endpoint_id: object) -> None:
    """Post to a receiver again that was disabled. What was given up meanwhile is there to be redelivered.

    Example: parsegate webhooks enable 0b9f6c1e-4f3d-4b6e-9d0e-2f7a54d5c001
    """
    from parsegate.tables import plain

    with connect(read_settings()) as api:
        said = api.enable_endpoint(str(endpoint_id))
    click.echo(plain(f"{said['url']} is posted to again"))
