"""The usage report: exactly what was settled, each millicredit in one day, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest

from domain.budgets import Period, Scope, window_at
from domain.job_state import AttemptState, Provenance
from models import jobs
from models.tables import Attempt, Job
from models.usage import MOST_ROWS, NO_TAG, By, Calendar, Span, Usage, days_until, spent_by_day, usage
from tests.state import KINDS, an_order, state_of

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 11, 24, 11, 0, tzinfo=UTC)
USERS = UUID(int=1), UUID(int=2)
PRICE = Decimal("0.00125")
CALENDAR = Calendar(BERLIN, lambda _: PRICE)


@pytest.fixture(params=KINDS)
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with state_of(request.param, tmp_path) as url:
        yield url


def a_job(**said: object) -> Job:
    job = jobs.accept_order(an_order(**said), who="test", now=NOON, due_at=NOON).job
    Job.update(parsed_pages=2).where(Job.job_id == job.job_id).execute()
    return job


def settled(job: Job, billed: int | None, at: datetime = NOON, provenance: Provenance = Provenance.REAL) -> None:
    """One more attempt of a job, settled at `billed` millicredits, or not settled."""
    number = Attempt.select().where(Attempt.job == job.job_id).count() + 1
    Attempt.create(
        attempt_id=uuid4(),
        job=job.job_id,
        number=number,
        state=AttemptState.COMPLETED,
        provenance=provenance,
        estimate=9_000_000,
        billed=billed,
        created_at=at,
        settled_at=None if billed is None else at,
    )


def rows_of(report: Usage) -> dict[str, tuple[int, int, int]]:
    return {row.key: (row.documents, row.pages, row.billed) for row in report.rows}


@pytest.fixture
def spending(state: str) -> None:
    """Three documents: one of them paid for twice, one with two tags, one mocked; and one not settled."""
    twice = a_job(tenant="acme", tags=["invoices", "q4"], user_id=USERS[0], tier="agentic")
    settled(twice, 10_000)
    settled(twice, 5_500, NOON + timedelta(days=1))
    settled(a_job(tenant="acme", tags=["q4"], user_id=USERS[1], tier="fast"), 1_000)
    settled(a_job(tenant="other", tier="fast"), 0, provenance=Provenance.MOCK)
    settled(a_job(tenant="other"), None)


@pytest.mark.usefixtures("spending")
@pytest.mark.parametrize(
    ("by", "rows"),
    [
        (By.DAY, {"2026-11-24": (3, 6, 11_000), "2026-11-25": (1, 2, 5_500)}),
        (By.TENANT, {"acme": (2, 4, 16_500), "other": (1, 2, 0)}),
        (
            By.USER,
            {str(USERS[0]): (1, 2, 15_500), str(USERS[1]): (1, 2, 1_000), str(UUID(int=0)): (1, 2, 0)},
        ),
        (By.TAG, {"q4": (2, 4, 16_500), "invoices": (1, 2, 15_500), NO_TAG: (1, 2, 0)}),
        (By.TIER, {"agentic": (1, 2, 15_500), "fast": (2, 4, 1_000)}),
        (By.PROVENANCE, {"real": (2, 4, 16_500), "mock": (1, 2, 0)}),
    ],
)
def test_every_settled_millicredit_is_counted_once(by: By, rows: dict[str, tuple[int, int, int]]) -> None:
    report = usage(by, Span(), CALENDAR)
    assert rows_of(report) == rows
    assert list(rows_of(report)) == list(rows), "days in order, the others by cost"
    total = report.total
    assert (total.documents, total.pages, total.billed, total.usd) == (3, 6, 16_500, Decimal("0.020625"))
    assert report.left_off == 0


@pytest.mark.usefixtures("spending")
def test_what_the_provider_had_in_its_cache_is_told_apart() -> None:
    """It went there as a real attempt; one before it, which failed and was billed, is not called cached."""
    job = a_job()
    settled(job, 2_000)
    settled(job, 0)
    Job.update(provenance=Provenance.CACHED).where(Job.job_id == job.job_id).execute()
    rows = rows_of(usage(By.PROVENANCE, Span(), CALENDAR))
    assert rows == {"real": (3, 6, 18_500), "mock": (1, 2, 0), "cached": (1, 2, 0)}


@pytest.mark.usefixtures("spending")
def test_a_tenant_sees_its_own_alone() -> None:
    report = usage(By.USER, Span(tenant="other"), CALENDAR)
    assert (report.total.documents, report.total.billed) == (1, 0)
    assert rows_of(usage(By.TENANT, Span(tenant="acme"), CALENDAR)) == {"acme": (2, 4, 16_500)}


@pytest.mark.usefixtures("spending")
def test_a_span_begins_with_its_first_moment_and_ends_before_its_last() -> None:
    assert usage(By.TIER, Span(since=NOON, until=NOON + timedelta(days=1)), CALENDAR).total.billed == 11_000
    assert usage(By.TIER, Span(since=NOON + timedelta(microseconds=1)), CALENDAR).total.billed == 5_500
    assert usage(By.DAY, Span(until=NOON), CALENDAR).rows == []


@pytest.mark.usefixtures("state")
def test_nothing_settled_is_an_empty_report() -> None:
    for by in By:
        report = usage(by, Span(), CALENDAR)
        assert (list(report.rows), report.total.billed, report.total.documents) == ([], 0, 0)


@pytest.mark.usefixtures("state")
def test_a_day_is_the_budgets_day() -> None:
    """On the day of 25 hours too: each hour belongs to the day in whose window it lies."""
    start = datetime(2026, 10, 24, 21, 30, tzinfo=UTC)
    expected: dict[str, int] = {}
    job = a_job()
    for hour in range(30):
        at = start + timedelta(hours=hour)
        settled(job, 1, at)
        name = window_at(Period.DAY, at, BERLIN).name
        expected[name] = expected.get(name, 0) + 1
    assert {row.key: row.billed for row in usage(By.DAY, Span(), CALENDAR).rows} == expected
    assert expected["2026-10-25"] == 25


@pytest.mark.usefixtures("state")
def test_a_later_price_of_a_credit_does_not_rewrite_what_was_spent() -> None:
    change = date(2026, 11, 25)
    calendar = Calendar(BERLIN, lambda day: PRICE if day < change else PRICE * 2, [change])
    job = a_job(tags=["a"])
    settled(job, 1_000, datetime(2026, 11, 24, 22, 59, 59, tzinfo=UTC))
    settled(job, 1_000, datetime(2026, 11, 24, 23, 0, 0, tzinfo=UTC))
    for by in By:
        report = usage(by, Span(), calendar)
        assert (report.total.usd, report.total.documents) == (PRICE * 3, 1)
        assert sum(row.usd for row in report.rows) == PRICE * 3


@pytest.mark.usefixtures("spending")
def test_spending_of_the_last_days_by_scope() -> None:
    days = days_until(NOON + timedelta(days=1), 3, BERLIN)
    assert [day.name for day in days] == ["2026-11-23", "2026-11-24", "2026-11-25"]
    assert dict(spent_by_day(days, Scope.GLOBAL)) == {"": [0, 11_000, 5_500]}
    assert dict(spent_by_day(days, Scope.TENANT)) == {"acme": [0, 11_000, 5_500], "other": [0, 0, 0]}
    assert spent_by_day(days, Scope.USER)[str(USERS[0])] == [0, 10_000, 5_500]


@pytest.mark.usefixtures("state")
def test_a_very_long_report_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_ROWS == 10_000
    monkeypatch.setattr("models.usage.MOST_ROWS", 2)
    settled(a_job(tags=["a", "b", "c"]), 1_000)
    report = usage(By.TAG, Span(), CALENDAR)
    assert ([row.key for row in report.rows], report.left_off) == (["a", "b"], 1)
