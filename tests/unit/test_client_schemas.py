"""What may come from the provider, what may not, and what is sent to it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from domain.errors import (
    PERMANENT_FAILURES,
    TRANSIENT_FAILURES,
    DocumentRefused,
    OrderRefused,
    Permanent,
    Transient,
)
from llamaparse.schemas import (
    Job,
    JobPage,
    JobStatus,
    MarkdownPage,
    ParseRequest,
    ParseResult,
    TextPage,
    Versions,
    WebhookConfiguration,
    failure,
)


def job(**fields: object) -> Job:
    return Job.model_validate({"id": "pjb-1", "project_id": "p", "status": "COMPLETED", **fields})


def test_a_job_in_full() -> None:
    made = job(
        created_at="2026-01-02T03:04:05.678901Z",
        updated_at="2026-01-02T04:04:05+01:00",
        usage={"credits": 30},
        user_metadata={"parsegate_attempt": "a1"},
        tier="agentic",
        future={"kept": True},
    )
    assert made.created_at == datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    assert made.updated_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert made.updated_at.tzinfo is UTC
    assert made.millicredits == 30_000
    assert made.user_metadata == {"parsegate_attempt": "a1"}
    assert made.model_extra == {"future": {"kept": True}}


def test_a_time_without_an_offset_is_utc() -> None:
    assert job(created_at="2026-01-02T03:04:05").created_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("credits_amount", "millicredits"),
    [
        (0, 0),
        (3, 3_000),
        (3.0, 3_000),
        (1.1, 1_100),
        (0.001, 1),
        (0.0001, 1),
        (0.1 + 0.2, 300),
        (1.1 * 3, 3_300),
        (123456.789, 123_456_789),
        (10**9, 10**12),
        (None, None),
    ],
)
def test_credits_are_exact(credits_amount: float | None, millicredits: int | None) -> None:
    assert job(usage={"credits": credits_amount}).millicredits == millicredits


def test_credits_that_were_not_told_are_not_known() -> None:
    assert job().millicredits is None
    assert job(usage=None).millicredits is None
    assert job(usage={}).millicredits is None


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "DONE"},
        {"status": "completed"},
        {"status": None},
        {"status": 3},
        {"id": ""},
        {"id": None},
        {"id": 7},
        {"project_id": None},
        {"created_at": 1_700_000_000},
        {"created_at": "yesterday"},
        {"usage": 3},
        {"usage": {"credits": -1}},
        {"usage": {"credits": -0.001}},
        {"usage": {"credits": float("inf")}},
        {"usage": {"credits": float("nan")}},
        {"usage": {"credits": "3"}},
        {"usage": {"credits": True}},
        {"usage": {"credits": 10**30}},
        {"user_metadata": {"a": 1}},
        {"user_metadata": ["a"]},
        {"error_message": {"text": "x"}},
    ],
)
def test_a_job_of_another_shape_is_none(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        job(**fields)


@pytest.mark.parametrize("missing", ["id", "project_id", "status"])
def test_a_job_without_its_fields_is_none(missing: str) -> None:
    fields = {"id": "pjb-1", "project_id": "p", "status": "COMPLETED"}
    del fields[missing]
    with pytest.raises(ValidationError):
        Job.model_validate(fields)


def test_text_that_cannot_be_stored_is_mended() -> None:
    assert job(error_message="a\ud800b\0c\U0001f600").error_message == "a\ufffdb\ufffdc\U0001f600"


def test_pages() -> None:
    result = ParseResult.model_validate(
        {
            "job": {"id": "pjb-1", "project_id": "p", "status": "COMPLETED"},
            "markdown": {
                "pages": [
                    {"page_number": 1, "markdown": "# One", "success": True, "header": None},
                    {"page_number": 2, "success": False, "error": "too dark"},
                ]
            },
            "text": {"pages": [{"page_number": 1, "text": ""}]},
            "items": {"pages": []},
        }
    )
    assert result.markdown_pages is not None
    assert [(page.success, page.markdown, page.error) for page in result.markdown_pages] == [
        (True, "# One", None),
        (False, None, "too dark"),
    ]
    assert result.text_pages is not None
    assert result.text_pages[0].text == ""
    assert result.model_extra == {"items": {"pages": []}}


def test_pages_that_were_not_asked_for() -> None:
    result = ParseResult(job=job())
    assert result.markdown_pages is None
    assert result.text_pages is None


@pytest.mark.parametrize(
    "page",
    [
        {"page_number": 1, "success": True},
        {"page_number": 1, "markdown": "no word on success"},
        {"page_number": 0, "markdown": "x", "success": True},
        {"page_number": "1", "markdown": "x", "success": True},
        {"page_number": True, "markdown": "x", "success": True},
        {"page_number": 1, "markdown": ["x"], "success": True},
        {"page_number": 1, "markdown": "x", "success": "yes"},
        {"markdown": "x", "success": True},
    ],
)
def test_a_page_of_another_shape_is_none(page: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MarkdownPage.model_validate(page)


def test_a_text_page_without_text_is_none() -> None:
    with pytest.raises(ValidationError):
        TextPage.model_validate({"page_number": 1})


@pytest.mark.parametrize(("token", "read"), [("t", "t"), ("", None), (None, None)])
def test_the_last_page_of_a_list_has_no_token(token: str | None, read: str | None) -> None:
    assert JobPage.model_validate({"items": [], "next_page_token": token}).next_page_token == read


def test_versions() -> None:
    read = Versions.model_validate({"latest": {"fast": "2026-06-15"}, "fast": ["2026-06-15"], "turbo": ["1"]})
    assert read.fast == ("2026-06-15",)
    assert read.latest == {"fast": "2026-06-15"}


def test_what_is_final() -> None:
    assert {status for status in JobStatus if status.is_final} == {"COMPLETED", "FAILED", "CANCELLED"}


# Failure reasons


@pytest.mark.parametrize("reason", PERMANENT_FAILURES)
def test_a_permanent_failure(reason: str) -> None:
    error = failure(job(status="FAILED", error_message=f"{reason}: see the documentation"))
    assert isinstance(error, DocumentRefused)
    assert error.reason == reason
    assert str(error) == PERMANENT_FAILURES[reason]


@pytest.mark.parametrize("reason", TRANSIENT_FAILURES)
def test_a_transient_failure(reason: str) -> None:
    error = failure(job(status="FAILED", error_message=reason))
    assert isinstance(error, Transient)
    assert not isinstance(error, Permanent)
    assert error.reason == reason


@pytest.mark.parametrize("message", [None, "", "the moon\nis full " + "x" * 500])
def test_an_unknown_failure_is_permanent_and_keeps_its_evidence(message: str | None) -> None:
    error = failure(job(status="FAILED", error_message=message))
    assert isinstance(error, DocumentRefused)
    assert error.reason == "UNKNOWN"
    assert "\n" not in str(error)
    assert len(str(error)) < 300
    assert ("the moon is full" in str(error)) == bool(message)


@pytest.mark.parametrize("status", [status for status in JobStatus if status is not JobStatus.FAILED])
def test_no_other_job_has_failed(status: JobStatus) -> None:
    assert failure(job(status=status.value, error_message="PDF_IS_BROKEN")) is None


# Requests


def test_the_smallest_request() -> None:
    assert ParseRequest(tier="fast", file_id="f").body() == {"tier": "fast", "version": "latest", "file_id": "f"}


def test_a_full_request() -> None:
    request = ParseRequest(
        tier="agentic",
        version="2026-10-16",
        source_url="https://example.com/a.pdf",
        user_metadata={"parsegate_attempt": "a1"},
        max_pages=8,
        target_pages="1,3,5-8",
        webhook_configurations=[
            WebhookConfiguration(url="https://gate/x", signing_secret="s" * 64, events=["parse.success"]),
            WebhookConfiguration(url="https://gate/y", headers={"X-A": "b"}, output_format="string"),
        ],
        disable_cache=False,
        options={"processing_options": {"ignore": {"ignore_hidden_text": True}}},
    )
    assert request.body() == {
        "tier": "agentic",
        "version": "2026-10-16",
        "source_url": "https://example.com/a.pdf",
        "user_metadata": {"parsegate_attempt": "a1"},
        "page_ranges": {"max_pages": 8, "target_pages": "1,3,5-8"},
        "webhook_configurations": [
            {
                "webhook_url": "https://gate/x",
                "webhook_output_format": "json",
                "webhook_signing_secret": "s" * 64,
                "webhook_events": ["parse.success"],
            },
            {"webhook_url": "https://gate/y", "webhook_output_format": "string", "webhook_headers": {"X-A": "b"}},
        ],
        "disable_cache": False,
        "processing_options": {"ignore": {"ignore_hidden_text": True}},
    }
    assert "sss" not in repr(request)


@pytest.mark.parametrize(
    "name",
    [
        "tier",
        "version",
        "file_id",
        "source_url",
        "user_metadata",
        "page_ranges",
        "webhook_configurations",
        "disable_cache",
    ],
)
def test_options_cannot_undo_what_was_priced(name: str) -> None:
    with pytest.raises(OrderRefused, match=name):
        ParseRequest(tier="fast", options={name: "x"})


@pytest.mark.parametrize("limits", [{"max_pages": 0}, {"max_pages": -1}, {"target_pages": ""}, {"target_pages": " "}])
def test_an_empty_page_limit_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(OrderRefused):
        ParseRequest(tier="fast", **limits)
