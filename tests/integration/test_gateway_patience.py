"""Slow and silent senders: each is given up in time, and none keeps another one out."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from parsegate.connections import Patience
from tests.gateway_harness import EVENT, Gateway, RawConnection, running_gateway, sign
from tests.state import state_of

JOB = "6f1ed002-ab5e-4f3a-9d2c-1f0f0a0b0c0d"
HALF_EVENT = (
    f"POST /webhooks/llamaparse/{JOB} HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n"
    f"LC-Signature: sha256={'0' * 64}\r\n\r\nhalf"
).encode()
HALF_003 = (
    f"POST /webhook/llamaparse/{JOB} HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n"
    f"X-Webhook-Signature: {'0' * 64}\r\n\r\nhalf"
).encode()
HALF_003_ANYWHERE = HALF_003.replace(f"/webhook/llamaparse/{JOB}".encode(), b"/api/v1/webhooks/llamaparse")
REFUSED_UPLOAD = b"POST /v1/documents HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n"
SHORT = Patience(head_s=0.3, body_s=0.3, rest_s=0.3, pause_s=0.3, look_s=0.02, bytes_per_s=1000)
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n' + b"word " * 400 + b"\r\n--b--\r\n"
)


@contextmanager
def serving(folder: Path, patience: Patience) -> Iterator[Gateway]:
    with state_of("sqlite", folder), running_gateway(folder / "store", patience=patience) as gateway:
        yield gateway


def everything(connection: socket.socket) -> bytes:
    """What comes until the other end closes."""
    connection.settimeout(20)
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"", b"HTTP/1.1 408"),
        (b"POST /webhooks/llamap", b"HTTP/1.1 408"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow", b"HTTP/1.1 408"),
        (HALF_EVENT, b"HTTP/1.1 408"),
        (HALF_003, b"HTTP/1.1 408"),
        (HALF_003_ANYWHERE, b"HTTP/1.1 408"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n\r\n", b"HTTP/1.1 200"),
        (REFUSED_UPLOAD, b"HTTP/1.1 401"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + HALF_EVENT, b"HTTP/1.1 200"),
    ],
    ids=[
        "silence",
        "half a line",
        "half a head",
        "half an event",
        "half an 003 event",
        "half an 003 event without a job",
        "between requests",
        "empty lines",
        "after a refusal",
        "sent ahead",
    ],
)
def test_who_falls_silent_is_given_up(tmp_path: Path, said: bytes, answer: bytes) -> None:
    with serving(tmp_path, SHORT) as gateway, socket.create_connection(gateway.address) as connection:
        connection.sendall(said)
        assert everything(connection).startswith(answer)


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\nX: ", HALF_EVENT, HALF_003, REFUSED_UPLOAD], ids=["head", "event", "003", "rest"]
)
def test_a_byte_now_and_then_buys_no_time(tmp_path: Path, said: bytes) -> None:
    with serving(tmp_path, SHORT) as gateway, socket.create_connection(gateway.address) as connection:
        connection.sendall(said)
        closed = threading.Event()

        def drip() -> None:
            try:
                while not closed.wait(0.02):
                    connection.sendall(b"x")
            except OSError:
                return

        dripping = threading.Thread(target=drip)
        dripping.start()
        everything(connection)
        closed.set()
        dripping.join()


def test_a_head_has_a_limit(tmp_path: Path) -> None:
    """Whether it comes at once or in pieces; a large one that is allowed still is."""
    with serving(tmp_path, Patience()) as gateway:
        for pieces in (1, 50):
            with socket.create_connection(gateway.address) as connection:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
                try:
                    for number in range(pieces):
                        connection.sendall(b"X-%d: " % number + b"a" * (5_000_000 // pieces) + b"\r\n")
                except ConnectionError:
                    pass
                assert everything(connection)[:12] in (b"HTTP/1.1 431", b"")
        fits = {f"X-{number}": "a" * 1000 for number in range(40)}
        assert gateway.http.get("/healthz", headers=fits).status_code == 200


def test_events_that_nobody_vouches_for_share_their_memory(tmp_path: Path) -> None:
    """Twenty half-sent events of 8 MB: what is beyond 64 MiB is refused, and a right one gets in afterwards."""
    size = 7_000_000
    head = HALF_003.replace(b"5000000", b"%d" % (size + 10)).removesuffix(b"half")
    with serving(tmp_path, Patience()) as gateway, ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection(gateway.address)) for _ in range(20)]
        for connection in connections:
            connection.sendall(head)
            with suppress(ConnectionError):
                connection.sendall(b"x" * size)
        answers = list[bytes]()
        for connection in connections:
            connection.settimeout(0.3)
            with suppress(TimeoutError, ConnectionError):
                answers.append(connection.recv(12))
        assert answers.count(b"HTTP/1.1 503") >= 5
        assert answers.count(b"HTTP/1.1 503") == len(answers)
        for connection in connections:
            connection.close()
        until = time.monotonic() + 10
        while gateway.post_event(JOB).status_code != 204:
            assert time.monotonic() < until


def test_an_upload_may_take_long_if_it_goes_on(tmp_path: Path) -> None:
    """2 KB with a token, at about 2 KB/s where 1 KB/s is asked for; then at a tenth of that."""
    with serving(tmp_path, SHORT) as gateway:
        status, seconds = uploaded(gateway, pieces=20, pause_s=0.05)
        assert (status, seconds > SHORT.body_s) == (202, True)
        assert uploaded(gateway, pieces=200, pause_s=0.1)[0] == 408


def uploaded(gateway: Gateway, *, pieces: int, pause_s: float) -> tuple[int, float]:
    size, begun = -(-len(FORM) // pieces), time.monotonic()
    with RawConnection(gateway.address) as connection:
        head = f"POST /v1/documents HTTP/1.1\nHost: x\nAuthorization: Bearer {gateway.token()}\n"
        connection.send(f"{head}Content-Type: multipart/form-data; boundary=b\nContent-Length: {len(FORM)}")
        try:
            for start in range(0, len(FORM), size):
                connection.socket.sendall(FORM[start : start + size])
                time.sleep(pause_s)
        except ConnectionError:
            pass
        return connection.answer()[0], time.monotonic() - begun


def test_the_longest_waiting_make_room(tmp_path: Path) -> None:
    """Of a hundred half-sent events twenty stay; events and uploads under way go through all the same."""
    with serving(tmp_path, Patience(connections=20)) as gateway, ExitStack() as stack:
        upload = stack.enter_context(RawConnection(gateway.address))
        head = f"POST /v1/documents HTTP/1.1\nHost: x\nAuthorization: Bearer {gateway.token()}\n"
        upload.send(f"{head}Content-Type: multipart/form-data; boundary=b\nContent-Length: {len(FORM)}", FORM[:100])
        gateway.http.get("/healthz").raise_for_status()
        halves = [stack.enter_context(half_event(gateway.address)) for _ in range(100)]
        assert [gateway.post_event(JOB).status_code for _ in range(5)] == [204] * 5
        assert everything(halves[0]) == b""
        upload.socket.sendall(FORM[100:])
        assert upload.answer()[0] == 202


def half_event(address: tuple[str, int]) -> socket.socket:
    connection = socket.create_connection(address, timeout=20)
    connection.sendall(HALF_EVENT)
    return connection


def test_half_sent_events_lock_nobody_out_of_a_process_with_few_files(tmp_path: Path) -> None:
    """300 of them against a process that may open 256 files: every signed event gets its 204."""
    command = f"ulimit -n 256; exec {sys.executable} -m tests.gateway_process {tmp_path}"
    with (
        subprocess.Popen(["bash", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
        ExitStack() as stack,
    ):
        assert process.stdout is not None
        url = process.stdout.readline().split()[0].decode()
        address = (str(urlsplit(url).hostname), int(urlsplit(url).port or 0))
        for _ in range(300):
            stack.enter_context(half_event(address))
        body = str(EVENT).replace("'", '"').encode()
        target, headers = f"{url}/webhooks/llamaparse/{JOB}", {"LC-Signature": sign(JOB, body)}
        assert [httpx.post(target, content=body, headers=headers).status_code for _ in range(20)] == [204] * 20
        process.communicate()
