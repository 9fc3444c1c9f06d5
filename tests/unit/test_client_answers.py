"""Which error each status and body stands for: what ends a document must be the provider's own word."""

from __future__ import annotations

import json

import httpx
import pytest

from domain.errors import (
    AnswerLost,
    CallRefused,
    CredentialRefused,
    CreditsExhausted,
    OddAnswer,
    ParsegateError,
    ProviderBusy,
    ProviderUnavailable,
)
from llamaparse.answers import Reply, Rules, json_object, judge, known_secrets

KEY = "llx-very-secret"
HTML = b"<html><h1>Sorry</h1></html>"
OURS = b'{"detail": "said by the provider"}'


def judged(
    status: int, body: bytes = OURS, *, paid: bool = False, headers: dict[str, str] | None = None
) -> ParsegateError | None:
    return judge(Reply(status, httpx.Headers(headers or {}), body), Rules(paid=paid, secrets=(KEY,)))


STATUSES: list[tuple[int, type[ParsegateError], type[ParsegateError], type[ParsegateError], type[ParsegateError]]] = [
    # status, the provider's: free, paid; a proxy's: free, paid
    (300, OddAnswer, AnswerLost, OddAnswer, AnswerLost),
    (302, OddAnswer, AnswerLost, OddAnswer, AnswerLost),
    (304, OddAnswer, AnswerLost, OddAnswer, AnswerLost),
    (400, CallRefused, CallRefused, OddAnswer, AnswerLost),
    (401, CredentialRefused, CredentialRefused, CredentialRefused, CredentialRefused),
    (402, CreditsExhausted, CreditsExhausted, CreditsExhausted, CreditsExhausted),
    (403, CredentialRefused, CredentialRefused, OddAnswer, AnswerLost),
    (404, CallRefused, CallRefused, OddAnswer, AnswerLost),
    (405, CallRefused, CallRefused, OddAnswer, AnswerLost),
    (407, CallRefused, CallRefused, OddAnswer, AnswerLost),
    (408, ProviderUnavailable, AnswerLost, ProviderUnavailable, AnswerLost),
    (409, ProviderUnavailable, AnswerLost, ProviderUnavailable, AnswerLost),
    (413, CallRefused, CallRefused, CallRefused, CallRefused),
    (415, CallRefused, CallRefused, OddAnswer, AnswerLost),
    (418, CallRefused, CallRefused, OddAnswer, AnswerLost),
    (422, CallRefused, CallRefused, OddAnswer, AnswerLost),
    (425, ProviderUnavailable, AnswerLost, ProviderUnavailable, AnswerLost),
    (429, ProviderBusy, ProviderBusy, ProviderBusy, ProviderBusy),
    (500, ProviderUnavailable, AnswerLost, ProviderUnavailable, AnswerLost),
    (502, ProviderUnavailable, AnswerLost, ProviderUnavailable, AnswerLost),
    (503, ProviderUnavailable, AnswerLost, ProviderUnavailable, AnswerLost),
    (504, ProviderUnavailable, AnswerLost, ProviderUnavailable, AnswerLost),
    (599, ProviderUnavailable, AnswerLost, ProviderUnavailable, AnswerLost),
]


def test_a_403_in_json_is_the_credentials_whatever_it_says() -> None:
    assert type(judged(403, b'{"error": "Forbidden"}')) is CredentialRefused
    assert type(judged(403, b'{"error": "Forbidden"}', paid=True)) is AnswerLost


@pytest.mark.parametrize(("status", "free", "paid", "proxy_free", "proxy_paid"), STATUSES)
def test_a_status(
    status: int,
    free: type[ParsegateError],
    paid: type[ParsegateError],
    proxy_free: type[ParsegateError],
    proxy_paid: type[ParsegateError],
) -> None:
    assert type(judged(status)) is free
    assert type(judged(status, paid=True)) is paid
    assert type(judged(status, HTML)) is proxy_free
    assert type(judged(status, HTML, paid=True)) is proxy_paid
    for by_proxy in (judged(status, HTML), judged(status, HTML, paid=True)):
        assert "<h1>Sorry</h1>" in str(by_proxy)
        assert str(status) in str(by_proxy)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_success_is_no_error(status: int) -> None:
    assert judged(status, b"") is None


@pytest.mark.parametrize(
    "body", [b"", HTML, b"{", b"[]", b'{"message": "no Route matched"}', b'{"detail": 3}', b"\xff"]
)
def test_a_body_that_is_not_the_providers_proves_nothing(body: bytes) -> None:
    assert type(judged(404, body)) is OddAnswer
    assert type(judged(404, body, paid=True)) is AnswerLost


@pytest.mark.parametrize(
    ("detail", "sentence"),
    [
        ("Job not found", "Job not found"),
        ("two\nlines\x1b[31m", "two lines [31m"),
        (
            [{"loc": ["body", "tier"], "msg": "Field required", "type": "missing", "input": {"a": "b"}}],
            "body.tier: Field required",
        ),
        ([{"msg": "one"}, {"loc": ["query", 0], "msg": "two"}], "one; query.0: two"),
        ([], "(no words)"),
        ({"msg": "nested"}, "nested"),
        ({"other": "x"}, "(no words)"),
    ],
)
def test_detail_becomes_a_sentence(detail: object, sentence: str) -> None:
    error = judged(422, json.dumps({"detail": detail}).encode())
    assert str(error) == f"the provider answered 422: {sentence}"


def test_the_correlation_id_survives_a_long_detail() -> None:
    body = json.dumps({"detail": "x" * 1000, "correlation_id": "c-123"}).encode()
    assert "c-123" in str(judged(500, body))


def test_evidence_is_200_characters_of_one_line() -> None:
    error = judged(404, b"<p>\n" + b"y" * 1000)
    assert isinstance(error, OddAnswer)
    assert error.evidence == "<p> " + "y" * 196


@pytest.mark.parametrize("status", [400, 401, 404, 422, 429, 500])
@pytest.mark.parametrize("paid", [False, True])
def test_an_echoed_key_is_hidden(status: int, paid: bool) -> None:
    padding = "x" * 190
    for body in (f"<p>{KEY}", json.dumps({"detail": f"no key {KEY}"}), f"{padding}{KEY}"):
        text = str(judged(status, body.encode(), paid=paid))
        assert "llx-very" not in text
        assert "secret" in text or padding in text


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("9" * 5000, 86_400.0),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2026 07:27:00 GMT", 0.0),
        ("Wed, 21 Oct 2099 07:27:00 GMT", 86_400.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("inf", None),
        ("nan", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    headers = httpx.Headers({"Date": "Wed, 21 Oct 2026 07:28:00 GMT", "Retry-After": value})
    error = judge(Reply(429, headers, OURS), Rules(paid=False, secrets=()))
    assert isinstance(error, ProviderBusy)
    assert error.retry_after_s == seconds


def test_no_retry_after() -> None:
    error = judged(429)
    assert isinstance(error, ProviderBusy)
    assert error.retry_after_s is None


def test_a_retry_after_without_the_servers_date_counts_from_ours() -> None:
    error = judged(429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})
    assert isinstance(error, ProviderBusy)
    assert error.retry_after_s == 0.0


def read(body: bytes, *, paid: bool = False, content_type: str | None = "application/json") -> dict[str, object]:
    headers = {} if content_type is None else {"Content-Type": content_type}
    return json_object(Reply(200, httpx.Headers(headers), body), Rules(paid=paid, secrets=(KEY,)))


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "application/x+json", None]
)
def test_json_is_read(content_type: str | None) -> None:
    assert read(b'\xef\xbb\xbf{"a": 1.5}', content_type=content_type) == {"a": 1.5}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"id": "pjb-1',
        b"[]",
        b"null",
        b'"x"',
        b"3",
        HTML,
        b"\xff\xfe{}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b"[" * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_not_a_json_object_is_odd(body: bytes) -> None:
    with pytest.raises(OddAnswer) as free:
        read(body)
    with pytest.raises(AnswerLost) as paid:
        read(body, paid=True)
    assert free.value.evidence in str(paid.value).replace("\\\\", "\\")


def test_json_of_another_content_type_is_odd() -> None:
    with pytest.raises(OddAnswer, match="text/html"):
        read(b"{}", content_type="text/html; charset=utf-8")


def test_an_echoed_key_is_hidden_in_a_jobs_words_but_not_in_a_documents_text() -> None:
    body = json.dumps({"job": {"error_message": f"bad {KEY}"}, "markdown": f"about {KEY}"}).encode()
    assert read(body) == {"job": {"error_message": "bad [secret]"}, "markdown": f"about {KEY}"}


def test_a_secret_inside_another_leaves_no_rest() -> None:
    rules = Rules(paid=False, secrets=known_secrets("abc", None, "", "abcdef"))
    assert rules.shown("1 abcdef 2 abc 3") == "1 [secret] 2 [secret] 3"
