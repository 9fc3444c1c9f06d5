"""Settings: environment or ``.env``, each secret also from a file (`NAME_FILE`)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dotenv import dotenv_values
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from domain.errors import BadSetting

DEFAULT_BASE_URL: Final = "https://api.cloud.llamaindex.ai"
_RATE = re.compile(r"(\d{1,9})/(\d{1,9})")
_SECRET_KEY = re.compile(r"[0-9a-fA-F]{64}")


class Mode(StrEnum):
    """Who parses: the provider, the local parser, or the provider and the local parser where it is down."""

    REAL = "real"
    MOCK = "mock"
    HYBRID = "hybrid"


class OnExhausted(StrEnum):
    """What becomes of a document that the budget does not allow now."""

    DEFER = "defer"
    REJECT = "reject"
    MOCK = "mock"


@dataclass(frozen=True)
class Rate:
    """`count` calls in any window of `seconds`."""

    count: int
    seconds: int

    def __str__(self) -> str:
        return f"{self.count}/{self.seconds}"


def parse_rate(text: object) -> Rate:
    """``50/10`` is 50 in 10 seconds.

    Raises:
        ValueError: malformed, or a part is zero.
    """
    match = _RATE.fullmatch(text) if isinstance(text, str) else None
    if match is None or not int(match[1]) or not int(match[2]):
        raise ValueError("write it as COUNT/SECONDS, such as 50/10")
    return Rate(int(match[1]), int(match[2]))


def _usd(text: object) -> Decimal | None:
    if text == "unlimited":
        return None
    try:
        amount = Decimal(str(text))
    except InvalidOperation:
        raise ValueError("write dollars, such as 12.50, or 'unlimited'") from None
    if not amount.is_finite() or not 0 <= amount <= 1_000_000:
        raise ValueError("must be from 0 to 1000000 dollars, or 'unlimited'")
    return amount


def _split(text: object) -> object:
    return [part.strip() for part in text.split(",") if part.strip()] if isinstance(text, str) else text


def _zone(text: object) -> ZoneInfo:
    try:
        return ZoneInfo(str(text))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is not a time zone; use a name such as Europe/Berlin") from None


def _http_url(text: object) -> object:
    parts = urlsplit(str(text))
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be a http:// or https:// URL")
    return str(text).rstrip("/")


def _secret_keys(text: object) -> tuple[SecretStr, ...]:
    keys = [part.strip() for part in str(text).split(",")]
    if not all(_SECRET_KEY.fullmatch(key) for key in keys):
        raise ValueError("must be 64 hex digits (32 bytes); several, comma-separated, newest first, while rotating")
    return tuple(SecretStr(key.lower()) for key in keys)


HttpUrl = Annotated[str, BeforeValidator(_http_url)]
RateLimit = Annotated[Rate, BeforeValidator(parse_rate)]
Seconds = Annotated[int, Field(ge=1)]


def _named(*names: str, default: Any = None, secret: bool = False) -> Any:
    return Field(default=default, validation_alias=AliasChoices(*names), json_schema_extra={"secret": secret})


class Settings(BaseModel):
    """Every setting, validated. Unset ones have their default; None means that there is none."""

    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True, hide_input_in_errors=True)

    database_url: SecretStr | None = _named("PARSEGATE_DATABASE_URL", secret=True)
    amqp_url: SecretStr | None = _named("PARSEGATE_AMQP_URL", secret=True)
    data_dir: Path = _named("PARSEGATE_DATA_DIR", default=Path("parsegate-data"))
    results_url: str | None = _named("PARSEGATE_RESULTS_URL")
    source_roots: Annotated[tuple[Path, ...], BeforeValidator(_split)] = _named("PARSEGATE_SOURCE_ROOTS", default=())
    private_hosts: Annotated[tuple[str, ...], BeforeValidator(_split)] = _named("PARSEGATE_PRIVATE_HOSTS", default=())
    mode: Mode | None = _named("PARSEGATE_MODE", "SERVICE_MODE")
    api_key: SecretStr | None = _named("LLAMA_CLOUD_API_KEY", "LLAMAPARSE_API_KEY", secret=True)
    base_url: HttpUrl = _named("LLAMA_CLOUD_BASE_URL", "LLAMAPARSE_BASE_URL", default=DEFAULT_BASE_URL)
    public_url: HttpUrl | None = _named("PARSEGATE_PUBLIC_URL")
    secret_key: Annotated[tuple[SecretStr, ...], BeforeValidator(_secret_keys)] = _named(
        "PARSEGATE_SECRET_KEY", default=(), secret=True
    )
    webhook_secret_003: SecretStr | None = _named("LLAMAPARSE_WEBHOOK_SECRET", secret=True)
    daily_budget_usd: Annotated[Decimal | None, BeforeValidator(_usd)] = _named("PARSEGATE_DAILY_BUDGET_USD")
    budget_timezone: Annotated[ZoneInfo, BeforeValidator(_zone)] = _named(
        "PARSEGATE_BUDGET_TIMEZONE", default=ZoneInfo("UTC")
    )
    on_budget_exhausted: OnExhausted = _named("PARSEGATE_ON_BUDGET_EXHAUSTED", default=OnExhausted.DEFER)
    parse_limit: RateLimit = _named("PARSEGATE_PARSE_LIMIT", default=Rate(50, 10))
    upload_limit: RateLimit = _named("PARSEGATE_UPLOAD_LIMIT", default=Rate(50, 5))
    hourly_limit: RateLimit | None = _named("PARSEGATE_HOURLY_LIMIT")
    doubt_seconds: Seconds = _named("PARSEGATE_DOUBT_SECONDS", default=900)
    poll_after_seconds: Seconds = _named("PARSEGATE_POLL_AFTER_SECONDS", default=60)
    stuck_after_seconds: Seconds = _named("PARSEGATE_STUCK_AFTER_SECONDS", default=7200)
    max_file_mb: Annotated[int, Field(ge=1, le=1_000_000)] = _named("PARSEGATE_MAX_FILE_MB", default=512)
    retention_days: Annotated[int | None, Field(ge=1)] = _named("PARSEGATE_RETENTION_DAYS")
    start_wait_seconds: Annotated[int, Field(ge=0)] = _named("PARSEGATE_START_WAIT_SECONDS", default=60)
    client_url: Annotated[str | None, BeforeValidator(_http_url)] = _named("PARSEGATE_URL")
    client_token: SecretStr | None = _named("PARSEGATE_TOKEN", secret=True)

    @property
    def budget_is_set(self) -> bool:
        """True if a daily budget was named, be it `unlimited`."""
        return "daily_budget_usd" in self.model_fields_set

    @property
    def effective_mode(self) -> Mode:
        """The mode at start: as set, else `real` with an API key, else `mock`."""
        return self.mode or (Mode.REAL if self.api_key is not None else Mode.MOCK)

    def amqp_url_with_vhost(self) -> str:
        """The broker's URL; without a path its vhost is `parsegate`.

        Raises:
            BadSetting: it is unset or malformed.
        """
        url = self.amqp_url.get_secret_value() if self.amqp_url is not None else ""
        parts = urlsplit(url)
        if parts.scheme not in {"amqp", "amqps"} or not parts.hostname:
            raise BadSetting("PARSEGATE_AMQP_URL must be amqp://user:password@host:port/vhost")
        return url if parts.path not in {"", "/"} else parts._replace(path="/parsegate").geturl()

    @property
    def max_file_bytes(self) -> int:
        """The largest document that is taken, in bytes."""
        return self.max_file_mb * 1_000_000

    @property
    def secret_key_bytes(self) -> tuple[bytes, ...]:
        """Every secret key in force, 32 bytes each, newest first."""
        return tuple(bytes.fromhex(key.get_secret_value()) for key in self.secret_key)


def setting_names(field: str) -> tuple[str, ...]:
    """The environment names of a field of `Settings`, the preferred one first."""
    alias = Settings.model_fields[field].validation_alias
    return tuple(str(choice) for choice in alias.choices) if isinstance(alias, AliasChoices) else ()


def read_settings(environ: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env")) -> Settings:
    """Settings from `environ` (the process's own by default), over those of a ``.env`` file.

    An empty value counts as unset.

    Raises:
        BadSetting: one clear line, without the value if it is a secret.
    """
    found: dict[str, str] = {}
    if dotenv is not None and dotenv.is_file():
        found.update({name: value for name, value in dotenv_values(dotenv).items() if value})
    found.update({name: value for name, value in (os.environ if environ is None else environ).items() if value})
    values = {}
    for field in Settings.model_fields:
        for name in setting_names(field):
            if name in found or f"{name}_FILE" in found:
                values[name] = found[name] if name in found else _read_secret(name, found[f"{name}_FILE"])
                break
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        words = first["msg"].removeprefix("Value error, ")
        raise BadSetting(f"{first['loc'][0]} {words[0].lower()}{words[1:]}") from None


def _read_secret(name: str, path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"{name}_FILE: can't read {path}: {error}") from None
