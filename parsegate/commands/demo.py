"""The demo: the whole path on the bundled samples, against the bundled stand-in for the provider."""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import click
from rich.console import Console

from actors.logs import configure_logs
from domain.errors import StoreUnavailable
from domain.job_state import JobState
from domain.money import format_usd, to_usd
from domain.settings import read_settings
from llamaparse.simulator import SimulatorSettings
from models.spending import spending_since
from parsegate.api import Api, connect
from parsegate.following import has_ended, progress_bar
from parsegate.sample_documents import SAMPLES, Sample, sample_path
from parsegate.stack import SIMULATOR_BUDGET_USD, running_up
from parsegate.tables import job_notes, print_jobs

LIMIT_S: Final = 60.0
POLL_S: Final = 0.05


@click.command()
@click.option("--verbose", is_flag=True, help="Show the log lines too.")
def demo(verbose: bool) -> None:
    """Parse the bundled samples through the whole path.

    It starts everything in this process on free ports, with a stand-in for the provider, and leaves nothing behind.

    Example: parsegate demo
    """
    configure_logs(logging.INFO if verbose else logging.ERROR)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="parsegate-demo-") as folder:
        # The user's own settings play no part: a demo must never reach the real provider.
        settings = read_settings({"PARSEGATE_DATA_DIR": folder}, dotenv=None)
        with running_up(settings, "127.0.0.1", 0, SimulatorSettings()) as gateway, connect(settings) as api:
            click.echo(f"Parsegate and a LlamaParse simulator are up on {gateway.url}")
            jobs = _parse(api)
            spent = spending_since(datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0))
            wrong = [text for sample, job in zip(SAMPLES, jobs, strict=True) for text in _faults(api, sample, job)]
    print_jobs(jobs)
    for line in job_notes(jobs):
        click.echo(line)
    left = SIMULATOR_BUDGET_USD - to_usd(spent.billed + spent.open)
    click.echo(
        f"\nbudget: ${SIMULATOR_BUDGET_USD:.2f} a day, spent {format_usd(spent.billed)}, "
        f"held {format_usd(spent.open)}, left ${left:.4f}"
    )
    for text in wrong:
        click.echo(text, err=True)
    if wrong:
        sys.exit(1)
    click.echo(f"each document ended as it should, in {time.monotonic() - began:.1f} s")


def _parse(api: Api) -> list[dict[str, Any]]:
    """Order every sample, and follow them all to their end."""
    names = [sample.filename for sample in SAMPLES]
    with progress_bar(Console(), names, transient=False) as show:
        ids = [_order(api, sample) for sample in SAMPLES]
        until = time.monotonic() + LIMIT_S
        while True:
            jobs = [api.job(job_id) for job_id in ids]
            show(jobs)
            ended = sum(map(has_ended, jobs))
            if ended == len(jobs):
                return jobs
            if time.monotonic() > until:
                raise StoreUnavailable(f"after {LIMIT_S:.0f} s only {ended} of {len(jobs)} documents have ended")
            time.sleep(POLL_S)


def _order(api: Api, sample: Sample) -> str:
    with sample_path(sample).open("rb") as content:
        return str(api.submit(content, sample.filename, {"tier": sample.tier})["job_id"])


def _faults(api: Api, sample: Sample, job: Mapping[str, Any]) -> list[str]:
    """What did not end as it should, a sentence each."""
    if job["state"] != sample.expected_state or job["reason"] != sample.expected_reason:
        return [
            f"{sample.filename}: {job['state']} ({job['reason']}: {job['message']}), "
            f"expected {sample.expected_state} ({sample.expected_reason})"
        ]
    if job["state"] == JobState.COMPLETED and sample.snippet not in api.result(job["job_id"], "text"):
        return [f"{sample.filename}: the result does not hold {sample.snippet!r}"]
    return []
