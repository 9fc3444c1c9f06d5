"""Settings: aliases, files, one clear line for what is malformed, and no secret in any of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.boot import check_start
from domain.errors import BadSetting
from domain.settings import Mode, Rate, read_settings

KEY = "0123456789abcdef" * 4


def test_without_settings_documents_are_parsed_here() -> None:
    settings = read_settings({}, None)
    assert settings.effective_mode is Mode.MOCK
    check_start(settings)


@pytest.mark.parametrize(
    ("name", "field", "text"),
    [
        ("SERVICE_MODE", "mode", "hybrid"),
        ("LLAMAPARSE_BASE_URL", "base_url", "http://127.0.0.1:9009"),
        ("LLAMA_CLOUD_BASE_URL", "base_url", "http://127.0.0.1:9009/"),
    ],
)
def test_older_names_are_understood(name: str, field: str, text: str) -> None:
    assert str(getattr(read_settings({name: text}, None), field)) == text.rstrip("/")


def test_the_preferred_name_wins() -> None:
    assert read_settings({"SERVICE_MODE": "mock", "PARSEGATE_MODE": "real"}, None).mode is Mode.REAL


def test_secrets_come_from_files_too_and_show_nowhere(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("llx-very-secret\n")
    settings = read_settings({"LLAMAPARSE_API_KEY_FILE": str(file), "PARSEGATE_SECRET_KEY": f"{KEY}, {KEY}"}, None)
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "llx-very-secret"
    assert settings.secret_key_bytes == (bytes.fromhex(KEY),) * 2
    assert "very-secret" not in repr(settings)
    assert KEY not in repr(settings)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("PARSEGATE_MODE=real\nPARSEGATE_PARSE_LIMIT=10/2\n")
    settings = read_settings({"PARSEGATE_MODE": "mock"}, dotenv)
    assert (settings.mode, settings.parse_limit) == (Mode.MOCK, Rate(10, 2))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("PARSEGATE_PARSE_LIMIT", "50", "such as 50/10"),
        ("PARSEGATE_PARSE_LIMIT", "0/10", "such as 50/10"),
        ("PARSEGATE_SECRET_KEY", "secret-but-short", "64 hex digits"),
        ("PARSEGATE_MODE", "fast", "'real', 'mock' or 'hybrid'"),
        ("PARSEGATE_DAILY_BUDGET_USD", "NaN", "dollars"),
        ("PARSEGATE_DAILY_BUDGET_USD", "-1", "dollars"),
        ("PARSEGATE_DAILY_BUDGET_USD", "1e9", "dollars"),
        ("PARSEGATE_DAILY_BUDGET_USD", "ten", "dollars"),
        ("PARSEGATE_BUDGET_TIMEZONE", "Mars/Olympus", "time zone"),
        ("PARSEGATE_BUDGET_TIMEZONE", "../../etc/passwd", "time zone"),
        ("PARSEGATE_DOUBT_SECONDS", "0", "greater than or equal to 1"),
        ("PARSEGATE_MAX_FILE_MB", "many", "valid integer"),
        ("PARSEGATE_PUBLIC_URL", "example.org", "http"),
        ("LLAMA_CLOUD_BASE_URL", "ftp://x", "http"),
        ("LLAMA_CLOUD_API_KEY_FILE", "/nowhere/at/all", "can't read"),
    ],
)
def test_what_is_malformed_stops_with_one_clear_line(name: str, text: str, words: str) -> None:
    with pytest.raises(BadSetting) as caught:
        read_settings({name: text}, None)
    said = str(caught.value)
    assert words in said
    assert name in said
    assert "\n" not in said
    assert "secret-but-short" not in said


@pytest.mark.parametrize("mode", ["real", "hybrid"])
def test_real_money_needs_a_key_and_a_budget(mode: str) -> None:
    with pytest.raises(BadSetting, match="LLAMA_CLOUD_API_KEY"):
        check_start(read_settings({"PARSEGATE_MODE": mode}, None))
    keyed = {"PARSEGATE_MODE": mode, "LLAMA_CLOUD_API_KEY": "llx-x"}
    with pytest.raises(BadSetting, match="PARSEGATE_DAILY_BUDGET_USD"):
        check_start(read_settings(keyed, None))
    check_start(read_settings(keyed | {"PARSEGATE_DAILY_BUDGET_USD": "unlimited"}, None))


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("amqp://u:p@host", "amqp://u:p@host/parsegate"),
        ("amqp://u:p@host:5672/", "amqp://u:p@host:5672/parsegate"),
        ("amqp://u:p@host/other", "amqp://u:p@host/other"),
    ],
)
def test_the_vhost_is_parsegate_by_default(url: str, right: str) -> None:
    assert read_settings({"PARSEGATE_AMQP_URL": url}, None).amqp_url_with_vhost() == right


def test_a_broker_url_of_another_kind_is_refused() -> None:
    with pytest.raises(BadSetting, match="amqp://"):
        read_settings({"PARSEGATE_AMQP_URL": "redis://x"}, None).amqp_url_with_vhost()
