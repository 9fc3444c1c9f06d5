"""Everything that can go wrong, as one tree, sorted by what to do next.

    ParsegateError
    ├── Waiting                  not now; costs no retry
    ├── Transient                try again, with growing waits
    │   ├── ProviderUnavailable      no answer, or a 5xx, 408, 409 or 425; the call may be repeated
    │   │   └── AnswerLost           the call may have had its effect: never repeat it blindly
    │   ├── ProviderBusy             429: too fast; may carry how long to wait
    │   ├── OddAnswer                not the provider's own (a proxy's HTML, truncated JSON, an unknown status)
    │   ├── SourceUnavailable        the place a document is fetched from does not answer now
    │   └── StoreUnavailable         our own database, broker or file store is away
    │       └── StoreRefused             it answers, and refuses us: a start ends, what runs waits
    ├── Permanent                trying again cannot help: the document fails
    │   ├── OrderRefused             the order itself is wrong: malformed, empty, too large, unreadable source
    │   │   └── OrderConflict        the same id was used before with another order
    │   ├── DocumentRefused          the provider or the local parser can't read this document
    │   ├── CallRefused              the provider refused the call itself (400, 404, 413, 415, 422)
    │   └── NotFound                 there is no such job, document or result
    └── Misconfigured            a person must act: sending stops
        ├── BadSetting               a setting is unset or malformed
        ├── WrongSchema              the database's schema is not the one this program knows
        ├── CredentialRefused        401 or 403
        └── CreditsExhausted         402: the account's, until its plan renews

`reason` is a stable word for machines (``PDF_IS_BROKEN``, ``http_422``); the text is one sentence for people.
"""

from __future__ import annotations

EVIDENCE_LIMIT = 200
"""How many characters of an odd answer are kept as evidence."""


class ParsegateError(Exception):
    """The root of everything Parsegate raises on purpose."""

    reason = "error"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class Waiting(ParsegateError):
    """Not now. Costs no retry."""

    reason = "waiting"


class Transient(ParsegateError):
    """Worth trying again, later."""

    reason = "transient"


class ProviderUnavailable(Transient):
    """The provider could not be reached, or said that it can't answer now."""

    reason = "provider_unavailable"


class AnswerLost(ProviderUnavailable):
    """The request was sent, at least in part, and no usable answer came: it may have had its effect."""

    reason = "answer_lost"


class ProviderBusy(Transient):
    """The provider's rate limit was hit (429).

    Args:
        retry_after_s: seconds to wait if the provider said so; LlamaCloud never does.
    """

    reason = "provider_busy"

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OddAnswer(Transient):
    """An answer that can't be the provider's own.

    Args:
        evidence: what came; cut to the first 200 characters.
    """

    reason = "odd_answer"

    def __init__(self, message: str, *, evidence: str = "") -> None:
        self.evidence = evidence[:EVIDENCE_LIMIT]
        super().__init__(f"{message}: {self.evidence!r}" if evidence else message)


class SourceUnavailable(Transient):
    """The place a document is to be fetched from does not answer now."""

    reason = "source_unavailable"


class StoreUnavailable(Transient):
    """Our own database, broker or file store can't be used now."""

    reason = "store_unavailable"


class StoreRefused(StoreUnavailable):
    """Our own database or broker answers, and refuses us: waiting alone does not help, and loses nothing."""

    reason = "store_refused"


class Permanent(ParsegateError):
    """Trying again cannot help."""

    reason = "permanent"


class OrderRefused(Permanent):
    """The order itself is wrong."""

    reason = "order_refused"


class OrderConflict(OrderRefused):
    """The same id was used before with another order."""

    reason = "order_conflict"


class DocumentRefused(Permanent):
    """This document can't be parsed."""

    reason = "document_refused"


class CallRefused(Permanent):
    """The provider refused the call itself.

    Args:
        status: the HTTP status it answered.
    """

    reason = "call_refused"

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message, reason=f"http_{status}")
        self.status = status


class NotFound(Permanent):
    """There is no such thing."""

    reason = "not_found"


class Misconfigured(ParsegateError):
    """A person must act; until then nothing is sent."""

    reason = "misconfigured"


class BadSetting(Misconfigured):
    """A setting is unset or malformed."""

    reason = "bad_setting"


class WrongSchema(Misconfigured):
    """The database's schema is not the one this program knows."""

    reason = "wrong_schema"


class CredentialRefused(Misconfigured):
    """The provider refused the API key (401, 403)."""

    reason = "credential_refused"


class CreditsExhausted(Misconfigured):
    """The provider's account is out of credits (402)."""

    reason = "credits_exhausted"


PERMANENT_FAILURES = {
    "UNSUPPORTED_FILE_TYPE": "The provider does not support this type of file.",
    "PDF_IS_PROTECTED": "The PDF is protected by a password.",
    "PDF_IS_BROKEN": "The PDF is broken and can't be opened.",
    "NO_DATA_FOUND_IN_FILE": "There is nothing to read in the file.",
    "DOCUMENT_TOO_LARGE": "The document is too large.",
    "TOO_MANY_PAGES": "The document has too many pages.",
}
"""Failure reasons of a job that no repetition mends (facts page, "Failure reasons")."""

TRANSIENT_FAILURES = {"TIMEOUT": "The provider took too long."}
"""Failure reasons that may be tried once more."""


def failure_reason(text: str | None) -> str:
    """The known reason inside a job's `error_message`, or ``UNKNOWN``."""
    for reason in (*PERMANENT_FAILURES, *TRANSIENT_FAILURES):
        if text and reason in text:
            return reason
    return "UNKNOWN"


def refusal(status: int, detail: str, *, retry_after_s: float | None = None, paid_call: bool = False) -> ParsegateError:
    """The error for an HTTP status of the provider (facts page, "Failure reasons").

    Args:
        status: the HTTP status, 300 or above.
        detail: the provider's own words.
        retry_after_s: the `Retry-After` header in seconds, if there was one.
        paid_call: True for a call that makes a job; after a 5xx or a 408 or 409 of such a call it may have been made.
    """
    text = f"the provider answered {status}: {detail[:EVIDENCE_LIMIT]}"
    if status in {401, 403}:
        return CredentialRefused(text)
    if status == 402:
        return CreditsExhausted(text)
    if status == 429:
        return ProviderBusy(text, retry_after_s=retry_after_s)
    if status in {408, 409, 425} or status >= 500:
        return AnswerLost(text) if paid_call else ProviderUnavailable(text)
    if status >= 400:
        return CallRefused(text, status=status)
    return OddAnswer(f"the provider answered {status}, which is not an answer", evidence=detail)
