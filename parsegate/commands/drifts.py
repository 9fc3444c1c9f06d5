"""Commands about bills that are not what was priced."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import click

from domain.budgets import MOST_CREDITS
from domain.settings import read_settings
from parsegate.api import connect


@click.group()
def drifts() -> None:
    """Look at bills that are not what was priced, and explain them.

    Example: parsegate drifts list
    """


@drifts.command("list")
@click.option("--all", "every", is_flag=True, help="Those that are explained, too.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many at most.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_drifts(every: bool, limit: int, as_json: bool) -> None:
    """Bills that are not what was priced and that nobody has explained, newest first.

    Example: parsegate drifts list --all
    """
    with connect(read_settings()) as api:
        found = api.drifts(every=every, limit=limit)["items"]
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif not found:
        click.echo("every bill is what was priced" if every else "no bill is left to be explained")
    else:
        _print(found)


@drifts.command("explain")
@click.argument("drift_id", type=click.IntRange(1))
@click.argument("words")
@click.option("--billed", default=None, help="What the provider billed, in credits, if it never told and you know.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain_drift(drift_id: int, words: str, billed: str | None, as_json: bool) -> None:
    """Put on record why a bill is not what was priced: it is no alert any more. Explaining it again replaces that.

    With --billed what was only assumed is settled at that, in the budgets too.

    Example: parsegate drifts explain 7 "free of charge, see the provider's mail of 25 November" --billed 0
    """
    credits_billed = None if billed is None else _credits(billed)
    with connect(read_settings()) as api:
        said = api.explain_drift(drift_id, words, credits_billed)
    if as_json:
        click.echo(json.dumps(said, indent=2))
    else:
        _print([said])


def _credits(text: str) -> float:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount <= MOST_CREDITS:
        raise click.BadParameter(f"--billed {text[:40]!r} is no number of credits from 0 to {MOST_CREDITS:,}")
    return float(amount)


def _print(found: list[Mapping[str, Any]]) -> None:
    from parsegate.tables import plain, print_table, text_cells, text_table

    table = text_table("id", "what", "priced", "billed", "settled", "since")
    for drift in found:
        table.add_row(
            *text_cells(
                drift["drift_id"],
                drift["kind"].replace("_", " "),
                f"{drift['priced_credits']:g}",
                "-" if drift["billed_credits"] is None else f"{drift['billed_credits']:g}",
                _settled(drift),
                drift["at"][:10],
            )
        )
    print_table(table)
    for drift in found:
        click.echo(plain(f"{drift['drift_id']}: job {drift['job_id']}{_words(drift)}"))


def _words(drift: Mapping[str, Any]) -> str:
    if drift["explained_at"] is not None:
        return f": {drift['explanation']} ({drift['explained_by'] or 'by itself'})"
    known = f": {drift['explanation']}" if drift["explanation"] else ""
    again = drift["asked_again_at"]
    return known + (f": the provider is asked again at {again[:16].replace('T', ' ')} UTC" if again else "")


def _settled(drift: Mapping[str, Any]) -> str:
    if drift["settled_credits"] is None:
        return "-"
    return f"{drift['settled_credits']:g}{' (assumed)' if drift['assumed'] else ''}"
