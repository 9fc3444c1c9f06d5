"""Time comes in as an argument or an injected clock; nothing here reads one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Answers the present moment as an aware UTC datetime."""


def parse_utc(text: str) -> datetime:
    """An RFC 3339 time as an aware UTC datetime.

    Raises:
        ValueError: malformed, or without an offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"a time without an offset: {text}")
    return moment.astimezone(UTC)


def format_utc(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds; sorts as text as it does in time."""
    # Not by strftime, whose years below 1000 have three digits.
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
