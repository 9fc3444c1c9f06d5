"""The state, on both databases: what is committed is true, and only legal steps are taken, once."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from peewee import DatabaseError, IntegrityError

from domain.errors import DocumentRefused, OrderConflict, OrderRefused, StoreUnavailable, WrongSchema
from domain.job_state import STEPS, AttemptState, JobState, Provenance, may_step
from domain.money import Millicredits
from domain.settings import Mode
from models import attempts, control, deliveries, jobs, migrations, tokens
from models.database import close_connection, database, is_postgres, open_database, server_now, transaction
from models.due import claim_due, wake
from models.tables import TABLES, Attempt, Document, History, Job
from tests.state import KINDS, an_order, database_of, state_of

NOW = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture(params=KINDS)
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with state_of(request.param, tmp_path) as url:
        yield url


def received(**said: object) -> Job:
    return jobs.accept_order(an_order(**said), who="test", now=NOW, due_at=NOW).job


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """`work` in `count` threads that start together; each closes its connection."""
    barrier = threading.Barrier(count)

    def run(number: int) -> Any:
        barrier.wait()
        try:
            return work(number)
        finally:
            close_connection()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


# Schema


def test_the_tables_are_those_of_the_migrations(state: str) -> None:
    for table in TABLES:
        name = table._meta.table_name
        columns = {column.name: column for column in database.get_columns(name)}
        assert set(columns) == set(table._meta.columns), name
        for column_name, field in table._meta.columns.items():
            if not columns[column_name].primary_key:
                assert columns[column_name].null == field.null, f"{name}.{column_name}"


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_may_migrate_at_once(kind: str, tmp_path: Path) -> None:
    with database_of(kind, tmp_path) as url:
        script = (
            "import sys; from models.database import open_database; from models.migrations import migrate; "
            "open_database(sys.argv[1]); print(','.join(migrate()))"
        )
        both = [
            subprocess.Popen([sys.executable, "-c", script, url], stdout=subprocess.PIPE, text=True) for _ in range(4)
        ]
        printed = [process.communicate()[0].strip() for process in both]
        assert [process.returncode for process in both] == [0] * 4
        assert sorted(filter(None, printed)) == [",".join(f"{n:04d}_{name}" for n, name, _ in migrations.steps())]
        open_database(url)
        migrations.check_schema()
        close_connection()


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_or_newer_schema_stops_the_start_and_names_the_command(kind: str, tmp_path: Path) -> None:
    with database_of(kind, tmp_path) as url:
        open_database(url)
        with pytest.raises(WrongSchema, match="parsegate db migrate"):
            migrations.check_schema()
        migrations.migrate()
        migrations.check_schema()
        database.execute_sql("UPDATE schema_migration SET number = number + 9000")
        with pytest.raises(WrongSchema, match="install the newer"):
            migrations.check_schema()
        with pytest.raises(WrongSchema, match="install the newer"):
            migrations.migrate()
        close_connection()


def test_a_database_that_is_away_is_said_in_one_sentence() -> None:
    open_database("postgresql://nobody:hush@127.0.0.1:9/none")
    with pytest.raises(StoreUnavailable) as caught:
        server_now()
    assert "hush" not in str(caught.value)


# Orders


def test_an_order_makes_one_job_however_often_it_comes(state: str) -> None:
    order = an_order()
    accepted = in_threads(8, lambda _: jobs.accept_order(order, who="test", now=NOW, due_at=NOW))
    assert len({each.job.job_id for each in accepted}) == 1
    assert sum(each.created for each in accepted) == 1
    job = jobs.get_job(accepted[0].job.job_id)
    assert (job.state, job.due_at, job.created_at) == (JobState.RECEIVED, NOW, NOW)


def test_the_same_id_with_another_order_is_refused(state: str) -> None:
    order = an_order()
    jobs.accept_order(order, who="test", now=NOW, due_at=NOW)
    with pytest.raises(OrderConflict, match="another order"):
        jobs.accept_order(order.model_copy(update={"tier": "agentic"}), who="test", now=NOW, due_at=NOW)


def test_another_correlation_id_is_the_same_order(state: str) -> None:
    order = an_order()
    first = jobs.accept_order(order, who="test", now=NOW, due_at=NOW)
    again = order.model_copy(update={"correlation_id": uuid4()})
    assert jobs.accept_order(again, who="test", now=NOW, due_at=NOW).job.job_id == first.job.job_id


def test_a_deleted_document_cannot_be_ordered_again(state: str) -> None:
    order = an_order()
    jobs.accept_order(order, who="test", now=NOW, due_at=NOW)
    Document.update(deleted_at=NOW).where(Document.document_id == order.document_id).execute()
    with pytest.raises(OrderConflict, match="deleted"):
        jobs.accept_order(order, who="test", now=NOW, due_at=NOW)


# Transitions


def test_of_many_who_take_the_same_step_one_does(state: str) -> None:
    job = received()

    def reserve(number: int) -> bool:
        return jobs.step(
            job.job_id, JobState.RECEIVED, JobState.RESERVED, who=f"w{number}", why="race", now=NOW, due_at=NOW
        )

    assert sorted(in_threads(8, reserve)) == [False] * 7 + [True]
    steps = jobs.history(job.job_id)
    assert [(step.before, step.after) for step in steps] == [(None, "received"), ("received", "reserved")]
    assert steps[-1].who.startswith("w")


@pytest.mark.parametrize("before", list(JobState))
def test_illegal_steps_are_refused_by_the_code(state: str, before: JobState) -> None:
    for after in JobState:
        if not may_step(before, after):
            with pytest.raises(ValueError, match="can't go"):
                jobs.step(uuid4(), before, after, who="t", why="t", now=NOW, due_at=None)
    assert all(after in JobState for after in STEPS[before])


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "parsing", "due_at": None},
        {"state": "completed", "due_at": None, "finished_at": NOW},
        {"state": "failed", "due_at": None, "finished_at": NOW},
        {"state": "nonsense"},
        {"cost": -1},
        {"pages": 0},
        {"provenance": "invented"},
    ],
)
def test_the_database_states_the_same_rules(state: str, changes: dict[str, Any]) -> None:
    job = received()
    with pytest.raises(IntegrityError), database.atomic():
        Job.update(**changes).where(Job.job_id == job.job_id).execute()


def test_a_failed_step_leaves_nothing_behind(state: str) -> None:
    job = received()
    with pytest.raises(RuntimeError, match="crash"), transaction():
        jobs.step(job.job_id, JobState.RECEIVED, JobState.RESERVED, who="t", why="t", now=NOW, due_at=NOW)
        raise RuntimeError("crash")
    assert jobs.get_job(job.job_id).state == JobState.RECEIVED
    assert len(jobs.history(job.job_id)) == 1


def test_a_failed_job_keeps_its_reason(state: str) -> None:
    job = received()
    assert jobs.fail(job, DocumentRefused("The PDF is broken.", reason="PDF_IS_BROKEN"), who="test", now=NOW)
    ended = jobs.get_job(job.job_id)
    assert (ended.state, ended.reason, ended.message) == ("failed", "PDF_IS_BROKEN", "The PDF is broken.")
    assert (ended.due_at, ended.finished_at) == (None, NOW)
    assert not wake(job.job_id, NOW)


# Attempts


def test_a_job_has_one_attempt_under_way_at_most(state: str) -> None:
    job = received()
    opened = in_threads(
        6, lambda _: attempts.open_attempt(job, provenance=Provenance.REAL, estimate=Millicredits(3000), now=NOW)
    )
    assert sum(attempt is not None for attempt in opened) == 1


def test_a_closed_attempt_never_reopens_and_is_settled_once(state: str) -> None:
    job = received()
    attempt = attempts.open_attempt(job, provenance=Provenance.REAL, estimate=Millicredits(3000), now=NOW)
    assert attempt is not None
    assert attempts.step_attempt(attempt, AttemptState.OPEN, AttemptState.FAILED, why="t", now=NOW)
    with pytest.raises(ValueError, match="can't become"):
        attempts.step_attempt(attempt, AttemptState.FAILED, AttemptState.OPEN, why="t", now=NOW)
    settled = in_threads(6, lambda _: attempts.settle(attempt, Millicredits(2000), now=NOW, why="billed"))
    assert sum(settled) == 1
    assert jobs.get_job(job.job_id).cost == 2000
    following = attempts.open_attempt(job, provenance=Provenance.REAL, estimate=Millicredits(1), now=NOW)
    assert following is not None
    assert following.number == 2


def test_one_job_of_the_provider_belongs_to_one_attempt(state: str) -> None:
    def sent() -> Attempt:
        attempt = attempts.open_attempt(received(), provenance=Provenance.REAL, estimate=Millicredits(1), now=NOW)
        assert attempt is not None
        return attempt

    attempts.set_attempt(sent(), provider_job_id="pjb-1", base_url="http://p")
    with pytest.raises(IntegrityError):
        attempts.set_attempt(sent(), provider_job_id="pjb-1", base_url="http://p")
    attempts.set_attempt(sent(), provider_job_id="pjb-1", base_url="http://elsewhere")


# The clock


def test_what_is_due_is_claimed_once_by_many_clocks(state: str) -> None:
    ids = {received().job_id for _ in range(40)}
    later = NOW + timedelta(seconds=60)
    found = in_threads(4, lambda _: claim_due(NOW, later, 10))
    claimed = [job_id for due in found for job_id, _, _ in due.jobs]
    assert len(claimed) == len(set(claimed))
    # With SKIP LOCKED a clock may pass by what another one holds; nothing stays away for longer than that.
    claimed += [job_id for job_id, _, _ in claim_due(NOW, later, 40).jobs]
    assert sorted(claimed) == sorted(ids)
    assert len(claim_due(NOW, later, 10)) == 0
    assert len(claim_due(later, later + timedelta(seconds=60), 10).jobs) == 10


def test_only_what_is_not_finished_is_due(state: str) -> None:
    ended, waiting = received(), received()
    jobs.fail(ended, DocumentRefused("x"), who="t", now=NOW)
    assert [job_id for job_id, _, _ in claim_due(NOW, NOW, 10).jobs] == [waiting.job_id]
    jobs.postpone(waiting, NOW + timedelta(seconds=5), message="waits")
    assert len(claim_due(NOW, NOW, 10)) == 0
    assert wake(waiting.job_id, NOW)
    assert len(claim_due(NOW, NOW, 10)) == 1


def test_the_sweep_uses_the_partial_index(state: str) -> None:
    explain = "EXPLAIN " if is_postgres() else "EXPLAIN QUERY PLAN "
    if is_postgres():
        database.execute_sql("SET enable_seqscan = off")
    query, values = Job.select(Job.job_id).where(Job.due_at <= NOW).order_by(Job.due_at).limit(5).sql()
    plan = " ".join(str(row) for row in database.execute_sql(explain + query, values).fetchall())
    assert "job_due" in plan


# Switches, tokens, deliveries


def test_a_switched_mode_holds_until_the_setting_is_changed(state: str) -> None:
    assert control.read_mode(Mode.REAL).mode is Mode.REAL
    control.set_mode(Mode.MOCK, Mode.REAL, who="ann", now=NOW)
    assert control.read_mode(Mode.REAL).mode is Mode.MOCK
    assert "ann" in control.read_mode(Mode.REAL).source
    assert control.read_mode(Mode.HYBRID).mode is Mode.HYBRID


def test_a_switch_is_in_force_everywhere_within_the_cache_time(state: str) -> None:
    passed = [0.0]
    mode = control.CachedMode(Mode.REAL, lambda: passed[0])
    assert mode() is Mode.REAL
    control.set_mode(Mode.MOCK, Mode.REAL, who="ann", now=NOW)
    passed[0] += control.CACHE_S
    assert mode() is Mode.MOCK


def test_an_installation_has_one_name_for_good(state: str) -> None:
    assert len(set(in_threads(6, lambda _: control.instance_id(NOW)))) == 1


def test_only_the_hash_of_a_token_is_kept(state: str) -> None:
    token = tokens.create_token("up", tokens.Scope.SUBMIT, now=NOW)
    bearer = tokens.find_bearer(token, NOW)
    assert bearer is not None
    assert bearer.may(tokens.Scope.READ)
    assert not bearer.may(tokens.Scope.ADMIN)
    assert tokens.find_bearer(token + "x", NOW) is None
    assert all(token not in str(row.__data__) for row in tokens.list_tokens())
    tokens.revoke_token("up", NOW)
    assert tokens.find_bearer(token, NOW) is None


def test_a_token_ends_and_tells_when_it_was_used(state: str) -> None:
    hour = timedelta(hours=1)
    token = tokens.create_token("brief", tokens.Scope.READ, now=NOW, expires_at=NOW + hour)
    (row,) = tokens.list_tokens()
    assert (row.last_used_at, row.expires_at) == (None, NOW + hour)
    for seconds in (1, 59, 61):
        assert tokens.find_bearer(token, NOW + timedelta(seconds=seconds)) is not None
    (row,) = tokens.list_tokens()
    assert row.last_used_at == NOW + timedelta(seconds=61)
    assert tokens.find_bearer(token, NOW + hour) is None
    with pytest.raises(OrderRefused, match="has expired already"):
        tokens.create_token("late", tokens.Scope.READ, now=NOW, expires_at=NOW)


def test_an_event_is_made_once_for_each_receiver(state: str) -> None:
    job = received()
    bodies = {"events": "{}", "https://example.org": "{}"}
    about = deliveries.About(job.tenant, job.job_id)
    assert len(deliveries.add_deliveries(about, "document.parsed", bodies, NOW)) == 2
    assert deliveries.add_deliveries(about, "document.parsed", bodies, NOW) == []


def test_history_only_grows(state: str) -> None:
    job: UUID = received().job_id
    assert [row.after for row in jobs.history(job)] == ["received"]
    assert History.select().count() == 1


def test_a_broken_migration_leaves_the_schema_as_it_was(state: str) -> None:
    steps = [*migrations.steps(), (9998, "broken", "CREATE TABLE fine (x INTEGER);\nCREATE NONSENSE")]
    with pytest.raises(DatabaseError, match="9998_broken"):
        migrations.migrate(steps)
    assert migrations.applied() == steps[-2][0]
    assert not database.table_exists("fine")
