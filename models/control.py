"""What is switched while running, in force on every process within a second: the mode, and who this instance is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar
from uuid import uuid4

from domain.clock import format_utc, parse_utc
from domain.settings import Mode
from models.changes import What, record_change
from models.database import reading, transaction
from models.service_tables import Setting

_T = TypeVar("_T")

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
    with transaction():
        before = read_mode(configured).mode.value
        _put("mode", {"mode": mode.value, "over": configured.value}, who, now)
        record_change(What.MODE, "mode", who=who, now=now, before=before, after=mode.value)


def read_mode(configured: Mode, source: str = "setting") -> ModeNow:
    """The mode in force: as switched, unless the setting was changed since.

    Args:
        configured: the mode that the settings say.
        source: where that one comes from.
    """
    with reading():
        row = Setting.get_or_none(Setting.name == "mode")
    if row is None or row.value["over"] != configured.value:
        return ModeNow(configured, source)
    return ModeNow(Mode(row.value["mode"]), f"switched by {row.changed_by} at {row.changed_at:%Y-%m-%d %H:%M:%S} UTC")


class Cached(Generic[_T]):
    """Something that is read from the database again by whoever asks when `CACHE_S` seconds have passed.

    Args:
        read: from the database; no lock is held meanwhile, so a slow one holds up nobody else.
        monotonic: seconds on a clock that never goes back.
    """

    def __init__(self, read: Callable[[], _T], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._read, self._monotonic = read, monotonic
        self._known: tuple[float, _T] | None = None

    def __call__(self) -> _T:
        """What is in force.

        Raises:
            StoreUnavailable: the database is away.
        """
        known, now = self._known, self._monotonic()
        if known is not None and now - known[0] < CACHE_S:
            return known[1]
        read = self._read()
        # What was asked for earlier and took longer does not go over what is newer.
        if self._known is None or self._known[0] <= now:
            self._known = (now, read)
        return read

    def forget(self) -> None:
        """Read it anew the next time: this process has changed it, or needs it as it is now."""
        self._known = None


class CachedMode(Cached[Mode]):
    """The mode in force.

    Args:
        configured: the mode that the settings say.
    """

    def __init__(
        self, configured: Mode, monotonic: Callable[[], float], read: Callable[[Mode], ModeNow] = read_mode
    ) -> None:
        super().__init__(lambda: read(configured).mode, monotonic)


@dataclass(frozen=True)
class Exhausted:
    """The provider's account has no credits left (402).

    Args:
        until: nothing is sent before.
        said: the provider's words.
    """

    until: datetime
    said: str


def exhaust_account(until: datetime, said: str, *, now: datetime) -> bool:
    """Remember that the provider's account has no credits left; False if that was known. Call it in a transaction."""
    known = read_account()
    if known is not None and now < known.until:
        return False
    _put("account", {"until": format_utc(until), "said": said[:500]}, "provider", now)
    return True


def read_account() -> Exhausted | None:
    """What the provider last said of its account; it counts until then."""
    with reading():
        row = Setting.get_or_none(Setting.name == "account")
    if row is None:
        return None
    return Exhausted(parse_utc(row.value["until"]), str(row.value["said"]))


def refill_account() -> bool:
    """A person says that there are credits again; False if nobody had said otherwise."""
    with transaction():
        return bool(Setting.delete().where(Setting.name == "account").execute())


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
