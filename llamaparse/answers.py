"""How an answer of the provider is read, and what each bad one means.

One question decides: can the answer be the provider's own? Its errors are JSON with a `detail`; a proxy's are not. And
after a paid call (one that makes a job) whatever is not the provider's own word is an `AnswerLost`: the job may exist.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final, NoReturn, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from domain.errors import (
    EVIDENCE_LIMIT,
    AnswerLost,
    OddAnswer,
    ParsegateError,
    ProviderUnavailable,
    refusal,
)

Shape = TypeVar("Shape", bound=BaseModel)

ERROR_BYTES: Final = 64 * 1024
"""How much of an error's body is read."""

PIECE_BYTES: Final = 64 * 1024
LONGEST_RETRY_AFTER: Final = timedelta(days=1)
HIDDEN: Final = "[secret]"

_SPOKEN: Final = frozenset({"error_message", "error", "name"})
"""Fields in which a provider speaks of the call, and could echo it; the document's own text is never touched."""

NOTHING_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)

# Sorted by status even when a proxy says it: none of these fails a document, but 413, which is about its size whoever
# says so; and none is what a proxy answers once it has let the request through, or (408, 409) it counts as lost.
BELIEVED_WITHOUT_PROOF: Final = frozenset({401, 402, 408, 409, 413, 425, 429})


class BadBody(Exception):
    """The body can't be read as it was declared; the text says why."""


@dataclass(frozen=True)
class Reply:
    """What came back over HTTP, decoded and within its limit."""

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def server_date(self) -> datetime | None:
        """The server's own time (`Date`), aware UTC; None if it sent none that can be read."""
        return _http_date(self.headers.get("Date"))


@dataclass(frozen=True)
class Rules:
    """How strictly an answer is judged.

    Args:
        paid: the call makes a job: after anything but the provider's own word the job may exist.
        secrets: never to be shown, even if the server echoes them.
    """

    paid: bool
    secrets: Sequence[str] = field(repr=False)

    def hidden(self, text: str) -> str:
        """`text` without the secrets."""
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        return text

    def shown(self, text: str) -> str:
        """One line of `text` for people, without the secrets and without control characters."""
        return " ".join("".join(char if char.isprintable() else " " for char in self.hidden(text)).split())

    def odd(self, message: str, body: bytes | str = b"") -> ParsegateError:
        """The error for an answer that can't be the provider's own; the first 200 characters of `body` go with it."""
        text = body if isinstance(body, str) else body[:ERROR_BYTES].decode("utf-8", "replace")
        evidence = self.shown(text)[:EVIDENCE_LIMIT]
        if not self.paid:
            return OddAnswer(message, evidence=evidence)
        suffix = f": {evidence!r}" if evidence else ""
        return AnswerLost(f"the job may have been made, but {message}{suffix}")

    def lost(self, error: Exception) -> ParsegateError:
        """The error for a call without an answer, or with half of one."""
        what = self.shown(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
        if isinstance(error, NOTHING_SENT):
            return ProviderUnavailable(f"the provider could not be reached, nothing was sent ({what})")
        if self.paid:
            return AnswerLost(f"the request may have reached the provider, but no answer came ({what})")
        return ProviderUnavailable(f"the provider gave no answer ({what})")


@dataclass(frozen=True)
class Answer:
    """A JSON object that came with a 2xx."""

    data: dict[str, object]
    reply: Reply
    rules: Rules

    def read(self, shape: type[Shape], **known: object) -> Shape:
        """The object as a `shape`, with the fields of `known` set by us.

        Raises:
            OddAnswer: it has another shape; AnswerLost if the call was a paid one.
        """
        try:
            return shape.model_validate({**self.data, **known})
        except ValidationError as error:
            problem = _first_problem(error)
        # Outside the handler: pydantic's error holds the whole input, and must not ride along as the context.
        raise self.odd(f"the answer has a wrong shape ({self.rules.shown(problem)})")

    def odd(self, message: str) -> ParsegateError:
        """The error for an object that means something else than was asked for."""
        return self.rules.odd(message, self.reply.body)


def read_reply(response: httpx.Response, limit_bytes: int, rules: Rules) -> Reply:
    """Read the body against its limit; of an error's body what can be had, since the status has spoken already.

    Raises:
        OddAnswer: the body is over the limit or not what its headers say (AnswerLost after a paid call).
        httpx.TransportError: the connection failed.
    """
    body = bytearray()
    is_error = not 200 <= response.status_code < 300
    limit = ERROR_BYTES if is_error else limit_bytes
    problem: ParsegateError | None = None
    try:
        for piece in _decoded(response):
            body += piece[: limit + 1 - len(body)]
            if len(body) > limit:
                problem = rules.odd(f"the answer is larger than {limit:,} bytes", bytes(body[:ERROR_BYTES]))
                break
    except BadBody as error:
        problem = rules.odd(str(error))
    except httpx.TransportError:
        if not is_error:
            raise
    if problem is not None and not is_error:
        raise problem
    return Reply(response.status_code, response.headers, bytes(body))


def _decoded(response: httpx.Response) -> Iterator[bytes]:
    """The body in pieces of bounded size: httpx's own decoders let 64 KB of a bomb grow to 64 MB at once."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in {"", "identity"}:
        yield from response.iter_raw()
        return
    if encoding not in {"gzip", "x-gzip"}:
        raise BadBody(f"the answer came in the encoding {encoding[:40]!r}, which was not asked for")
    inflate = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        for piece in response.iter_raw():
            waiting = piece
            while waiting:
                yield inflate.decompress(waiting, PIECE_BYTES)
                waiting = inflate.unconsumed_tail
        yield inflate.flush(PIECE_BYTES)
    except zlib.error:
        raise BadBody("the answer's gzip is broken") from None
    if not inflate.eof or inflate.unused_data:
        raise BadBody("the answer's gzip is cut short or followed by something else")


def judge(reply: Reply, rules: Rules) -> ParsegateError | None:
    """The error that an HTTP status stands for (`domain.errors.refusal`), or None for a 2xx.

    A 400, 404 or 422 ends a document for good, so it must be proven to be the provider's own; without that it is an
    odd answer. So is a 403, which stops all sending: filters that read requests and answers block them with a page of
    their own, for what a single document says, and a paid call's after the job was made.
    """
    if 200 <= reply.status < 300:
        return None
    detail = _provider_detail(reply)
    speaks_json = reply.status == 403 and not rules.paid and _json_of(reply) is not None
    believed = reply.status in BELIEVED_WITHOUT_PROOF or reply.status >= 500 or speaks_json
    if reply.status < 400 or (detail is None and not believed):
        return rules.odd(f"the status is {reply.status} and the answer is not the provider's", reply.body)
    text = reply.body.decode("utf-8", "replace") if detail is None else detail
    return refusal(
        reply.status,
        rules.shown(text) or "(no words)",
        retry_after_s=_retry_after_s(reply),
        paid_call=rules.paid,
    )


def json_object(reply: Reply, rules: Rules) -> dict[str, object]:
    """The JSON object in a 2xx.

    Raises:
        OddAnswer: there is none (AnswerLost after a paid call).
    """
    kind = reply.headers.get("Content-Type", "application/json").partition(";")[0].strip().lower()
    if not kind.endswith("json"):
        raise rules.odd(f"the answer is {rules.shown(kind)[:40]!r} instead of JSON", reply.body)

    def without_secrets(found: dict[str, object]) -> dict[str, object]:
        return {
            name: rules.hidden(value) if name in _SPOKEN and isinstance(value, str) else value
            for name, value in found.items()
        }

    echoed = any(secret.encode() in reply.body for secret in rules.secrets)
    try:
        data = json.loads(reply.body, parse_constant=_no_constant, object_hook=without_secrets if echoed else None)
    except (ValueError, RecursionError):  # ValueError covers truncated JSON, wrong UTF-8 and numbers without an end
        data = None
    if not isinstance(data, dict):
        raise rules.odd("the answer is not a whole JSON object", reply.body)
    return data


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _json_of(reply: Reply) -> dict[str, object] | None:
    """The body, if it is a JSON object."""
    try:
        data = json.loads(reply.body)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _provider_detail(reply: Reply) -> str | None:
    """The provider's words, with the correlation id of a 5xx if there is one; None if the body is not its own."""
    data = _json_of(reply)
    if data is None:
        return None
    text = _sentence(data.get("detail"))
    correlation_id = data.get("correlation_id")
    if text is not None and isinstance(correlation_id, str):
        # Both must fit into what `refusal` keeps.
        return f"{text[: EVIDENCE_LIMIT - 60]} (correlation id {correlation_id[:40]})"
    return text


def _sentence(detail: object) -> str | None:
    """`detail` as a sentence: it is text, or a list of validation errors. Their `input` is left out: it echoes us."""
    if isinstance(detail, str):
        return detail
    if isinstance(detail, dict):
        return _sentence(detail.get("msg", detail.get("message", "")))
    if not isinstance(detail, list):
        return None
    problems = [problem for problem in detail if isinstance(problem, dict)]
    return "; ".join(f"{_place(problem.get('loc'))}{problem.get('msg', 'invalid')}" for problem in problems[:5])


def _place(loc: object) -> str:
    return f"{'.'.join(str(step) for step in loc)}: " if isinstance(loc, list) and loc else ""


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    return f"{'.'.join(str(step) for step in first['loc'])}: {first['msg']}"


def _retry_after_s(reply: Reply) -> float | None:
    """`Retry-After` in seconds (RFC 9110, 10.2.3): a number, or a date, which counts from the server's own time."""
    value = reply.headers.get("Retry-After", "").strip()
    longest = LONGEST_RETRY_AFTER.total_seconds()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return min(float(value), longest)
    until = _http_date(value)
    if until is None:
        return None
    left = (until - (reply.server_date or datetime.now(UTC))).total_seconds()
    return min(max(left, 0.0), longest)


def _http_date(value: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value or "")
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def known_secrets(*candidates: str | None) -> tuple[str, ...]:
    """Those that are set, longest first, so that one inside another can't leave a part of it behind."""
    return tuple(sorted({secret for secret in candidates if secret}, key=len, reverse=True))
