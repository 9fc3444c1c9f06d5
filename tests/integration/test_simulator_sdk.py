"""The official SDK, unchanged, is the judge of the simulator: one case for each thing the provider is known to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import llama_cloud
import pytest
from llama_cloud import AsyncLlamaCloud, LlamaCloud

from llamaparse.simulator import SimulatorSettings, serve
from tests.integration.simulator_kit import (
    DEADLINE_S,
    EFFECTIVE,
    FAST,
    Clock,
    Provider,
    Receiver,
    credits_of,
    finished,
    parse,
    until,
    upload,
)

pytest_plugins = ["tests.integration.simulator_fixtures"]

# Files


def test_a_file_is_uploaded_found_linked_and_deleted(sdk: LlamaCloud, pdf: Path) -> None:
    file = sdk.files.create(file=pdf, purpose="parse", external_file_id="ours-1")
    assert (file.name, file.file_type, file.purpose, file.external_file_id) == ("three.pdf", "pdf", "parse", "ours-1")
    assert sdk.files.retrieve(file.id) == llama_cloud.types.FileRetrieveResponse(**file.model_dump())
    assert httpx.get(sdk.files.content(file.id).url).content == pdf.read_bytes()
    sdk.files.delete(file.id)
    with pytest.raises(llama_cloud.NotFoundError):
        sdk.files.retrieve(file.id)


def test_files_are_listed_by_filter_and_page(sdk: LlamaCloud, tmp_path: Path) -> None:
    ids = []
    for name in ("b.txt", "a.txt", "c.txt"):
        (tmp_path / name).write_text(name)
        ids.append(upload(sdk, tmp_path / name, external_file_id=f"ext-{name}"))
    assert [file.id for file in sdk.files.list(page_size=2)] == ids[::-1]
    assert [file.name for file in sdk.files.list(page_size=2, order_by="name")] == ["a.txt", "b.txt", "c.txt"]
    assert [file.id for file in sdk.files.list(external_file_id="ext-c.txt")] == [ids[2]]
    assert [file.id for file in sdk.files.list(file_name="a.txt")] == [ids[1]]
    assert {file.id for file in sdk.files.list(file_ids=ids[:2])} == set(ids[:2])
    with pytest.deprecated_call():
        found = sdk.files.query(filter={"file_name": "b.txt"})
    assert [item.id for item in found.items] == [ids[0]]


# Three ways to a job


def test_parse_by_file_id_gives_the_documents_own_text(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    created = sdk.parsing.create(file_id=upload(sdk, pdf), **EFFECTIVE)
    assert created.id.startswith(provider.job_ids)
    assert (created.status, created.tier, created.name) == ("PENDING", "cost_effective", "three.pdf")
    done = finished(sdk, created.id, ["markdown", "text"])
    assert done.job.status == "COMPLETED"
    assert done.text is not None
    assert [page.text for page in done.text.pages] == [
        "Page one says apple.",
        "Page two says banana.",
        "Page three says cherry.",
    ]
    assert done.markdown is not None
    assert [page.success for page in done.markdown.pages] == [True, True, True]


def test_parse_by_upload_in_one_call(sdk: LlamaCloud, pdf: Path) -> None:
    created = sdk.parsing.create(upload_file=pdf, **EFFECTIVE, page_ranges={"max_pages": 1})
    done = finished(sdk, created.id, ["text_full"])
    assert (done.job.status, done.text_full) == ("COMPLETED", "Page one says apple.")


def test_parse_by_source_url(sdk: LlamaCloud, pdf: Path, receiver: Receiver) -> None:
    receiver.files["/some/report.pdf"] = pdf.read_bytes()
    created = sdk.parsing.create(source_url=f"{receiver.url}/some/report.pdf", **EFFECTIVE)
    done = finished(sdk, created.id, ["text_full", "usage"])
    assert (done.job.name, done.job.usage and done.job.usage.credits) == ("report.pdf", 9)
    assert done.text_full is not None
    assert "banana" in done.text_full
    lost = sdk.parsing.create(source_url=f"{receiver.url}/none.pdf", **EFFECTIVE)
    assert finished(sdk, lost.id).job.error_message == "SOURCE_URL_UNREACHABLE"


def test_the_sdks_own_one_call_way_through(sdk: LlamaCloud, pdf: Path) -> None:
    done = sdk.parsing.parse(upload_file=pdf, **EFFECTIVE, expand=["markdown_full"], polling_interval=0.05)
    assert done.markdown_full is not None
    assert "cherry" in done.markdown_full


def test_the_async_client(provider: Provider, pdf: Path) -> None:
    async def session() -> str | None:
        async with AsyncLlamaCloud(api_key=provider.key, base_url=provider.base_url, max_retries=0) as sdk:
            file = await sdk.files.create(file=pdf, purpose="parse")
            done = await sdk.parsing.parse(file_id=file.id, **FAST, expand=["text_full"], polling_interval=0.05)
            listed = [job.id async for job in sdk.parsing.list(page_size=1)]
            assert listed == [done.job.id]
            return done.text_full

    assert "apple" in (asyncio.run(session()) or "")


def test_latencies_lie_around_their_median_and_repeat_with_the_seed(pdf: Path) -> None:
    def latencies(seed: int) -> list[float]:
        with serve(SimulatorSettings(seed=seed, latency_s=0.2)) as server:
            with Provider(server.base_url, server.base_url).sdk() as sdk:
                file = upload(sdk, pdf)
                jobs = [parse(sdk, file, disable_cache=True) for _ in range(40)]
                began = time.monotonic()
                finished(sdk, jobs[-1])
                assert 0.05 < time.monotonic() - began < DEADLINE_S
            return [job.latency_s for job in server.simulator.jobs]

    first = latencies(1)
    assert first == latencies(1)
    assert first != latencies(2)
    assert 0.16 < median(first) < 0.25
    assert len(set(first)) == 40


# Tiers and prices


@pytest.mark.parametrize(
    ("order", "credits_for_three_pages"),
    [
        ({"tier": "fast"}, 3),
        ({"tier": "cost_effective"}, 9),
        ({"tier": "agentic"}, 30),
        ({"tier": "agentic_plus"}, 135),
        ({"tier": "cost_effective", "processing_options": {"confidence_score_effort": "high"}}, 24),
    ],
)
def test_each_tier_has_its_price(
    sdk: LlamaCloud, provider: Provider, pdf: Path, order: dict[str, Any], credits_for_three_pages: int
) -> None:
    job = parse(sdk, upload(sdk, pdf), user_metadata={"parsegate_job": "j", "parsegate_attempt": "a"}, **order)
    assert credits_of(sdk, job) == credits_for_three_pages
    stats = provider.stats()
    assert stats["credits_billed"] == credits_for_three_pages
    assert stats["credits_by_job"] == {"j": credits_for_three_pages}
    assert (stats["by_parsegate_job"], stats["by_parsegate_attempt"]) == ({"j": 1}, {"a": 1})


def test_auto_mode_moves_single_pages_to_a_dearer_tier(sdk: LlamaCloud, pdf: Path) -> None:
    rules = [{"text_in_page": "banana", "parsing_conf": {"tier": "agentic_plus", "version": "latest"}}]
    job = parse(sdk, upload(sdk, pdf), processing_options={"auto_mode_configuration": rules})
    assert credits_of(sdk, job) == 3 + 45 + 3
    metadata = finished(sdk, job, ["metadata"]).metadata
    assert metadata is not None
    assert [page.triggered_auto_mode for page in metadata.pages] == [False, True, False]


def test_versions_by_tier(sdk: LlamaCloud, pdf: Path) -> None:
    versions = sdk.parsing.list_versions()
    assert versions.latest.fast == versions.fast[0] == "2026-06-15"
    assert versions.agentic[0] == "2026-10-16"
    file = upload(sdk, pdf)
    assert finished(sdk, parse(sdk, file, version="2026-03-25")).job.status == "COMPLETED"
    with pytest.raises(llama_cloud.UnprocessableEntityError):  # a version of another tier
        parse(sdk, file, version="2026-10-16")


# Page ranges


@pytest.mark.parametrize(
    ("ranges", "pages"),
    [
        ({"target_pages": "1,3"}, [1, 3]),
        ({"target_pages": "3, 1-2"}, [1, 2, 3]),
        ({"max_pages": 2}, [1, 2]),
        ({"target_pages": "3", "max_pages": 1}, [3]),
        ({"target_pages": "2-9"}, [2, 3]),
    ],
)
def test_only_the_pages_asked_for_are_parsed_and_billed(
    sdk: LlamaCloud, pdf: Path, ranges: dict[str, Any], pages: list[int]
) -> None:
    job = parse(sdk, upload(sdk, pdf), page_ranges=ranges)
    done = finished(sdk, job, ["text", "usage"])
    assert done.text is not None
    assert [page.page_number for page in done.text.pages] == pages
    assert credits_of(sdk, job) == 3 * len(pages)


@pytest.mark.parametrize("target", ["1,1", "1-3,2", "0", "3-1", "one", "", "1-"])
def test_impossible_page_ranges_are_refused(sdk: LlamaCloud, provider: Provider, pdf: Path, target: str) -> None:
    with pytest.raises(llama_cloud.UnprocessableEntityError) as refused:
        parse(sdk, upload(sdk, pdf), page_ranges={"target_pages": target})
    assert refused.value.response.json()["detail"][0]["loc"] == ["body", "page_ranges", "target_pages"]
    assert provider.stats()["jobs_created"] == 0


# Expand


def test_expand_gives_what_is_asked_for_and_nothing_else(sdk: LlamaCloud, pdf: Path) -> None:
    job = parse(sdk, upload(sdk, pdf))
    bare = finished(sdk, job)
    assert bare.model_fields_set == {"job"}
    assert bare.job.usage is None
    asked = ["markdown", "text", "items", "metadata", "job_metadata", "markdown_full", "text_full"]
    full = sdk.parsing.get(job, expand=asked)
    assert full.model_fields_set == {"job", *asked}
    assert full.items is not None
    assert full.items.pages[0].items[0].value == "Page one says apple."  # type: ignore[union-attr]
    assert full.job_metadata is not None
    assert (full.job_metadata["job_pages"], full.job_metadata["job_is_cache_hit"]) == (3, False)


def test_content_metadata_leads_to_the_content(sdk: LlamaCloud, pdf: Path) -> None:
    job = parse(sdk, upload(sdk, pdf))
    finished(sdk, job)
    names = ["text_content_metadata", "xlsx_content_metadata", "images_content_metadata"]
    answer = sdk.parsing.get(job, expand=names)
    assert answer.result_content_metadata is not None
    text = answer.result_content_metadata["text"]
    assert text.presigned_url is not None
    content = httpx.get(text.presigned_url)
    assert (content.json()["pages"][1]["text"], len(content.content)) == ("Page two says banana.", text.size_bytes)
    assert httpx.get(f"{text.presigned_url}0").status_code == 403
    assert answer.result_content_metadata["xlsx"].exists is False
    assert answer.images_content_metadata is not None
    assert answer.images_content_metadata.total_count == 0


def test_an_unfinished_job_has_no_results_yet(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    provider.faults(job_stuck=1)
    answer = sdk.parsing.get(parse(sdk, upload(sdk, pdf)), expand=["markdown", "text_full", "usage"])
    assert (answer.job.status, answer.markdown, answer.text_full) == ("PENDING", None, None)
    assert answer.job.usage is not None
    assert answer.job.usage.credits is None


def test_fast_has_no_markdown(sdk: LlamaCloud, pdf: Path) -> None:
    job = parse(sdk, upload(sdk, pdf), tier="fast")
    assert finished(sdk, job, ["text"]).text is not None
    for name in ("markdown", "markdown_full"):
        with pytest.raises(llama_cloud.BadRequestError) as refused:
            sdk.parsing.get(job, expand=[name])
        assert refused.value.response.json() == {"detail": "Markdown expansion is not available for FAST tier jobs."}
    with pytest.raises(llama_cloud.BadRequestError, match="nonsense"):
        sdk.parsing.get(job, expand=["nonsense"])


# Cancel and delete


def test_cancel_stops_an_unfinished_job_and_bills_nothing(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    provider.faults(job_stuck=1)
    job = parse(sdk, upload(sdk, pdf))
    with pytest.raises(llama_cloud.BadRequestError):
        sdk.parsing.delete(job)
    assert sdk.parsing.cancel(job).status == "CANCELLED"
    assert credits_of(sdk, job) == 0
    with pytest.raises(llama_cloud.BadRequestError, match="terminal state"):
        sdk.parsing.cancel(job)
    assert provider.stats()["credits_billed"] == 0


def test_a_job_cancelled_while_it_runs_never_completes(start: Callable[..., Provider], pdf: Path) -> None:
    provider = start(latency_s=0.3)
    with provider.sdk() as sdk:
        file = upload(sdk, pdf)
        job = parse(sdk, file)
        until(lambda: sdk.parsing.get(job).job.status == "RUNNING", "the job running")
        assert sdk.parsing.cancel(job).status == "CANCELLED"
        finished(sdk, parse(sdk, file, disable_cache=True))  # made later with the same latency or so: ends later
        finished(sdk, parse(sdk, file, disable_cache=True))
        assert finished(sdk, job).job.status == "CANCELLED"
    assert provider.stats()["credits_billed"] == 18


def test_delete_forgets_a_finished_job_but_not_its_bill(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    job = parse(sdk, upload(sdk, pdf))
    project = finished(sdk, job).job.project_id
    gone = sdk.parsing.delete(job)
    assert (gone.id, gone.project_id) == (job, project)
    with pytest.raises(llama_cloud.NotFoundError):
        sdk.parsing.get(job)
    assert list(sdk.parsing.list()) == []
    # Whoever stands between deletes there only once the bill is settled.
    until(lambda: provider.stats()["jobs_deleted"], "the job gone at the provider")
    stats = provider.stats()
    assert (stats["jobs_created"], stats["jobs_deleted"], stats["credits_billed"]) == (1, 1, 9)


# The list, and our own data on a job


def test_the_list_filters_pages_and_carries_user_metadata(sdk: LlamaCloud, pdf: Path) -> None:
    file = upload(sdk, pdf)
    jobs = [parse(sdk, file, user_metadata={"parsegate_attempt": str(n)}, disable_cache=True) for n in range(5)]
    for job in jobs:
        finished(sdk, job)
    rows = list(sdk.parsing.list(page_size=2))
    assert [row.id for row in rows] == jobs[::-1]
    assert [row.user_metadata for row in rows] == [{"parsegate_attempt": str(n)} for n in (4, 3, 2, 1, 0)]
    assert [row.usage for row in rows] == [None] * 5
    assert {row.id for row in sdk.parsing.list(job_ids=jobs[:2])} == set(jobs[:2])
    assert list(sdk.parsing.list(status="FAILED")) == []
    assert len(list(sdk.parsing.list(status="COMPLETED"))) == 5
    middle = rows[2].created_at
    assert middle is not None
    assert [row.id for row in sdk.parsing.list(created_at_on_or_after=middle)] == jobs[:1:-1]
    assert [row.id for row in sdk.parsing.list(created_at_on_or_before=middle)] == jobs[2::-1]
    assert list(sdk.parsing.list(created_at_on_or_after=datetime.now(UTC) + timedelta(hours=1))) == []


def test_pages_of_the_list_stay_whole_while_jobs_are_added(sdk: LlamaCloud, pdf: Path) -> None:
    file = upload(sdk, pdf)
    jobs = [parse(sdk, file) for _ in range(4)]
    first = sdk.parsing.list(page_size=2)
    parse(sdk, file)
    second = first.get_next_page()
    assert [row.id for row in [*first.items, *second.items]] == jobs[::-1]
    assert not second.has_next_page()
    with pytest.raises(llama_cloud.UnprocessableEntityError):
        sdk.parsing.list(page_token="made up")


def test_the_list_lags_as_long_as_it_is_told(start: Callable[..., Provider], pdf: Path) -> None:
    clock = Clock()
    with start(clock=clock, list_lag_s=60).sdk() as sdk:
        job = parse(sdk, upload(sdk, pdf))
        clock.now += 59.9
        assert list(sdk.parsing.list()) == []
        clock.now += 0.1
        assert [row.id for row in sdk.parsing.list()] == [job]


@pytest.mark.parametrize("metadata", [{f"key{n}": "v" for n in range(17)}, {"k" * 65: "v"}, {"k": "v" * 513}, {"k": 1}])
def test_user_metadata_is_limited(sdk: LlamaCloud, pdf: Path, metadata: dict[str, Any]) -> None:
    file = upload(sdk, pdf)
    largest = {f"{n:064}": "v" * 512 for n in range(16)}
    assert finished(sdk, parse(sdk, file, user_metadata=largest)).job.user_metadata == largest
    with pytest.raises(llama_cloud.UnprocessableEntityError):
        parse(sdk, file, user_metadata=metadata)


def test_projects_do_not_see_each_other(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    file = upload(sdk, pdf)
    job = parse(sdk, file)
    with provider.sdk("llx-somebody-else") as other:
        for call in (
            lambda: other.parsing.get(job),
            lambda: other.parsing.cancel(job),
            lambda: other.parsing.delete(job),
            lambda: parse(other, file),
        ):
            with pytest.raises(llama_cloud.NotFoundError):
                call()
        assert list(other.parsing.list()) == []


# Usage and the cache


def test_usage_arrives_late(start: Callable[..., Provider], pdf: Path) -> None:
    clock = Clock()
    with start(clock=clock, usage_delay_s=30).sdk() as sdk:
        job = parse(sdk, upload(sdk, pdf))
        assert credits_of(sdk, job) is None
        clock.now += 29.9
        assert credits_of(sdk, job) is None
        clock.now += 0.1
        assert credits_of(sdk, job) == 9


def test_the_same_file_with_the_same_options_is_free_for_48_hours(start: Callable[..., Provider], pdf: Path) -> None:
    clock = Clock()
    provider = start(clock=clock)
    with provider.sdk() as sdk, provider.sdk("llx-other") as other:
        assert credits_of(sdk, parse(sdk, upload(sdk, pdf))) == 9
        again = parse(sdk, upload(sdk, pdf), user_metadata={"parsegate_job": "again"})
        assert credits_of(sdk, again) == 0
        assert finished(sdk, again, ["text_full"]).text_full == finished(sdk, again, ["markdown_full"]).markdown_full
        assert credits_of(sdk, sdk.parsing.create(upload_file=pdf, **EFFECTIVE).id) == 0
        assert credits_of(sdk, parse(sdk, upload(sdk, pdf), disable_cache=True)) == 9
        assert credits_of(sdk, parse(sdk, upload(sdk, pdf), page_ranges={"max_pages": 2})) == 6
        assert credits_of(other, parse(other, upload(other, pdf))) == 9
        clock.now += 48 * 3600 - 0.1
        assert credits_of(sdk, parse(sdk, upload(sdk, pdf))) == 0
        clock.now += 0.1
        assert credits_of(sdk, parse(sdk, upload(sdk, pdf))) == 9
    assert provider.stats()["cache_hits"] == 3
    assert provider.stats()["credits_billed"] == 9 + 9 + 6 + 9 + 9
