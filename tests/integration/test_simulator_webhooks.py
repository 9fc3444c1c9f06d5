"""The provider's webhooks: who is told what, in which of the two body formats, how signed, and how often it tries."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from llama_cloud import LlamaCloud

from tests.integration.simulator_kit import Provider, Received, Receiver, finished, make_pdf, parse, until, upload

pytest_plugins = ["tests.integration.simulator_fixtures"]

SECRET = "0123456789abcdef" * 4


def signature_of(received: Received) -> str:
    return "sha256=" + hmac.new(SECRET.encode(), received.body, hashlib.sha256).hexdigest()


def hook(receiver: Receiver, path: str = "/hook", **options: Any) -> dict[str, Any]:
    return {"webhook_url": receiver.url + path, "webhook_signing_secret": SECRET, **options}


def settled(provider: Provider, events: int) -> dict[str, int]:
    """The counts once all of so many events were delivered, given up or lost."""

    def done() -> dict[str, int] | None:
        counts: dict[str, int] = provider.stats()["webhooks"]
        ended = counts["delivered"] + counts["failed"] + counts["lost"] - counts["doubled"]
        return counts if counts["events"] == events and ended == events else None

    counts: dict[str, int] = until(done, f"{events} events settled")
    return counts


@pytest.mark.parametrize(("output_format", "is_string"), [(None, True), ("string", True), ("json", False)])
def test_a_delivery_in_both_body_formats(
    sdk: LlamaCloud, provider: Provider, receiver: Receiver, pdf: Path, output_format: str | None, is_string: bool
) -> None:
    options: dict[str, Any] = {"webhook_events": ["parse.success"], "webhook_headers": {"X-Ours": "kept", "X-N": 3}}
    if output_format is not None:
        options["webhook_output_format"] = output_format
    job = parse(sdk, upload(sdk, pdf), webhook_configurations=[hook(receiver, **options)])
    settled(provider, 1)
    (received,) = receiver.received
    assert isinstance(json.loads(received.body), str) is is_string
    event = received.event()
    assert event == {
        "event_id": received.headers["x-webhook-event-id"],
        "event_type": "parse.success",
        "timestamp": event["timestamp"],
        "data": {"id": job, "job_id": job},
    }
    assert received.headers["lc-signature"] == signature_of(received)
    assert received.headers["content-type"] == "application/json"
    assert received.headers["user-agent"] == "llamaindex-webhook-service/1.0"
    assert received.headers["x-webhook-event-type"] == "parse.success"
    assert (received.headers["x-ours"], received.headers["x-n"]) == ("kept", "3")


def test_without_a_secret_there_is_no_signature_and_none_can_be_smuggled_in(
    sdk: LlamaCloud, provider: Provider, receiver: Receiver, pdf: Path
) -> None:
    headers = {"X-Webhook-Event-Type": "forged", "User-Agent": "forged"}
    configuration = {"webhook_url": receiver.url, "webhook_events": ["parse.success"], "webhook_headers": headers}
    parse(sdk, upload(sdk, pdf), webhook_configurations=[configuration])
    settled(provider, 1)
    (received,) = receiver.received
    assert "lc-signature" not in received.headers
    assert received.headers["x-webhook-event-type"] == "parse.success"
    assert received.headers["user-agent"] == "llamaindex-webhook-service/1.0"


def test_no_list_of_events_means_all_of_them_in_order(
    sdk: LlamaCloud, provider: Provider, receiver: Receiver, pdf: Path
) -> None:
    parse(sdk, upload(sdk, pdf), webhook_configurations=[hook(receiver)])
    settled(provider, 3)
    assert receiver.types() == ["parse.pending", "parse.running", "parse.success"]
    assert len({received.event()["event_id"] for received in receiver.received}) == 3


def test_several_webhooks_each_with_its_own_events(
    sdk: LlamaCloud, provider: Provider, receiver: Receiver, pdf: Path
) -> None:
    configurations = [
        hook(receiver, "/a", webhook_events=["parse.success"]),
        hook(receiver, "/b", webhook_events=["parse.running", "parse.error"]),
    ]
    parse(sdk, upload(sdk, pdf), webhook_configurations=configurations)
    settled(provider, 2)
    told = {received.path: received.event()["event_type"] for received in receiver.received}
    assert told == {"/a": "parse.success", "/b": "parse.running"}


def test_failure_partial_success_and_cancellation_have_events_of_their_own(
    sdk: LlamaCloud, provider: Provider, receiver: Receiver, tmp_path: Path
) -> None:
    terminal = ["parse.success", "parse.error", "parse.partial_success", "parse.cancelled"]
    webhooks = [hook(receiver, webhook_events=terminal)]
    half = upload(sdk, make_pdf(tmp_path / "half.pdf", ["text", None]))
    parse(sdk, half, webhook_configurations=webhooks)
    settled(provider, 1)
    allowed = {"job_failure_conditions": {"allowed_page_failure_ratio": 1}}
    parse(sdk, half, webhook_configurations=webhooks, processing_control=allowed)
    settled(provider, 2)
    provider.faults(job_stuck=1)
    sdk.parsing.cancel(parse(sdk, half, webhook_configurations=webhooks))
    settled(provider, 3)
    assert receiver.types() == ["parse.error", "parse.partial_success", "parse.cancelled"]


def test_an_upload_takes_webhooks_too(sdk: LlamaCloud, provider: Provider, receiver: Receiver, pdf: Path) -> None:
    webhooks: Any = [hook(receiver, webhook_events=["parse.success"])]
    sdk.parsing.create(upload_file=pdf, tier="fast", version="latest", webhook_configurations=webhooks)
    settled(provider, 1)
    assert receiver.types() == ["parse.success"]


def test_a_job_from_the_cache_is_told_at_once(
    sdk: LlamaCloud, provider: Provider, receiver: Receiver, pdf: Path
) -> None:
    file = upload(sdk, pdf)
    finished(sdk, parse(sdk, file))
    parse(sdk, file, webhook_configurations=[hook(receiver)])
    settled(provider, 2)
    assert receiver.types() == ["parse.pending", "parse.success"]


def test_three_attempts_with_waits_of_one_and_two_seconds(
    start: Callable[..., Provider], receiver: Receiver, pdf: Path
) -> None:
    """The provider's own waits. The same event each time; the third attempt gets through with any 2xx."""
    provider = start(webhook_retry_waits=(1.0, 2.0))
    receiver.statuses[:] = [500, 302, 204]
    with provider.sdk() as sdk:
        parse(sdk, upload(sdk, pdf), webhook_configurations=[hook(receiver, webhook_events=["parse.success"])])
    counts = settled(provider, 1)
    assert (counts["sent"], counts["attempts"], counts["delivered"], counts["failed_attempts"]) == (1, 3, 1, 2)
    first, second, third = receiver.received
    assert first.body == second.body == third.body
    waits = [later.at - earlier.at for earlier, later in pairwise(receiver.received)]
    assert waits[0] >= 1.0
    assert waits[1] >= 2.0
    assert sum(waits) < 6.0


def test_after_three_failed_attempts_the_event_is_lost(
    sdk: LlamaCloud, provider: Provider, receiver: Receiver, pdf: Path
) -> None:
    receiver.statuses[:] = [500, 404, 503]
    parse(sdk, upload(sdk, pdf), webhook_configurations=[hook(receiver, webhook_events=["parse.success"])])
    counts = settled(provider, 1)
    assert len(receiver.received) == 3
    assert (counts["delivered"], counts["failed"], counts["failed_attempts"]) == (0, 1, 3)


def test_an_unreachable_receiver_harms_nobody(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    webhooks = [{"webhook_url": "http://127.0.0.1:1/"}, {"webhook_url": "http://[broken"}, {"webhook_url": "http://"}]
    job = parse(sdk, upload(sdk, pdf), webhook_configurations=webhooks)
    assert finished(sdk, job).job.status == "COMPLETED"
    assert settled(provider, 9)["failed"] == 9
