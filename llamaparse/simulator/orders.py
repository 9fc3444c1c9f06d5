"""The body of ``POST /api/v2/parse``, as strict as the provider: unknown fields and impossible values are 422.

The shape is `llama_cloud.types.ParsingCreateParams` of SDK 2.19.0. The provider is a FastAPI application and so
checks with pydantic; doing the same gives its errors (`loc`, `msg`, `type`) by construction.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from llamaparse.simulator.prices import (
    CREDITS_PER_PAGE,
    HIGH_CONFIDENCE_CREDITS_PER_PAGE,
    Tier,
    resolved_version,
)

Event = Literal[
    "parse.pending", "parse.running", "parse.success", "parse.error", "parse.partial_success", "parse.cancelled"
]

DEFAULT_PAGE_FAILURE_RATIO: Final = 0.05
"""SDK, `ProcessingControlJobFailureConditions.allowed_page_failure_ratio`."""

NOT_PART_OF_THE_RESULT: Final = {
    "client_name",
    "configuration_id",
    "disable_cache",
    "file_id",
    "http_proxy",
    "source_url",
    "user_metadata",
    "webhook_configuration_ids",
    "webhook_configurations",
}
"""Fields that do not change what comes out, and so do not tell two orders apart in the cache."""


class Strict(BaseModel):
    """Unknown fields are errors, as with the provider (``Extra inputs are not permitted``)."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class PageSelection:
    """Which pages of a document are asked for."""

    ranges: tuple[tuple[int, int], ...] | None = None
    max_pages: int | None = None

    @classmethod
    def parse(cls, text: str) -> PageSelection:
        """Read ``1,3,5-8``: pages from 1, in any order, none twice.

        Raises:
            ValueError: it is malformed, or a page is named twice.
        """
        ranges = sorted(_ranges(text))
        for (_, last), (first, _) in pairwise(ranges):
            if first <= last:
                raise ValueError(f"page {first} is a duplicate")
        return cls(ranges=tuple(ranges))

    def of(self, total: int) -> Iterator[int]:
        """The chosen pages of a document of `total` pages, in order. Pages beyond its end are left out."""
        if self.ranges is None:
            return iter(range(1, min(total, self.max_pages or total) + 1))
        return chain.from_iterable(range(first, min(last, total) + 1) for first, last in self.ranges)

    def count(self, total: int) -> int:
        return sum(1 for _ in self.of(total))


def _ranges(text: str) -> Iterator[tuple[int, int]]:
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,9})\s*(?:-\s*([0-9]{1,9})\s*)?", part)
        if match is None:
            raise ValueError(f"{part.strip()!r} is not a page or a range of pages")
        first, last = int(match[1]), int(match[2] or match[1])
        if first < 1 or last < first:
            raise ValueError(f"{part.strip()!r} is not a range of pages counted from 1")
        yield first, last


class PageRanges(Strict):
    max_pages: Annotated[int, Field(ge=1)] | None = None
    target_pages: Annotated[str, Field(max_length=10_000)] | None = None

    @field_validator("target_pages")
    @classmethod
    def _well_formed(cls, value: str | None) -> str | None:
        if value is not None:
            PageSelection.parse(value)
        return value

    def selection(self) -> PageSelection:
        """`target_pages` takes precedence where both are given."""
        if self.target_pages is not None:
            return PageSelection.parse(self.target_pages)
        return PageSelection(max_pages=self.max_pages)


class JobFailureConditions(Strict):
    allowed_page_failure_ratio: Annotated[float, Field(ge=0, le=1)] | None = None
    fail_on_buggy_font: bool | None = None
    fail_on_image_extraction_error: bool | None = None
    fail_on_image_ocr_error: bool | None = None
    fail_on_markdown_reconstruction_error: bool | None = None


class Timeouts(Strict):
    base_in_seconds: Annotated[int, Field(gt=0, le=7200)] | None = None
    extra_time_per_page_in_seconds: Annotated[int, Field(ge=0, le=300)] | None = None


class ProcessingControl(Strict):
    job_failure_conditions: JobFailureConditions = JobFailureConditions()
    timeouts: Timeouts = Timeouts()


class AutoModeParsing(BaseModel):
    """The part of a rule's `parsing_conf` that has a price; the rest is taken and ignored."""

    model_config = ConfigDict(extra="allow")

    tier: Tier | None = None
    version: str | None = None

    @field_validator("version")
    @classmethod
    def _known(cls, value: str | None, info: ValidationInfo) -> str | None:
        return _checked_version(value, info.data.get("tier"))


class AutoModeRule(BaseModel):
    """When its triggers hold, `parsing_conf` replaces the job's tier for that page. Unknown triggers never hold."""

    model_config = ConfigDict(extra="allow")

    parsing_conf: AutoModeParsing
    trigger_mode: str | None = None


class CostOptimizer(Strict):
    enable: bool | None = None


class Ocr(Strict):
    languages: list[str] | None = None


class ProcessingOptions(Strict):
    aggressive_table_extraction: bool | None = None
    auto_mode_configuration: list[AutoModeRule] | None = None
    confidence_score_effort: Literal["high"] | None = None
    cost_optimizer: CostOptimizer | None = None
    disable_heuristics: bool | None = None
    forms: Literal["default", "enrich"] | None = None
    ignore: dict[str, bool | None] | None = None
    ocr_parameters: Ocr | None = None
    specialized_chart_parsing: Literal["agentic", "agentic_plus", "efficient"] | None = None


class SpreadsheetInput(Strict):
    detect_sub_tables_in_sheets: bool | None = None
    force_formula_computation_in_sheets: bool | None = None
    include_hidden_sheets: bool | None = None


class PresentationInput(Strict):
    include_hidden_slides: bool | None = None
    out_of_bounds_content: bool | None = None
    skip_embedded_data: bool | None = None


class InputOptions(Strict):
    html: dict[str, bool | None] | None = None
    image: dict[str, bool | None] | None = None
    pdf: dict[str, object] | None = None
    presentation: PresentationInput = PresentationInput()
    spreadsheet: SpreadsheetInput = SpreadsheetInput()


class WebhookConfiguration(Strict):
    webhook_url: Annotated[str, Field(max_length=2000)] | None = None
    webhook_events: list[Event] | None = None
    webhook_headers: dict[str, str | int | float | bool] | None = None
    webhook_output_format: Literal["json", "string"] | None = None
    webhook_signing_secret: str | None = None

    @field_validator("webhook_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("https://", "http://")):
            raise PydanticCustomError("url_scheme", "URL scheme should be 'http' or 'https'")
        return value

    @field_validator("webhook_headers")
    @classmethod
    def _sendable(cls, value: dict[str, str | int | float | bool] | None) -> dict[str, str | int | float | bool] | None:
        for name, text in (value or {}).items():
            if not name or not f"{name}{text}".isascii() or not f"{name}{text}".isprintable():
                raise PydanticCustomError("header", "a header's name and value must be printable ASCII")
        return value

    def wants(self, event: Event) -> bool:
        """No list of events means all of them."""
        return self.webhook_url is not None and (self.webhook_events is None or event in self.webhook_events)


class ParseOrder(Strict):
    tier: Tier
    version: str
    agentic_options: dict[str, str | None] | None = None
    client_name: str | None = None
    configuration_id: str | None = None
    crop_box: dict[Literal["top", "bottom", "left", "right"], Annotated[float, Field(ge=0, le=1)] | None] | None = None
    disable_cache: bool | None = None
    fast_options: dict[str, object] | None = None
    file_id: str | None = None
    http_proxy: str | None = None
    input_options: InputOptions = InputOptions()
    output_options: dict[str, object] | None = None
    page_ranges: PageRanges = PageRanges()
    processing_control: ProcessingControl = ProcessingControl()
    processing_options: ProcessingOptions = ProcessingOptions()
    source_url: Annotated[str, Field(max_length=8000)] | None = None
    user_metadata: dict[str, str] | None = None
    webhook_configuration_ids: list[str] | None = None
    webhook_configurations: list[WebhookConfiguration] = []

    @field_validator("version")
    @classmethod
    def _known(cls, value: str, info: ValidationInfo) -> str:
        return _checked_version(value, info.data.get("tier")) or value

    @field_validator("user_metadata")
    @classmethod
    def _small(cls, value: dict[str, str] | None, info: ValidationInfo) -> dict[str, str] | None:
        limits: Mapping[str, int] | None = info.context
        if value and limits:
            _check_metadata(value, limits)
        return value

    @property
    def allowed_page_failure_ratio(self) -> float:
        ratio = self.processing_control.job_failure_conditions.allowed_page_failure_ratio
        return DEFAULT_PAGE_FAILURE_RATIO if ratio is None else ratio

    def credits_per_page(self, tier: Tier | None = None) -> int:
        """Credits for one page on this order's tier, or on the dearer one that a rule chose for it."""
        extra = HIGH_CONFIDENCE_CREDITS_PER_PAGE if self.processing_options.confidence_score_effort == "high" else 0
        return CREDITS_PER_PAGE[tier or self.tier] + extra

    def fingerprint(self) -> str:
        """The same for two orders whose results are the same: what the cache goes by, beside the file's bytes."""
        options = self.model_dump(mode="json", exclude=NOT_PART_OF_THE_RESULT, exclude_none=True)
        options["version"] = resolved_version(self.tier, self.version)
        return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()


def _checked_version(version: str | None, tier: Tier | None) -> str | None:
    if version is not None and tier is not None and resolved_version(tier, version) is None:
        raise PydanticCustomError(
            "parse_version",
            "Version '{version}' is not available for tier '{tier}'",
            {"version": version, "tier": tier},
        )
    return version


def _check_metadata(metadata: Mapping[str, str], limits: Mapping[str, int]) -> None:
    def too_long(texts: Iterable[str], limit: int) -> bool:
        return any(len(text) > limit for text in texts)

    if len(metadata) > limits["entries"]:
        raise PydanticCustomError("metadata", "at most {entries} entries are allowed", dict(limits))
    if too_long(metadata, limits["key"]):
        raise PydanticCustomError("metadata", "a key may have at most {key} characters", dict(limits))
    if too_long(metadata.values(), limits["value"]):
        raise PydanticCustomError("metadata", "a value may have at most {value} characters", dict(limits))
