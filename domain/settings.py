"""Settings: environment or ``.env``, each secret also from a file (`NAME_FILE`)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from domain.errors import BadSetting
from domain.prices import Override, Prices, dollar_days, parse_prices, parse_usd_per_credit, prices_at
from domain.setting_sources import fault, read_dotenv, read_secret, unknown_names

DEFAULT_BASE_URL: Final = "https://api.cloud.llamaindex.ai"
_RATE = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
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
        raise ValueError("write COUNT/SECONDS, both from 1, such as 50/10")
    return Rate(int(match[1]), int(match[2]))


def parse_rates(text: object) -> tuple[Rate, ...]:
    """``50/10,200/60``: all of them hold at once.

    Raises:
        ValueError: malformed, or a part is zero.
    """
    if isinstance(text, tuple):
        return text
    parts = text.split(",") if isinstance(text, str) else [""]
    return tuple(parse_rate(part.strip()) for part in parts)


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


def _percents(text: object) -> tuple[int, ...]:
    parts = [part.strip() for part in str(text).split(",")] if isinstance(text, str) and text != "none" else []
    if not all(part.isascii() and part.isdigit() and 1 <= int(part) <= 100 for part in parts):
        raise ValueError("must be percents from 1 to 100, such as 50,80,100, or 'none'")
    return tuple(sorted({int(part) for part in parts}))


def _split(text: object) -> object:
    return [part.strip() for part in text.split(",") if part.strip()] if isinstance(text, str) else text


def _networks(text: object) -> object:
    parts = _split(text)
    for part in parts if isinstance(parts, list) else []:
        try:
            ip_network(part)
        except ValueError:
            raise ValueError(f"must name addresses or networks, such as 10.0.0.0/8; {part[:60]!r} is none") from None
    return parts


def _zone(text: object) -> ZoneInfo:
    try:
        return ZoneInfo(str(text))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("must be the name of a time zone, such as Europe/Berlin") from None


def _http_url(text: object) -> object:
    if not _names_host(str(text), "http", "https"):
        raise ValueError("must be an http:// or https:// URL")
    return str(text).rstrip("/")


def _amqp_url(text: object) -> object:
    if not _names_host(str(text), "amqp", "amqps"):
        raise ValueError("must be amqp://user:password@host:port/vhost")
    return text


def _database_url(text: object) -> object:
    scheme, _, rest = str(text).partition("://")
    if scheme == "sqlite":
        if not rest.lstrip("/"):
            raise ValueError("names no file: write sqlite:///folder/parsegate.db")
    elif scheme not in {"postgresql", "postgres"}:
        raise ValueError("must begin with postgresql:// or sqlite:///")
    elif not _names_port(str(text)):
        raise ValueError("must be postgresql://user:password@host:port/name")
    return text


def _names_host(url: str, *schemes: str) -> bool:
    return _names_port(url) and urlsplit(url).scheme in schemes and bool(urlsplit(url).hostname)


def _names_port(url: str) -> bool:
    """True if the URL can be taken apart, and its port is one."""
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _folders(text: object) -> object:
    parts = _split(text)
    for part in parts if isinstance(parts, list) else []:
        if not Path(part).is_absolute():
            raise ValueError(f"must name folders by their whole path, such as /srv/files; {part[:60]!r} is not one")
        if not Path(part).is_dir():
            raise ValueError(f"names a folder that does not exist here: {part[:200]}")
    return parts


def _secret_keys(text: object) -> tuple[SecretStr, ...]:
    keys = [part.strip() for part in str(text).split(",")]
    if not all(_SECRET_KEY.fullmatch(key) for key in keys):
        raise ValueError("must be 64 hex digits (32 bytes); several, comma-separated, newest first, while rotating")
    return tuple(SecretStr(key.lower()) for key in keys)


def _secrets(text: object) -> tuple[SecretStr, ...]:
    secrets = [part.strip() for part in str(text).split(",")]
    if not all(secrets):
        raise ValueError("must be a secret; several, comma-separated, newest first, while rotating")
    return tuple(SecretStr(secret) for secret in secrets)


HttpUrl = Annotated[str, BeforeValidator(_http_url)]
RateLimit = Annotated[tuple[Rate, ...], BeforeValidator(parse_rates)]
Seconds = Annotated[int, Field(ge=1)]


def _named(*names: str, default: Any = None, secret: bool = False) -> Any:
    return Field(default=default, validation_alias=AliasChoices(*names), json_schema_extra={"secret": secret})


class Settings(BaseModel):
    """Every setting, validated. Unset ones have their default; None means that there is none."""

    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True, hide_input_in_errors=True)

    database_url: Annotated[SecretStr | None, BeforeValidator(_database_url)] = _named(
        "PARSEGATE_DATABASE_URL", secret=True
    )
    amqp_url: Annotated[SecretStr | None, BeforeValidator(_amqp_url)] = _named("PARSEGATE_AMQP_URL", secret=True)
    data_dir: Path = _named("PARSEGATE_DATA_DIR", default=Path("parsegate-data"))
    results_url: str | None = _named("PARSEGATE_RESULTS_URL")
    source_roots: Annotated[tuple[Path, ...], BeforeValidator(_folders)] = _named("PARSEGATE_SOURCE_ROOTS", default=())
    private_hosts: Annotated[tuple[str, ...], BeforeValidator(_split)] = _named("PARSEGATE_PRIVATE_HOSTS", default=())
    mode: Mode | None = _named("PARSEGATE_MODE", "SERVICE_MODE")
    api_key: SecretStr | None = _named("LLAMA_CLOUD_API_KEY", "LLAMAPARSE_API_KEY", secret=True)
    base_url: HttpUrl = _named("LLAMA_CLOUD_BASE_URL", "LLAMAPARSE_BASE_URL", default=DEFAULT_BASE_URL)
    public_url: HttpUrl | None = _named("PARSEGATE_PUBLIC_URL")
    secret_key: Annotated[tuple[SecretStr, ...], BeforeValidator(_secret_keys)] = _named(
        "PARSEGATE_SECRET_KEY", default=(), secret=True
    )
    webhook_secrets_003: Annotated[tuple[SecretStr, ...], BeforeValidator(_secrets)] = _named(
        "LLAMAPARSE_WEBHOOK_SECRET", default=(), secret=True
    )
    daily_budget_usd: Annotated[Decimal | None, BeforeValidator(_usd)] = _named("PARSEGATE_DAILY_BUDGET_USD")
    budget_timezone: Annotated[ZoneInfo, BeforeValidator(_zone)] = _named(
        "PARSEGATE_BUDGET_TIMEZONE", default=ZoneInfo("UTC")
    )
    on_budget_exhausted: OnExhausted = _named("PARSEGATE_ON_BUDGET_EXHAUSTED", default=OnExhausted.DEFER)
    thresholds: Annotated[tuple[int, ...], BeforeValidator(_percents)] = _named(
        "PARSEGATE_BUDGET_THRESHOLDS", default=(50, 80, 100)
    )
    prices: Annotated[tuple[Override, ...], BeforeValidator(parse_prices)] = _named("PARSEGATE_PRICES", default=())
    usd_per_credit: Annotated[tuple[Override, ...], BeforeValidator(parse_usd_per_credit)] = _named(
        "PARSEGATE_USD_PER_CREDIT", default=()
    )
    parse_limit: RateLimit = _named("PARSEGATE_PARSE_LIMIT", default=(Rate(50, 10),))
    upload_limit: RateLimit = _named("PARSEGATE_UPLOAD_LIMIT", default=(Rate(50, 5),))
    read_limit: RateLimit = _named("PARSEGATE_READ_LIMIT", default=(Rate(300, 10),))
    hourly_limit: RateLimit | None = _named("PARSEGATE_HOURLY_LIMIT")
    max_in_flight: Annotated[int | None, Field(ge=1, le=1_000_000)] = _named("PARSEGATE_MAX_IN_FLIGHT")
    doubt_seconds: Seconds = _named("PARSEGATE_DOUBT_SECONDS", default=900)
    poll_after_seconds: Seconds = _named("PARSEGATE_POLL_AFTER_SECONDS", default=60)
    stuck_after_seconds: Seconds = _named("PARSEGATE_STUCK_AFTER_SECONDS", default=7200)
    usage_wait_seconds: Seconds = _named("PARSEGATE_USAGE_WAIT_SECONDS", default=86400)
    slow_call_seconds: Seconds = _named("PARSEGATE_SLOW_CALL_SECONDS", default=20)
    credits_wait_seconds: Seconds = _named("PARSEGATE_CREDITS_WAIT_SECONDS", default=300)
    reuse_seconds: Annotated[int, Field(ge=0)] = _named("PARSEGATE_REUSE_SECONDS", default=172_800)
    reuse_across_tenants: bool = _named("PARSEGATE_REUSE_ACROSS_TENANTS", default=False)
    max_file_mb: Annotated[int, Field(ge=1, le=1_000_000)] = _named("PARSEGATE_MAX_FILE_MB", default=512)
    token_rate: RateLimit = _named("PARSEGATE_TOKEN_RATE", default=(Rate(10_000, 10),))
    trusted_proxies: Annotated[tuple[str, ...], BeforeValidator(_networks)] = _named(
        "PARSEGATE_TRUSTED_PROXIES", default=()
    )
    retention_days: Annotated[int | None, Field(ge=1)] = _named("PARSEGATE_RETENTION_DAYS")
    start_wait_seconds: Annotated[int, Field(ge=0)] = _named("PARSEGATE_START_WAIT_SECONDS", default=60)
    client_url: Annotated[str | None, BeforeValidator(_http_url)] = _named("PARSEGATE_URL")
    client_token: SecretStr | None = _named("PARSEGATE_TOKEN", secret=True)

    @property
    def budget_is_set(self) -> bool:
        """True if a daily budget was named, be it `unlimited`."""
        return "daily_budget_usd" in self.model_fields_set

    def prices_at(self, moment: datetime) -> Prices:
        """The prices in force at a moment."""
        return self.prices_on(moment.astimezone(self.budget_timezone).date())

    def prices_on(self, day: date) -> Prices:
        """The prices in force on a day of the budget's time zone."""
        return prices_at(day, (*self.prices, *self.usd_per_credit))

    @property
    def dollar_days(self) -> list[date]:
        """The days on which another price of a credit begins, oldest first."""
        return dollar_days(self.usd_per_credit)

    @property
    def effective_mode(self) -> Mode:
        """The mode at start: as set, else `real` with an API key, else `mock`."""
        return self.mode or (Mode.REAL if self.api_key is not None else Mode.MOCK)

    @property
    def mode_source(self) -> str:
        """Where the mode at start comes from, for people."""
        return "setting" if self.mode is not None else "default"

    def amqp_url_with_vhost(self) -> str:
        """The broker's URL; without a path its vhost is `parsegate`.

        Raises:
            BadSetting: it is unset.
        """
        if self.amqp_url is None:
            raise BadSetting("PARSEGATE_AMQP_URL is not set")
        url = self.amqp_url.get_secret_value()
        parts = urlsplit(url)
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


def is_secret(field: str) -> bool:
    """True if a field's value is shown to nobody."""
    extra = Settings.model_fields[field].json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("secret"))


def read_settings(environ: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env")) -> Settings:
    """Settings from `environ` (the process's own by default), over those of a ``.env`` file.

    An empty value counts as unset.

    Raises:
        BadSetting: one clear line, without the value if it is a secret.
    """
    settings, faults = examine_settings(environ, dotenv)
    if faults:
        more = f" ({len(faults) - 1} more: 'parsegate doctor' lists them)" if len(faults) > 1 else ""
        raise BadSetting(f"{faults[0]}{more}")
    return settings


def examine_settings(
    environ: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env")
) -> tuple[Settings, list[str]]:
    """The settings as `read_settings` reads them, those that can't be used left out, and a sentence about each."""
    found, faults = _given(environ, dotenv)
    values: dict[str, str] = {}
    named: dict[str, str] = {}
    for field in Settings.model_fields:
        names = setting_names(field)
        name = next((name for name in names if name in found or f"{name}_FILE" in found), None)
        if name is None:
            continue
        try:
            values[names[0]] = found[name] if name in found else read_secret(name, found[f"{name}_FILE"])
            named[names[0]] = name
        except BadSetting as error:
            faults.append(str(error))
    try:
        return Settings.model_validate(values), faults
    except ValidationError as error:
        hidden = {setting_names(field)[0] for field in Settings.model_fields if is_secret(field)}
        for problem in error.errors(include_url=False, include_input=False):
            first = str(problem["loc"][0])
            text, name = values.pop(first, None), named[first]
            if text is not None:
                faults.append(fault(name, dict(problem), text if name in found and first not in hidden else None))
        return Settings.model_validate(values), faults


def find_unknown_settings(environ: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env")) -> list[str]:
    """What looks like a setting of Parsegate and is none, a sentence each."""
    known = (name for field in Settings.model_fields for name in setting_names(field))
    return unknown_names(_given(environ, dotenv)[0], known)


def _given(environ: Mapping[str, str] | None, dotenv: Path | None) -> tuple[dict[str, str], list[str]]:
    """What is set, the environment over the file, and what is wrong with the file."""
    found, faults = {}, []
    try:
        found = read_dotenv(dotenv) if dotenv is not None else {}
    except BadSetting as error:
        faults.append(str(error))
    found.update({name: value for name, value in (os.environ if environ is None else environ).items() if value})
    return found, faults
