"""Commands for whoever operates an installation; they use the database directly."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import click

from actors.boot import database_url
from domain.clock import parse_utc
from domain.orders import DEFAULT_TENANT
from domain.settings import read_settings
from models.database import close_connection, open_database, server_now
from models.migrations import migrate
from models.tokens import Scope, create_token, list_tokens, revoke_token
from parsegate.commands.parameters import NAME
from parsegate.commands.state import opened_state

_UNITS: Final = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}


@click.group()
def token() -> None:
    """Make, list and revoke bearer tokens.

    Example: parsegate token create --name uploads --scope submit
    """


@token.command("create")
@click.option("--name", required=True, type=NAME, help="What it is for; unique.")
@click.option("--scope", required=True, type=click.Choice([scope.value for scope in Scope]))
@click.option("--tenant", default=DEFAULT_TENANT, show_default=True, type=NAME)
@click.option("--user", "user_id", type=click.UUID, help="All that it orders is this user's, and held in that budget.")
@click.option("--expires", default=None, help="When it ends: 90d, 12h, or a time with an offset. Never, if left out.")
def create(name: str, scope: str, tenant: str, user_id: UUID | None, expires: str | None) -> None:
    """Make a token and print it, once, alone on standard output.

    Example: parsegate token create --name uploads --scope submit --expires 90d
    """
    with opened_state(read_settings()):
        now = server_now()
        expires_at = None if expires is None else _end(expires, now)
        click.echo(create_token(name, Scope(scope), now=now, tenant=tenant, expires_at=expires_at, user_id=user_id))


def _end(said: str, now: datetime) -> datetime:
    """A span from now, or a moment.

    Raises:
        click.UsageError: it is neither.
    """
    span = re.fullmatch(r"([1-9]\d{0,5})([dhm])", said)
    try:
        return now + int(span[1]) * _UNITS[span[2]] if span is not None else parse_utc(said)
    except (ValueError, OverflowError):
        raise click.UsageError("--expires: write 90d, 12h, 30m, or 2027-01-31T00:00:00Z") from None


@token.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_all(as_json: bool) -> None:
    """Every token, without its secret.

    Example: parsegate token list
    """
    with opened_state(read_settings()):
        now = server_now()
        rows = [
            {
                "name": row.name,
                "scope": row.scope,
                "tenant": row.tenant,
                "created_at": row.created_at.isoformat(),
                "revoked_at": _moment(row.revoked_at),
                "expires_at": _moment(row.expires_at),
                "last_used_at": _moment(row.last_used_at),
                "user_id": None if row.user_id is None else str(row.user_id),
            }
            for row in list_tokens()
        ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif rows:
        _print_tokens(rows, now.isoformat())
    else:
        click.echo("there is no token yet")


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _print_tokens(rows: Sequence[Mapping[str, Any]], now: str) -> None:
    from parsegate.tables import print_table, text_cells, text_table

    table = text_table("name", "scope", "tenant", "made", "used", "state")
    for row in rows:
        ends, used = row["expires_at"], row["last_used_at"]
        state = "in force" if ends is None else f"until {ends[:10]}" if ends > now else f"expired {ends[:10]}"
        if row["revoked_at"]:
            state = f"revoked {row['revoked_at'][:10]}"
        cells = row["name"], row["scope"], row["tenant"], row["created_at"][:10], used[:10] if used else "never", state
        table.add_row(*text_cells(*cells))
    print_table(table)


@token.command("revoke")
@click.option("--name", required=True)
def revoke(name: str) -> None:
    """Refuse a token, on every process within seconds.

    Example: parsegate token revoke --name uploads
    """
    with opened_state(read_settings()):
        revoke_token(name, server_now())
    click.echo(f"revoked {name}")


@click.group()
def db() -> None:
    """Bring the database's schema up to date.

    Example: parsegate db migrate
    """


@db.command("migrate", short_help="Take every step that the database has not seen.")
def migrate_schema() -> None:
    """Take every step that the database has not seen; safe when two processes do it at once.

    Example: parsegate db migrate
    """
    settings = read_settings()
    open_database(database_url(settings))
    taken = migrate()
    close_connection()
    click.echo("\n".join(f"applied {name}" for name in taken) if taken else "nothing to do")
