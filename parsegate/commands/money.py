"""Commands about money: quote, budget, usage."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from domain.budgets import parse_budget_key, parse_limit
from domain.clock import format_utc, parse_utc
from domain.errors import OrderRefused
from domain.pricing import TIERS
from domain.settings import read_settings
from parsegate.api import Api, connect
from parsegate.commands.parameters import DOCUMENT

FILES_AT_ONCE: Final = 50
BY: Final = ("day", "tenant", "user", "tag", "tier", "provenance")


@click.command()
@click.argument("files", nargs=-1, required=True, type=DOCUMENT)
@click.option("--tier", default=None, type=click.Choice(list(TIERS)), help="The provider's tier.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def quote(files: Sequence[Path], tier: str | None, as_json: bool) -> None:
    """What documents would cost at most, and when they could start. Nothing is stored or paid.

    Each takes its part of the budget before the next one is looked at.

    Example: parsegate quote policy.pdf contract.pdf --tier agentic
    """
    show_quote(files, {"tier": tier} if tier is not None else {}, as_json)


def show_quote(files: Sequence[Path], fields: Mapping[str, str], as_json: bool) -> None:
    """Print what documents would cost that are ordered with these fields."""
    with connect(read_settings()) as api:
        parts = [_quote(api, files[i : i + FILES_AT_ONCE], fields) for i in range(0, len(files), FILES_AT_ONCE)]
        said = parts[0]
        if len(parts) > 1:
            names = ("filename", "pages", "pages_guessed", "kind")
            counted = [{name: file[name] for name in names} for part in parts for file in part["files"]]
            said = api.quote_counted(counted, fields)
    if as_json:
        click.echo(json.dumps(said, indent=2))
        return
    from parsegate.money_tables import quote_notes, quote_table
    from parsegate.tables import print_table

    print_table(quote_table(said))
    for line in quote_notes(said):
        click.echo(line)


def _quote(api: Api, files: Sequence[Path], fields: Mapping[str, str]) -> dict[str, Any]:
    with ExitStack() as opened:
        return api.quote([(path.name, opened.enter_context(_open(path))) for path in files], fields)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise OrderRefused(f"{path} can't be read: {error.strerror}") from None


@click.group()
def budget() -> None:
    """Show or set what may be spent.

    Example: parsegate budget set 12.50
    """


@budget.command("show", short_help="Every budget: limit, spent, held, free, and what is expected.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_budget(as_json: bool) -> None:
    """Every budget: its limit, what is spent, held and free, and what is expected by the end of its window.

    Example: parsegate budget show
    """
    with connect(read_settings()) as api:
        _print_budgets(api.budget(), as_json)


# So that -1 is taken for an amount, and refused as one.
@budget.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("amount", required=False)
@click.option(
    "--budget",
    "name",
    default="global/day",
    show_default=True,
    help="global, tenant:NAME or user:UUID, /day or /month.",
)
@click.option("--extra", default=None, help="Grant this much on top of the limit instead, until --until; 0 ends it.")
@click.option("--until", default=None, help="When that ends, with an offset: 2026-11-25T18:00:00+01:00.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def set_budget(amount: str | None, name: str, extra: str | None, until: str | None, as_json: bool) -> None:
    """Set a limit: dollars (12.50), credits (8000credits) or unlimited. In force on every process at once.

    What waits for the budget starts as soon as there is room. A limit in dollars follows the price of a credit; an
    increase is as many credits as its dollars buy when it is granted.

    Example: parsegate budget set 100 --budget tenant:acme/month
    """
    change = _change(amount, name, extra, until)
    with connect(read_settings()) as api:
        _print_budgets(api.change_budget(change), as_json)


def _change(amount: str | None, name: str, extra: str | None, until: str | None) -> dict[str, Any]:
    if (amount is None) == (extra is None):
        raise click.UsageError("say the limit (12.50, 8000credits, unlimited), or --extra AMOUNT --until TIME")
    if (until is not None) != (extra is not None and parse_extra(extra) != 0):
        raise click.UsageError("--extra AMOUNT and --until TIME go together")
    change: dict[str, Any] = {"budget": _key(name), **_amount(amount or extra or "", "limit" if amount else "extra")}
    if until is not None:
        change["until"] = _time(until)
    return change


def parse_extra(text: str) -> int | None:
    """Millicredits granted on top.

    Raises:
        BadParameter: it is no number, or no limit at all.
    """
    try:
        extra = parse_limit(text)
    except OrderRefused as error:
        raise click.BadParameter(str(error)) from None
    if extra is None:
        raise click.BadParameter("an increase can't be unlimited; set the limit itself to unlimited")
    return extra


def _amount(text: str, what: str) -> dict[str, Any]:
    """The member of a change that says an amount: dollars or credits, as it was written."""
    try:
        if parse_limit(text) is None:
            return {f"{what}_usd": "unlimited"}
    except OrderRefused as error:
        raise click.BadParameter(str(error)) from None
    said = text.strip().lower()
    if said.endswith("credits"):
        return {f"{what}_credits": float(said.removesuffix("credits"))}
    return {f"{what}_usd": float(said.removesuffix("usd").strip().removeprefix("$"))}


def _key(name: str) -> str:
    try:
        return str(parse_budget_key(name))
    except OrderRefused as error:
        raise click.BadParameter(str(error)) from None


def _time(text: str) -> str:
    try:
        return format_utc(parse_utc(text))
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"--until {text[:40]!r} must be a time with an offset, such as 2026-11-25T18:00:00+01:00"
        ) from None


@click.command()
@click.option("--by", default="day", show_default=True, type=click.Choice(BY), help="What each row stands for.")
@click.option("--since", default=None, help="A day, or a time with an offset.")
@click.option("--until", default=None, help="A day, which counts too, or a time with an offset.")
@click.option("--tenant", default=None, help="That tenant's alone.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def usage(by: str, since: str | None, until: str | None, tenant: str | None, as_csv: bool, as_json: bool) -> None:
    """What has been settled. Days are those of the budget's time zone.

    Example: parsegate usage --by tenant --since 2026-11-01 --csv
    """
    if as_csv and as_json:
        raise click.UsageError("use either --csv or --json")
    asked = {"by": by, "since": since, "until": until, "tenant": tenant}
    params = {name: value for name, value in asked.items() if value is not None}
    with connect(read_settings()) as api:
        if as_csv:
            click.echo(api.usage_csv(params), nl=False)
            return
        said = api.usage(params)
    if as_json:
        click.echo(json.dumps(said, indent=2))
        return
    from parsegate.money_tables import usage_table
    from parsegate.tables import print_table

    print_table(usage_table(said))
    if said["rows_left_off"]:
        click.echo(f"{said['rows_left_off']} more rows: narrow the span with --since and --until")


def _print_budgets(said: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(said, indent=2))
        return
    from parsegate.money_tables import budget_notes, budget_table
    from parsegate.tables import print_table

    print_table(budget_table(said["budgets"]))
    for line in budget_notes(said):
        click.echo(line)
