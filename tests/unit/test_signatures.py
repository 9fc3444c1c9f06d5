"""The webhook secret's derivation is fixed for outsiders; nothing but the exact signature verifies."""

from __future__ import annotations

import hmac
from base64 import b64decode
from datetime import UTC, datetime
from hashlib import blake2b, sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from domain.signatures import (
    BadSignature,
    callback_secret,
    event_public_key,
    job_secret,
    lc_signature,
    signature_003,
    standard_webhook_headers,
    verify_003,
    verify_lc,
)

KEY, OLD_KEY = bytes(range(32)), bytes(range(32, 64))
JOB = "11111111-2222-4333-8444-555555555555"
BODY = b'{"event_type":"parse.success"}'


def signed(secret: str, body: bytes = BODY) -> bytes:
    return b"sha256=" + hmac.new(secret.encode(), body, sha256).hexdigest().encode()


def test_the_secret_is_derived_as_the_interface_says() -> None:
    expected = blake2b(f"parsegate-webhook:{JOB}".encode(), key=KEY, digest_size=32).hexdigest()
    assert job_secret(KEY, JOB) == expected


def test_the_right_signature_verifies_under_each_key_in_force() -> None:
    verify_lc([KEY], JOB, [signed(job_secret(KEY, JOB))], BODY)
    verify_lc([KEY, OLD_KEY], JOB, [signed(job_secret(OLD_KEY, JOB))], BODY)
    assert lc_signature(job_secret(KEY, JOB), BODY).encode() == signed(job_secret(KEY, JOB))


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [b""],
        [signed(job_secret(KEY, JOB))] * 2,
        [signed(job_secret(KEY, JOB)).upper()],
        [signed(job_secret(KEY, JOB))[7:]],
        [signed(job_secret(KEY, JOB))[:-1]],
        [signed(job_secret(KEY, JOB)) + b" "],
        [b" " + signed(job_secret(KEY, JOB))],
        [signed(job_secret(KEY, JOB)) + b"\n"],
        [signed(job_secret(KEY, "another"))],
        [signed(job_secret(OLD_KEY, JOB))],
        [signed(job_secret(KEY, JOB), BODY + b" ")],
        [b"sha256=" + b"0" * 64],
        [b"sha256=\xc2\xb2" + b"0" * 62],
    ],
)
def test_nothing_else_verifies(headers: list[bytes]) -> None:
    with pytest.raises(BadSignature):
        verify_lc([KEY], JOB, headers, BODY)


def test_without_a_key_nothing_verifies() -> None:
    with pytest.raises(BadSignature):
        verify_lc([], JOB, [b"sha256=" + b"0" * 64], BODY)


@given(st.binary(max_size=200), st.binary(max_size=100))
def test_no_other_body_or_header_verifies(body: bytes, header: bytes) -> None:
    good = signed(job_secret(KEY, JOB))
    if body != BODY:
        with pytest.raises(BadSignature):
            verify_lc([KEY], JOB, [good], body)
    if header != good:
        with pytest.raises(BadSignature):
            verify_lc([KEY], JOB, [header], BODY)


SECRETS = ["new-secret", "old-secret"]


def test_a_003_signature_verifies_under_each_secret_in_force() -> None:
    for secret in SECRETS:
        right = hmac.new(secret.encode(), BODY, sha256).hexdigest().encode()
        verify_003(SECRETS, [right], BODY)
        assert signature_003(secret, BODY).encode() == right


@pytest.mark.parametrize(
    ("headers", "fault"),
    [
        ([], "signature_missing"),
        ([signature_003("new-secret", BODY).encode()] * 2, "signature_doubled"),
        ([b""], "signature_malformed"),
        ([b"sha256=" + signature_003("new-secret", BODY).encode()], "signature_malformed"),
        ([signature_003("new-secret", BODY).upper().encode()], "signature_malformed"),
        ([signature_003("new-secret", BODY).encode()[:-1]], "signature_malformed"),
        ([signature_003("new-secret", BODY + b" ").encode()], "signature_wrong"),
        ([signature_003("another", BODY).encode()], "signature_wrong"),
        ([b"0" * 64], "signature_wrong"),
    ],
)
def test_no_other_003_signature_verifies(headers: list[bytes], fault: str) -> None:
    for secrets in (SECRETS, []):
        with pytest.raises(BadSignature) as caught:
            verify_003(secrets, headers, BODY)
        assert (caught.value.fault, str(caught.value)) == (fault, "the signature is missing or wrong")


@given(st.binary(max_size=200), st.binary(max_size=100))
def test_no_mutation_of_a_003_event_verifies(body: bytes, header: bytes) -> None:
    good = signature_003(SECRETS[0], BODY).encode()
    if body != BODY:
        with pytest.raises(BadSignature):
            verify_003(SECRETS, [good], body)
    if header != good:
        with pytest.raises(BadSignature):
            verify_003(SECRETS, [header], BODY)


def test_outgoing_events_verify_with_the_public_key() -> None:
    now = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    headers = standard_webhook_headers([KEY, OLD_KEY], "acme", "event-1", now, BODY)
    text = f"event-1.{int(now.timestamp())}.".encode() + BODY
    signatures = [said for said in headers["webhook-signature"].split(" ") if said.startswith("v1a,")]
    for key, signature in zip([KEY, OLD_KEY], signatures, strict=True):
        public = VerifyKey(b64decode(event_public_key(key).removeprefix("whpk_")))
        assert public.verify(text, b64decode(signature.removeprefix("v1a,")))
        with pytest.raises(BadSignatureError):
            public.verify(text + b" ", b64decode(signature.removeprefix("v1a,")))


@pytest.mark.parametrize("keys", [[KEY], [KEY, OLD_KEY], [OLD_KEY, KEY]])
def test_the_reference_package_verifies_outgoing_events(keys: list[bytes]) -> None:
    """With the secret of every key in force; with no other tenant's, and no other body or id."""
    headers = standard_webhook_headers(keys, "acme", "event-1", datetime.now(UTC), BODY)
    for key in keys:
        Webhook(callback_secret(key, "acme")).verify(BODY, headers)
        for foreign in (callback_secret(key, "globex"), callback_secret(bytes(32), "acme")):
            with pytest.raises(WebhookVerificationError):
                Webhook(foreign).verify(BODY, headers)
        for said, body in ((headers, BODY + b" "), (headers | {"webhook-id": "event-2"}, BODY)):
            with pytest.raises(WebhookVerificationError):
                Webhook(callback_secret(key, "acme")).verify(body, said)
