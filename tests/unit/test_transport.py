"""The deadline holds whatever the server does."""

from __future__ import annotations

import datetime
import itertools
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpcore
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from llamaparse.address_guard import AddressGuard
from llamaparse.transport import GRACE_S, PACE_S, DeadlineTransport, Pace, Resolver
from tests.raw_server import Conversation, RawServer, Script, answering, reply

DEADLINE_S = 0.3
LATEST_S = 1.5
"""Far above the deadline, for slow machines; far below what any of these servers would take."""


def call(
    url: str, deadline_s: float | None = DEADLINE_S, content: bytes = b"", transport: DeadlineTransport | None = None
) -> httpx.Response:
    """One call whose own timeouts are long: only the deadline can end it."""
    extensions = {} if deadline_s is None else {"deadline_s": deadline_s}
    with httpx.Client(transport=transport or DeadlineTransport(), timeout=20) as client:
        return client.post(url, content=content, extensions=extensions)


def drip_headers(conversation: Conversation) -> None:
    conversation.read()
    conversation.drip(reply(200, "late" * 100))


def drip_body(conversation: Conversation) -> None:
    conversation.read()
    head, _, body = reply(200, "late" * 100).partition(b"\r\n\r\n")
    conversation.send(head + b"\r\n\r\n")
    conversation.drip(body)


def drip_continues(conversation: Conversation) -> None:
    conversation.read()
    while not conversation.closing.wait(0.02):
        conversation.send(b"HTTP/1.1 100 Continue\r\n\r\n")


def hang(conversation: Conversation) -> None:
    conversation.hang()


def reset(conversation: Conversation) -> None:
    conversation.read()
    conversation.reset()


def say_nothing(conversation: Conversation) -> None:
    conversation.read()


def read_slowly(conversation: Conversation) -> None:
    """Fast enough for every single send, far too slow for the whole."""
    while not conversation.closing.wait(0.005):
        conversation.sock.recv(128 * 1024)


def hang_after_one_byte(conversation: Conversation) -> None:
    conversation.read()
    conversation.closing.wait(0.8)
    conversation.send(b"H")
    conversation.hang()


def elapsed(work: Callable[[], object]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (drip_headers, httpx.ReadTimeout),
        (drip_body, httpx.ReadTimeout),
        (drip_continues, httpx.ReadTimeout),
        (hang, httpx.ReadTimeout),
    ],
)
def test_a_server_that_drips_cannot_stretch_a_call(script: Script, error: type[Exception]) -> None:
    def refused() -> None:
        with pytest.raises(error):
            call(server.url)

    with RawServer(script) as server:
        assert DEADLINE_S * 0.9 < elapsed(refused) < LATEST_S


def test_a_server_that_reads_slowly_cannot_stretch_an_upload() -> None:
    def refused() -> None:
        with pytest.raises(httpx.WriteTimeout):
            call(server.url, content=bytes(64 * 1024 * 1024))

    with RawServer(read_slowly) as server:
        assert DEADLINE_S * 0.9 < elapsed(refused) < LATEST_S


def test_the_time_already_spent_counts() -> None:
    """Of 1 s, 0.8 s pass before the first byte: the next one has 0.2 s, not another second."""

    def refused() -> None:
        with pytest.raises(httpx.ReadTimeout):
            call(server.url, deadline_s=1.0)

    with RawServer(hang_after_one_byte) as server:
        assert elapsed(refused) < 1.5


def test_the_time_of_the_look_up_counts_for_the_handshake() -> None:
    def resolve(host: str, port: int) -> Sequence[str]:
        threading.Event().wait(0.8)
        return ["127.0.0.1"]

    def refused() -> None:
        with pytest.raises(httpx.ConnectTimeout):
            call(f"https://name.test:{server.port}", 1.0, transport=DeadlineTransport(resolve=resolve))

    with RawServer(hang) as server:
        assert elapsed(refused) < 1.5


def test_without_a_deadline_the_own_timeouts_count() -> None:
    client = httpx.Client(transport=DeadlineTransport(), timeout=0.2)
    with RawServer(hang) as server, client, pytest.raises(httpx.ReadTimeout):
        client.get(server.url)


def test_the_shorter_of_timeout_and_deadline_counts() -> None:
    with RawServer(hang) as server, httpx.Client(transport=DeadlineTransport(), timeout=0.2) as client:

        def refused() -> None:
            with pytest.raises(httpx.ReadTimeout):
                client.get(server.url, extensions={"deadline_s": 20.0})

        assert elapsed(refused) < LATEST_S


def test_a_reused_connection_keeps_to_the_later_deadline() -> None:
    """The first call's deadline has passed when the second, longer one reads; the third is short again."""

    def script(conversation: Conversation) -> None:
        conversation.read()
        conversation.send(reply(200, "one"))
        conversation.read()
        conversation.closing.wait(2 * DEADLINE_S)
        conversation.send(reply(200, "two"))
        conversation.read()
        conversation.hang()

    with RawServer(script) as server, httpx.Client(transport=DeadlineTransport(), timeout=20) as client:
        assert client.get(server.url, extensions={"deadline_s": DEADLINE_S}).text == "one"
        assert client.get(server.url, extensions={"deadline_s": 10.0}).text == "two"

        def refused() -> None:
            with pytest.raises(httpx.ReadTimeout):
                client.get(server.url, extensions={"deadline_s": DEADLINE_S})

        assert elapsed(refused) < LATEST_S
        assert server.connections == 1


def test_the_clock_is_injected() -> None:
    """The deadline passes on the given clock, without any waiting."""
    ticks = iter([0.0, 1.0, 1e6, 1e6, 1e6])
    passed = pytest.raises(httpx.TimeoutException, match="the deadline for the whole call has passed")
    with RawServer(answering(reply(200, "x"))) as server, passed:
        call(server.url, deadline_s=100, transport=DeadlineTransport(clock=lambda: next(ticks)))


@pytest.mark.parametrize("drip", [drip_headers, drip_body])
def test_a_server_that_drips_falls_behind_the_pace(drip: Script) -> None:
    """Each read seems to take a second; no more than a hundred are waited for."""
    seconds = itertools.count()
    transport = DeadlineTransport(clock=lambda: float(next(seconds)))
    with (
        RawServer(drip) as server,
        httpx.Client(transport=transport, timeout=20) as client,
        pytest.raises(httpx.ReadTimeout, match="slower than 10,240 bytes a second"),
    ):
        client.get(server.url, extensions={"deadline_s": 1e6, "least_bytes_per_s": 10 * 1024})
    assert next(seconds) < 4 * (GRACE_S + PACE_S)


def test_the_pace_is_asked_for_after_a_while_and_again_and_again() -> None:
    pace = Pace(10)
    for _ in range(30):
        pace.received(0, 1.0)
    for _ in range(120):
        pace.received(10, 1.0)
    for _ in range(59):
        pace.received(9, 1.0)
    with pytest.raises(httpcore.ReadTimeout):
        pace.received(9, 1.0)


def test_a_slow_look_up_is_cut_off() -> None:
    released = threading.Event()

    def resolve(host: str, port: int) -> Sequence[str]:
        released.wait(10)
        return ["127.0.0.1"]

    def refused() -> None:
        with pytest.raises(httpx.ConnectTimeout):
            call("http://name.test/", transport=DeadlineTransport(resolve=resolve))

    assert elapsed(refused) < LATEST_S
    released.set()


def test_a_slow_tls_handshake_is_cut_off() -> None:
    """The server accepts and never answers the hello."""

    def refused() -> None:
        with pytest.raises(httpx.ConnectTimeout):
            call(server.url.replace("http:", "https:"))

    with RawServer(hang) as server:
        assert elapsed(refused) < LATEST_S


def test_the_next_address_is_tried() -> None:
    with RawServer(answering(reply(200, "x"))) as server:
        transport = DeadlineTransport(resolve=lambda host, port: ["127.0.0.2", "127.0.0.1"])
        assert call(f"http://two.test:{server.port}", deadline_s=10, transport=transport).text == "x"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/", "http://a..b/", f"http://{'a' * 64}.test/", "http://127.0.0.1:99999/"]
)
def test_what_cannot_be_reached_is_a_connect_error(url: str) -> None:
    with pytest.raises(httpx.ConnectError):
        call(url, deadline_s=10)


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (reset, httpx.ReadError),
        (say_nothing, httpx.RemoteProtocolError),
        (answering(b"not HTTP at all\r\n\r\n"), httpx.RemoteProtocolError),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), httpx.RemoteProtocolError),
    ],
)
def test_a_broken_connection_is_httpx_own_error(script: Script, error: type[Exception]) -> None:
    with RawServer(script) as server, pytest.raises(error):
        call(server.url, deadline_s=10)


def test_a_streamed_body_that_is_not_read_gives_its_connection_back() -> None:
    with RawServer(answering(reply(200, "x" * 1000))) as server:
        transport = DeadlineTransport(max_connections=1)
        with httpx.Client(transport=transport, timeout=2) as client:
            for _ in range(3):
                with client.stream("GET", server.url):
                    pass


def fixed(*addresses: str) -> Resolver:
    return lambda host, port: addresses


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for good.test, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "good.test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("good.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def test_tls_checks_the_name_though_it_connects_to_the_address(certificate: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    names: list[str | None] = []
    tls.sni_callback = lambda sock, name, context: names.append(name)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with RawServer(answering(reply(200, "x")), tls=tls) as server:
        transport = DeadlineTransport(
            guard=AddressGuard(["127.0.0.1"]), resolve=fixed("127.0.0.1"), ssl_context=trusting
        )
        with httpx.Client(transport=transport, timeout=5) as client:
            assert client.get(f"https://good.test:{server.port}", extensions={"deadline_s": 5.0}).text == "x"
            with pytest.raises(httpx.ConnectError, match="certificate"):
                client.get(f"https://bad.test:{server.port}")
    assert names == ["good.test", "bad.test"]


def test_a_server_that_drips_over_tls_cannot_stretch_a_call(certificate: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))

    def refused() -> None:
        with pytest.raises(httpx.ReadTimeout):
            call(
                f"https://good.test:{server.port}",
                transport=DeadlineTransport(resolve=fixed("127.0.0.1"), ssl_context=trusting),
            )

    with RawServer(drip_body, tls=tls) as server:
        assert elapsed(refused) < LATEST_S
