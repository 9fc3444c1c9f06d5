"""Events of the "003" pipeline: every form that there was is understood, and nothing raises anything unexpected."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.webhook_003 import Malformed003, Status003, parse_003

JOB, DOCUMENT = "0b9f6c1e-4f3d-4b6e-9d0e-2f7a54d5c001", "0b9f6c1e-4f3d-4b6e-9d0e-2f7a54d5c002"
MARKDOWN = "# Policy\n\nGrüße, 保険 🙂\n"


def artifact(content: str = MARKDOWN, kind: str = "markdown", **changes: Any) -> dict[str, Any]:
    raw = content.encode()
    said = {"type": kind, "content": content, "sha256": sha256(raw).hexdigest(), "bytes": len(raw)}
    return {**said, **changes}


def body(**said: Any) -> bytes:
    return json.dumps({"job_id": JOB, **said}).encode()


def test_the_documented_form_is_understood() -> None:
    said = {
        "document_id": DOCUMENT,
        "parse_job_id": "pjb-1",
        "status": "parsed",
        "artifacts": [artifact("plain", "text"), artifact()],
        "meta": {"parser_name": "llamaparse", "parser_version": "1"},
        "correlation_id": DOCUMENT,
    }
    event = parse_003(body(**said))
    assert (event.status, event.job_id, event.document_id) == (Status003.PARSED, UUID(JOB), UUID(DOCUMENT))
    assert event.parse_job_id == "pjb-1"
    assert event.result is not None
    assert (event.result.pages[0].markdown, event.result.pages[0].text) == (MARKDOWN, "plain")


@pytest.mark.parametrize(
    ("said", "status", "markdown", "text", "pages"),
    [
        ({"status": "completed", "result": {"md": "# A", "txt": "A", "json": []}}, "parsed", "# A", "A", 1),
        ({"result": {"md": "# A"}}, "parsed", "# A", "", 1),
        ({"status": None, "result": {"txt": "A"}}, "parsed", "A", "A", 1),
        ({"md": "# A", "txt": "A", "json": [], "images": []}, "parsed", "# A", "A", 1),
        (
            {"result": [{"page": 2, "md": "# B", "text": "B"}, {"page": 1, "md": "# A", "text": "A"}]},
            "parsed",
            "# A\n\n# B",
            "A\n\nB",
            2,
        ),
        ({"result": [{"md": "# A"}, {"md": "# B"}]}, "parsed", "# A\n\n# B", "", 2),
        ({"md": "all", "json": [{"page": 1, "text": "A", "md": "# A", "images": []}]}, "parsed", "# A", "A", 1),
    ],
)
def test_the_mocks_forms_are_understood(
    said: dict[str, Any], status: str, markdown: str, text: str, pages: int
) -> None:
    for raw in (body(**said), json.dumps(body(**said).decode()).encode()):
        event = parse_003(raw)
        assert event.status == status
        assert event.result is not None
        assert (event.result.markdown, event.result.text, len(event.result.pages)) == (markdown, text, pages)


def test_what_carries_no_result_says_so() -> None:
    assert parse_003(body()).result is None
    assert parse_003(body(status="processing", md="# A")).result is None
    failed = parse_003(body(status="failed", error="x" * 900, md="# A"))
    assert (failed.status, failed.result, failed.error) == (Status003.FAILED, None, "x" * 500)
    assert parse_003(b"{}").job_id is None


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "malformed_event"),
        (b"[]", "malformed_event"),
        (b'"no object"', "malformed_event"),
        (b"\xff", "malformed_event"),
        (body(status="done"), "malformed_event"),
        (body(status=1), "malformed_event"),
        (body(status=["parsed"]), "malformed_event"),
        (body(job_id="1"), "malformed_event"),
        (body(job_id=JOB.replace("-", "")), "malformed_event"),
        (body(document_id=7), "malformed_event"),
        (body(artifacts={}), "malformed_event"),
        (body(artifacts=[1]), "malformed_event"),
        (body(artifacts=[artifact() | {"content": 1}]), "malformed_event"),
        (body(artifacts=[artifact(type=None)]), "malformed_event"),
        (body(artifacts=[artifact(sha256="0" * 64)]), "digest_mismatch"),
        (body(artifacts=[artifact(sha256=None)]), "digest_mismatch"),
        (body(artifacts=[artifact(bytes=len(MARKDOWN))]), "digest_mismatch"),
        (body(artifacts=[artifact("x", bytes=True)]), "digest_mismatch"),
        (body(artifacts=[artifact(), artifact("x", "images", bytes=2)]), "digest_mismatch"),
        (body(result="# A"), "malformed_event"),
        (body(result={"md": 7}), "malformed_event"),
        (body(result=["# A"]), "malformed_event"),
        (body(result=[{"page": 0, "md": ""}]), "malformed_event"),
        (body(result=[{"page": True, "md": ""}]), "malformed_event"),
        (body(result=[{"page": 1}, {"page": 1}]), "malformed_event"),
    ],
)
def test_what_can_t_be_meant_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(Malformed003) as caught:
        parse_003(raw)
    assert caught.value.reason == reason


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NAMES = ["job_id", "document_id", "parse_job_id", "status", "artifacts", "result", "md", "txt", "json", "error"]


@given(st.dictionaries(st.sampled_from(NAMES), JSON_VALUES, max_size=4))
def test_nothing_raises_anything_else(said: dict[str, Any]) -> None:
    try:
        event = parse_003(json.dumps(said).encode())
    except Malformed003:
        return
    assert event.result is None or event.result.pages


@pytest.mark.parametrize(
    "result", [{"md": ""}, {"txt": ""}, [{}], [{"md": ""}, {"text": ""}], {"json": [{"page": 1}], "md": "# A"}]
)
def test_a_result_without_text_is_none(result: object) -> None:
    """What was paid for is fetched from the provider instead."""
    assert parse_003(body(job_id=JOB, result=result)).result is None


def test_a_result_has_not_too_many_pages() -> None:
    with pytest.raises(Malformed003, match="more than 10,000 pages"):
        parse_003(body(job_id=JOB, result=[{"md": "a"}] * 10_001))
