"""``GET /v1/usage``: what has been settled, as JSON or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

import falcon.asgi
from pydantic import Field
from typing_extensions import TypedDict

from domain.budgets import Period, window_at
from domain.clock import parse_utc
from domain.errors import OrderRefused
from domain.money import to_credits
from gateway.amounts import Time, credits_number, number, time_text
from gateway.auth import bearer_of
from gateway.dependencies import Dependencies
from gateway.openapi.description import JSON, Answer, Operation, Parameter
from gateway.pool import run_in
from models.tokens import Bearer, Scope
from models.usage import By, Calendar, Span, Usage, UsageRow, usage

COLUMNS: Final = ("key", "documents", "pages", "credits", "usd")
PARAMETERS: Final = ("by", "since", "until", "tenant", "format")
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet may take for the beginning of a formula (OWASP, CSV injection)."""

CSV: Final = "text/csv; charset=utf-8"
Day = Annotated[str, Field(json_schema_extra={"format": "date"})]


class UsageSums(TypedDict):
    """What was settled, in numbers."""

    documents: int
    pages: int
    credits: float
    usd: float


class UsageLine(UsageSums):
    """What was settled of one of the things that the report is by."""

    key: str


class UsageSaid(UsageSums):
    """What was settled, in all and by what the report is by; rows beyond the most are left off."""

    by: By
    since: Time | None
    until: Time | None
    rows: list[UsageLine]
    rows_left_off: int


class UsageResource:
    """``GET /v1/usage?by=&since=&until=&tenant=&format=``."""

    scopes: Mapping[str, Scope] | None = {"GET": Scope.READ}
    operations: Mapping[str, Operation] = {
        "GET": Operation(
            "getUsage",
            {200: Answer({JSON: UsageSaid, CSV: str})},
            fails=(422,),
            parameters=[
                Parameter("by", By, "What the report has a row for; the day if it is left out."),
                Parameter("since", Day | Time, "From this day's beginning, or this moment, on."),
                Parameter("until", Day | Time, "To this day's end, or this moment."),
                Parameter("tenant", str, "This tenant's alone; of another one than the token's for an admin only."),
                Parameter("format", Literal["json", "csv"], "As what; JSON if it is left out."),
            ],
        )
    }

    def __init__(self, dependencies: Dependencies) -> None:
        settings = dependencies.settings
        self._pool = dependencies.pool
        self._calendar = Calendar(
            settings.budget_timezone, lambda day: settings.prices_on(day).usd_per_credit, settings.dollar_days
        )

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """The report. A token that is no admin's sees its own tenant's alone.

        Raises:
            OrderRefused: 422, a parameter is unknown or malformed.
        """
        said = _parameters(req)
        by, form = _by(said), said.get("format", "json")
        if form not in {"json", "csv"}:
            raise OrderRefused(f"format {form[:40]!r} is unknown: use json or csv")
        span = _span(said, bearer_of(req), self._calendar.zone)
        report = await run_in(self._pool, usage, by, span, self._calendar)
        if form == "csv":
            resp.content_type = CSV
            resp.text = as_csv(report, by)
        else:
            resp.media = _view(report, by, span)


def as_csv(report: Usage, by: By) -> str:
    """The rows as CSV (RFC 4180). A key that a spreadsheet would run as a formula is led by an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([by.value, *COLUMNS[1:]])
    for row in report.rows:
        key = f"'{row.key}" if row.key.lstrip(" ").startswith(FORMULA) else row.key
        writer.writerow([key, row.documents, row.pages, f"{to_credits(row.billed).normalize():f}", f"{row.usd:f}"])
    return text.getvalue()


def _view(report: Usage, by: By, span: Span) -> UsageSaid:
    return {
        "by": by,
        "since": time_text(span.since),
        "until": time_text(span.until),
        **_sums(report.total),
        "rows": [_row_view(row) for row in report.rows],
        "rows_left_off": report.left_off,
    }


def _row_view(row: UsageRow) -> UsageLine:
    return {"key": row.key, **_sums(row)}


def _sums(row: UsageRow) -> UsageSums:
    return {
        "documents": row.documents,
        "pages": row.pages,
        "credits": credits_number(row.billed),
        "usd": number(row.usd),
    }


def _parameters(req: falcon.asgi.Request) -> dict[str, str]:
    said: dict[str, str] = {}
    for name, value in req.params.items():
        if name not in PARAMETERS:
            raise OrderRefused(f"unknown parameter {name[:40]!r}: known are {', '.join(PARAMETERS)}")
        if not isinstance(value, str):
            raise OrderRefused(f"parameter {name!r} comes more than once")
        said[name] = value
    return said


def _by(said: Mapping[str, str]) -> By:
    name = said.get("by", By.DAY.value)
    if name not in {by.value for by in By}:
        raise OrderRefused(f"by {name[:40]!r} is unknown: use one of {', '.join(by.value for by in By)}")
    return By(name)


def _span(said: Mapping[str, str], bearer: Bearer, zone: ZoneInfo) -> Span:
    tenant = said.get("tenant")
    if not bearer.may(Scope.ADMIN):
        if tenant not in {None, bearer.tenant}:
            raise OrderRefused("this token may see its own tenant's usage only")
        tenant = bearer.tenant
    since, until = _moment(said, "since", zone), _moment(said, "until", zone)
    if since is not None and until is not None and until <= since:
        raise OrderRefused("until must be later than since")
    return Span(since, until, tenant)


def _moment(said: Mapping[str, str], name: str, zone: ZoneInfo) -> datetime | None:
    """A day, from its beginning on (`since`) or to its end (`until`), or a moment with an offset."""
    text = said.get(name)
    if text is None:
        return None
    try:
        if len(text) > 10:
            # A plus sign in a query is a space to whoever did not escape it.
            return parse_utc(text.replace(" ", "+"))
        day = date.fromisoformat(text)
        window = window_at(Period.DAY, datetime(day.year, day.month, day.day, 12, tzinfo=zone), zone)
        return window.starts_at if name == "since" else window.ends_at
    except (ValueError, OverflowError):
        raise OrderRefused(
            f"{name} {text[:40]!r} is malformed: write a day (2026-11-24) or a time (2026-11-24T18:00:00Z)"
        ) from None
