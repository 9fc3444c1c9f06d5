"""What is switched while running, in force on every process within a second: the mode, and who this instance is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from domain.settings import Mode
from models.database import reading, transaction
from models.tables import Setting

CACHE_S: Final = 0.5
"""How long a process may go on with what it last read, in seconds."""


@dataclass(frozen=True)
class ModeNow:
    """The mode in force.

    Args:
        mode: the mode.
        source: where it comes from, for people.
    """

    mode: Mode
    source: str


def set_mode(mode: Mode, configured: Mode, *, who: str, now: datetime) -> None:
    """Switch the mode. It holds until the configured mode itself is changed."""
    _put("mode", {"mode": mode.value, "over": configured.value}, who, now)


def read_mode(configured: Mode) -> ModeNow:
    """The mode in force: as switched, unless the setting was changed since."""
    with reading():
        row = Setting.get_or_none(Setting.name == "mode")
    if row is None or row.value["over"] != configured.value:
        return ModeNow(configured, "setting")
    return ModeNow(Mode(row.value["mode"]), f"switched by {row.changed_by} at {row.changed_at:%Y-%m-%d %H:%M:%S} UTC")


class CachedMode:
    """The mode in force, read from the database at most every `CACHE_S` seconds."""

    def __init__(self, configured: Mode, monotonic: Callable[[], float]) -> None:
        self._configured, self._monotonic = configured, monotonic
        self._lock = threading.Lock()
        self._known: tuple[float, Mode] | None = None

    def __call__(self) -> Mode:
        """The mode in force.

        Raises:
            StoreUnavailable: the database is away.
        """
        with self._lock:
            now = self._monotonic()
            if self._known is None or now - self._known[0] >= CACHE_S:
                self._known = (now, read_mode(self._configured).mode)
            return self._known[1]


def instance_id(now: datetime) -> str:
    """Who this installation is, made once; it marks our jobs at the provider, which other instances may share."""
    with transaction():
        row = Setting.get_or_none(Setting.name == "instance")
        if row is None:
            _put("instance", uuid4().hex, "parsegate", now, replace=False)
            row = Setting.get(Setting.name == "instance")
    return str(row.value)


def _put(name: str, value: Any, who: str, now: datetime, *, replace: bool = True) -> None:
    insert = Setting.insert(name=name, value=value, changed_at=now, changed_by=who)
    with transaction():
        if replace:
            insert.on_conflict(
                conflict_target=[Setting.name], preserve=[Setting.value, Setting.changed_at, Setting.changed_by]
            ).execute()
        else:
            insert.on_conflict_ignore().execute()
