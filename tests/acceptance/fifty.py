"""The same fifty documents on every kind of installation, and how their results are judged."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from tests.documents import TestDocument, make_documents

TIERS = ("fast", "cost_effective", "agentic", "agentic_plus")
LIMIT_S = 120.0


def fifty(folder: Path) -> list[TestDocument]:
    """Fifty documents of several kinds."""
    folder.mkdir(parents=True, exist_ok=True)
    return make_documents(50, folder, seed=2026)


def tier_of(number: int) -> str:
    """Each tier in turn."""
    return TIERS[number % len(TIERS)]


def upload(http: httpx.Client, document: TestDocument, tier: str, document_id: UUID) -> str:
    """Order a document over HTTP; answers its job id."""
    with document.path.open("rb") as content:
        answer = http.post(
            "/v1/documents",
            files={"file": (document.filename, content)},
            data={"tier": tier, "document_id": str(document_id)},
        )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def wait_for_jobs(http: httpx.Client, job_ids: Sequence[str], settled: Callable[[], bool]) -> list[dict[str, Any]]:
    """Every job, once all have ended and `settled` says that all costs are told."""
    until = time.monotonic() + LIMIT_S
    while True:
        jobs = [http.get(f"/v1/documents/{job_id}").raise_for_status().json() for job_id in job_ids]
        if all(job["finished_at"] for job in jobs) and settled():
            return jobs
        assert time.monotonic() < until, [
            (job["filename"], job["state"], job["message"]) for job in jobs if not job["finished_at"]
        ]


def judge(http: httpx.Client, document: TestDocument, job: Mapping[str, Any]) -> None:
    """The result is the document's own text, page by page, or the failure that it must be."""
    if document.failure is not None:
        assert (job["state"], job["reason"]) == ("failed", document.failure), document.filename
        return
    assert job["state"] == "completed", (document.filename, job["reason"], job["message"])
    result = http.get(f"/v1/documents/{job['job_id']}/result", params={"format": "json"}).raise_for_status().json()
    pages = result["pages"]
    for kind in ("text", "markdown") if job["tier"] != "fast" else ("text",):
        found = [page[kind] for page in pages]
        if len(found) != len(document.tokens):
            found = ["\n".join(found)]
        for number, text in enumerate(found):
            wanted = document.tokens[number] if len(found) == len(document.tokens) else document.words
            assert in_order(wanted, text), (document.filename, kind, number, text)
    markdown = http.get(f"/v1/documents/{job['job_id']}/result").raise_for_status()
    assert markdown.headers["etag"].strip('"') == job["parsed_sha256"]


def in_order(words: Sequence[str], text: str) -> bool:
    """True if every word stands in the text, each after the one before it."""
    position = 0
    for word in words:
        position = text.find(word, position)
        if position < 0:
            return False
        position += len(word)
    return True


def stats_of(simulator_url: str) -> dict[str, Any]:
    """What really happened at the provider."""
    return dict(httpx.get(f"{simulator_url}/_sim/stats").raise_for_status().json())


def billed(stats: Mapping[str, Any]) -> int:
    """The provider's bill in millicredits."""
    return round(float(stats["credits_billed"]) * 1000)


def submit_message(document: TestDocument, tier: str, document_id: UUID, **said: Any) -> bytes:
    """The message of the interface page, as any language would write it."""
    kwargs = {
        "document_id": str(document_id),
        "user_id": "22222222-2222-4222-8222-222222222222",
        "source": document.path.as_uri(),
        "filename": document.filename,
        "tier": tier,
    }
    body = {
        "queue_name": "submit",
        "actor_name": "submit_document",
        "args": [],
        "kwargs": kwargs | said,
        "options": {},
        "message_id": str(document_id),
        "message_timestamp": 1763900000000,
    }
    return json.dumps(body).encode()
