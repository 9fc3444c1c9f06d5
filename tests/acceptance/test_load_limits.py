"""What many bytes, and many slow senders, do to a gateway: little. The figures are printed (`-s`)."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import fresh_database, fresh_vhost
from tests.hostile import packed_catalog
from tests.hostile_forms import END, file_part, part
from tests.hostile_kit import JOB, Answer, Line, Target, check_log, request
from tests.load_kit import (
    MB,
    Normal,
    SlowSenders,
    family,
    forget_peak,
    gateway_alone,
    memory_mb,
    normal_requests,
    p99_ms,
    timed_requests,
    until,
)

UPLOAD_MB = 300
GROWTH_MB = 32
SLOW_SENDERS = 500
QUOTES = 24
REQUESTS = 300
P99_MS = 200
UPLOADS = {"/v1/documents": b"", "/api/v1/beta/files": part('Content-Disposition: form-data; name="purpose"', b"parse")}
"""Where files are uploaded to, and what a form needs there besides."""
FORM = "Content-Type: multipart/form-data; boundary=b"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("load")
    with fresh_database() as database, fresh_vhost() as broker, gateway_alone(folder, database, broker) as alone:
        yield alone


def send_file(target: Target, path: str, megabytes: int) -> None:
    """Upload so much, a megabyte at a time."""
    before, _, after = file_part('; filename="big.bin"', b"|").rpartition(b"|")
    ends = UPLOADS[path] + before, after + END
    length = megabytes * MB + sum(map(len, ends))
    piece = os.urandom(MB)
    with Line(target.address) as line:
        line.send(request("POST", path, None, FORM, f"Content-Length: {length}", token=target.token) + ends[0])
        for _ in range(megabytes):
            line.send(piece)
        line.send(ends[1])
        answer = line.answer("POST")
    assert answer is not None
    assert answer.status in {200, 202}, answer


@pytest.mark.parametrize("path", UPLOADS)
def test_an_upload_of_300_mb_takes_constant_memory(target: Target, path: str) -> None:
    for _ in range(3):
        send_file(target, path, 1)
    forget_peak(target.pid)
    before = memory_mb(target.pid)
    send_file(target, path, UPLOAD_MB)
    grown = memory_mb(target.pid, "VmHWM") - before
    print(f"\n{path}: {grown:.1f} MB more at the peak, over {before:.1f} MB, for {UPLOAD_MB} MB")
    assert grown <= GROWTH_MB


def test_slow_senders_do_not_stop_normal_requests(target: Target) -> None:
    """Half of them never end their head; the others begin an event, older or newer, or an upload."""
    head = b"POST /v1/documents HTTP/1.1\r\nHost: x\r\nX-Slow: "
    length = "Content-Length: 60000"
    event = request("POST", f"/webhooks/llamaparse/{JOB}", None, length, f"LC-Signature: sha256={'0' * 64}")
    older = request("POST", f"/webhook/llamaparse/{JOB}", None, length, f"X-Webhook-Signature: {'0' * 64}")
    uploads = [request("POST", path, None, FORM, length, token=target.token) + file_part()[:-2] for path in UPLOADS]
    beginnings = [head, event, head, uploads[0], head, older, head, uploads[1]]
    alone = p99_ms(timed_requests(target, REQUESTS // 3))
    with SlowSenders(target.address, beginnings, SLOW_SENDERS) as senders:
        senders.wait_until_open()
        seconds = timed_requests(target, REQUESTS)
        assert senders.open_now == SLOW_SENDERS
        again = senders.came_again
    print(
        f"\n{SLOW_SENDERS} slow senders, of whom {again} were given up and came again: p99 {p99_ms(seconds):.1f} ms, "
        f"slowest {max(seconds) * 1000:.1f} ms; without them p99 {alone:.1f} ms"
    )
    assert again >= SLOW_SENDERS // 2, "the requests were over before anybody was given up"
    assert p99_ms(seconds) < P99_MS
    check_log(target)


def test_slow_quotes_do_not_stop_normal_requests(target: Target) -> None:
    """24 at once, all the time, of a PDF that takes seconds to count; uploads are among the normal requests."""
    slow = request(
        "POST", "/v1/quote", file_part('; filename="a.pdf"', packed_catalog(600)) + END, FORM, token=target.token
    )
    upload = Normal("POST", request("POST", "/v1/documents", file_part() + END, FORM, token=target.token), 202)
    over = threading.Event()

    def quote() -> list[Answer | None]:
        answers = []
        while not over.is_set():
            with Line(target.address) as line:
                line.send(slow)
                answers.append(line.answer("POST", 60))
        return answers

    with ThreadPoolExecutor(QUOTES) as threads:
        quoting = [threads.submit(quote) for _ in range(QUOTES)]
        try:
            until(lambda: len(family(target.pid)) > 1, 30)
            seconds = timed_requests(target, REQUESTS, [*normal_requests(target), upload])
        finally:
            over.set()
        answers = [answer for one in quoting for answer in one.result(120) if answer is not None]
    met = Counter(answer.status for answer in answers)
    print(f"\n{QUOTES} slow quotes at once: p99 {p99_ms(seconds):.1f} ms, slowest {max(seconds) * 1000:.1f} ms; {met}")
    assert set(met) == {200, 503}
    assert {answer.headers["retry-after"] for answer in answers if answer.status == 503} == {"5"}
    assert {json.loads(answer.body)["type"] for answer in answers if answer.status == 503} == {
        "/problems/counting_busy"
    }
    assert p99_ms(seconds) < P99_MS
