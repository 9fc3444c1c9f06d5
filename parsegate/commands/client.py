"""Commands that speak to a running Parsegate over HTTP."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from domain.job_state import JobState
from domain.pricing import TIERS
from domain.settings import read_settings
from parsegate.api import Api, connect


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--tier", default=None, type=click.Choice(list(TIERS)), help="The provider's tier.")
@click.option("--wait", is_flag=True, help="Follow the jobs to their end; fails if one did not complete.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def submit(files: Sequence[Path], tier: str | None, wait: bool, as_json: bool) -> None:
    """Order documents to be parsed.

    Example: parsegate submit policy.pdf --tier agentic --wait
    """
    with connect(read_settings()) as api:
        jobs = [_submit(api, path, tier) for path in files]
        if wait:
            jobs = _follow(api, jobs, [path.name for path in files], quiet=as_json)
    if as_json:
        click.echo(json.dumps(jobs, indent=2))
    elif wait:
        _print_table(jobs)
    else:
        for path, job in zip(files, jobs, strict=True):
            click.echo(f"{job['job_id']}  {job['state']}  {path}")
    if wait and any(job["state"] != JobState.COMPLETED for job in jobs):
        sys.exit(1)


def _submit(api: Api, path: Path, tier: str | None) -> dict[str, Any]:
    with path.open("rb") as content:
        return api.submit(content, path.name, {"tier": tier} if tier is not None else {})


def _follow(api: Api, jobs: Sequence[dict[str, Any]], names: Sequence[str], *, quiet: bool) -> list[dict[str, Any]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    ended = []
    with Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True) as progress:
        task = progress.add_task("waiting", total=len(jobs))
        for job, name in zip(jobs, names, strict=True):
            last = job
            for last in api.follow(job["job_id"]):
                progress.update(task, description=f"{name}: {last['state']}")
            ended.append(last)
            progress.advance(task)
    return ended


@click.group()
def jobs() -> None:
    """Look at jobs.

    Example: parsegate jobs show 0b9f6c1e-...
    """


@jobs.command("show")
@click.argument("job_id", type=click.UUID)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_job(job_id: object, as_json: bool) -> None:
    """Everything that is known of one job.

    Example: parsegate jobs show 0b9f6c1e-4f3d-4b6e-9d0e-2f7a54d5c001
    """
    with connect(read_settings()) as api:
        job = api.job(str(job_id))
    if as_json:
        click.echo(json.dumps(job, indent=2))
    else:
        _print_pairs(job)


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
    """The mode in force, and where it comes from.

    Example: parsegate mode show
    """
    with connect(read_settings()) as api:
        _print_mode(api.mode(), as_json)


@mode.command("set")
@click.argument("name", type=click.Choice(["real", "mock", "hybrid"]))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def set_mode(name: str, as_json: bool) -> None:
    """Switch the mode of every process, in force within a second.

    Example: parsegate mode set hybrid
    """
    with connect(read_settings()) as api:
        _print_mode(api.set_mode(name), as_json)


def _print_mode(said: Mapping[str, Any], as_json: bool) -> None:
    click.echo(json.dumps(said) if as_json else f"{said['mode']} ({said['source']})")


def _print_table(found: Sequence[Mapping[str, Any]]) -> None:
    from parsegate.tables import job_table, print_table

    print_table(job_table(found))
    for job in found:
        if job["state"] != JobState.COMPLETED and job.get("message"):
            click.echo(f"{job['filename']}: {job['message']}", err=True)


def _print_pairs(job: Mapping[str, Any]) -> None:
    width = max(len(name) for name in job)
    for name, value in job.items():
        click.echo(f"{name:<{width}}  {'' if value is None else value}")
