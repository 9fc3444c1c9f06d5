"""A time zone in which it is about noon: a test of a day's budget must not run over midnight."""

from __future__ import annotations

from datetime import UTC, datetime


def noon_zone() -> str:
    """The name of a zone with a fixed offset where the hour is 12 now (in ``Etc/GMT-3`` clocks are 3 hours ahead)."""
    ahead = 12 - datetime.now(UTC).hour
    return f"Etc/GMT{-ahead:+d}" if ahead else "UTC"
