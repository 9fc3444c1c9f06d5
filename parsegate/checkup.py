"""What `parsegate doctor` looks at: every dependency, each with how to mend it. It changes and makes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import peewee
import pika
import psycopg
from pika.exceptions import AMQPError

from actors.boot import check_start, database_url, store_url
from domain.errors import BadSetting, CredentialRefused, ParsegateError
from domain.servers import amqp_address, broker_trouble, malformed_amqp_url, place
from domain.setting_sources import without_password
from domain.settings import Mode, Settings, find_unknown_settings
from llamaparse.client import LlamaParseClient, Timeouts
from models.audit import find_faults
from models.control import ModeNow, read_mode
from models.database import close_connection, open_database
from models.migrations import check_schema
from models.store import Store
from parsegate.api import connect
from parsegate.data_folder import SECRET_KEY_FILE, URL_FILE, check_database_file, read_secret_keys

WAIT_S: Final = 5.0
MOST_FAULTS: Final = 20
"""How many faults of the ledger are listed."""


@dataclass(frozen=True)
class Finding:
    """What was seen of one thing.

    Args:
        name: what was looked at.
        well: False if somebody must do something.
        words: what was seen, in a sentence.
        mend: what to do about it; empty if nothing.
    """

    name: str
    well: bool
    words: str
    mend: str = ""


def examine(settings: Settings, faults: list[str]) -> Iterator[Finding]:
    """Look at everything, one after the other.

    Args:
        settings: those that can be used.
        faults: what is wrong with the others.
    """
    yield from _settings(settings, faults)
    yield _secret_key(settings)
    database = _guarded("database", lambda: _database(settings), "check that it runs, and PARSEGATE_DATABASE_URL")
    yield database
    mode = ModeNow(settings.effective_mode, settings.mode_source)
    if database.well:
        mode = read_mode(mode.mode, mode.source)
        yield from _ledger()
        close_connection()
    running = _running(settings)
    if running is not None:
        # What it was started with may be other than what this command sees, as with --simulator.
        yield Finding("mode", True, f"{running['mode']} ({running['source']}), as 'parsegate up' here says")
    else:
        yield Finding("mode", True, f"{mode.mode.value} ({mode.source})")
    yield _guarded("store", lambda: _store(settings), "check PARSEGATE_RESULTS_URL or PARSEGATE_DATA_DIR, and the disk")
    mend = "check that it runs, and the host, user, password and vhost in PARSEGATE_AMQP_URL"
    yield _guarded("RabbitMQ", lambda: _rabbitmq(settings), mend)
    if running is not None and running["provider"] not in {None, without_password(settings.base_url)}:
        yield Finding("provider", True, f"'parsegate up' here sends to {running['provider']}")
    else:
        now = mode.mode if running is None else Mode(running["mode"])
        mend = "check LLAMA_CLOUD_BASE_URL and the network"
        yield _guarded("provider", lambda: _provider(settings, now), mend)


def _guarded(name: str, look: Callable[[], str], mend: str) -> Finding:
    try:
        return Finding(name, True, look())
    except CredentialRefused as error:
        return Finding(name, False, str(error), "set LLAMA_CLOUD_API_KEY to a key that is in force")
    except BadSetting as error:
        return Finding(name, False, str(error))
    except ParsegateError as error:
        return Finding(name, False, str(error), mend)


def _running(settings: Settings) -> Mapping[str, Any] | None:
    """What the embedded installation of the data folder says of its mode; None if none runs."""
    if settings.amqp_url is not None or settings.client_url is not None or not (settings.data_dir / URL_FILE).exists():
        return None
    try:
        with connect(settings) as api:
            return api.mode()
    except ParsegateError:
        return None


def _settings(settings: Settings, faults: list[str]) -> Iterator[Finding]:
    for words in faults:
        yield Finding("settings", False, words)
    for words in find_unknown_settings():
        yield Finding("settings", False, words, "correct the name, or remove it")
    start = _guarded("settings", lambda: _start(settings), "")
    if not start.well or not faults:
        yield start


def _start(settings: Settings) -> str:
    check_start(settings)
    return "enough to start"


def _secret_key(settings: Settings) -> Finding:
    path = settings.data_dir.absolute() / SECRET_KEY_FILE
    if settings.secret_key:
        return Finding("secret key", True, f"from PARSEGATE_SECRET_KEY ({len(settings.secret_key)} in force)")
    if path.exists():
        return _guarded("secret key", lambda: f"from {path} ({len(read_secret_keys(path))} in force)", "")
    if settings.amqp_url is None:
        return Finding("secret key", True, f"none yet: the first 'parsegate up' makes {path}")
    mend = "make one, the same for every process: python3 -c 'import secrets; print(secrets.token_hex(32))'"
    return Finding("secret key", False, "PARSEGATE_SECRET_KEY is not set", mend)


def _database(settings: Settings) -> str:
    url = database_url(settings)
    check_database_file(url)
    open_database(url)
    try:
        check_schema()
    except (peewee.DatabaseError, psycopg.ProgrammingError) as error:
        words = " ".join(str(error).split())
        raise BadSetting(f"PARSEGATE_DATABASE_URL can't be used: {words}") from None
    return f"{without_password(url)} has the schema of this program"


def _ledger() -> Iterator[Finding]:
    found = find_faults()
    for words in found[:MOST_FAULTS]:
        yield Finding("ledger", False, words, "keep the database as it is, and report it")
    if len(found) > MOST_FAULTS:
        yield Finding("ledger", False, f"{len(found) - MOST_FAULTS} more faults")
    if not found:
        yield Finding("ledger", True, "every balance is the sum of its entries")


def _store(settings: Settings) -> str:
    url = store_url(settings)
    folder = Path(url.removeprefix("file://"))
    shown = without_password(url)
    if ("://" not in url or url.startswith("file://")) and not folder.exists():
        return f"{shown} is made at the first start"
    store, probe = Store(url), f"doctor-{uuid4().hex}"
    try:
        store.write_bytes(probe, b"written by parsegate doctor")
        store.read(probe)
    finally:
        store.delete(probe)
    return f"{shown} can be written and read"


def _rabbitmq(settings: Settings) -> str:
    if settings.amqp_url is None:
        return "not used: queues are in the process of 'parsegate up'"
    url = settings.amqp_url.get_secret_value()
    try:
        parameters = pika.URLParameters(amqp_address(url, name="parsegate doctor"))
    except (ValueError, TypeError):
        raise malformed_amqp_url() from None
    try:
        pika.BlockingConnection(parameters).close()
    except (AMQPError, OSError) as error:
        raise broker_trouble(error) from error
    return f"{place(url)} lets us in"


def _provider(settings: Settings, mode: Mode) -> str:
    if mode is Mode.MOCK:
        return "not used: the mode is mock, documents are parsed here"
    if settings.api_key is None:
        raise BadSetting("LLAMA_CLOUD_API_KEY is not set: set it, or PARSEGATE_MODE=mock")
    timeouts = Timeouts(connect_s=WAIT_S, read_s=WAIT_S, write_s=WAIT_S, deadline_s=2 * WAIT_S)
    with LlamaParseClient(settings.base_url, settings.api_key.get_secret_value(), timeouts=timeouts) as client:
        client.versions()
    return f"{without_password(settings.base_url)} accepts the key"
