"""What has been settled, by day, tenant, user, tag, tier or provenance.

The database makes the sums. Moments are sorted into days by the bounds of those days, so that a day is exactly the
budget's day, whatever the clocks do at its ends.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from peewee import SQL, Case, Value, fn

from domain.budgets import Period, Scope, Window, window_at
from domain.clock import format_utc
from domain.job_state import JobState, Provenance
from domain.money import to_usd
from models.database import database, is_postgres, reading
from models.tables import Attempt, Document, Job

MOST_ROWS: Final = 10_000
NO_TAG: Final = "(no tag)"
TOTAL: Final = "total"


class By(StrEnum):
    """What a usage report has a row for."""

    DAY = "day"
    TENANT = "tenant"
    USER = "user"
    TAG = "tag"
    TIER = "tier"
    PROVENANCE = "provenance"


@dataclass(frozen=True)
class Span:
    """Which settlements count.

    Args:
        since, until: from the one, before the other; None is open.
        tenant: that tenant's alone; None is everybody's.
    """

    since: datetime | None = None
    until: datetime | None = None
    tenant: str | None = None


@dataclass(frozen=True)
class Calendar:
    """How moments become days, and credits dollars.

    Args:
        usd_per_credit: what a credit cost on a day.
        dollar_days: the days on which another price of a credit begins, oldest first.
    """

    zone: ZoneInfo
    usd_per_credit: Callable[[date], Decimal]
    dollar_days: Sequence[date] = ()


@dataclass
class UsageRow:
    """What was settled for one key.

    Args:
        documents: different documents.
        pages: of their results.
        billed: millicredits.
        usd: at the prices of the days on which it was settled.
    """

    key: str
    documents: int = 0
    pages: int = 0
    billed: int = 0
    usd: Decimal = Decimal(0)


@dataclass(frozen=True)
class Usage:
    """A report.

    Args:
        total: all that was settled; it counts a document once, however many rows it is in.
        rows: days in their order; the others by what they cost, the dearest first.
        left_off: how many rows there are beyond `MOST_ROWS`.
    """

    total: UsageRow
    rows: Sequence[UsageRow]
    left_off: int


@dataclass(frozen=True)
class _Buckets:
    """Spans of time that follow each other; bucket 0 is all before the first of `days`."""

    days: Sequence[date]
    bounds: Sequence[datetime]

    def day(self, bucket: int) -> date:
        return self.days[bucket - 1] if bucket else date.min


# What the provider had in its cache went there as a real attempt, and cost nothing.
_WAS_CACHED: Final = (
    (Attempt.provenance == Provenance.REAL) & (Attempt.billed == 0) & (Job.provenance == Provenance.CACHED)
)
# A key of the report as SQL, and as text for people. A tag's key is the order's whole list of tags.
_KEYS: Final[Mapping[By, Any]] = {
    By.TENANT: Job.tenant,
    By.USER: Document.user_id,
    By.TAG: Job.tags.cast("TEXT"),
    By.TIER: Job.tier,
    By.PROVENANCE: Case(None, [(_WAS_CACHED, Provenance.CACHED.value)], Attempt.provenance),
}
_PAGES: Final = Case(
    None,
    [(Job.parsed_pages.is_null(False), Job.parsed_pages), (Job.state == JobState.COMPLETED, fn.coalesce(Job.pages, 0))],
    0,
)


def usage(by: By, span: Span, calendar: Calendar) -> Usage:
    """What was settled in a span. A document with several tags is in the row of each.

    Raises:
        StoreUnavailable: the database is away.
    """
    where = _where(span)
    with reading():
        buckets = _days_with_usage(where, calendar.zone) if by is By.DAY else _dollar_buckets(calendar)
        key = _bucket_of(buckets) if by is By.DAY else _KEYS[by]
        billed = _billed(where, key, buckets)
        counts = _counts(where, key)
        everything = _counts(where, Value(1))
    rows: dict[str, UsageRow] = {}
    for (raw, bucket), amount in billed.items():
        for name in _names(by, raw, buckets):
            row = rows.setdefault(name, UsageRow(name))
            row.billed += amount
            row.usd += to_usd(amount, calendar.usd_per_credit(buckets.day(bucket)))
    for raw, (documents, pages) in counts.items():
        for name in _names(by, raw, buckets):
            rows[name].documents += documents
            rows[name].pages += pages
    documents, pages = everything.get(1, (0, 0))
    total = UsageRow(TOTAL, documents, pages, sum(billed.values()))
    for (_, bucket), amount in billed.items():
        total.usd += to_usd(amount, calendar.usd_per_credit(buckets.day(bucket)))
    ordered = sorted(rows.values(), key=lambda row: row.key if by is By.DAY else (-row.billed, row.key))
    return Usage(total, ordered[:MOST_ROWS], max(0, len(ordered) - MOST_ROWS))


def spent_by_day(days: Sequence[Window], scope: Scope) -> Mapping[str, Sequence[int]]:
    """Millicredits settled on each of these days, which follow each other, by tenant or user, or all under ``""``.

    Raises:
        StoreUnavailable: the database is away.
    """
    buckets = _Buckets([date.fromisoformat(day.name) for day in days], [day.starts_at for day in days])
    keys = {Scope.GLOBAL: Value(""), Scope.TENANT: Job.tenant, Scope.USER: Document.user_id}
    span = Span(since=days[0].starts_at, until=days[-1].ends_at)
    found: dict[str, list[int]] = defaultdict(lambda: [0] * len(days))
    with reading():
        for (key, bucket), amount in _billed(_where(span), keys[scope], buckets).items():
            found[_user(key) if scope is Scope.USER else str(key)][bucket - 1] = amount
    return found


def days_until(now: datetime, count: int, zone: ZoneInfo) -> list[Window]:
    """The last `count` days, that of `now` included, oldest first."""
    days = [window_at(Period.DAY, now, zone)]
    while len(days) < count:
        days.append(window_at(Period.DAY, days[-1].starts_at - timedelta(microseconds=1), zone))
    return days[::-1]


def _where(span: Span) -> list[Any]:
    where: list[Any] = [Attempt.settled_at.is_null(False)]
    if span.since is not None:
        where.append(Attempt.settled_at >= span.since)
    if span.until is not None:
        where.append(Attempt.settled_at < span.until)
    if span.tenant is not None:
        where.append(Job.tenant == span.tenant)
    return where


def _joined(where: Sequence[Any], *columns: Any) -> Any:
    return Attempt.select(*columns).join(Job).join(Document).where(*where)


def _billed(where: Sequence[Any], key: Any, buckets: _Buckets) -> dict[tuple[Any, int], int]:
    """Millicredits by key and bucket."""
    bucket = _bucket_of(buckets)
    named = (key.alias("report_key"), bucket.alias("bucket"))
    query = _joined(where, *named, fn.sum(Attempt.billed)).group_by(SQL("report_key"), SQL("bucket"))
    return {(raw, int(number)): int(amount) for raw, number, amount in query.tuples()}


def _counts(where: Sequence[Any], key: Any) -> dict[Any, tuple[int, int]]:
    """Different documents, and the pages of their different jobs, by key."""
    columns = (key.alias("report_key"), Job.job_id, Job.document, _PAGES.alias("job_pages"))
    jobs = _joined(where, *columns).distinct().alias("jobs")
    query: Any = (
        Attempt.select(jobs.c.report_key, fn.count(jobs.c.document_id.distinct()), fn.sum(jobs.c.job_pages))
        .from_(jobs)
        .group_by(jobs.c.report_key)
    )
    return {raw: (int(documents), int(pages)) for raw, documents, pages in query.tuples()}


def _days_with_usage(where: Sequence[Any], zone: ZoneInfo) -> _Buckets:
    first, last = _joined(where, fn.min(Attempt.settled_at), fn.max(Attempt.settled_at)).tuples().get()
    days, bounds = [], []
    while first is not None and first <= last:
        window = window_at(Period.DAY, first, zone)
        days.append(date.fromisoformat(window.name))
        bounds.append(window.starts_at)
        first = window.ends_at
    return _Buckets(days, bounds)


def _dollar_buckets(calendar: Calendar) -> _Buckets:
    noons = [datetime(day.year, day.month, day.day, 12, tzinfo=calendar.zone) for day in calendar.dollar_days]
    return _Buckets(calendar.dollar_days, [window_at(Period.DAY, noon, calendar.zone).starts_at for noon in noons])


def _bucket_of(buckets: _Buckets) -> Any:
    """The number of the bucket that an attempt was settled in, as SQL."""
    bounds = [format_utc(bound) for bound in buckets.bounds]
    if not bounds:
        return Value(0)
    if is_postgres():
        return fn.width_bucket(Attempt.settled_at, Value(bounds, unpack=False).cast("timestamptz[]"))
    # Times are texts there that sort as time does. Each thread has a connection of its own, and so its own function.
    connection: Any = database.connection()
    connection.create_function("bucket_of", 1, lambda text: bisect_right(bounds, text), deterministic=True)
    return fn.bucket_of(Attempt.settled_at)


def _names(by: By, raw: Any, buckets: _Buckets) -> Iterable[str]:
    """The rows that a key belongs to."""
    match by:
        case By.DAY:
            return (buckets.day(int(raw)).isoformat(),)
        case By.TAG:
            tags = json.loads(raw) if isinstance(raw, str) else raw
            return set(tags) or {NO_TAG}
        case By.USER:
            return (_user(raw),)
        case _:
            return (str(raw),)


def _user(raw: Any) -> str:
    return str(UUID(str(raw)))
