"""No mutation of a signed message verifies. Each right signature is made here anew, from what the interface says."""

from __future__ import annotations

import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b, sha256
from typing import Any, Final

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from domain.signatures import (
    BadSignature,
    callback_secret,
    event_public_key,
    standard_webhook_headers,
    verify_003,
    verify_lc,
)

checked = settings(max_examples=500, deadline=None, derandomize=True)
PREFIX: Final = b"sha256="

ids = st.uuids(version=4).map(str)
keys = st.binary(min_size=32, max_size=32)
letters = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | letters,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(letters, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(letters | st.sampled_from(["job_id", "data", "status"]), values, max_size=4)


def written(said: object, *, in_a_string: bool = False) -> bytes:
    """JSON, or the JSON string that holds it: the two forms of a body."""
    text = json.dumps(said, ensure_ascii=False)
    return (json.dumps(text) if in_a_string else text).encode()


bodies = st.builds(written, objects, in_a_string=st.booleans())


@dataclass(frozen=True)
class Sent:
    """What comes in: the job in the route, every header of the scheme's name, and the body."""

    job_id: str
    headers: tuple[bytes, ...]
    body: bytes


@st.composite
def spoilt(draw: st.DrawFn, raw: bytes) -> bytes:
    """One thing done to bytes: a bit flipped, cut, longer, a byte in or out, or a part moved."""
    at = draw(st.integers(0, max(len(raw) - 1, 0)))
    more = draw(st.binary(min_size=1, max_size=3))
    flipped = raw[:at] + bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in raw[at : at + 1]) + raw[at + 1 :]
    changes = [flipped, raw[:at], raw[at:], raw + more, more + raw, raw[:at] + more + raw[at:]]
    return draw(st.sampled_from([*changes, raw[:at] + raw[at + 1 :], raw[at:] + raw[:at], raw + raw]))


def around(raw: bytes) -> st.SearchStrategy[bytes]:
    """The bytes with what many a reader overlooks before or after them."""
    nothing = st.sampled_from([b" ", b"\n", b"\r\n", b"\t", b"\0", b"\xef\xbb\xbf", b"\xa0", b"\x85"])
    return st.tuples(nothing, st.booleans()).map(lambda drawn: drawn[0] + raw if drawn[1] else raw + drawn[0])


HEADER_CHANGES: Final[Sequence[Callable[[bytes], bytes]]] = (
    bytes.upper,
    bytes.swapcase,
    bytes.title,
    *(lambda header, space=space: header + space for space in (b" ", b"\t", b"\n", b"\r\n", b"\0", b",", b";")),
    *(lambda header, space=space: space + header for space in (b" ", b"\t", b"\n", b"sha1=", b"v1,", b"0x")),
    lambda header: header.replace(b"=", b" = ").replace(b"=", b":"),
    lambda header: header.replace(b"0", "０".encode()),
    lambda header: header + b"," + header,
    lambda header: header + b", " + header,
    lambda header: b'"' + header + b'"',
    lambda header: header.removeprefix(PREFIX) if header.startswith(PREFIX) else PREFIX + header,
    lambda header: PREFIX.upper() + header.removeprefix(PREFIX),
    lambda header: b64encode(bytes.fromhex(header.removeprefix(PREFIX).decode())),
    lambda header: b"",
)


def same_to_json(body: bytes) -> Iterator[bytes]:
    """The body as others would write what is in it."""
    said = json.loads(body)
    yield json.dumps(said, separators=(",", ":")).encode()
    yield json.dumps(said, indent=2).encode()
    yield json.dumps(said, sort_keys=True, ensure_ascii=False).encode()
    yield written(said, in_a_string=True)
    yield json.loads(body).encode() if isinstance(said, str) else body + b"\n"
    yield b"\xef\xbb\xbf" + body
    yield body.decode().encode("utf-16")
    yield body.replace(b" ", b"")
    yield body.replace(b", ", b" ,")


@st.composite
def mutated(draw: st.DrawFn, sent: Sent, other: Sent, forged: Callable[[Sent], Sequence[bytes]]) -> Sent:
    """A message with one to three things done to it.

    Args:
        other: a right one too, of another job.
        forged: headers for a message that were made with what is no secret of its job.
    """
    body, (header,) = sent.body, sent.headers
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        now = sent.headers[0] if sent.headers else b""
        changes: list[st.SearchStrategy[dict[str, Any]]] = [
            st.sampled_from([sent.job_id.upper(), sent.job_id.replace("-", ""), sent.job_id + " ", other.job_id, ""])
            .map(lambda job_id: {"job_id": job_id}),
            st.sampled_from([other.body, *same_to_json(body)]).map(lambda body: {"body": body}),
            spoilt(sent.body).map(lambda body: {"body": body}),
            around(sent.body).map(lambda body: {"body": body}),
            spoilt(now).map(lambda header: {"headers": (header,)}),
            st.sampled_from([change(header) for change in HEADER_CHANGES]).map(lambda header: {"headers": (header,)}),
            st.sampled_from([other.headers, (), (now, now), (now, b""), (b"", now), (*other.headers, now)])
            .map(lambda headers: {"headers": headers}),
            st.sampled_from(forged(sent)).map(lambda header: {"headers": (header,)}),
        ]  # fmt: skip
        sent = replace(sent, **draw(st.one_of(changes)))
    return sent


def check_all(data: st.DataObject, sign: Callable[[int, str, bytes], bytes], **world: Any) -> None:
    """What was signed verifies, by each secret in force; what was made of it does not, unless it is the same again."""
    pairs, verify = world["pairs"], world["verify"]
    right = [
        Sent(job_id, (sign(number, job_id, body),), body)
        for job_id, body in pairs
        for number in range(world["in_force"])
    ]
    for sent in right:
        verify(sent)
    first, second = data.draw(st.sampled_from(right)), data.draw(st.sampled_from(right))
    bad = data.draw(mutated(first, second, world["forged"]))
    assume((bad if world["by_job"] else replace(bad, job_id="")) not in right)
    with pytest.raises(BadSignature) as caught:
        verify(bad)
    assert str(caught.value) == "the signature is missing or wrong"


def mac(secret: bytes, body: bytes) -> bytes:
    return hmac.new(secret, body, sha256).hexdigest().encode()


def secret_of(key: bytes, job_id: str, purpose: str = "parsegate-webhook:") -> bytes:
    return blake2b(f"{purpose}{job_id}".encode(), key=key, digest_size=32).hexdigest().encode()


@checked
@given(
    st.data(), st.lists(keys, min_size=2, max_size=4, unique=True), st.lists(ids, min_size=2, max_size=2, unique=True)
)
def test_no_mutation_of_an_event_verifies(data: st.DataObject, keys: list[bytes], jobs: list[str]) -> None:
    """``LC-Signature`` with the job's derived secret, by several keys while they are rotated; the last one is out."""

    def sign(number: int, job_id: str, body: bytes) -> bytes:
        return PREFIX + mac(secret_of(keys[number], job_id), body)

    def forged(sent: Sent) -> list[bytes]:
        other = next(job_id for job_id in jobs if job_id != sent.job_id)
        derived = secret_of(keys[0], sent.job_id)
        secrets = [
            secret_of(keys[-1], sent.job_id),
            secret_of(keys[0], other),
            secret_of(keys[0], sent.job_id, "parsegate-callback:"),
            secret_of(keys[0], sent.job_id, ""),
            *(derived.upper(), bytes.fromhex(derived.decode()), keys[0], keys[0].hex().encode(), sent.job_id.encode()),
            b"",
        ]
        return [PREFIX + mac(secret, sent.body) for secret in secrets] + [mac(derived, sent.body)]

    check_all(
        data,
        sign,
        pairs=[(job_id, data.draw(bodies)) for job_id in jobs],
        in_force=len(keys) - 1,
        verify=lambda sent: verify_lc(keys[:-1], sent.job_id, sent.headers, sent.body),
        forged=forged,
        by_job=True,
    )


@checked
@given(st.data(), st.lists(letters.filter(bool), min_size=2, max_size=4, unique=True))
def test_no_mutation_of_a_003_event_verifies(data: st.DataObject, secrets: list[str]) -> None:
    """The older scheme, in which a signature is bound to its body alone; the last secret is out."""
    in_force, whole = secrets[:-1], ",".join(secrets[:-1])
    assume(secrets[-1].encode() not in {b"", *(secret.encode() for secret in in_force)})

    def forged(sent: Sent) -> list[bytes]:
        wrong = {secrets[-1], whole, "", f"{secrets[0]} ", secrets[0] * 2, sent.body.decode(errors="replace")}
        made = [mac(secret.encode(), sent.body) for secret in sorted(wrong - {*in_force})]
        return [*made, sha256(secrets[0].encode() + sent.body).hexdigest().encode()]

    check_all(
        data,
        lambda number, _, body: mac(secrets[number].encode(), body),
        pairs=[("", data.draw(bodies)) for _ in range(2)],
        in_force=len(in_force),
        verify=lambda sent: verify_003(in_force, sent.headers, sent.body),
        forged=forged,
        by_job=False,
    )


@dataclass(frozen=True)
class Told:
    """An outgoing event (Standard Webhooks) as a receiver reads it."""

    message_id: str
    stamp: int
    body: bytes
    signatures: tuple[tuple[str, bytes], ...]

    @property
    def signed(self) -> bytes:
        """What its signatures are of."""
        return f"{self.message_id}.{self.stamp}.".encode() + self.body

    @property
    def headers(self) -> dict[str, str]:
        """As they are sent."""
        said = " ".join(f"{scheme},{b64encode(signature).decode()}" for scheme, signature in self.signatures)
        return {"webhook-id": self.message_id, "webhook-timestamp": str(self.stamp), "webhook-signature": said}


@dataclass(frozen=True)
class Receiver:
    """Who holds the shared secret of a tenant, and the public key, by one secret key."""

    key: bytes
    tenant: str

    def takes_v1(self, told: Told) -> bool:
        """By the reference package."""
        with suppress(WebhookVerificationError, ValueError):
            Webhook(callback_secret(self.key, self.tenant)).verify(told.body, told.headers)
            return True
        return False

    def takes_v1a(self, told: Told) -> bool:
        """By libsodium."""
        public = VerifyKey(b64decode(event_public_key(self.key).removeprefix("whpk_")))
        for signature in [signature for scheme, signature in told.signatures if scheme == "v1a"]:
            with suppress(BadSignatureError, ValueError):
                public.verify(told.signed, signature)
                return True
        return False

    def right(self, told: Told) -> dict[str, bytes]:
        """The signature of each scheme, made by the words of the interface and the specification."""
        shared = blake2b(f"parsegate-callback:{self.tenant}".encode(), key=self.key, digest_size=32).digest()
        seed = blake2b(b"parsegate-ed25519:events", key=self.key, digest_size=32).digest()
        return {
            "v1": hmac.new(shared, told.signed, sha256).digest(),
            "v1a": SigningKey(seed).sign(told.signed).signature,
        }


def told(keys: Sequence[bytes], tenant: str, message_id: str, at: datetime, body: bytes) -> Told:
    """An event as it is sent."""
    headers = standard_webhook_headers(keys, tenant, message_id, at, body)
    pairs = [said.split(",") for said in headers["webhook-signature"].split(" ")]
    made = tuple((scheme, b64decode(signature, validate=True)) for scheme, signature in pairs)
    event = Told(headers["webhook-id"], int(headers["webhook-timestamp"]), body, made)
    assert event.headers == headers
    return event


def changed(event: Told, other: Told) -> st.SearchStrategy[Told]:
    """An event with one thing done to it."""
    first, stamp, id_ = event.signatures, event.stamp, event.message_id
    odd = "V1", "v2", "v1b", "", "sha256"
    numbers = st.integers(0, len(first) - 1)

    def with_signature(number: int, scheme: str, signature: bytes) -> Told:
        return replace(event, signatures=(*first[:number], (scheme, signature), *first[number + 1 :]))

    one = numbers.flatmap(
        lambda number: st.builds(with_signature, st.just(number), st.just(first[number][0]), spoilt(first[number][1]))
    )
    crossed = numbers.flatmap(
        lambda number: st.sampled_from(["v1", "v1a", *odd]).map(
            lambda scheme: with_signature(number, scheme, first[number][1])
        )
    )
    return st.one_of(
        spoilt(event.body).map(lambda body: replace(event, body=body)),
        around(event.body).map(lambda body: replace(event, body=body)),
        st.sampled_from([other.body, *same_to_json(event.body)]).map(lambda body: replace(event, body=body)),
        st.integers(-200, 200).map(lambda seconds: replace(event, stamp=stamp + seconds)),
        st.sampled_from([other.message_id, id_.upper(), id_ + " ", id_[:-1], f"{id_}.{stamp}", "", f"{id_}."])
        .map(lambda message_id: replace(event, message_id=message_id)),
        st.just(replace(event, message_id=f"{id_}.{stamp}", stamp=0)),
        st.sampled_from([other.signatures, (), first[1:], first[:-1], first[::-1], first + other.signatures])
        .map(lambda signatures: replace(event, signatures=signatures)),
        one,
        crossed,
    )  # fmt: skip


@checked
@given(
    st.data(),
    st.lists(keys, min_size=2, max_size=4, unique=True),
    st.lists(letters, min_size=2, max_size=2, unique=True),
)
def test_no_mutation_of_an_outgoing_event_verifies(data: st.DataObject, keys: list[bytes], tenants: list[str]) -> None:
    """A receiver takes what bears the very signature that is right for it, its tenant and its key, and nothing else."""
    at = datetime.now(UTC) + timedelta(seconds=data.draw(st.integers(-200, 200)))
    names = data.draw(st.lists(ids, min_size=2, max_size=2, unique=True))
    events = [
        told(keys[:-1], tenant, name, at, written(data.draw(objects)))
        for tenant, name in zip(tenants, names, strict=True)
    ]
    for event, tenant in zip(events, tenants, strict=True):
        for receiver in [Receiver(key, tenant) for key in keys[:-1]]:
            assert receiver.takes_v1(event)
            assert receiver.takes_v1a(event)
    bad = data.draw(changed(*events))
    contents = {event.signed for event in events}
    for receiver in [Receiver(key, tenant) for key in keys for tenant in tenants]:
        right = receiver.right(bad)
        is_said = bad.signed in contents
        assert receiver.takes_v1(bad) is (is_said and ("v1", right["v1"]) in bad.signatures)
        assert receiver.takes_v1a(bad) is (is_said and ("v1a", right["v1a"]) in bad.signatures)


@checked
@given(keys, letters, ids, objects, st.integers(310, 10**8), st.sampled_from([-1, 1]))
def test_an_event_of_another_time_verifies_no_more(
    key: bytes, tenant: str, name: str, said: dict[str, Any], seconds: int, way: int
) -> None:
    at = datetime.now(UTC) + timedelta(seconds=seconds) * way
    assert not Receiver(key, tenant).takes_v1(told([key], tenant, name, at, written(said)))
