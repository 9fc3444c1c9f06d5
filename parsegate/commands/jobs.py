"""Commands about jobs: list, look at, stop, order again."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from domain.job_state import JobState
from domain.settings import read_settings
from parsegate.api import connect


@click.group()
def jobs() -> None:
    """List jobs, look at them, stop them, order them again.

    Example: parsegate jobs list --state failed
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
        _print_job(job)


@jobs.command("list")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in JobState]),
    help="Only those in this state; may be repeated.",
)
@click.option("--search", "-q", "text", default=None, help="A part of the file's name, or a whole id.")
@click.option("--tenant", default=None, help="Only this one's; an admin token sees all.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--cursor", default=None, help="Go on where an earlier page ended.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_jobs(
    states: Sequence[str], text: str | None, tenant: str | None, limit: int, cursor: str | None, as_json: bool
) -> None:
    """Jobs, newest first.

    Example: parsegate jobs list --state failed --state rejected
    """
    said = {"state": ",".join(states) or None, "q": text, "tenant": tenant, "limit": str(limit), "cursor": cursor}
    with connect(read_settings()) as api:
        page = api.jobs({name: value for name, value in said.items() if value is not None})
    if as_json:
        click.echo(json.dumps(page, indent=2))
        return
    if not page["items"]:
        click.echo("no job fits")
        return
    from parsegate.tables import print_table, text_cells, text_table, time_words

    table = text_table("job", "state", "by", "credits", "ordered", "file")
    table.columns[0].no_wrap = True  # an id is copied as a whole
    for job in page["items"]:
        ordered = time_words(job["created_at"])
        table.add_row(
            *text_cells(
                job["job_id"], job["state"], job["provenance"] or "-", f"{job['credits']:g}", ordered, job["filename"]
            )
        )
    print_table(table)
    if page["next_cursor"] is not None:
        click.echo(f"there are more: add --cursor {page['next_cursor']}", err=True)


@jobs.command("cancel")
@click.argument("job_ids", nargs=-1, required=True, type=click.UUID)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def cancel_jobs(job_ids: Sequence[object], as_json: bool) -> None:
    """Stop jobs. What the provider has begun is stopped there, and costs what it bills.

    Example: parsegate jobs cancel 0b9f6c1e-4f3d-4b6e-9d0e-2f7a54d5c001
    """
    with connect(read_settings()) as api:
        _change(job_ids, api.cancel, "", as_json)


@jobs.command("retry")
@click.argument("job_ids", nargs=-1, required=True, type=click.UUID)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def retry_jobs(job_ids: Sequence[object], as_json: bool) -> None:
    """Order again what failed, was rejected or was cancelled; prints the new jobs.

    Example: parsegate jobs retry 0b9f6c1e-4f3d-4b6e-9d0e-2f7a54d5c001
    """
    with connect(read_settings()) as api:
        _change(job_ids, api.retry, "  again {}", as_json)


@jobs.command("delete")
@click.argument("job_ids", nargs=-1, required=True, type=click.UUID)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def delete_jobs(job_ids: Sequence[object], yes: bool, as_json: bool) -> None:
    """Delete jobs' documents for good: file, result and events, here and at the provider.

    What has not ended is cancelled. Prints what was removed where; 'jobs erasure' tells how the rest went.

    Example: parsegate jobs delete --yes 0b9f6c1e-4f3d-4b6e-9d0e-2f7a54d5c001
    """
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("nobody is there to be asked: add --yes")
        click.confirm(f"Delete {_counted(len(job_ids), 'document')} for good?", abort=True, err=True)
    with connect(read_settings()) as api:
        _show_erasures(job_ids, api.delete, as_json)


@jobs.command("erasure")
@click.argument("job_ids", nargs=-1, required=True, type=click.UUID)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_erasures(job_ids: Sequence[object], as_json: bool) -> None:
    """What was removed of documents that were deleted: what, where and when.

    Example: parsegate jobs erasure 0b9f6c1e-4f3d-4b6e-9d0e-2f7a54d5c001
    """
    with connect(read_settings()) as api:
        _show_erasures(job_ids, api.erasure, as_json)


def _show_erasures(job_ids: Sequence[object], ask: Callable[[str], dict[str, Any]], as_json: bool) -> None:
    told: list[dict[str, Any]] = []
    try:
        for job_id in job_ids:
            told.append(ask(str(job_id)))
            if not as_json:
                _print_erasure(told[-1])
    finally:
        if as_json:
            click.echo(json.dumps(told, indent=2))


def _print_erasure(said: Mapping[str, Any]) -> None:
    from parsegate.tables import plain, time_words

    click.echo(f"{said['job_id']}  deleted by {plain(said['asked_by'])} at {time_words(said['asked_at'])}")
    for thing in said["removed"]:
        where = plain(thing["where"])
        click.echo(f"  {time_words(thing['at'])}  {thing['outcome']:<8}  {thing['what'].replace('_', ' ')}  {where}")
    if said["finished_at"] is None:
        click.echo(f"  not all yet: {plain(said['waits_for'] or 'the provider is asked next')}")
    else:
        click.echo(f"  all of it at {time_words(said['finished_at'])}")


def _change(job_ids: Sequence[object], change: Callable[[str], dict[str, Any]], more: str, as_json: bool) -> None:
    """Change one job after the other, up to the first that is refused; those before it are told.

    Args:
        more: what a line says besides, of the job that was named.
    """
    changed: list[dict[str, Any]] = []
    try:
        for job_id in job_ids:
            changed.append(change(str(job_id)))
            if not as_json:
                click.echo(f"{changed[-1]['job_id']}  {changed[-1]['state']}{more.format(job_id)}")
    finally:
        if as_json:
            click.echo(json.dumps(changed, indent=2))


@jobs.command("redo")
@click.option(
    "--provenance", required=True, type=click.Choice(["mock"]), help="Whose results are to be replaced by real ones."
)
@click.option("--dry-run", is_flag=True, help="Say what it would cost, and order nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def redo_jobs(provenance: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Order again, for real, what the local parser stood in for.

    Says first what that costs at most. The earlier jobs answer with the real results once those are there.

    Example: parsegate jobs redo --provenance mock
    """
    with connect(read_settings()) as api:
        said = api.redo(dry_run=True)
        if not as_json:
            _print_redo(said)
        if not dry_run and said["documents"] and (yes or (not as_json and click.confirm("Order them?"))):
            said = api.redo(dry_run=False)
            if not as_json:
                click.echo(f"{len(said['jobs'])} ordered")
    if as_json:
        click.echo(json.dumps(said, indent=2))


def _counted(number: float, name: str) -> str:
    return f"{number:,} {name}" if number == 1 else f"{number:,} {name}s"


def _print_redo(said: Mapping[str, Any]) -> None:
    if not said["documents"]:
        click.echo("no result of the local parser is left to be done again")
        return
    fits = "fits today's budget" if said["fits"] else "more than today's budget has left: the rest waits"
    more = "; there are more: run it again after these" if said["more"] else ""
    click.echo(
        f"{_counted(said['documents'], 'document')}, {'at most ' if said['pages_guessed'] else ''}"
        f"{_counted(said['pages'], 'page')}: at most "
        f"{_counted(said['credits'], 'credit')}, "
        f"${said['usd']:.5f}, {fits}{more}"
    )


def _print_job(job: Mapping[str, Any]) -> None:
    from parsegate.tables import plain

    width = max(len(name) for name in job)
    for name, value in job.items():
        if name != "history":
            click.echo(f"{name:<{width}}  {'' if value is None else plain(value)}".rstrip())
    click.echo("history")
    for step in job["history"]:
        what = "job    " if step["attempt_id"] is None else "attempt"
        before = f"{step['before']} to " if step["before"] is not None and step["before"] != step["after"] else ""
        said = plain(f"{before}{step['after']}, by {step['who']}: {step['why']}")
        click.echo(f"  {step['at'][:19].replace('T', ' ')}  {what}  {said}")
