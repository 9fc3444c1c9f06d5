"""Commands that speak to a running Parsegate over HTTP."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from domain.errors import CallRefused, OrderRefused, ParsegateError
from domain.job_state import JobState
from domain.pricing import TIERS
from domain.settings import read_settings
from parsegate.api import Api, connect
from parsegate.commands.money import show_quote
from parsegate.commands.parameters import DOCUMENT

MODES = ("real", "mock", "hybrid")


@click.command()
@click.argument("files", nargs=-1, required=True, type=DOCUMENT)
@click.option("--tier", default=None, type=click.Choice(list(TIERS)), help="The provider's tier.")
@click.option(
    "--mode",
    default=None,
    type=click.Choice(MODES),
    help="Who parses these documents, whatever the mode in force; an admin token may say so.",
)
@click.option("--wait", is_flag=True, help="Follow the jobs to their end; fails if one did not complete.")
@click.option("--dry-run", is_flag=True, help="Say what it would cost, and order nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def submit(files: Sequence[Path], tier: str | None, mode: str | None, wait: bool, dry_run: bool, as_json: bool) -> None:
    """Order documents to be parsed.

    Example: parsegate submit policy.pdf --tier agentic --wait
    """
    fields = {name: value for name, value in (("tier", tier), ("mode", mode)) if value is not None}
    if dry_run:
        show_quote(files, fields, as_json)
        return
    with connect(read_settings()) as api:
        jobs, trouble = _order(api, files, fields)
        if wait and trouble is None:
            from parsegate.following import follow

            jobs = follow(api, jobs, [path.name for path in files], bar=not as_json)
    if as_json:
        click.echo(json.dumps(jobs, indent=2))
    else:
        if wait and trouble is None:
            _print_table(jobs)
        for path, job in zip(files, jobs, strict=False):
            click.echo(f"{job['job_id']}  {job['state']}  {path}")
    if trouble is not None:
        raise trouble
    if wait and any(job["state"] != JobState.COMPLETED for job in jobs):
        sys.exit(1)


def _order(
    api: Api, files: Sequence[Path], fields: Mapping[str, str]
) -> tuple[list[dict[str, Any]], BaseException | None]:
    """Order one after the other, up to the first that is refused: the jobs so far, and what stopped it."""
    jobs: list[dict[str, Any]] = []
    for path in files:
        try:
            jobs.append(_submit(api, path, fields))
        except (ParsegateError, KeyboardInterrupt) as error:
            return jobs, error
    return jobs, None


def _submit(api: Api, path: Path, fields: Mapping[str, str]) -> dict[str, Any]:
    try:
        content = path.open("rb")
    except OSError as error:
        raise OrderRefused(f"{path} can't be read: {error.strerror}") from None
    with content:
        try:
            return api.submit(content, path.name, fields)
        except CallRefused as error:
            said = str(error)
            about = said.removeprefix("The file ")
            raise CallRefused(f"{path}: {said}" if about == said else f"{path} {about}", status=error.status) from None


@click.command()
@click.argument("job_id", type=click.UUID)
@click.option(
    "--format", "form", default="markdown", show_default=True, type=click.Choice(["markdown", "text", "json"])
)
def result(job_id: object, form: str) -> None:
    """Print a job's result.

    Example: parsegate result 0b9f6c1e-4f3d-4b6e-9d0e-2f7a54d5c001 --format text
    """
    with connect(read_settings()) as api:
        click.echo(api.result(str(job_id), form))


@click.group()
def mode() -> None:
    """Show or switch who parses: real, mock, hybrid.

    Example: parsegate mode set mock
    """


@mode.command("show")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_mode(as_json: bool) -> None:
    """The mode in force, where it comes from, and which endpoints of the provider are out of use.

    Example: parsegate mode show
    """
    with connect(read_settings()) as api:
        _print_mode(api.mode(), as_json)


@mode.command("set")
@click.argument("name", type=click.Choice(MODES))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def set_mode(name: str, as_json: bool) -> None:
    """Switch the mode of every process, in force within a second.

    A switch to real or hybrid also tries the provider again at once, whatever kept us from sending.

    Example: parsegate mode set hybrid
    """
    with connect(read_settings()) as api:
        _print_mode(api.set_mode(name), as_json)


def _print_mode(said: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(said))
        return
    click.echo(f"{said['mode']} ({said['source']})")
    for endpoint in said["endpoints"]:
        if endpoint["state"] != "closed":
            since, again = _clock_time(endpoint["since"]), _clock_time(endpoint["next_try_at"])
            click.echo(f"{endpoint['endpoint']}: stopped since {since}: {endpoint['why']}; next try at {again}")
    if said["out_of_credits_until"] is not None:
        until = _clock_time(said["out_of_credits_until"])
        click.echo(f"the provider's account has no credits left; nothing is sent before {until}")


def _clock_time(text: str) -> str:
    return f"{text[:19].replace('T', ' ')} UTC"


def _print_table(found: Sequence[Mapping[str, Any]]) -> None:
    from parsegate.tables import job_notes, print_jobs

    print_jobs(found)
    for line in job_notes(found):
        click.echo(line, err=True)
