"""Each fault, alone and at rate 1: what the caller sees, and what is true."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import llama_cloud
import pytest
from llama_cloud import LlamaCloud

from llamaparse.simulator import FAULTS
from tests.integration.simulator_kit import (
    API_KEY,
    QUICK,
    Provider,
    Receiver,
    credits_of,
    finished,
    parse,
    until,
    upload,
)
from tests.integration.test_simulator_webhooks import hook, settled, signature_of

pytest_plugins = ["tests.integration.simulator_fixtures"]


def jobs_made(provider: Provider) -> int:
    made: int = provider.stats()["jobs_created"]
    return made


def raw_answer(provider: Provider, request: bytes) -> bytes:
    """What comes back over a bare socket until the server closes it."""
    address = urlsplit(provider.base_url)
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=10) as connection:
        connection.sendall(request)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


def raw_create(file_id: str) -> bytes:
    body = json.dumps({"file_id": file_id, "tier": "fast", "version": "latest"}).encode()
    head = (
        f"POST /api/v2/parse HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {API_KEY}\r\nContent-Length: {len(body)}\r\n"
    )
    return head.encode() + b"\r\n" + body


def test_every_fault_has_a_test() -> None:
    untested = [name for name in FAULTS if f"test_{name.replace('-', '_')}" not in globals()]
    assert untested == []


# Any call


def test_reset(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    file = upload(sdk, pdf)
    provider.faults(reset=1)
    with pytest.raises(llama_cloud.APIConnectionError):
        parse(sdk, file)
    with pytest.raises(ConnectionResetError):
        raw_answer(provider, raw_create(file))
    assert jobs_made(provider) == 0


def test_html_error(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    file = upload(sdk, pdf)
    provider.faults(html_error=1)
    with pytest.raises(llama_cloud.InternalServerError) as failed:
        parse(sdk, file)
    assert failed.value.status_code == 502
    assert failed.value.response.headers["content-type"] == "text/html"
    assert failed.value.response.text.startswith("<html>")
    assert jobs_made(provider) == 0


def test_truncated_json(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    file = upload(sdk, pdf)
    provider.faults(truncated_json=1)
    with pytest.raises(json.JSONDecodeError):
        parse(sdk, file)
    assert jobs_made(provider) == 1


def test_slow(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    file = upload(sdk, pdf)
    provider.faults(slow=1)
    with pytest.raises(llama_cloud.APITimeoutError):
        sdk.with_options(timeout=0.1).parsing.create(file_id=file, tier="fast", version="latest")
    assert jobs_made(provider) == 1
    began = time.monotonic()
    list(sdk.parsing.list())
    assert time.monotonic() - began >= QUICK["slow_s"]


def test_too_many_requests(sdk: LlamaCloud, provider: Provider) -> None:
    provider.faults(too_many_requests=1)
    with pytest.raises(llama_cloud.RateLimitError) as refused:
        list(sdk.parsing.list())
    assert "retry-after" not in refused.value.response.headers
    assert provider.stats()["answers_429"] == 1


def test_unauthorized(sdk: LlamaCloud, provider: Provider) -> None:
    provider.faults(unauthorized=1)
    with pytest.raises(llama_cloud.AuthenticationError):
        list(sdk.parsing.list())


# Creating a job


def test_payment_required(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    provider.faults(payment_required=1)
    file = upload(sdk, pdf)
    with pytest.raises(llama_cloud.APIStatusError) as refused:
        parse(sdk, file)
    assert refused.value.status_code == 402
    assert jobs_made(provider) == 0


def test_create_500_before(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    file = upload(sdk, pdf)
    provider.faults(create_500_before=1)
    with pytest.raises(llama_cloud.InternalServerError) as failed:
        parse(sdk, file)
    assert failed.value.response.json()["correlation_id"]
    assert jobs_made(provider) == 0


def test_create_500_after(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    file = upload(sdk, pdf)
    provider.faults(create_500_after=1)
    with pytest.raises(llama_cloud.InternalServerError):
        parse(sdk, file, user_metadata={"parsegate_attempt": "a"})
    assert provider.stats()["by_parsegate_attempt"] == {"a": 1}
    assert [row.user_metadata for row in sdk.parsing.list()] == [{"parsegate_attempt": "a"}]


def test_create_answer_lost(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    file = upload(sdk, pdf)
    provider.faults(create_answer_lost=1)
    with pytest.raises(llama_cloud.APIConnectionError):
        parse(sdk, file)
    assert jobs_made(provider) == 1
    assert raw_answer(provider, raw_create(file)) == b""
    assert jobs_made(provider) == 2


def test_create_answer_late(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    file = upload(sdk, pdf)
    provider.faults(create_answer_late=1)
    with pytest.raises(llama_cloud.APIConnectionError):
        parse(sdk, file)
    assert jobs_made(provider) == 0
    assert until(lambda: jobs_made(provider), "the late job") == 1


def test_create_504_late_job(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    file = upload(sdk, pdf)
    provider.faults(create_504_late_job=1)
    with pytest.raises(llama_cloud.InternalServerError) as failed:
        parse(sdk, file)
    assert failed.value.status_code == 504
    assert jobs_made(provider) == 0
    assert until(lambda: jobs_made(provider), "the late job") == 1


def test_the_sdks_own_retries_pay_twice(provider: Provider, pdf: Path) -> None:
    """Why the gateway never repeats a doubtful create: each of the SDK's repeats makes another job."""
    with provider.sdk(max_retries=1) as sdk:
        file = upload(sdk, pdf)
        provider.faults(create_500_after=1)
        with pytest.raises(llama_cloud.InternalServerError):
            parse(sdk, file)
    assert jobs_made(provider) == 2


def test_webhook_before_answer(sdk: LlamaCloud, provider: Provider, receiver: Receiver, pdf: Path) -> None:
    file = upload(sdk, pdf)
    provider.faults(webhook_before_answer=1)
    job = parse(sdk, file, webhook_configurations=[hook(receiver)])
    answered = time.monotonic()
    assert receiver.types() == ["parse.pending", "parse.running", "parse.success"]
    assert receiver.received[-1].event()["data"]["id"] == job
    assert receiver.received[-1].at < answered


def test_upload_500(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    provider.faults(upload_500=1)
    with pytest.raises(llama_cloud.InternalServerError):
        upload(sdk, pdf)
    assert (provider.stats()["uploads"], provider.stats()["files"]) == (0, 0)


# The life of a job


def test_job_stuck(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    file = upload(sdk, pdf)
    provider.faults(job_stuck=1)
    stuck = parse(sdk, file)
    provider.faults(job_stuck=0)
    finished(sdk, parse(sdk, file))
    assert sdk.parsing.get(stuck).job.status == "PENDING"
    assert provider.stats()["jobs"]["PENDING"] == 1


def test_job_timeout(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    provider.faults(job_timeout=1)
    done = finished(sdk, parse(sdk, upload(sdk, pdf)))
    assert (done.job.status, done.job.error_message) == ("FAILED", "TIMEOUT")
    assert provider.stats()["credits_billed"] == 0


def test_job_fails(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    provider.faults(job_fails=1)
    done = finished(sdk, parse(sdk, upload(sdk, pdf)))
    assert (done.job.status, done.job.error_message) == ("FAILED", "INTERNAL_ERROR")
    assert provider.stats()["credits_billed"] == 0


def test_failure_billed(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    provider.faults(job_fails=1, failure_billed=1)
    assert credits_of(sdk, parse(sdk, upload(sdk, pdf))) == 9
    assert provider.stats()["credits_billed"] == 9


def test_list_lag(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    provider.faults(list_lag=1)
    job = parse(sdk, upload(sdk, pdf))
    assert sdk.parsing.get(job).job.id == job
    assert list(sdk.parsing.list()) == []
    (row,) = until(lambda: list(sdk.parsing.list()), "the job in the list")
    assert row.id == job


def test_usage_never(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    provider.faults(usage_never=1)
    assert credits_of(sdk, parse(sdk, upload(sdk, pdf))) is None
    assert provider.stats()["credits_billed"] == 9


def test_usage_zero(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    provider.faults(usage_zero=1)
    assert credits_of(sdk, parse(sdk, upload(sdk, pdf))) == 0
    assert provider.stats()["credits_billed"] == 9


def test_usage_zero_once(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    provider.faults(usage_zero_once=1)
    job = parse(sdk, upload(sdk, pdf))
    assert [credits_of(sdk, job) for _ in range(3)] == [0, 9, 9]


def test_usage_wrong(sdk: LlamaCloud, provider: Provider, pdf: Path) -> None:
    provider.faults(usage_wrong=1)
    assert credits_of(sdk, parse(sdk, upload(sdk, pdf))) == 18
    assert provider.stats()["credits_billed"] == 18


# Webhooks


def told(sdk: LlamaCloud, receiver: Receiver, pdf: Path) -> None:
    """A job with all of its events."""
    finished(sdk, parse(sdk, upload(sdk, pdf), webhook_configurations=[hook(receiver)]))


def test_webhook_lost(sdk: LlamaCloud, provider: Provider, receiver: Receiver, pdf: Path) -> None:
    provider.faults(webhook_lost=1)
    told(sdk, receiver, pdf)
    counts = settled(provider, 3)
    assert (receiver.received, counts["lost"], counts["sent"]) == ([], 3, 0)


def test_webhook_doubled(sdk: LlamaCloud, provider: Provider, receiver: Receiver, pdf: Path) -> None:
    provider.faults(webhook_doubled=1)
    told(sdk, receiver, pdf)
    counts = settled(provider, 3)
    assert (counts["doubled"], counts["sent"], counts["delivered"]) == (3, 6, 6)
    bodies = [received.body for received in receiver.received]
    assert all(bodies.count(body) == 2 for body in bodies)


def test_webhook_late(sdk: LlamaCloud, provider: Provider, receiver: Receiver, pdf: Path) -> None:
    provider.faults(webhook_late=1)
    began = time.monotonic()
    told(sdk, receiver, pdf)
    assert settled(provider, 3)["late"] == 3
    assert min(received.at for received in receiver.received) - began >= QUICK["webhook_late_s"]


def test_webhook_reordered(sdk: LlamaCloud, provider: Provider, receiver: Receiver, pdf: Path) -> None:
    provider.faults(webhook_reordered=1)
    told(sdk, receiver, pdf)
    assert settled(provider, 3)["reordered"] == 3
    assert receiver.types() == ["parse.success", "parse.running", "parse.pending"]


def test_webhook_badly_signed(sdk: LlamaCloud, provider: Provider, receiver: Receiver, pdf: Path) -> None:
    provider.faults(webhook_badly_signed=1)
    told(sdk, receiver, pdf)
    assert settled(provider, 3)["badly_signed"] == 3
    for received in receiver.received:
        assert received.headers["lc-signature"].startswith("sha256=")
        assert received.headers["lc-signature"] != signature_of(received)


def test_webhook_unsigned(sdk: LlamaCloud, provider: Provider, receiver: Receiver, pdf: Path) -> None:
    provider.faults(webhook_unsigned=1)
    told(sdk, receiver, pdf)
    assert settled(provider, 3)["unsigned"] == 3
    assert all("lc-signature" not in received.headers for received in receiver.received)


# The control of the faults


@pytest.mark.parametrize(
    "rates", [{"nonsense": 1}, {"reset": 2}, {"reset": -0.1}, {"reset": "1"}, {"reset": True}, {"reset": None}, [1]]
)
def test_unknown_faults_and_impossible_rates_change_nothing(provider: Provider, rates: Any) -> None:
    body = {"slow": 1, **rates} if isinstance(rates, dict) else rates
    refused = httpx.put(f"{provider.control_url}/_sim/faults", json=body)
    assert refused.status_code == 422
    assert refused.json()["detail"][0]["msg"]
    assert set(httpx.get(f"{provider.control_url}/_sim/faults").json().values()) == {0}


def test_faults_given_at_the_start_come_back_with_a_reset(start: Callable[..., Provider]) -> None:
    provider = start(faults={"unauthorized": 0.5})
    assert httpx.get(f"{provider.control_url}/_sim/faults").json()["unauthorized"] == 0.5

    def answers() -> list[int]:
        headers = {"Authorization": f"Bearer {API_KEY}"}
        return [httpx.get(f"{provider.base_url}/api/v2/parse", headers=headers).status_code for _ in range(40)]

    first = answers()
    assert {200, 401} == set(first)
    assert provider.stats()["faults"] == {"unauthorized": first.count(401)}
    provider.faults(unauthorized=0)
    assert set(answers()) == {200}
    provider.reset()
    assert provider.stats()["requests"] == 0
    assert answers() == first
