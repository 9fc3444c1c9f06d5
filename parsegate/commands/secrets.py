"""Commands about secrets: what others check and sign with, and the key behind all of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from secrets import token_hex
from typing import Final
from uuid import UUID

import click

from actors.boot import database_url
from domain.errors import BadSetting, OrderRefused, ParsegateError
from domain.orders import DEFAULT_TENANT
from domain.settings import Settings, read_settings
from domain.signatures import callback_secret, event_public_key, job_secret
from models.attempts import count_sent
from models.changes import OPERATOR, What, record_change
from models.database import server_now
from models.job_webhooks import reseal
from models.jobs import find_job
from parsegate.commands.parameters import NAME
from parsegate.commands.state import opened_state
from parsegate.data_folder import SECRET_KEY_FILE, database_exists, read_secret_keys, write_private

MOST_KEYS: Final = 3
"""Each key costs a signature with every event that comes or goes."""
STEPS_FOR_ONE: Final = (
    "restart 'parsegate up': what it asks for and sends is signed with the new key, and the older ones still count",
)
STEPS_FOR_MANY: Final = (
    "set PARSEGATE_SECRET_KEY to the value above everywhere, the newest key first",
    "restart every gateway: they must know the new key before anything is signed with it",
    "restart the workers and the clock: from now on the new key signs",
)
STEPS_FOR_ALL: Final = (
    "give the receivers of callbacks what 'parsegate secrets callback' prints now; until then they check with the old",
    "after 3 days, when no event and no job is left that the older key signed: 'parsegate secrets rotate --finish'",
)
STEPS_TO_FINISH: Final = (
    "restart every process, in any order: what the older keys signed is refused from then on, and a job whose event "
    "is refused is polled for",
)


@click.group()
def secrets() -> None:
    """Show secrets, and rotate the key behind them.

    Example: parsegate secrets rotate
    """


@secrets.command("webhook")
@click.argument("job_id", type=click.UUID)
def webhook_secret(job_id: UUID) -> None:
    """Print a job's webhook secret, to sign a test event by hand.

    Example: parsegate secrets webhook 0b9f6c1e-4f3d-4b6e-9d0e-2f7a54d5c001
    """
    settings = read_settings()
    key = _keys(settings)[0]
    trouble = _why_unknown(settings, job_id)
    if trouble is not None:
        click.echo(f"parsegate: {trouble}", err=True)
    click.echo(job_secret(bytes.fromhex(key), str(job_id)))


@secrets.command("callback", short_help="What a receiver of events checks their signatures with.")
@click.option("--tenant", default=DEFAULT_TENANT, show_default=True, type=NAME)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def callback(tenant: str, as_json: bool) -> None:
    """Print what a tenant's receiver of events checks their signatures with (Standard Webhooks).

    The secret (whsec_...) is the tenant's alone, for any Standard Webhooks library; with the public key (whpk_...)
    everybody can check, and nobody sign.

    Example: parsegate secrets callback --tenant acme
    """
    key = bytes.fromhex(_keys(read_settings())[0])
    said = {"tenant": tenant, "secret": callback_secret(key, tenant), "public_key": event_public_key(key)}
    if as_json:
        click.echo(json.dumps(said, indent=2))
        return
    click.echo(f"secret      {said['secret']}")
    click.echo(f"public key  {said['public_key']}")


@secrets.command("rotate", short_help="Make a new secret key, and say in which order to restart what.")
@click.option("--finish", is_flag=True, help="Drop the older keys instead.")
def rotate(finish: bool) -> None:
    """Make a new secret key beside the one in force, and say in which order to restart what.

    Where the key is in the data folder it is changed there. Where it is a setting, the new value is printed, alone on
    standard output, and is yours to set. Nothing is lost in between: what the older keys signed counts until --finish.

    Example: parsegate secrets rotate
    """
    settings = read_settings()
    known = _keys(settings)
    if finish and len(known) == 1:
        raise OrderRefused("only one secret key is in force: there is nothing to finish")
    if not finish and len(known) >= MOST_KEYS:
        raise OrderRefused(f"{len(known)} secret keys are in force: 'parsegate secrets rotate --finish' first")
    notes = _note_rotation(settings, known, finish)
    value = known[0] if finish else ",".join([token_hex(32), *known])
    if settings.secret_key:
        click.echo(value)
        steps: Sequence[str] = STEPS_TO_FINISH if finish else STEPS_FOR_MANY + STEPS_FOR_ALL
        if finish:
            steps = ("set PARSEGATE_SECRET_KEY to the value above everywhere", *steps)
    else:
        path = _key_file(settings)
        write_private(path, value)
        click.echo(f"{path} has {'one key' if finish else 'a new key, first of ' + str(len(known) + 1)}", err=True)
        steps = STEPS_TO_FINISH if finish else STEPS_FOR_ONE + STEPS_FOR_ALL
    for number, step in enumerate(steps, 1):
        click.echo(f"{number}. {step}", err=True)
    for note in notes:
        click.echo(note, err=True)


def _note_rotation(settings: Settings, known: Sequence[str], finish: bool) -> Sequence[str]:
    """Put it on record; at the end also seal anew, with the key that stays, what callers have given.

    Returns:
        What a person must know of that, a sentence each.

    Raises:
        OrderRefused: at the end, when the database can't be had: what the older keys seal would be lost with them.
    """
    if not database_exists(database_url(settings)):
        return ["there is no database here, so nothing is on record, and nothing is sealed with the older keys"]
    try:
        with opened_state(settings):
            renewed = reseal([bytes.fromhex(key) for key in known]) if finish else 0
            left = count_sent() if finish else 0
            said = {"finished": finish, "keys": 1 if finish else len(known) + 1}
            record_change(What.KEY_ROTATED, "secret key", who=OPERATOR, now=server_now(), after=said)
    except ParsegateError as error:
        if finish:
            raise OrderRefused(f"nothing was changed: what is sealed must be sealed anew first, and {error}") from error
        return [f"this is not on record: {error}"]
    notes = [f"{renewed:,} secrets of webhooks are sealed with the key that stays"] if renewed else []
    if left:
        notes.append(f"{left:,} jobs are at the provider: if their events are refused, they are polled for")
    return notes


def _why_unknown(settings: Settings, job_id: UUID) -> str | None:
    """Why a job may be none, as a sentence; None for one that is known."""
    try:
        with opened_state(settings):
            known = find_job(job_id) is not None
    except ParsegateError as error:
        return f"whether there is a job {job_id} can't be seen: {error}"
    return None if known else f"there is no job {job_id} in this database"


def _keys(settings: Settings) -> Sequence[str]:
    """The keys in force, newest first.

    Raises:
        BadSetting: there is none, or it can't be read.
    """
    if settings.secret_key:
        return [key.get_secret_value() for key in settings.secret_key]
    return read_secret_keys(_key_file(settings))


def _key_file(settings: Settings) -> Path:
    path = settings.data_dir / SECRET_KEY_FILE
    if not path.exists():
        raise BadSetting(f"PARSEGATE_SECRET_KEY is not set, and there is no {path}")
    return path
