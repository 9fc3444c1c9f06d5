"""The provider's client: every v2 call of LlamaParse, typed, each sent exactly once.

Retries live in the database, so nothing here repeats a request. The SDK repeats POSTs by itself up to five times; a
create has no idempotency key, so that would pay twice. What each error means is in `llamaparse.answers`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import BinaryIO, Final, Self
from urllib.parse import quote

import httpx

from domain.clock import format_utc
from domain.errors import NotFound, OddAnswer, OrderRefused
from llamaparse.answers import Answer
from llamaparse.exchange import Call, Document, Exchange, Timeouts
from llamaparse.schemas import Created, Deleted, File, Job, JobPage, JobStatus, ParseRequest, ParseResult, Versions

__all__ = ["LlamaParseClient", "Timeouts"]

FILES: Final = "/api/v1/beta/files"
PARSE: Final = "/api/v2/parse"

MIB: Final = 1024 * 1024
LONGEST_ID: Final = 512
SHORTEST_SECRET: Final = 8
MOST_PAGES: Final = 10_000
"""A list of more pages than this isn't one: the provider goes in circles."""


class LlamaParseClient:
    """Speaks to LlamaParse, or to whatever speaks its API at `base_url`. Safe to share between threads.

    Every call raises, beside what it says itself, the errors of `domain.errors`: `ProviderUnavailable`,
    `ProviderBusy`, `OddAnswer`, `CallRefused`, `CredentialRefused`, `CreditsExhausted`; the two that make a job raise
    `AnswerLost` whenever the job may have been made.

    Args:
        base_url: such as ``https://api.cloud.llamaindex.ai``; a path in it is kept.
        api_key: the bearer token; never shown, also where the provider echoes it.
        timeouts: how long calls may take.
        transport: the HTTP edge, for tests; it must honour `extensions["deadline_s"]` for deadlines to hold.
        max_result_bytes: the largest decoded answer of `get_job`.
        max_answer_bytes: the largest decoded answer of the other calls.

    Raises:
        BadSetting: the URL or the key can't be used.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        transport: httpx.BaseTransport | None = None,
        max_result_bytes: int = 256 * MIB,
        max_answer_bytes: int = 8 * MIB,
    ) -> None:
        self._exchange = Exchange(base_url, api_key, timeouts=timeouts, transport=transport)
        self._timeouts = timeouts
        self._max_result_bytes = max_result_bytes
        self._max_answer_bytes = max_answer_bytes

    @property
    def base_url(self) -> str:
        """Where the calls go, without a slash at the end: an attempt is settled only there."""
        return self._exchange.base_url

    @property
    def key_id(self) -> str:
        """Tells one key from another without telling the key: the first 12 hex digits of its SHA-256."""
        return self._exchange.key_id

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._exchange.close()

    # Files

    def upload_file(
        self,
        content: BinaryIO,
        filename: str,
        *,
        content_type: str | None = None,
        external_file_id: str | None = None,
    ) -> File:
        """Upload a document for parsing; free of charge. `content` is sent from its start, in constant memory.

        Raises:
            StoreUnavailable: `content` could not be read, or changed its length meanwhile.
        """
        form = {"purpose": "parse"} | ({} if external_file_id is None else {"external_file_id": external_file_id})
        call = Call(
            method="POST",
            path=FILES,
            form=form,
            document=Document(content, filename, content_type),
            deadline_s=self._timeouts.upload_deadline_s,
            limit_bytes=self._max_answer_bytes,
        )
        answer = self._exchange.ask(call)
        return answer.read(File, server_date=answer.reply.server_date)

    def get_file(self, file_id: str) -> File:
        """What is known of an uploaded file."""
        answer = self._ask("GET", f"{FILES}/{_segment(file_id, 'file')}")
        file = answer.read(File, server_date=answer.reply.server_date)
        _check_same(file.id, file_id, answer)
        return file

    def delete_file(self, file_id: str) -> None:
        """Delete an uploaded file."""
        self._exchange.send(self._call("DELETE", f"{FILES}/{_segment(file_id, 'file')}"))

    # Jobs

    def create_job(self, request: ParseRequest) -> Created:
        """Make a parse job for `request.file_id` or `request.source_url`. This is what costs money.

        Raises:
            AnswerLost: the job may have been made: look for it among the provider's jobs before paying again.
            OrderRefused: the request can't be sent; nothing was.
        """
        if (request.file_id is None) == (request.source_url is None):
            raise OrderRefused("a job needs either a file_id or a source_url")
        call = Call(
            method="POST",
            path=PARSE,
            body=_json(request),
            paid=True,
            secrets=_secrets(request),
            deadline_s=self._timeouts.deadline_s,
            limit_bytes=self._max_answer_bytes,
        )
        answer = self._exchange.ask(call)
        return Created(answer.read(Job), answer.reply.server_date)

    def upload_and_create(
        self, content: BinaryIO, filename: str, request: ParseRequest, *, content_type: str | None = None
    ) -> Created:
        """Upload a document and make its job in one call (`POST /api/v2/parse/upload`). This costs money.

        Prefer `upload_file` and `create_job`: their doubt is shorter, since the bytes travel before the paid call.

        Raises:
            AnswerLost: the job may have been made.
            OrderRefused: the request can't be sent; nothing was.
        """
        if request.file_id is not None or request.source_url is not None:
            raise OrderRefused("a job for an upload takes neither a file_id nor a source_url")
        call = Call(
            method="POST",
            path=f"{PARSE}/upload",
            form={"configuration": _json(request).decode()},
            document=Document(content, filename, content_type),
            paid=True,
            secrets=_secrets(request),
            deadline_s=self._timeouts.upload_deadline_s,
            limit_bytes=self._max_answer_bytes,
        )
        answer = self._exchange.ask(call)
        return Created(answer.read(Job), answer.reply.server_date)

    def get_job(self, job_id: str, expand: Sequence[str] = ()) -> ParseResult:
        """A job with the expansions asked for, such as ``markdown``, ``text``, ``items``, ``metadata``, ``usage``."""
        call = Call(
            method="GET",
            path=f"{PARSE}/{_segment(job_id, 'job')}",
            params={"expand": list(expand)} if expand else {},
            deadline_s=self._timeouts.result_deadline_s,
            limit_bytes=self._max_result_bytes,
        )
        answer = self._exchange.ask(call)
        result = answer.read(ParseResult, raw=answer.data, server_date=answer.reply.server_date)
        _check_same(result.job.id, job_id, answer)
        return result

    def list_jobs(
        self,
        *,
        created_on_or_after: datetime | None = None,
        created_on_or_before: datetime | None = None,
        status: JobStatus | None = None,
        job_ids: Sequence[str] | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
    ) -> JobPage:
        """One page of the project's jobs. Times are aware datetimes; None, or no job id, filters nothing."""
        given: dict[str, str | Sequence[str] | None] = {
            "created_at_on_or_after": _utc(created_on_or_after),
            "created_at_on_or_before": _utc(created_on_or_before),
            "status": None if status is None else status.value,
            "job_ids": list(job_ids or ()),
            "page_size": None if page_size is None else str(page_size),
            "page_token": page_token,
        }
        answer = self._ask("GET", PARSE, params={name: value for name, value in given.items() if value})
        return answer.read(JobPage, server_date=answer.reply.server_date)

    def iterate_jobs(
        self,
        *,
        created_on_or_after: datetime | None = None,
        created_on_or_before: datetime | None = None,
        status: JobStatus | None = None,
        job_ids: Sequence[str] | None = None,
        page_size: int | None = None,
    ) -> Iterator[Job]:
        """Every job of the list, page by page. It ends well only after the last page: half a list proves nothing.

        Raises:
            OddAnswer: a page token came twice, or the list has no end.
        """
        token: str | None = None
        seen: set[str] = set()
        for _ in range(MOST_PAGES):
            page = self.list_jobs(
                created_on_or_after=created_on_or_after,
                created_on_or_before=created_on_or_before,
                status=status,
                job_ids=job_ids,
                page_size=page_size,
                page_token=token,
            )
            yield from page.items
            token = page.next_page_token
            if token is None:
                return
            if token in seen:
                raise OddAnswer("the provider's list of jobs goes in circles: a page token came twice")
            seen.add(token)
        raise OddAnswer(f"the provider's list of jobs has more than {MOST_PAGES:,} pages")

    def cancel_job(self, job_id: str) -> Job:
        """Cancel a job that has not ended."""
        answer = self._ask("POST", f"{PARSE}/{_segment(job_id, 'job')}/cancel")
        job = answer.read(Job)
        _check_same(job.id, job_id, answer)
        return job

    def delete_job(self, job_id: str) -> Deleted:
        """Delete a job that has ended."""
        answer = self._ask("DELETE", f"{PARSE}/{_segment(job_id, 'job')}")
        deleted = answer.read(Deleted)
        _check_same(deleted.id, job_id, answer)
        return deleted

    def versions(self) -> Versions:
        """The versions of each tier."""
        return self._ask("GET", f"{PARSE}/versions").read(Versions)

    def _call(self, method: str, path: str, params: Mapping[str, str | Sequence[str]] | None = None) -> Call:
        """A free call with the ordinary limits."""
        return Call(
            method=method,
            path=path,
            params=params or {},
            deadline_s=self._timeouts.deadline_s,
            limit_bytes=self._max_answer_bytes,
        )

    def _ask(self, method: str, path: str, params: Mapping[str, str | Sequence[str]] | None = None) -> Answer:
        return self._exchange.ask(self._call(method, path, params))


def _segment(opaque_id: str, what: str) -> str:
    """An id as one segment of a path, whatever is in it.

    Raises:
        NotFound: nothing can have this id: empty it would name the list, and dots would name the folder above.
    """
    if opaque_id.strip(".") and len(opaque_id) <= LONGEST_ID:
        try:
            return quote(opaque_id, safe="")
        except UnicodeEncodeError:  # a lone surrogate
            pass
    raise NotFound(f"there is no {what} with the id {opaque_id[:60]!r}")


def _json(request: ParseRequest) -> bytes:
    """The request's body.

    Raises:
        OrderRefused: an option is no JSON (NaN, an object of Python's, a circle).
    """
    try:
        return json.dumps(request.body(), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise OrderRefused(f"the options can't be written as JSON: {error}") from error


def _secrets(request: ParseRequest) -> list[str | None]:
    """What the request carries that nobody may see, but for words too short to be a secret."""
    webhooks = request.webhook_configurations
    headers = [value for webhook in webhooks for value in webhook.headers.values() if len(value) >= SHORTEST_SECRET]
    return [*(webhook.signing_secret for webhook in webhooks), *headers]


def _utc(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise ValueError("a time without an offset could mean any hour: pass an aware datetime")
    return format_utc(moment)


def _check_same(got: str, wanted: str, answer: Answer) -> None:
    """A cache or a proxy that mixes up its answers must not settle one job with another's.

    Raises:
        OddAnswer: the answer is about something else than was asked for.
    """
    if got != wanted:
        raise answer.odd("the answer is about another id than was asked for")
