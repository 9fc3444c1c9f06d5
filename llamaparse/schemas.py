"""What goes to the provider and what comes back, typed.

The official SDK (`llama_cloud.types.parsing_*`, `file_*`) is the reference for names and shapes. Unknown fields are
accepted and kept; a missing field, a wrong type or an unknown status is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Final, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    StrictBool,
    model_validator,
)

from domain.errors import (
    EVIDENCE_LIMIT,
    PERMANENT_FAILURES,
    TRANSIENT_FAILURES,
    DocumentRefused,
    OrderRefused,
    ParsegateError,
    Transient,
    failure_reason,
)
from domain.json_text import check_text
from domain.money import Millicredits, from_credits

MOST_CREDITS: Final = 10**9
"""More than this for one job is no amount but a mistake."""


Row = TypeVar("Row")
Many = Annotated[tuple[Row, ...], FailFast()]
"""The first wrong one is enough: an answer has room for millions, and to collect what is wrong takes seconds."""


def _moment(value: object) -> datetime:
    """RFC 3339 as aware UTC. Without an offset it is taken as UTC, which is what the provider's servers run on."""
    if not isinstance(value, str):
        raise ValueError("a time must be text")
    moment = datetime.fromisoformat(value)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _millicredits(value: object) -> Millicredits | None:
    """Credits as whole millicredits. The digits of the JSON number go to Decimal; no float arithmetic takes place."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("credits must be a number")
    if not 0 <= value <= MOST_CREDITS:
        raise ValueError("credits must be finite, and neither negative nor absurd")
    # A sum of floats at the provider's (0.1 + 0.2) must not round up to a millicredit of its own.
    return from_credits(round(Decimal(repr(value)), 9))


def _clean(value: object) -> object:
    """Text that can be stored: JSON can carry lone surrogates and NULs, which UTF-8 files and PostgreSQL can't."""
    if not isinstance(value, str):
        return value
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\0", "\ufffd")


def _storable(value: str) -> str:
    check_text(value)
    return value


Text = Annotated[str, BeforeValidator(_clean)]
Name = Annotated[str, AfterValidator(_storable)]
"""What we store and give back to the provider as it is: one that can't be stored is refused, and never changed."""
Id = Annotated[Name, Field(min_length=1)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
PageNumber = Annotated[int, Field(strict=True, ge=1)]


class JobStatus(StrEnum):
    """Where a parse job is."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Whether it will never change again."""
        return self in {JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED}


class Answered(BaseModel):
    """Part of an answer. Unknown fields are in `model_extra`."""

    model_config = ConfigDict(frozen=True, extra="allow")


class File(Answered):
    """An uploaded file. `server_date` is the answer's own `Date`, an aware UTC datetime."""

    id: Id
    name: Text | None = None
    project_id: Name | None = None
    external_file_id: Text | None = None
    purpose: Text | None = None
    server_date: datetime | None = None


class Usage(Answered):
    """What was billed; None until billing has recorded it, which can be after the result is there."""

    millicredits: Annotated[Millicredits | None, BeforeValidator(_millicredits)] = Field(default=None, alias="credits")


class Job(Answered):
    """A parse job. Times are aware UTC datetimes."""

    id: Id
    project_id: Name
    status: JobStatus
    created_at: Moment | None = None
    updated_at: Moment | None = None
    error_message: Text | None = None
    name: Text | None = None
    tier: Text | None = None
    usage: Usage | None = None
    user_metadata: Mapping[Text, Text] | None = None

    @property
    def millicredits(self) -> Millicredits | None:
        """What was billed, or None while that is not known."""
        return None if self.usage is None else self.usage.millicredits


class MarkdownPage(Answered):
    """A page's Markdown (`success`), or why there is none (`error`)."""

    page_number: PageNumber
    success: StrictBool
    markdown: Text | None = None
    error: Text | None = None

    @model_validator(mode="after")
    def _has_its_content(self) -> MarkdownPage:
        if self.success and self.markdown is None:
            raise ValueError("a successful page without markdown")
        return self


class TextPage(Answered):
    """A page's plain text."""

    page_number: PageNumber
    text: Text


class MarkdownPages(Answered):
    """The Markdown expansion."""

    pages: Many[MarkdownPage]


class TextPages(Answered):
    """The text expansion."""

    pages: Many[TextPage]


class ParseResult(Answered):
    """A job with whatever expansions were asked for; the others (`items`, `metadata`, ...) are in `raw` as they came.

    `server_date` is the answer's own `Date`, an aware UTC datetime.
    """

    job: Job
    markdown: MarkdownPages | None = None
    text: TextPages | None = None
    markdown_full: Text | None = None
    text_full: Text | None = None
    raw: dict[str, object] = Field(default_factory=dict, repr=False)
    server_date: datetime | None = None

    @property
    def markdown_pages(self) -> tuple[MarkdownPage, ...] | None:
        """The Markdown page by page, or None if it was not asked for or is not there yet."""
        return None if self.markdown is None else self.markdown.pages

    @property
    def text_pages(self) -> tuple[TextPage, ...] | None:
        """The text page by page, or None if it was not asked for or is not there yet."""
        return None if self.text is None else self.text.pages


class JobPage(Answered):
    """One page of the list of jobs; `next_page_token` is None on the last one. Rows may lack `usage`."""

    items: Many[Job]
    next_page_token: Annotated[Name | None, BeforeValidator(lambda token: token or None)] = None
    server_date: datetime | None = None


class Deleted(Answered):
    """What was deleted."""

    id: Id
    project_id: Name


class Versions(Answered):
    """The versions that each tier accepts, and what `latest` stands for in each."""

    latest: Mapping[Text, Text]
    fast: Many[Text] = ()
    cost_effective: Many[Text] = ()
    agentic: Many[Text] = ()
    agentic_plus: Many[Text] = ()


@dataclass(frozen=True)
class Created:
    """A job that was made, and the provider's own time when it was (its `Date`, aware UTC; None if it sent none)."""

    job: Job
    server_date: datetime | None


@dataclass(frozen=True, kw_only=True)
class WebhookConfiguration:
    """Where the provider is to send a job's events. The secret and the headers are left out of `repr`.

    Args:
        url: public https.
        signing_secret: keys the HMAC in `LC-Signature`; None for unsigned events.
        events: such as ``parse.success``; none means all.
        headers: sent along as they are.
        output_format: ``json``; the provider's default, ``string``, is a JSON string that holds JSON.
    """

    url: str
    signing_secret: str | None = field(default=None, repr=False)
    events: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    output_format: Literal["json", "string"] = "json"

    def body(self) -> dict[str, object]:
        """As the API wants it."""
        optional = {
            "webhook_signing_secret": self.signing_secret,
            "webhook_events": list(self.events) or None,
            "webhook_headers": dict(self.headers) or None,
        }
        given = {name: value for name, value in optional.items() if value is not None}
        return {"webhook_url": self.url, "webhook_output_format": self.output_format, **given}


@dataclass(frozen=True, kw_only=True)
class ParseRequest:
    """What a job is asked to do.

    Args:
        tier: ``fast``, ``cost_effective``, ``agentic``, ``agentic_plus``.
        version: of the tier.
        file_id: an uploaded file; this or `source_url`, or neither for `upload_and_create`.
        source_url: where the provider is to fetch the document.
        user_metadata: comes back on get and list; our own ids travel in it.
        max_pages: the most pages to parse.
        target_pages: such as ``1,3,5-8``, from 1; overrides `max_pages`.
        webhook_configurations: where to send events.
        disable_cache: parse again what was parsed in the last 48 hours.
        options: the API's further fields (`processing_options`, `output_options`, ...), as they are.

    Raises:
        OrderRefused: `options` sets one of the fields above, or a page limit is empty: the provider would take
            that for no limit, and bill every page.
    """

    tier: str
    version: str = "latest"
    file_id: str | None = None
    source_url: str | None = None
    user_metadata: Mapping[str, str] = field(default_factory=dict)
    max_pages: int | None = None
    target_pages: str | None = None
    webhook_configurations: Sequence[WebhookConfiguration] = ()
    disable_cache: bool | None = None
    options: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        own = {"page_ranges", *self.__dataclass_fields__} - {"options"}
        clashing = sorted(own & set(self.options))
        if clashing:
            raise OrderRefused(f"the options must not set {', '.join(clashing)}")
        if self.max_pages is not None and self.max_pages < 1:
            raise OrderRefused("max_pages must be at least 1")
        if self.target_pages is not None and not self.target_pages.strip():
            raise OrderRefused("target_pages must not be empty")

    def body(self) -> dict[str, object]:
        """As the API wants it; what was not given is left out."""
        pages = {"max_pages": self.max_pages, "target_pages": self.target_pages}
        optional = {
            "file_id": self.file_id,
            "source_url": self.source_url,
            "user_metadata": dict(self.user_metadata) or None,
            "page_ranges": {name: value for name, value in pages.items() if value is not None} or None,
            "webhook_configurations": [webhook.body() for webhook in self.webhook_configurations] or None,
            "disable_cache": self.disable_cache,
        }
        given = {name: value for name, value in optional.items() if value is not None}
        return {**self.options, "tier": self.tier, "version": self.version, **given}


def failure(job: Job) -> ParsegateError | None:
    """Why a FAILED job failed, as the error that says what to do next; None for any other job.

    The rule is the facts page's "Failure reasons": all are permanent but TIMEOUT. An unknown reason is permanent too,
    named ``UNKNOWN``, with the first 200 characters of the provider's words: repeating it could cost once more.
    """
    if job.status is not JobStatus.FAILED:
        return None
    reason = failure_reason(job.error_message)
    if reason in TRANSIENT_FAILURES:
        return Transient(TRANSIENT_FAILURES[reason], reason=reason)
    if reason in PERMANENT_FAILURES:
        return DocumentRefused(PERMANENT_FAILURES[reason], reason=reason)
    evidence = " ".join((job.error_message or "").split())[:EVIDENCE_LIMIT]
    return DocumentRefused(f"The provider failed for a reason it does not name: {evidence!r}", reason=reason)
