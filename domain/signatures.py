"""Signatures in and out, and the secrets behind them. Everything is checked over the raw bytes, in constant time."""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final

from nacl.encoding import RawEncoder
from nacl.hash import blake2b
from nacl.signing import SigningKey

from domain.errors import ParsegateError

LC_FORM: Final = "sha256=[0-9a-f]{64}"
HEX_FORM: Final = "[0-9a-f]{64}"
_LC_SIGNATURE: Final = re.compile(LC_FORM.encode())
_HEX_SIGNATURE: Final = re.compile(HEX_FORM.encode())


class BadSignature(ParsegateError):
    """The message is not from who it says it is. Always the same words: they tell no part.

    Args:
        fault: what is wrong, for our own record: ``signature_missing``, ``_doubled``, ``_malformed`` or ``_wrong``.
    """

    reason = "bad_signature"

    def __init__(self, fault: str = "signature_wrong") -> None:
        super().__init__("the signature is missing or wrong")
        self.fault = fault


def job_secret(secret_key: bytes, job_id: str) -> str:
    """A job's own webhook secret: ``BLAKE2b-256(key, "parsegate-webhook:" + job_id)``, 64 lower-case hex digits.

    Derived, so that no look-up is needed, and a leaked one opens one job.

    Args:
        secret_key: 32 bytes.
        job_id: the job's UUID in its canonical lower-case form.
    """
    return derived_key(secret_key, f"parsegate-webhook:{job_id}").hex()


def derived_key(secret_key: bytes, purpose: str) -> bytes:
    """A key for one purpose alone: ``BLAKE2b-256(key, purpose)``, 32 bytes."""
    key: bytes = blake2b(purpose.encode(), key=secret_key, digest_size=32, encoder=RawEncoder)
    return key


def lc_signature(secret: str, body: bytes) -> str:
    """The value of ``LC-Signature`` for a raw body: HMAC-SHA256 keyed with the secret's characters."""
    return "sha256=" + hmac.new(secret.encode(), body, sha256).hexdigest()


def verify_lc(secret_keys: Sequence[bytes], job_id: str, headers: Sequence[bytes], body: bytes) -> None:
    """Check the provider's signature on an event.

    Args:
        secret_keys: every key in force, newest first.
        job_id: the job in the route, canonical.
        headers: every ``LC-Signature`` header that came; there must be exactly one.
        body: the raw bytes.

    Raises:
        BadSignature: whatever the fault.
    """
    _check(headers, _LC_SIGNATURE, [lc_signature(job_secret(key, job_id), body) for key in secret_keys])


def signature_003(secret: str, body: bytes) -> str:
    """The value of ``X-Webhook-Signature`` for a raw body: HMAC-SHA256 keyed with the secret, in hex."""
    return hmac.new(secret.encode(), body, sha256).hexdigest()


def verify_003(secrets: Sequence[str], headers: Sequence[bytes], body: bytes) -> None:
    """Check the signature of an event of the "003" pipeline.

    Args:
        secrets: every secret in force, newest first; without one nothing is right.
        headers: every ``X-Webhook-Signature`` header that came; there must be exactly one.
        body: the raw bytes.

    Raises:
        BadSignature: whatever the fault.
    """
    _check(headers, _HEX_SIGNATURE, [signature_003(secret, body) for secret in secrets])


def check_lc_form(headers: Sequence[bytes]) -> None:
    """Refuse what can't verify whatever the body is, before a byte of it is read.

    Raises:
        BadSignature: there is not exactly one ``LC-Signature``, or it has not the form.
    """
    _check_form(headers, _LC_SIGNATURE)


def check_003_form(headers: Sequence[bytes]) -> None:
    """As `check_lc_form`, for ``X-Webhook-Signature``.

    Raises:
        BadSignature: see there.
    """
    _check_form(headers, _HEX_SIGNATURE)


def _check_form(headers: Sequence[bytes], form: re.Pattern[bytes]) -> None:
    fault = "signature_missing" if not headers else "signature_doubled" if len(headers) > 1 else None
    if fault is None and not form.fullmatch(headers[0]):
        fault = "signature_malformed"
    if fault is not None:
        raise BadSignature(fault)


def _check(headers: Sequence[bytes], form: re.Pattern[bytes], expected: Sequence[str]) -> None:
    """Compare the one header with each signature that would be right, in the same time whichever it is, if any.

    Raises:
        BadSignature: there is not exactly one, it has not the form, or it is none of those.
    """
    _check_form(headers, form)
    right = False
    for signature in expected:
        right |= hmac.compare_digest(signature.encode(), headers[0])
    if not right:
        raise BadSignature


def standard_webhook_headers(
    secret_keys: Sequence[bytes], tenant: str, message_id: str, now: datetime, body: bytes
) -> dict[str, str]:
    """The headers of an outgoing event (standardwebhooks.com): HMAC (`v1`) and Ed25519 (`v1a`), by every key in force.

    Args:
        secret_keys: newest first.
        tenant: whose event it is: its HMAC secret opens no other tenant's receiver.
        message_id: stable over repeated deliveries.
        now: the moment of sending; receivers refuse what is older than five minutes.
    """
    stamp = str(int(now.timestamp()))
    signed = f"{message_id}.{stamp}.".encode() + body
    shared = [hmac.new(_callback_key(key, tenant), signed, sha256).digest() for key in secret_keys]
    public = [event_signing_key(key).sign(signed).signature for key in secret_keys]
    said = [("v1", signature) for signature in shared] + [("v1a", signature) for signature in public]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": stamp,
        "webhook-signature": " ".join(f"{scheme},{b64encode(signature).decode()}" for scheme, signature in said),
    }


def callback_secret(secret_key: bytes, tenant: str) -> str:
    """What a tenant's receiver checks `v1` signatures with, as Standard Webhooks writes it: ``whsec_<base64>``."""
    return "whsec_" + b64encode(_callback_key(secret_key, tenant)).decode()


def event_public_key(secret_key: bytes) -> str:
    """What anybody checks `v1a` signatures with, as Standard Webhooks writes it: ``whpk_<base64>``."""
    return "whpk_" + b64encode(bytes(event_signing_key(secret_key).verify_key)).decode()


def _callback_key(secret_key: bytes, tenant: str) -> bytes:
    return derived_key(secret_key, f"parsegate-callback:{tenant}")


def event_signing_key(secret_key: bytes) -> SigningKey:
    """The Ed25519 key that signs what Parsegate sends, derived from the secret key."""
    return SigningKey(derived_key(secret_key, "parsegate-ed25519:events"))
