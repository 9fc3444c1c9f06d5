"""LlamaCloud's own interface, judged by the official SDK, unchanged: the cases by which the simulator is judged too.

Behind it is an embedded Parsegate in real mode, whose provider is the simulator. What is left out is about the
simulator's own knobs.
"""

from __future__ import annotations

import hmac
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import llama_cloud
import pytest
from llama_cloud import LlamaCloud

from llamaparse.simulator import RunningSimulator, SimulatorSettings, serve
from tests.conftest import fresh_database, fresh_vhost
from tests.integration.simulator_kit import QUICK, Provider, Received, Receiver, finished, parse, until, upload
from tests.integration.test_simulator_sdk import (  # noqa: F401 - pytest runs them here, with the fixtures below
    test_a_file_is_uploaded_found_linked_and_deleted,
    test_content_metadata_leads_to_the_content,
    test_delete_forgets_a_finished_job_but_not_its_bill,
    test_expand_gives_what_is_asked_for_and_nothing_else,
    test_fast_has_no_markdown,
    test_files_are_listed_by_filter_and_page,
    test_impossible_page_ranges_are_refused,
    test_only_the_pages_asked_for_are_parsed_and_billed,
    test_pages_of_the_list_stay_whole_while_jobs_are_added,
    test_parse_by_file_id_gives_the_documents_own_text,
    test_parse_by_source_url,
    test_parse_by_upload_in_one_call,
    test_the_async_client,
    test_the_list_filters_pages_and_carries_user_metadata,
    test_the_sdks_own_one_call_way_through,
    test_user_metadata_is_limited,
)
from tests.processes import Program

pytest_plugins = ["tests.integration.simulator_fixtures"]


@dataclass(frozen=True)
class Running:
    """Where it is, what it runs with, and how its commands are run."""

    url: str
    simulator: RunningSimulator
    settings: dict[str, str]
    folder: Path


@pytest.fixture(scope="module", params=["embedded", "distributed"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("drop-in")
    with ExitStack() as stack:
        simulator = stack.enter_context(serve(SimulatorSettings(**QUICK, parse_limit="500/1", upload_limit="500/1")))
        settings = {
            "PARSEGATE_DATA_DIR": str(folder / "data"),
            "PARSEGATE_DAILY_BUDGET_USD": "unlimited",
            "PARSEGATE_PRIVATE_HOSTS": "127.0.0.1",
            "PARSEGATE_PARSE_LIMIT": "500/1",
            "PARSEGATE_UPLOAD_LIMIT": "500/1",
            "LLAMA_CLOUD_API_KEY": "llx-test",
            "LLAMA_CLOUD_BASE_URL": simulator.base_url,
        }
        if request.param == "distributed":
            settings["PARSEGATE_AMQP_URL"] = stack.enter_context(fresh_vhost())
            settings["PARSEGATE_DATABASE_URL"] = stack.enter_context(fresh_database())
            settings["PARSEGATE_SECRET_KEY"] = "0123456789abcdef" * 4
        up = stack.enter_context(Program("up", "--port", "0", folder=folder, environment=settings))
        yield Running(up.ready_url(), simulator, settings, folder)


@pytest.fixture
def provider(running: Running) -> Provider:
    """A tenant of its own for each case, so that none sees another's jobs."""
    name = f"t{uuid4().hex[:12]}"
    made = Program(
        *("token", "create", "--name", name, "--scope", "submit", "--tenant", name),
        folder=running.folder,
        environment=running.settings,
    )
    assert made.process.wait(timeout=60) == 0, made.output
    found = Provider(running.url, running.simulator.base_url, made.output.strip(), job_ids="")
    found.reset()
    return found


@pytest.fixture
def sdk(provider: Provider) -> Iterator[LlamaCloud]:
    with provider.sdk() as client:
        yield client


def test_a_job_is_parsegates_own(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    job = parse(sdk, upload(sdk, pdf))
    done = finished(sdk, job, ["usage", "job_metadata"])
    shown = httpx.get(
        f"{provider.base_url}/v1/documents/{job}", headers={"Authorization": f"Bearer {provider.key}"}
    ).json()
    assert (shown["job_id"], shown["state"], shown["credits"]) == (job, "completed", 9)
    assert (done.job.user_metadata, done.job.usage and done.job.usage.credits) == ({"parsegate_provenance": "real"}, 9)
    raw = sdk.parsing.with_raw_response.get(job)
    assert raw.headers["parsegate-provenance"] == "real"


def test_the_same_work_is_paid_once(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    finished(sdk, parse(sdk, upload(sdk, pdf)))
    done = finished(sdk, parse(sdk, upload(sdk, pdf)), ["usage", "text_full"])
    assert done.job.user_metadata == {"parsegate_provenance": "cached"}
    assert (done.job.usage and done.job.usage.credits, "banana" in (done.text_full or "")) == (0, True)
    assert provider.stats()["credits_billed"] == 9


def test_a_call_that_the_sdk_repeats_makes_one_job(provider: Provider, pdf: Path) -> None:
    headers = {"Authorization": f"Bearer {provider.key}"}
    with provider.sdk() as sdk, httpx.Client(base_url=provider.base_url, headers=headers) as http:
        said = {"tier": "fast", "version": "latest", "file_id": upload(sdk, pdf)}

        def create(repeats: int, path: str = "/api/v2/parse", **changes: Any) -> str:
            headers = {"x-stainless-retry-count": str(repeats)}
            return str(http.post(path, json=said | changes, headers=headers).raise_for_status().json()["id"])

        first = create(0)
        assert [create(1), create(2)] == [first, first]
        assert create(1, user_metadata={"a": "b"}) != first
        second = create(0)
        assert second != first
        assert create(1) == second
        form = {"configuration": json.dumps({"tier": "fast", "version": "latest"})}
        made = [
            http.post(
                "/api/v2/parse/upload",
                data=form,
                files={"file": ("three.pdf", pdf.read_bytes())},
                headers={"x-stainless-retry-count": repeats},
            ).json()["id"]
            for repeats in ("0", "1", "0")
        ]
        assert made[0] == made[1] != made[2]
        assert len(list(sdk.parsing.list())) == 5


def hook(receiver: Receiver, path: str = "/hook", **options: Any) -> dict[str, Any]:
    return {"webhook_url": receiver.url + path, "webhook_signing_secret": "the caller's own", **options}


def told(receiver: Receiver, count: int) -> list[Received]:
    """So many events, once they have come, and no more."""
    until(lambda: len(receiver.received) >= count, f"{count} events")
    assert len(receiver.received) == count
    return list(receiver.received)


@pytest.mark.parametrize(("output_format", "is_string"), [(None, True), ("string", True), ("json", False)])
def test_a_webhook_is_posted_as_llamacloud_posts_it(
    sdk: LlamaCloud, receiver: Receiver, pdf: Path, output_format: str | None, is_string: bool
) -> None:
    options: dict[str, Any] = {"webhook_events": ["parse.success"], "webhook_headers": {"X-Ours": "kept", "X-N": 3}}
    if output_format is not None:
        options["webhook_output_format"] = output_format
    job = parse(sdk, upload(sdk, pdf), webhook_configurations=[hook(receiver, **options)])
    (received,) = told(receiver, 1)
    assert isinstance(json.loads(received.body), str) is is_string
    event = received.event()
    assert (event["event_type"], event["data"]) == ("parse.success", {"id": job, "job_id": job})
    signature = hmac.new(b"the caller's own", received.body, sha256).hexdigest()
    assert received.headers["lc-signature"] == f"sha256={signature}"
    assert received.headers["content-type"] == "application/json"
    assert received.headers["x-webhook-event-type"] == "parse.success"
    assert received.headers["x-webhook-event-id"] == event["event_id"]
    assert (received.headers["x-ours"], received.headers["x-n"]) == ("kept", "3")


def test_a_webhook_without_a_secret_is_not_signed_and_none_is_smuggled_in(
    sdk: LlamaCloud, receiver: Receiver, pdf: Path
) -> None:
    headers = {"X-Webhook-Event-Type": "forged", "User-Agent": "forged", "LC-Signature": "sha256=forged"}
    wanted = {"webhook_url": receiver.url, "webhook_events": ["parse.success"], "webhook_headers": headers}
    parse(sdk, upload(sdk, pdf), webhook_configurations=[wanted])
    (received,) = told(receiver, 1)
    assert "lc-signature" not in received.headers
    assert received.headers["x-webhook-event-type"] == "parse.success"
    assert received.headers["user-agent"] == "llamaindex-webhook-service/1.0"


def test_each_webhook_hears_what_it_wants_once_and_again_until_it_listens(
    sdk: LlamaCloud, receiver: Receiver, pdf: Path
) -> None:
    receiver.statuses[:] = [500]
    wanted: Any = [
        hook(receiver, "/all", webhook_output_format="json"),
        hook(receiver, "/all"),
        hook(receiver, "/end", webhook_events=["parse.success", "parse.error"]),
    ]
    sdk.parsing.create(upload_file=pdf, tier="fast", version="latest", webhook_configurations=wanted)
    received = told(receiver, 8)
    types = Counter((one.path, one.event()["event_type"]) for one in received)
    first = received[0].event()["event_type"]
    assert types - Counter({("/all", first): 1}) == Counter(
        {
            ("/all", "parse.pending"): 2,
            ("/all", "parse.running"): 2,
            ("/all", "parse.success"): 2,
            ("/end", "parse.success"): 1,
        }
    )
    again = [one.body for one in received if one.event()["event_id"] == received[0].event()["event_id"]]
    assert again[0] == again[1]


def test_cancelled_and_failed_jobs_have_events_of_their_own(
    sdk: LlamaCloud, provider: Provider, receiver: Receiver, pdf: Path, tmp_path: Path
) -> None:
    wanted = [hook(receiver, webhook_events=["parse.error", "parse.cancelled", "parse.partial_success"])]
    broken = tmp_path / "broken.pdf"
    broken.write_bytes(b"%PDF-1.4 broken")
    parse(sdk, upload(sdk, broken), webhook_configurations=wanted)
    told(receiver, 1)
    provider.faults(job_stuck=1)
    sdk.parsing.cancel(parse(sdk, upload(sdk, pdf), webhook_configurations=wanted))
    assert [one.event()["event_type"] for one in told(receiver, 2)] == ["parse.error", "parse.cancelled"]
    provider.faults(job_stuck=0)


@pytest.mark.parametrize(
    "wanted",
    [
        {"webhook_url": "http://10.0.0.1/hook"},
        {"webhook_url": "http://[broken"},
        {"webhook_url": "file:///etc/passwd"},
        {"webhook_url": 7},
        {"webhook_url": "https://example.org", "webhook_headers": {"Host": "other"}},
        {"webhook_url": "https://example.org", "webhook_headers": {"X-A": "a\r\nX-B: b"}},
        {"webhook_url": "https://example.org", "webhook_headers": {"X-A": "é"}},
        {"webhook_url": "http://xn--a/"},
        {"webhook_url": "https://example.org", "webhook_events": ["parse.sucess"]},
        {"webhook_url": "https://example.org", "webhook_output_format": "xml"},
    ],
    ids=str,
)
def test_a_webhook_that_can_t_be_is_refused(sdk: LlamaCloud, provider: Provider, pdf: Path, wanted: Any) -> None:
    with pytest.raises(llama_cloud.UnprocessableEntityError):
        parse(sdk, upload(sdk, pdf), webhook_configurations=[wanted])
    assert list(sdk.parsing.list()) == []


def test_what_a_caller_gave_is_sealed(running: Running, sdk: LlamaCloud, receiver: Receiver, pdf: Path) -> None:
    secret, header = f"secret-{uuid4()}", f"header-{uuid4()}"
    wanted = [hook(receiver, webhook_signing_secret=secret, webhook_headers={"Authorization": header})]
    finished(sdk, parse(sdk, upload(sdk, pdf), webhook_configurations=wanted))
    until(lambda: any(one.event()["event_type"] == "parse.success" for one in receiver.received), "the last event")
    assert {one.headers["authorization"] for one in receiver.received} == {header}
    kept = b"".join(path.read_bytes() for path in running.folder.rglob("*") if path.is_file())
    assert secret.encode() not in kept
    assert header.encode() not in kept


def test_cancel_stops_what_has_not_ended(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    provider.faults(job_stuck=1)
    job = parse(sdk, upload(sdk, pdf), disable_cache=True)
    assert sdk.parsing.cancel(job).status == "CANCELLED"
    with pytest.raises(llama_cloud.BadRequestError, match="terminal state"):
        sdk.parsing.cancel(job)
    with pytest.raises(llama_cloud.NotFoundError):
        sdk.parsing.cancel(str(uuid4()))
    provider.faults(job_stuck=0)


def test_only_what_has_ended_is_deleted(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    provider.faults(job_stuck=1)
    job = parse(sdk, upload(sdk, pdf), disable_cache=True)
    with pytest.raises(llama_cloud.BadRequestError, match="terminal state"):
        sdk.parsing.delete(job)
    sdk.parsing.cancel(job)
    assert sdk.parsing.delete(job).id == job
    with pytest.raises(llama_cloud.NotFoundError):
        sdk.parsing.delete(job)
    provider.faults(job_stuck=0)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"configuration_id": "cfg-1"}, "configuration_id: a saved configuration can't be priced"),
        ({"webhook_configuration_ids": ["whc-1"]}, "webhook_configuration_ids"),
        ({"processing_options": {"forms": "enrich"}}, "no published price"),
        ({"tier": "platinum"}, "tier"),
    ],
)
def test_what_can_t_be_priced_is_refused_plainly(
    sdk: LlamaCloud, provider: Provider, pdf: Path, order: dict[str, Any], words: str
) -> None:
    with pytest.raises(llama_cloud.UnprocessableEntityError, match=words):
        parse(sdk, upload(sdk, pdf), **order)
    assert provider.stats()["jobs_created"] == 0


def test_tenants_do_not_see_each_other(sdk: LlamaCloud, provider: Provider, running: Running, pdf: Path) -> None:
    file = upload(sdk, pdf)
    job = parse(sdk, file)
    made = Program(
        *("token", "create", "--name", f"o{provider.key[-8:]}", "--scope", "submit", "--tenant", "another"),
        folder=running.folder,
        environment=running.settings,
    )
    assert made.process.wait(timeout=60) == 0, made.output
    with provider.sdk(made.output.strip()) as other:
        calls: list[Callable[[], object]] = [
            lambda: other.parsing.get(job),
            lambda: other.parsing.cancel(job),
            lambda: parse(other, file),
            lambda: other.files.retrieve(file),
            lambda: other.files.delete(file),
            lambda: other.files.content(file),
        ]
        for call in calls:
            with pytest.raises(llama_cloud.NotFoundError):
                call()
        assert list(other.parsing.list(job_ids=[job])) == []
    with provider.sdk("llx-nobody") as nobody, pytest.raises(llama_cloud.AuthenticationError):
        nobody.parsing.get(job)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v2/parse?page_size=0000000019999",
        "/api/v2/parse?page_size=" + "9" * 30,
        "/api/v2/parse?page_size=" + "1" * 5000,
        "/api/v2/parse?page_size=-1",
        "/api/v2/parse?page_token=MDAwMS0wMS0wMVQwMDowMDowMCsxNDowMCA2ZjFjMmYwZS0wMDAwLTQwMDAtODAwMC0wMDAwMDAwMDAwMDA",
        "/api/v2/parse?created_at_on_or_after=0001-01-01T00:00:00%2B14:00",
        "/api/v2/parse?status=DONE",
        "/api/v1/beta/files?page_size=" + "9" * 30,
        "/api/v1/beta/files?page_token=W10",
        "/api/v1/beta/files?page_token=%00",
        "/api/v1/beta/files?order_by=bytes",
        "/api/v1/beta/files?external_file_id=%00",
    ],
)
def test_odd_parameters_are_refused(provider: Provider, path: str) -> None:
    answer = httpx.get(provider.base_url + path[:6000], headers={"Authorization": f"Bearer {provider.key}"})
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("seconds", ["00000000199999999", "9" * 40, "0", "x", str(8 * 24 * 3600)])
def test_a_link_has_an_end(sdk: LlamaCloud, provider: Provider, pdf: Path, seconds: str) -> None:
    path = f"/api/v1/beta/files/{upload(sdk, pdf)}/content?expires_at_seconds={seconds}"
    answer = httpx.get(provider.base_url + path, headers={"Authorization": f"Bearer {provider.key}"})
    assert answer.status_code == 422


@pytest.mark.parametrize("body", ["[]", "null", "7", '"x"', '{"tier": 7}', '{"tier": "fast", "version": "latest"}'])
def test_odd_bodies_are_refused(provider: Provider, body: str) -> None:
    headers = {"Authorization": f"Bearer {provider.key}", "Content-Type": "application/json"}
    for path in ("/api/v2/parse", "/api/v1/beta/files/query"):
        answer = httpx.post(provider.base_url + path, content=body, headers=headers)
        assert answer.status_code == 422 or path.endswith("query"), answer.text
        assert answer.status_code < 500


def test_a_refused_upload_leaves_nothing(running: Running, provider: Provider) -> None:
    form = {"purpose": "parse", "external_file_id": "a\0b"}
    headers = {"Authorization": f"Bearer {provider.key}"}
    before = set(running.folder.rglob("uploads/*"))
    url = f"{provider.base_url}/api/v1/beta/files"
    answer = httpx.post(url, data=form, files={"file": ("a.txt", b"text")}, headers=headers)
    assert answer.status_code == 422
    assert set(running.folder.rglob("uploads/*")) == before


def test_a_page_goes_on_though_its_last_file_was_deleted(sdk: LlamaCloud, tmp_path: Path) -> None:
    ids = []
    for name in ("b.txt", "a.txt", "c.txt"):
        (tmp_path / name).write_text(name)
        ids.append(upload(sdk, tmp_path / name))
    for order_by, second in ((None, ids[1]), ("name", ids[0])):
        first = sdk.files.list(page_size=1, order_by=order_by) if order_by else sdk.files.list(page_size=1)
        gone = first.items[0].id
        sdk.files.delete(gone)
        assert first.get_next_page().items[0].id == second
        ids = [one for one in ids if one != gone]


def test_a_document_outlives_the_file_that_it_was_made_of(sdk: LlamaCloud, pdf: Path) -> None:
    file = upload(sdk, pdf)
    job = parse(sdk, file, disable_cache=True)
    sdk.files.delete(file)
    assert "banana" in (finished(sdk, job, ["text_full"]).text_full or "")
