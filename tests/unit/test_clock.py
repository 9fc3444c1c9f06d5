"""Times as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from domain.clock import format_utc, parse_utc


def test_times_sort_as_text_as_they_do_in_time() -> None:
    """Years before 1000, and moments without a fraction, have as many characters as the others."""
    moments = [datetime(638, 8, 12, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2)))]
    told = [format_utc(moment) for moment in moments]
    assert told == ["0638-08-12T00:00:00.000000Z", "2025-12-31T22:00:00.000000Z"]
    assert [parse_utc(text) for text in told] == moments
