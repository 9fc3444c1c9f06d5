"""The provider's events at the door: what gets in, what does not, and that 204 means safe."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import structlog

from domain.messages import ACTORS, check_payload
from models.database import open_database
from tests.gateway_harness import EVENT, Gateway, RawConnection, RecordingPublisher, running_gateway, settings_of, sign

JOB = "6f1ed002-ab5e-4f3a-9d2c-1f0f0a0b0c0d"
OTHER_JOB = "7f1ed002-ab5e-4f3a-9d2c-1f0f0a0b0c0d"
BODY = json.dumps(EVENT).encode()
MIB = 1024 * 1024
MISSING: list[str] = []
"""No signature header at all."""


@pytest.fixture
def publisher() -> RecordingPublisher:
    return RecordingPublisher()


@pytest.fixture
def gateway(tmp_path: Path, publisher: RecordingPublisher) -> Iterator[Gateway]:
    # No such server: whatever used the database here would fail.
    open_database("postgresql://nobody:nothing@127.0.0.1:1/none")
    with running_gateway(tmp_path, publisher=lambda _: publisher) as gateway:
        yield gateway


def post(gateway: Gateway, body: bytes, signatures: list[str], job_id: str = JOB) -> tuple[int, dict[str, str], bytes]:
    """A request over a raw socket, with as many signature headers as wanted."""
    lines = [f"POST /webhooks/llamaparse/{job_id} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
    with RawConnection(gateway.address) as connection:
        connection.send("\n".join([*lines, *(f"LC-Signature: {signature}" for signature in signatures)]), body)
        return connection.answer()


def test_signed_event_is_passed_on(gateway: Gateway, publisher: RecordingPublisher) -> None:
    """204, and one message that the queue's own rules admit."""
    answer = gateway.post_event(JOB)
    assert (answer.status_code, answer.content) == (204, b"")
    [message] = publisher.sent
    assert (message.actor_name, message.queue_name) == ("ingest_result", "result-ingest")
    assert check_payload(ACTORS["ingest_result"], dict(message.kwargs)) == {
        "job_id": JOB,
        "event_id": EVENT["event_id"],
        "event_type": "parse.success",
        "provider_job_id": "pjb-1",
    }


def test_provider_s_default_format_is_a_json_string_that_holds_json(
    gateway: Gateway, publisher: RecordingPublisher
) -> None:
    """`webhook_output_format: string`: both formats make the same message."""
    assert gateway.post_event(JOB).status_code == 204
    assert gateway.post_event(JOB, json.dumps(json.dumps(EVENT)).encode()).status_code == 204
    first, second = publisher.sent
    assert first.kwargs == second.kwargs


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({}, {}),
        ({"event_type": "parse.never_heard_of", "data": {"job_id": "pjb-2", "x": [1]}, "new": {"a": 1}},
         {"event_type": "parse.never_heard_of", "provider_job_id": "pjb-2"}),
        ({"event_id": 7, "event_type": ["parse.success"], "data": "no object"}, {}),
        ({"event_id": "x" * 5000, "data": {"id": "pjb-3"}}, {"event_id": "x" * 200, "provider_job_id": "pjb-3"}),
        ({"data": {"job_id": {"a": 1}, "id": "pjb-4"}}, {}),
    ],
)  # fmt: skip
def test_what_an_event_says_is_cut_to_what_the_queue_takes(
    gateway: Gateway, publisher: RecordingPublisher, event: dict[str, object], said: dict[str, str]
) -> None:
    """Unknown names and members are accepted; what has a wrong type is left out. It nudges in any case."""
    assert gateway.post_event(JOB, json.dumps(event).encode()).status_code == 204
    [message] = publisher.sent
    assert dict(message.kwargs) == {"job_id": JOB, **said}
    check_payload(ACTORS["ingest_result"], dict(message.kwargs))


RIGHT = sign(JOB, BODY)
REFUSED = {
    "missing": (MISSING, BODY),
    "empty": ([""], BODY),
    "doubled": ([RIGHT, RIGHT], BODY),
    "right, then wrong": ([RIGHT, "sha256=" + "0" * 64], BODY),
    "both in one header": ([f"{RIGHT}, {RIGHT}"], BODY),
    "without its prefix": ([RIGHT.removeprefix("sha256=")], BODY),
    "another prefix": ([RIGHT.replace("sha256", "sha512")], BODY),
    "upper-case hex": (["sha256=" + RIGHT[7:].upper()], BODY),
    "upper-case prefix": (["SHA256=" + RIGHT[7:]], BODY),
    "truncated": ([RIGHT[:-1]], BODY),
    "too long": ([RIGHT + "0"], BODY),
    "one digit changed": ([RIGHT[:-1] + ("0" if RIGHT[-1] != "0" else "1")], BODY),
    "of another body": ([sign(JOB, b"{}")], BODY),
    "of another job": ([sign(OTHER_JOB, BODY)], BODY),
    "by another key": ([sign(JOB, BODY, "1f" * 32)], BODY),
    "of the body re-serialised": ([RIGHT], json.dumps(EVENT, separators=(",", ":")).encode()),
    "of the body and a newline": ([RIGHT], BODY + b"\n"),
    "not ASCII": (["sha256=" + "é" * 64], BODY),
    "of a body that is no JSON": ([RIGHT], b"{"),
    "keyed with the raw key": (["sha256=" + "a" * 64], BODY),
}


@pytest.mark.parametrize("case", REFUSED)
def test_whatever_is_not_signed_rightly_is_401(gateway: Gateway, publisher: RecordingPublisher, case: str) -> None:
    """The same answer whatever the fault, and nothing is passed on."""
    signatures, body = REFUSED[case]
    status, headers, answer = post(gateway, body, signatures)
    assert status == 401
    problem = json.loads(answer)
    assert (problem["type"], problem["detail"]) == ("/problems/bad_signature", "The signature is missing or wrong")
    assert headers["content-type"] == "application/problem+json"
    assert "www-authenticate" in headers
    assert publisher.sent == []


def test_every_key_in_force_opens(tmp_path: Path, publisher: RecordingPublisher) -> None:
    """While secrets rotate, events signed with the old and the new key get in, others don't."""
    open_database("postgresql://nobody:nothing@127.0.0.1:1/none")
    settings = settings_of(PARSEGATE_SECRET_KEY=f"{'1f' * 32},{'2f' * 32}")
    with running_gateway(tmp_path, settings=settings, publisher=lambda _: publisher) as gateway:
        statuses = [post(gateway, BODY, [sign(JOB, BODY, key * 32)])[0] for key in ("1f", "2f", "3f")]
    assert statuses == [204, 204, 401]


def test_without_a_secret_key_nothing_gets_in(tmp_path: Path, publisher: RecordingPublisher) -> None:
    """Fail closed."""
    open_database("postgresql://nobody:nothing@127.0.0.1:1/none")
    settings = settings_of().model_copy(update={"secret_key": ()})
    with running_gateway(tmp_path, settings=settings, publisher=lambda _: publisher) as gateway:
        assert gateway.post_event(JOB).status_code == 401


NONSENSE = {
    "nothing": b"",
    "broken off": b"{",
    "a list": b"[1]",
    "a number": b"7",
    "null": b"null",
    "a text": b'"text"',
    "a text that holds a list": b'"[1]"',
    "a text in a text": json.dumps(json.dumps(BODY.decode())).encode(),
    "not UTF-8": b"\xff",
    "not a number": b'{"event_id": NaN}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("body", NONSENSE.values(), ids=NONSENSE)
def test_signed_nonsense_is_400_and_changes_nothing(
    gateway: Gateway, publisher: RecordingPublisher, body: bytes
) -> None:
    """Signed, so it is from the provider; but no event."""
    status, _, answer = post(gateway, body, [sign(JOB, body)])
    assert status == 400
    assert json.loads(answer)["type"] == "/problems/not_an_event"
    assert publisher.sent == []


@pytest.mark.parametrize("job_id", [JOB.upper(), JOB.replace("-", ""), "{" + JOB + "}", JOB + "0", "x", "..%2f" + JOB])
def test_job_id_is_canonical_or_404(gateway: Gateway, publisher: RecordingPublisher, job_id: str) -> None:
    """One job has one spelling, even if the signature is right for the other spelling."""
    assert post(gateway, BODY, [sign(job_id, BODY)], job_id)[0] == 404
    assert publisher.sent == []


def test_1_mib_is_taken_and_a_byte_more_is_413(gateway: Gateway, publisher: RecordingPublisher) -> None:
    """The limit counts the raw bytes."""
    padding = MIB - len(json.dumps({"event_id": "a", "pad": ""}))
    largest = json.dumps({"event_id": "a", "pad": "x" * padding}).encode()
    assert len(largest) == MIB
    assert gateway.post_event(JOB, largest).status_code == 204
    assert gateway.post_event(JOB, largest + b" ").status_code == 413
    assert len(publisher.sent) == 1


def test_content_length_over_the_limit_is_refused_before_a_byte_is_read(gateway: Gateway) -> None:
    """The answer comes although the body never does."""
    with RawConnection(gateway.address) as connection:
        connection.send(
            f"POST /webhooks/llamaparse/{JOB} HTTP/1.1\nHost: x\nContent-Length: {MIB + 1}\nLC-Signature: {RIGHT}"
        )
        assert connection.answer()[0] == 413


def test_what_has_no_signature_is_refused_before_a_byte_is_read(gateway: Gateway) -> None:
    for signature in ("", "\nLC-Signature: sha256=0", f"\nLC-Signature: {RIGHT}\nLC-Signature: {RIGHT}"):
        with RawConnection(gateway.address) as connection:
            connection.send(f"POST /webhooks/llamaparse/{JOB} HTTP/1.1\nHost: x\nContent-Length: 1000{signature}")
            assert connection.answer()[0] == 401


def test_chunked_body_is_read_to_the_limit_only(gateway: Gateway) -> None:
    """The answer comes while the body has no end."""
    with RawConnection(gateway.address) as connection:
        head = f"POST /webhooks/llamaparse/{JOB} HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\nLC-Signature: {RIGHT}"
        connection.send(head)
        piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        for _ in range(MIB // 0x10000 + 1):
            connection.socket.sendall(piece)
        assert connection.answer()[0] == 413


def test_chunked_event_within_the_limit_is_taken(gateway: Gateway) -> None:
    """Chunked is as good as any."""
    half = len(BODY) // 2
    pieces = [BODY[:half], BODY[half:], b""]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    head = f"POST /webhooks/llamaparse/{JOB} HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\nLC-Signature: {RIGHT}"
    with RawConnection(gateway.address) as connection:
        connection.send(head, chunks)
        assert connection.answer()[0] == 204


def test_content_length_that_says_too_little_cuts_the_body_off(gateway: Gateway, publisher: RecordingPublisher) -> None:
    """Fewer bytes are another body, with another signature; the rest is not an event either."""
    head = f"POST /webhooks/llamaparse/{JOB} HTTP/1.1\nHost: x\nContent-Length: {len(BODY) - 1}\nLC-Signature: {RIGHT}"
    with RawConnection(gateway.address) as connection:
        connection.send(head, BODY)
        # 401, unless the server has looked further: the byte that is left is no request.
        assert connection.answer()[0] in {400, 401}
    assert publisher.sent == []


def test_broken_off_event_is_not_passed_on(gateway: Gateway, publisher: RecordingPublisher) -> None:
    """A sender that goes away in the middle leaves nothing behind, and the next one is served."""
    head = f"POST /webhooks/llamaparse/{JOB} HTTP/1.1\nHost: x"
    with RawConnection(gateway.address) as connection:
        connection.send(f"{head}\nContent-Length: {len(BODY) + 9}\nLC-Signature: {RIGHT}", BODY)
    assert gateway.post_event(OTHER_JOB).status_code == 204
    assert [message.kwargs["job_id"] for message in publisher.sent] == [OTHER_JOB]


def test_503_while_it_can_t_be_made_safe(gateway: Gateway, publisher: RecordingPublisher) -> None:
    """The provider is told to come again, and not why."""
    publisher.ready = False
    answer = gateway.post_event(JOB)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json()["type"] == "/problems/store_unavailable"
    assert "secret-host" not in answer.text
    publisher.ready = True
    assert gateway.post_event(JOB).status_code == 204


def test_log_says_that_and_why_without_secrets(gateway: Gateway) -> None:
    """A rejection and a success: a line each, with the correlation id, without body, signature or path."""
    correlation = str(uuid4())
    with structlog.testing.capture_logs() as lines:
        gateway.post_event(JOB, signature="sha256=" + "0" * 64, headers={"Correlation-Id": correlation})
        gateway.post_event(JOB, headers={"Correlation-Id": correlation})
    assert [(line["event"], line.get("reason"), line.get("status")) for line in lines] == [
        ("webhook rejected", "signature_wrong", None),
        ("request", None, 401),
        ("request", None, 204),
    ]
    assert {line["correlation_id"] for line in lines} == {correlation}
    assert {line["route"] for line in lines if line["event"] == "request"} == {"/webhooks/llamaparse/{job_id}"}
    written = repr(lines)
    assert "pjb-1" not in written
    assert RIGHT[7:] not in written


def test_only_post(gateway: Gateway) -> None:
    """Other methods are 405, as a problem too."""
    answer = httpx.get(f"{gateway.url}/webhooks/llamaparse/{JOB}")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]
    assert answer.json()["type"] == "/problems/method_not_allowed"
