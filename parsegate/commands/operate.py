"""Commands for whoever operates an installation; they use the database directly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import click
from pydantic import SecretStr

from actors.boot import check_start, database_url, open_state, store_url
from domain.errors import BadSetting, ParsegateError
from domain.orders import DEFAULT_TENANT
from domain.settings import Settings, read_settings, setting_names
from domain.signatures import job_secret
from models.database import close_connection, open_database, server_now
from models.migrations import applied, check_schema, migrate, newest
from models.store import Store
from models.tokens import Scope, create_token, list_tokens, revoke_token
from parsegate.data_folder import SECRET_KEY_FILE


@click.group()
def token() -> None:
    """Make, list and revoke bearer tokens.

    Example: parsegate token create --name uploads --scope submit
    """


@token.command("create")
@click.option("--name", required=True, help="What it is for; unique.")
@click.option("--scope", required=True, type=click.Choice([scope.value for scope in Scope]))
@click.option("--tenant", default=DEFAULT_TENANT, show_default=True)
def create(name: str, scope: str, tenant: str) -> None:
    """Make a token and print it, once, alone on standard output.

    Example: parsegate token create --name uploads --scope submit
    """
    open_state(read_settings())
    click.echo(create_token(name, Scope(scope), now=server_now(), tenant=tenant))
    close_connection()


@token.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_all(as_json: bool) -> None:
    """Every token, without its secret.

    Example: parsegate token list
    """
    open_state(read_settings())
    rows = [
        {
            "name": row.name,
            "scope": row.scope,
            "tenant": row.tenant,
            "created_at": row.created_at.isoformat(),
            "revoked_at": row.revoked_at.isoformat() if row.revoked_at is not None else None,
        }
        for row in list_tokens()
    ]
    close_connection()
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        state = f"revoked {row['revoked_at']}" if row["revoked_at"] else "in force"
        click.echo(f"{row['name']}  {row['scope']}  tenant {row['tenant']}  made {row['created_at']}  {state}")


@token.command("revoke")
@click.option("--name", required=True)
def revoke(name: str) -> None:
    """Refuse a token, on every process within seconds.

    Example: parsegate token revoke --name uploads
    """
    open_state(read_settings())
    revoke_token(name, server_now())
    close_connection()
    click.echo(f"revoked {name}")


@click.group()
def secrets() -> None:
    """Show a job's webhook secret.

    Example: parsegate secrets webhook 0b9f6c1e-...
    """


@secrets.command("webhook")
@click.argument("job_id", type=click.UUID)
def webhook_secret(job_id: UUID) -> None:
    """Print a job's webhook secret, to sign a test event by hand.

    Example: parsegate secrets webhook 0b9f6c1e-4f3d-4b6e-9d0e-2f7a54d5c001
    """
    click.echo(job_secret(_secret_key(read_settings()), str(job_id)))


def _secret_key(settings: Settings) -> bytes:
    if settings.secret_key:
        return settings.secret_key_bytes[0]
    path = settings.data_dir / SECRET_KEY_FILE
    if not path.exists():
        raise BadSetting(f"PARSEGATE_SECRET_KEY is not set, and there is no {path}")
    return bytes.fromhex(path.read_text().strip())


@click.group()
def db() -> None:
    """Bring the database's schema up to date.

    Example: parsegate db migrate
    """


@db.command("migrate")
def migrate_schema() -> None:
    """Take every step that the database has not seen; safe when two processes do it at once.

    Example: parsegate db migrate
    """
    settings = read_settings()
    open_database(database_url(settings))
    taken = migrate()
    close_connection()
    click.echo("\n".join(f"applied {name}" for name in taken) if taken else "nothing to do")


@click.command()
def doctor() -> None:
    """Check settings and dependencies, and say how to mend each.

    Example: parsegate doctor
    """
    settings = read_settings()
    for name, shown in shown_settings(settings):
        click.echo(f"{name}={shown}")
    checks: list[tuple[str, Callable[[], object]]] = [
        ("settings", lambda: check_start(settings)),
        ("database", lambda: _check_database(settings)),
        ("store", lambda: Store(store_url(settings)).write_bytes("probe", b"probe")),
    ]
    wrong = 0
    for name, check in checks:
        try:
            check()
        except ParsegateError as error:
            wrong += 1
            click.echo(f"{name}: {error}")
        else:
            click.echo(f"{name}: ok")
    close_connection()
    if wrong:
        raise click.exceptions.Exit(1)


def _check_database(settings: Settings) -> None:
    url = database_url(settings)
    if url.startswith("sqlite:") and not Path(url.removeprefix("sqlite:///")).exists():
        raise BadSetting("there is none yet: 'parsegate up' or 'parsegate db migrate' makes it")
    open_database(url)
    check_schema()
    assert applied() == newest()


def shown_settings(settings: Settings) -> list[tuple[str, str]]:
    """Every setting by its environment name, secrets masked."""
    shown = []
    for field in Settings.model_fields:
        value = getattr(settings, field)
        secret = isinstance(value, SecretStr) or (
            isinstance(value, tuple) and any(isinstance(v, SecretStr) for v in value)
        )
        text = "********" if secret else "" if value is None else _plain(value)
        shown.append((setting_names(field)[0], text))
    return shown


def _plain(value: object) -> str:
    return ",".join(str(part) for part in value) if isinstance(value, tuple) else str(value)
