"""The data folder of an embedded installation: its secret key, its admin token, and where it listens."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from domain.errors import BadSetting, OrderRefused, StoreUnavailable
from domain.settings import Settings
from models.tokens import Scope, create_token, find_bearer, revoke_token

SECRET_KEY_FILE: Final = "secret-key"
TOKEN_FILE: Final = "admin-token"
URL_FILE: Final = "url"
LOCK_FILE: Final = "lock"
ADMIN_NAME: Final = "admin of the data folder"


def with_secret_key(settings: Settings) -> Settings:
    """The settings with a secret key: the one that is set, or the data folder's, made on its first start."""
    if settings.secret_key:
        return settings
    path = settings.data_dir / SECRET_KEY_FILE
    if not path.exists():
        write_private(path, secrets.token_hex(32))
    keys = tuple(SecretStr(key) for key in read_secret_keys(path))
    return settings.model_copy(update={"secret_key": keys})


def read_secret_keys(path: Path) -> tuple[str, ...]:
    """The secret keys that a file has, 64 hex digits each, comma-separated, newest first.

    Raises:
        BadSetting: it has something else, or can't be read.
    """
    try:
        keys = [key.strip().lower() for key in path.read_text().split(",")]
    except OSError as error:
        raise BadSetting(f"the secret key {path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        keys = [""]
    if not all(re.fullmatch(r"[0-9a-f]{64}", key) for key in keys):
        raise BadSetting(
            f"the secret key {path} is broken (it must be 64 hex digits; several, comma-separated, while rotating): "
            "bring it back, or delete it and a new one is made at the next start of 'parsegate up'"
        )
    return tuple(keys)


def ensure_admin_token(data_dir: Path, now: datetime) -> str:
    """The data folder's admin token, made on its first start (mode 0600)."""
    path = data_dir / TOKEN_FILE
    if path.exists():
        token = read_line(path) or ""
        if find_bearer(token, now) is not None:
            return token
    try:
        token = create_token(ADMIN_NAME, Scope.ADMIN, now=now)
    except OrderRefused:
        # The database knows one that the folder lost: it is taken out of use.
        token = create_token(f"{ADMIN_NAME}, {now:%Y-%m-%d %H:%M:%S.%f}", Scope.ADMIN, now=now)
        revoke_token(ADMIN_NAME, now)
    write_private(path, token)
    return token


def database_exists(url: str) -> bool:
    """False for a SQLite database that nobody has made."""
    return not url.startswith("sqlite:") or _sqlite_path(url).exists()


def _sqlite_path(url: str) -> Path:
    return Path(unquote(urlsplit(url).path)[1:])


def check_database_file(url: str) -> None:
    """Refuse to look into a SQLite database that is not there, since opening it would make it.

    Raises:
        BadSetting: there is none; says how to get one.
    """
    if not database_exists(url):
        path = _sqlite_path(url)
        raise BadSetting(
            f"there is no database {path}: work in the folder where 'parsegate up' runs, set PARSEGATE_DATA_DIR, or "
            "make one with 'parsegate db migrate'"
        )


def read_line(path: Path) -> str | None:
    """What a small file of the data folder says; None if it can't be read."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None


@contextlib.contextmanager
def sole_use(data_dir: Path) -> Iterator[None]:
    """Hold the data folder: an embedded installation is one process.

    Raises:
        StoreUnavailable: another process holds it, or it can't be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            held = stack.enter_context((data_dir / LOCK_FILE).open("w"))
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreUnavailable(f"another parsegate uses {data_dir}: stop it, or set PARSEGATE_DATA_DIR") from None
        except OSError as error:
            raise StoreUnavailable(f"{data_dir} can't be used: {error.strerror}") from error
        yield


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, as a whole or not at all.

    Raises:
        StoreUnavailable: it can't be written.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as opened:
            opened.write(text + "\n")
        part.replace(path)
    except OSError as error:
        raise StoreUnavailable(f"{path} can't be written: {error.strerror}") from error
