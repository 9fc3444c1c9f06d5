"""The old upload service and its mock parser against both old routes of a running installation, message by message.

Each step says what was answered, and what the job, its history, its file and the money are afterwards.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.acceptance.old_003 import (
    EARLIER_SECRET,
    SECRET,
    Money,
    Ordered,
    Pipeline,
    Upload,
    artifact,
    old_pipeline,
    signature,
    until,
)

MARKDOWN = "# Policy\n\nGrüße, 保険 🙂\n"
TEXT = "Policy\n\nGrüße, 保険 🙂\n"
META = {"meta": {"parser_name": "mock", "parser_version": "1"}, "correlation_id": str(uuid4())}
PAGES = [{"page": 2, "md": "# B", "text": "B"}, {"page": 1, "md": "# A", "text": "A", "images": []}]
FORMS: dict[str, tuple[Mapping[str, Any], str]] = {
    "documented": ({"status": "parsed", "artifacts": [artifact(MARKDOWN)], **META}, MARKDOWN),
    "bare": ({"status": "parsed", "artifacts": [artifact(MARKDOWN)]}, MARKDOWN),
    "with text": ({"status": "parsed", "artifacts": [artifact(TEXT, "text"), artifact(MARKDOWN)]}, MARKDOWN),
    "unknown fields": (
        {"status": "parsed", "artifacts": [artifact(MARKDOWN, page=1)], "version": 3, "extra": {"job_id": "x"}},
        MARKDOWN,
    ),
    "an object": ({"status": "completed", "result": {"md": MARKDOWN, "txt": TEXT, "json": []}, **META}, MARKDOWN),
    "Markdown alone": ({"status": "completed", "result": {"md": MARKDOWN}}, MARKDOWN),
    "text alone": ({"status": "completed", "result": {"txt": TEXT}}, TEXT),
    "pages": ({"status": "completed", "result": PAGES}, "# A\n\n# B"),
    "pages in JSON": ({"status": "completed", "result": {"md": "all", "txt": "all", "json": PAGES}}, "# A\n\n# B"),
    "at the top": ({"status": "completed", "md": MARKDOWN, "txt": TEXT, "json": [], "images": []}, MARKDOWN),
    "no status": ({"result": {"md": MARKDOWN, "txt": TEXT}}, MARKDOWN),
    "no status, pages": ({"status": None, "result": PAGES}, "# A\n\n# B"),
}
"""Every form of a result: what the body says beside its ids, and the Markdown that must come of it."""


OF_EACH_KIND = ("documented", "an object", "pages", "at the top")
"""What is enough of them where only the way through the processes is another one."""

both = pytest.mark.parametrize("pipeline", ["embedded", "distributed"], indirect=True, scope="module")
"""In one process, and in processes of their own over RabbitMQ and PostgreSQL: orders by message, events out."""


@pytest.fixture(scope="module", params=["embedded"])
def pipeline(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with old_pipeline(request.param, tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture(autouse=True)
def _silent_provider(pipeline: Pipeline) -> None:
    """Its jobs stay as they are, and it sends no events: what happens is what the old mock says."""
    pipeline.mock.faults(job_stuck=1, webhook_lost=1, usage_never=0)


def check_answer(answer: httpx.Response, ordered: Ordered, status: str) -> None:
    """The answer that these routes always gave."""
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert list(said) == ["success", "message", "job_id", "document_id", "processed_at"]
    assert said["success"] is True
    assert status in said["message"]
    assert (said["job_id"], said["document_id"]) == (ordered.job_id, str(ordered.upload.document_id))
    at = datetime.fromisoformat(said["processed_at"])
    assert abs((at - datetime.now(UTC)).total_seconds()) < 60


def body_of(ordered: Ordered, said: Mapping[str, Any]) -> bytes:
    return json.dumps({**ordered.ids, **said}).encode()


@both
def test_the_old_names_of_settings_are_in_force(pipeline: Pipeline) -> None:
    said = pipeline.service.http.get("/v1/mode").json()
    assert (said["mode"], said["source"], said["provider"]) == ("real", "setting", pipeline.provider_url)


@both
@pytest.mark.parametrize("with_job", [True, False], ids=["job in the route", "job in the body"])
def test_every_form_of_a_result_ends_its_job(pipeline: Pipeline, with_job: bool) -> None:
    service, mock = pipeline.service, pipeline.mock
    forms = list(FORMS.values()) if service.system is None else [FORMS[name] for name in OF_EACH_KIND]
    ordered = pipeline.parsing(len(forms) + 1)
    money = pipeline.money()
    assert money.most_for_one == 1
    bodies = [(body_of(one, said), markdown) for one, (said, markdown) in zip(ordered, forms, strict=False)]
    # Its client also posted JSON in a JSON string.
    bodies.append((json.dumps(body_of(ordered[-1], FORMS["documented"][0]).decode()).encode(), MARKDOWN))
    for number, (one, (body, _)) in enumerate(zip(ordered, bodies, strict=True)):
        secret = EARLIER_SECRET if number % 2 else SECRET
        check_answer(mock.post(body, one.job_id if with_job else None, secret=secret), one, "parsed")
    for one, (_, markdown) in zip(ordered, bodies, strict=True):
        ended = service.wait_for(one, "parsed")
        assert ended.file == markdown.encode()
        assert (ended.provenance, ended.reason, ended.credits) == ("real", None, 0)
        assert ended.history[-3:] == (("parsing", "ingesting"), ("sent", "completed"), ("ingesting", "completed"))
        assert service.statuses(one) == ["uploaded", "parse_queued", "parsed"]
        check_event(pipeline, one, "document.parsed")
    assert pipeline.money() == money, "what it cost is the provider's to say"


def check_event(pipeline: Pipeline, ordered: Ordered, kind: str) -> None:
    """Its end went out once, with the id that it came in with."""
    if pipeline.service.system is None:
        return
    event, now = pipeline.service.event(ordered), pipeline.service.standing(ordered)
    assert event["type"] == kind
    assert event["data"]["correlation_id"] == str(ordered.upload.correlation_id)
    assert (event["data"]["status_003"], event["data"]["reason"]) == (now.status_003, now.reason)
    assert (event["data"]["parsed_path"], event["data"]["parsed_sha256"]) == (now.parsed_path, now.parsed_sha256)


@both
@pytest.mark.parametrize("with_job", [True, False], ids=["job in the route", "job in the body"])
def test_a_failure_ends_its_job_and_costs_what_the_provider_says(pipeline: Pipeline, with_job: bool) -> None:
    service, mock, money = pipeline.service, pipeline.mock, pipeline.money()
    ordered = pipeline.parsing(2)
    assert pipeline.money().held > money.held
    for one, said in zip(ordered, ({"error": "scan too dark", **META}, {}), strict=True):
        body = body_of(one, {"status": "failed", **said})
        check_answer(mock.post(body, one.job_id if with_job else None), one, "failed")
        failed = service.wait_for(one, "failed_parse")
        assert (failed.state, failed.reason) == ("failed", "failed_003")
        assert failed.message == said.get("error", "the parse failed")
        assert service.statuses(one) == ["uploaded", "parse_queued", "failed_parse"]
        check_event(pipeline, one, "document.failed")
    # Nobody waits for them any more: they are stopped at the provider, which bills nothing for it, and says so.
    until(lambda: pipeline.money().held == money.held, "what was held is not given back")
    made = mock.parse_jobs()
    assert {made[one.job_id]["status"] for one in ordered} == {"CANCELLED"}
    assert pipeline.money() == replace(money, made=money.made + 2, most_for_one=1)


def test_what_is_not_bound_to_the_parse_only_asks_the_provider(pipeline: Pipeline) -> None:
    """First while the provider still works at it, so that nothing changes; then when it has ended."""
    service, mock = pipeline.service, pipeline.mock
    mock.faults(job_stuck=0)
    ended = pipeline.parsing(8)
    mock.faults(job_stuck=1)
    (stuck,) = pipeline.parsing(1)
    until(lambda: {mock.parse_jobs()[one.job_id]["status"] for one in ended} == {"COMPLETED"})
    forged = {"md": "# Forged", "txt": "forged"}

    def forms(one: Ordered) -> list[tuple[bytes, bool]]:
        """With whether it names its job, and so may go to either route."""
        ids = {"job_id": one.job_id, "document_id": str(one.upload.document_id)}
        said: list[tuple[Mapping[str, Any], bool]] = [
            ({"status": "completed", "result": forged}, False),
            ({"result": [forged]}, False),
            ({"status": "failed", "error": "forged"}, False),
            ({**one.ids, "job_id": None, "artifacts": [artifact("# Forged")]}, False),
            ({**ids, "status": "completed", "result": forged}, True),
            ({**ids, "parse_job_id": f"pjb-{uuid4()}", "status": "failed"}, True),
            ({**one.ids, "status": "processing", "md": "# Forged", **META}, True),
            ({**one.ids, "status": "parsed", "artifacts": []}, True),
        ]
        return [(json.dumps(body).encode(), named) for body, named in said]

    before, money = service.standing(stuck), pipeline.money()
    for number, (body, named) in enumerate(forms(stuck)):
        due_at = service.job(stuck)["due_at"]
        answer = mock.post(body, None if named and number % 2 else stuck.job_id)
        check_answer(answer, stuck, "")
        # Who was asked in vain is asked again later than would have been.
        until(lambda: service.job(stuck)["due_at"] > due_at, "the provider is not asked")  # noqa: B023 - at once
    until(lambda: pipeline.rejected(stuck) == ["other_parse_job"] * 2)
    assert (service.standing(stuck), pipeline.money()) == (before, money)
    assert not list((service.store / "staging").glob("003-*"))
    for number, one in enumerate(ended):
        body, named = forms(one)[number]
        assert service.job(one)["state"] == "parsing"
        check_answer(mock.post(body, None if named else one.job_id), one, "")
        now = service.wait_for(one, "parsed")
        assert b"orged" not in (now.file or b"")
        assert str(one.upload.document_id).encode() in (now.file or b"")
        check_event(pipeline, one, "document.parsed")
    check_settled(pipeline, ended, money)


def check_settled(pipeline: Pipeline, ordered: Sequence[Ordered], before: Money) -> None:
    """Exactly what the provider billed for these was spent since, and nothing is held for them any more."""
    service = pipeline.service
    until(lambda: all(service.job(one)["credits"] == 3 for one in ordered), "the bills are not told")
    held = sum(round(service.job(one)["estimate_credits"] * 1000) for one in ordered)
    now = pipeline.money()
    assert now == replace(
        before, spent=before.spent + 3000 * len(ordered), settled=before.settled + 3000 * len(ordered),
        held=before.held - held, billed=now.billed,
    )  # fmt: skip
    assert now.spent == now.settled == now.billed


@pytest.mark.parametrize("with_job", [True, False], ids=["job in the route", "job in the body"])
def test_the_provider_is_paid_what_it_bills_whoever_brings_the_result(pipeline: Pipeline, with_job: bool) -> None:
    """The mock is faster than the provider's own word, which has not come when the job ends."""
    service, mock = pipeline.service, pipeline.mock
    mock.faults(job_stuck=0)
    (one,) = pipeline.parsing(1)
    until(lambda: mock.parse_jobs()[one.job_id]["status"] == "COMPLETED")
    money = pipeline.money()
    assert money.spent < money.billed
    check_answer(mock.post(body_of(one, FORMS["documented"][0]), one.job_id if with_job else None), one, "parsed")
    assert service.wait_for(one, "parsed").file == MARKDOWN.encode()
    check_settled(pipeline, [one], money)
    assert service.standing(one).file == MARKDOWN.encode()


REFUSED: dict[str, tuple[Mapping[str, Any], str]] = {
    "a hash of other content": (
        {"artifacts": [artifact(MARKDOWN, sha256=artifact(TEXT)["sha256"])]},
        "digest_mismatch",
    ),
    "a hash in upper case": (
        {"artifacts": [artifact(MARKDOWN, sha256=artifact(MARKDOWN)["sha256"].upper())]},
        "digest_mismatch",
    ),
    "no hash": ({"artifacts": [artifact(MARKDOWN, sha256=None)]}, "digest_mismatch"),
    "a length in characters": ({"artifacts": [artifact(MARKDOWN, bytes=len(MARKDOWN))]}, "digest_mismatch"),
    "a length as text": ({"artifacts": [artifact(MARKDOWN, bytes=str(len(MARKDOWN.encode())))]}, "digest_mismatch"),
    "one part right, one wrong": (
        {"artifacts": [artifact(MARKDOWN), artifact(TEXT, "text", bytes=1)]},
        "digest_mismatch",
    ),
    "another document": ({"document_id": str(uuid4()), "artifacts": [artifact(MARKDOWN)]}, "document_mismatch"),
    "an unknown status": ({"status": "done", "md": MARKDOWN}, "malformed_event"),
    "a result that is text": ({"result": MARKDOWN}, "malformed_event"),
    "the same page twice": ({"result": [{"page": 1, "md": "# A"}, {"page": 1, "md": "# B"}]}, "malformed_event"),
}
"""Signed events of the right job that can't be meant, and why."""


@both
def test_what_is_signed_and_can_t_be_meant_changes_nothing(pipeline: Pipeline) -> None:
    service, mock = pipeline.service, pipeline.mock
    one, other = pipeline.parsing(2)
    before, money = [service.standing(one), service.standing(other)], pipeline.money()
    answers, reasons = [], list[str]()
    for said, reason in REFUSED.values():
        answers += [mock.post(body_of(one, said), one.job_id), mock.post(body_of(one, said))]
        # The route without a job knows none to put on record.
        reasons.append(reason)
    right = body_of(one, FORMS["documented"][0])
    answers += [mock.post(right, other.job_id), mock.post(right, str(uuid4())), mock.post(b"[]"), mock.post({})]
    answers += [mock.post({**one.ids, "job_id": str(uuid4()), "md": MARKDOWN}), mock.post(b"\xff", one.job_id)]
    assert {answer.status_code for answer in answers} == {422}, [answer.text for answer in answers]
    assert len({answer.json()["detail"] for answer in answers}) == 1, "which part was wrong is told to nobody"
    until(lambda: pipeline.rejected(one) == [*reasons, "malformed_event"])
    assert pipeline.rejected(other) == ["job_mismatch"]
    assert [service.standing(one), service.standing(other)] == before
    assert pipeline.money() == money
    check_answer(mock.post(right, one.job_id), one, "parsed")
    service.wait_for(one, "parsed")
    assert service.standing(other) == before[1]


def test_what_is_not_signed_as_it_must_be_is_answered_401(pipeline: Pipeline) -> None:
    service, mock = pipeline.service, pipeline.mock
    (one,) = pipeline.parsing(1)
    before, money = service.standing(one), pipeline.money()
    body = body_of(one, FORMS["documented"][0])
    right, name = signature(body), "X-Webhook-Signature"
    faults: dict[str, list[tuple[str, str]]] = {
        "none": [],
        "none, but a token": [("Authorization", str(service.http.headers["Authorization"]))],
        "empty": [(name, "")],
        "upper case": [(name, right.upper())],
        "prefixed": [(name, f"sha256={right}")],
        "cut": [(name, right[:-1])],
        "longer": [(name, f"{right}0")],
        "twice": [(name, right)] * 2,
        "two in one": [(name, f"{right}, {right}")],
        "of another body": [(name, signature(body + b" "))],
        "by another secret": [(name, signature(body, "another"))],
        "by both secrets as one": [(name, signature(body, f"{SECRET},{EARLIER_SECRET}"))],
        "by none": [(name, signature(body, ""))],
        "in the provider's header": [("LC-Signature", f"sha256={right}")],
        "in another header": [("X-Signature", right)],
    }
    answers = {
        (fault, in_route): mock.post(body, in_route, headers=headers)
        for fault, headers in faults.items()
        for in_route in (one.job_id, None)
    }
    assert {key: answer.status_code for key, answer in answers.items()} == dict.fromkeys(answers, 401)
    assert len({answer.json()["detail"] for answer in answers.values()}) == 1
    # Its own words changed after it was signed, and an event of nobody's job.
    assert mock.post(body.replace(b"Policy", b"policy"), headers=[(name, right)]).status_code == 401
    assert mock.post(body, str(uuid4()), headers=[]).status_code == 401
    until(lambda: len(pipeline.rejected(one)) == len(faults))
    assert set(pipeline.rejected(one)) == {f"signature_{word}" for word in ("missing", "malformed", "doubled", "wrong")}
    assert (service.standing(one), pipeline.money()) == (before, money)


def late(pipeline: Pipeline, ordered: Ordered, count: int) -> None:
    """So many events came for a job that had ended; their sender was told that they arrived."""
    until(lambda: len(pipeline.logged("a late event", ordered)) >= count, "late events were not looked at")
    assert len(pipeline.logged("a late event", ordered)) == count


def test_repeats_and_late_events_change_nothing(pipeline: Pipeline) -> None:
    service, mock = pipeline.service, pipeline.mock
    parsed, failed = pipeline.parsing(2)
    first = body_of(parsed, FORMS["documented"][0])
    check_answer(mock.post(first, parsed.job_id), parsed, "parsed")
    check_answer(mock.post(body_of(failed, {"status": "failed", "error": "x"})), failed, "failed")
    service.wait_for(parsed, "parsed")
    money = until(lambda: _quiet(pipeline, failed))
    before = [service.standing(parsed), service.standing(failed)]
    later: list[Mapping[str, Any]] = [
        {"status": "parsed", "artifacts": [artifact("# Another")]},
        {"status": "completed", "result": {"md": "# Another"}},
        {"status": "failed", "error": "late"},
        {"status": "processing"},
        {"result": PAGES},
    ]
    for one in (parsed, failed):
        for said in (FORMS["documented"][0], FORMS["documented"][0], *later):
            for in_route in (one.job_id, None):
                check_answer(mock.post(body_of(one, said), in_route), one, "")
        # What names another parse is no late event, but one that can't be.
        check_answer(mock.post({**one.ids, "parse_job_id": "pjb-another", "result": PAGES}), one, "parsed")
        late(pipeline, one, 2 * (2 + len(later)))
        until(lambda: pipeline.rejected(one) == ["no_such_parse"])  # noqa: B023 - at once
    assert [service.standing(parsed), service.standing(failed)] == before
    assert pipeline.money() == money
    assert not list((service.store / "staging").glob("003-*"))


def _quiet(pipeline: Pipeline, failed: Ordered) -> Money | None:
    """The money, once the provider has told what a job cost that failed."""
    has_ended = ("sent", "cancelled") in pipeline.service.standing(failed).history
    return pipeline.money() if has_ended else None


def test_an_event_of_one_job_is_none_of_another(pipeline: Pipeline) -> None:
    """Somebody who has seen one signed event posts it wherever there is a route."""
    service, mock = pipeline.service, pipeline.mock
    seen, victim = pipeline.parsing(2)
    named, unnamed = body_of(seen, FORMS["documented"][0]), json.dumps({"result": {"md": "# Forged"}}).encode()
    check_answer(mock.post(named, seen.job_id), seen, "parsed")
    service.wait_for(seen, "parsed")
    before, money = service.standing(victim), pipeline.money()
    assert mock.post(named, victim.job_id).status_code == 422
    # Without a job in it, its signature holds on any route: it only makes us ask.
    check_answer(mock.post(unnamed, victim.job_id), victim, "parsed")
    mixed = {**victim.ids, "parse_job_id": seen.parse_job_id, "result": PAGES}
    check_answer(mock.post(mixed, victim.job_id), victim, "parsed")
    until(lambda: sorted(pipeline.rejected(victim)) == ["job_mismatch", "other_parse_job"])
    assert (service.standing(victim), pipeline.money()) == (before, money)


def test_a_retry_is_not_ended_by_the_events_of_what_failed(pipeline: Pipeline) -> None:
    service, mock = pipeline.service, pipeline.mock
    (first,) = pipeline.parsing(1)
    check_answer(mock.post(body_of(first, {"status": "failed", "error": "x"})), first, "failed")
    until(lambda: _quiet(pipeline, first), "the provider has not told what it cost")
    answer = service.http.post(f"/v1/documents/{first.job_id}/retry")
    assert answer.status_code == 202, answer.text
    again = Ordered(first.upload, str(answer.json()["job_id"]))
    until(lambda: service.job(again)["state"] == "parsing")
    again = replace(again, parse_job_id=mock.parse_jobs()[again.job_id]["id"])
    assert again.parse_job_id != first.parse_job_id
    before, money = service.standing(again), pipeline.money()
    for said in (FORMS["documented"][0], {"status": "failed", "error": "x"}):
        check_answer(mock.post(body_of(first, said)), first, "")
        check_answer(mock.post({**again.ids, "parse_job_id": first.parse_job_id, **said}), again, "")
    late(pipeline, first, 2)
    until(lambda: pipeline.rejected(again) == ["other_parse_job"] * 2)
    assert (service.standing(again), pipeline.money()) == (before, money)
    check_answer(mock.post(body_of(again, {"result": PAGES}), again.job_id), again, "parsed")
    assert service.wait_for(again, "parsed").file == b"# A\n\n# B"


def test_an_event_about_a_job_that_was_not_sent_changes_nothing(pipeline: Pipeline) -> None:
    service, mock = pipeline.service, pipeline.mock
    pipeline.parsing(1)
    day = pipeline.money()
    used_up = {"daily_limit_usd": (day.spent + day.held) / 1000 * 0.00125}
    service.http.put("/v1/budget", json=used_up).raise_for_status()
    one = service.order(Upload())
    until(lambda: service.job(one)["state"] == "deferred")
    before, money = service.standing(one), pipeline.money()
    assert before.status_003 == "uploaded"
    for said in (FORMS["documented"][0], {"status": "failed"}, {"status": "processing"}):
        check_answer(mock.post({**one.ids, "parse_job_id": "pjb-guessed", **said}), one, "")
    until(lambda: pipeline.rejected(one) == ["no_such_parse"] * 3)
    assert (service.standing(one), pipeline.money()) == (before, money)
    service.http.put("/v1/budget", json={"daily_limit_usd": 50}).raise_for_status()
    until(lambda: service.job(one)["state"] == "parsing")
    one = replace(one, parse_job_id=mock.parse_jobs()[one.job_id]["id"])
    check_answer(mock.post(body_of(one, FORMS["documented"][0])), one, "parsed")
    assert service.wait_for(one, "parsed").file == MARKDOWN.encode()


@both
def test_of_many_events_at_once_one_counts(pipeline: Pipeline) -> None:
    service, mock = pipeline.service, pipeline.mock
    (one,) = pipeline.parsing(1)
    money, contents = pipeline.money(), [f"# Result {number}\n" for number in range(8)]
    bodies = [body_of(one, {"status": "parsed", "artifacts": [artifact(content)]}) for content in contents]
    with ThreadPoolExecutor(8) as pool:
        routes = [one.job_id, None] * 4
        answers = list(pool.map(mock.post, [*bodies, *bodies], [*routes, *reversed(routes)]))
    for answer in answers:
        check_answer(answer, one, "parsed")
    ended = service.wait_for(one, "parsed")
    assert ended.file in {content.encode() for content in contents}
    until(lambda: not list((service.store / "staging").iterdir()), "something was left in staging")
    assert service.standing(one) == ended
    assert [after for _, after in ended.history].count("completed") == 2, "the job's and its attempt's"
    check_event(pipeline, one, "document.parsed")
    assert (pipeline.money(), pipeline.rejected(one)) == (money, [])


@pytest.mark.parametrize("pipeline", ["distributed"], indirect=True, scope="module")
def test_a_switch_of_the_mode_is_in_force_within_five_seconds(pipeline: Pipeline) -> None:
    service, mock, money = pipeline.service, pipeline.mock, pipeline.money()
    for mode, provenance in (("mock", "mock"), ("hybrid", "real"), ("mock", "mock"), ("real", "real")):
        service.http.put("/v1/mode", json={"mode": mode}).raise_for_status()
        began = time.monotonic()
        mock.faults(job_stuck=0, webhook_lost=0)
        while True:
            one = service.order(Upload())
            service.wait_for(one, "parsed")
            if service.standing(one).provenance == provenance:
                break
        assert time.monotonic() - began < 5
        check_event(pipeline, one, "document.parsed")
        # The mock's word about what was parsed here is about no parse.
        check_answer(mock.post({**one.ids, "parse_job_id": "pjb-1", "result": PAGES}, one.job_id), one, "parsed")
        until(lambda: pipeline.rejected(one) == ["no_such_parse"])  # noqa: B023 - at once
    until(lambda: pipeline.money().spent == pipeline.money().billed, "the bills are not told")
    now = pipeline.money()
    assert (now.spent - money.spent) == 3000 * (now.made - money.made)
    assert now.most_for_one == 1


def test_an_event_is_handled_in_less_than_a_tenth_of_a_second(pipeline: Pipeline) -> None:
    """The dearest ones: each with a result of its own that waits in the store for who takes it in."""
    (one,) = pipeline.parsing(1)
    took = list[float]()
    for number in range(50):
        content = f"# Result {number}\n" + "All of the policy. " * 2_000
        body = body_of(one, {"parse_job_id": "pjb-another", "artifacts": [artifact(content)], **META})
        began = time.monotonic()
        check_answer(pipeline.mock.post(body, one.job_id if number % 2 else None), one, "parsed")
        took.append(time.monotonic() - began)
    print(f"\nmedian {statistics.median(took) * 1000:.1f} ms, slowest {max(took) * 1000:.1f} ms")
    assert statistics.median(took) < 0.1
    until(lambda: pipeline.rejected(one) == ["other_parse_job"] * 50)
    assert pipeline.service.job(one)["state"] == "parsing"


@both
def test_the_correlation_id_is_in_every_line_about_a_job(pipeline: Pipeline) -> None:
    (one,) = pipeline.parsing(1)
    check_answer(pipeline.mock.post(body_of(one, FORMS["documented"][0])), one, "parsed")
    pipeline.service.wait_for(one, "parsed")
    until(lambda: pipeline.logged("job completed", one))
    lines = [line for line in pipeline.log_lines() if line.get("job_id") == one.job_id and "actor" in line]
    assert {line.get("correlation_id") for line in lines} == {str(one.upload.correlation_id)}
