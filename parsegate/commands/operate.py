"""Commands for whoever operates an installation; they use the database directly."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

from actors.boot import database_url, open_state
from domain.orders import DEFAULT_TENANT
from domain.settings import read_settings
from models.database import close_connection, open_database, server_now
from models.migrations import migrate
from models.tokens import Scope, create_token, list_tokens, revoke_token
from parsegate.commands.parameters import NAME
from parsegate.data_folder import check_database_file


@click.group()
def token() -> None:
    """Make, list and revoke bearer tokens.

    Example: parsegate token create --name uploads --scope submit
    """


@token.command("create")
@click.option("--name", required=True, type=NAME, help="What it is for; unique.")
@click.option("--scope", required=True, type=click.Choice([scope.value for scope in Scope]))
@click.option("--tenant", default=DEFAULT_TENANT, show_default=True, type=NAME)
def create(name: str, scope: str, tenant: str) -> None:
    """Make a token and print it, once, alone on standard output.

    Example: parsegate token create --name uploads --scope submit
    """
    with _state():
        click.echo(create_token(name, Scope(scope), now=server_now(), tenant=tenant))


@token.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_all(as_json: bool) -> None:
    """Every token, without its secret.

    Example: parsegate token list
    """
    with _state():
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
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif rows:
        _print_tokens(rows)
    else:
        click.echo("there is no token yet")


def _print_tokens(rows: Sequence[Mapping[str, Any]]) -> None:
    from parsegate.tables import print_table, text_cells, text_table

    table = text_table("name", "scope", "tenant", "made", "state")
    for row in rows:
        state = f"revoked {row['revoked_at'][:10]}" if row["revoked_at"] else "in force"
        table.add_row(*text_cells(row["name"], row["scope"], row["tenant"], row["created_at"][:10], state))
    print_table(table)


@token.command("revoke")
@click.option("--name", required=True)
def revoke(name: str) -> None:
    """Refuse a token, on every process within seconds.

    Example: parsegate token revoke --name uploads
    """
    with _state():
        revoke_token(name, server_now())
    click.echo(f"revoked {name}")


@contextmanager
def _state() -> Iterator[None]:
    """The database, open; made by nobody who only looks."""
    settings = read_settings()
    check_database_file(database_url(settings))
    open_state(settings)
    try:
        yield
    finally:
        close_connection()


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
