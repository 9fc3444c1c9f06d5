"""The command that looks at an installation and says what is wrong with it."""

from __future__ import annotations

import json
import logging

import click
from pydantic import SecretStr

from actors.boot import database_url, store_url
from actors.logs import configure_logs
from domain.setting_sources import without_password
from domain.settings import Settings, examine_settings, is_secret, setting_names

HIDDEN = "********"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Check settings and dependencies, and say how to mend each. It makes and changes nothing.

    Example: parsegate doctor
    """
    from parsegate.checkup import examine

    configure_logs(logging.CRITICAL)
    settings, faults = examine_settings()
    if not as_json:
        for name, shown in shown_settings(settings):
            click.echo(f"{name}={shown}")
        click.echo()
    findings = []
    for finding in examine(settings, faults):
        findings.append(finding)
        if not as_json:
            mend = f"; {finding.mend}" if finding.mend else ""
            click.echo(f"{finding.name}: {'ok, ' if finding.well else 'WRONG, '}{finding.words}{mend}")
    well = all(finding.well for finding in findings)
    if as_json:
        checks = [
            {"name": found.name, "ok": found.well, "message": found.words, "mend": found.mend or None}
            for found in findings
        ]
        click.echo(json.dumps({"ok": well, "checks": checks, "settings": dict(shown_settings(settings))}, indent=2))
    if not well:
        raise click.exceptions.Exit(1)


def shown_settings(settings: Settings) -> list[tuple[str, str]]:
    """Every setting in force by its environment name, secrets masked; defaults that depend on others filled in."""
    filled = {
        "database_url": without_password(database_url(settings)),
        "results_url": without_password(store_url(settings)),
        "data_dir": str(settings.data_dir.absolute()),
    }
    return [
        (setting_names(field)[0], filled.get(field) or _shown(field, getattr(settings, field)))
        for field in Settings.model_fields
    ]


def _shown(field: str, value: object) -> str:
    if value is None or value == ():
        return ""
    if field == "amqp_url" and isinstance(value, SecretStr):
        return without_password(value.get_secret_value())
    if is_secret(field):
        return HIDDEN
    return ",".join(str(part) for part in value) if isinstance(value, tuple) else without_password(str(value))
