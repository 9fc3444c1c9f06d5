"""Settings: aliases, files, one clear line for what is malformed, and no secret in any of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.boot import check_start
from domain.errors import BadSetting
from domain.setting_sources import without_password
from domain.settings import Mode, Rate, examine_settings, find_unknown_settings, read_settings

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
    assert (settings.mode, settings.parse_limit) == (Mode.MOCK, (Rate(10, 2),))


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
        ("PARSEGATE_DOUBT_SECONDS", "0", "PARSEGATE_DOUBT_SECONDS: must be 1 or more, not '0'"),
        ("PARSEGATE_MAX_FILE_MB", "many", "PARSEGATE_MAX_FILE_MB: must be a whole number, not 'many'"),
        ("PARSEGATE_MAX_FILE_MB", "9999999", "must be at most 1,000,000"),
        ("PARSEGATE_AMQP_URL", "redis://u:secret-but-short@x", "must be amqp://"),
        ("PARSEGATE_AMQP_URL", "amqp://u:secret-but-short@x:port/v", "must be amqp://"),
        ("PARSEGATE_DATABASE_URL", "mysql://u:secret-but-short@x/y", "must begin with postgresql://"),
        ("PARSEGATE_DATABASE_URL", "sqlite:///", "names no file"),
        ("PARSEGATE_SOURCE_ROOTS", "here/and/there", "whole path"),
        ("PARSEGATE_SOURCE_ROOTS", "/,/nowhere/at/all", "does not exist here: /nowhere/at/all"),
        ("PARSEGATE_PUBLIC_URL", "ftp://u:secret-but-short@x", "must be an http:// or https:// URL, not 'ftp://u:****"),
        ("PARSEGATE_URL", "http://x:123456", "must be an http://"),
        ("PARSEGATE_PRICES", "gold=1", "PARSEGATE_PRICES: names an unknown tier 'gold'"),
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


def test_everything_malformed_is_found_and_the_rest_is_in_force(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret-but-short")
    given = {
        "PARSEGATE_DAILY_BUDGET_USD": "ten",
        "PARSEGATE_PARSE_LIMIT": "many",
        "PARSEGATE_SECRET_KEY_FILE": str(tmp_path / "key"),
        "PARSEGATE_UPLOAD_LIMIT": "7/7",
    }
    settings, faults = examine_settings(given, None)
    assert sorted(said.split(":")[0] for said in faults) == [
        "PARSEGATE_DAILY_BUDGET_USD",
        "PARSEGATE_PARSE_LIMIT",
        "PARSEGATE_SECRET_KEY",
    ]
    assert "secret-but-short" not in str(faults)
    assert settings.upload_limit == (Rate(7, 7),)
    with pytest.raises(BadSetting, match=r"\(2 more: 'parsegate doctor' lists them\)"):
        read_settings(given, None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PARSEGATE_MODE=mock\nthis is = 'no setting\n", "line 2"),
        (b"\x80\xff\x00\x01", "not a text"),
        (b"A=b\x00c", "not a text"),
        (None, "is a folder"),
    ],
)
def test_a_settings_file_that_can_not_be_read_is_said(tmp_path: Path, content: bytes | None, words: str) -> None:
    dotenv = tmp_path / ".env"
    if content is None:
        dotenv.mkdir()
    else:
        dotenv.write_bytes(content)
    with pytest.raises(BadSetting, match=words) as caught:
        read_settings({}, dotenv)
    assert str(dotenv) in str(caught.value)
    assert examine_settings({"PARSEGATE_MODE": "hybrid"}, dotenv)[0].mode is Mode.HYBRID


def test_an_empty_secret_file_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(BadSetting, match=r"LLAMA_CLOUD_API_KEY_FILE: .*empty is empty"):
        read_settings({"LLAMA_CLOUD_API_KEY_FILE": str(tmp_path / "empty")}, None)


def test_a_misspelt_name_is_noticed(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PARSEGATE_DAILY_BUDGET=3\n")
    given = {"PARSEGATE_MOED": "x", "PARSEGATE_MODE": "mock", "PARSEGATE_DEBUG": "1", "PARSEGATE_TOKEN_FILE": "y"}
    budget, mode = find_unknown_settings(given, tmp_path / ".env")
    assert mode == "PARSEGATE_MOED is not a setting: did you mean PARSEGATE_MODE?"
    assert "did you mean PARSEGATE_DAILY_BUDGET_USD?" in budget


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:hush@db:5432/n?password=hush", "postgresql://u:********@db:5432/n?********"),
        ("amqp://u:hu@sh@host/v", "amqp://u:********@host/v"),
        ("https://example.org/a", "https://example.org/a"),
        ("http://[::1", "http://********"),
        ("parsegate-data/store", "parsegate-data/store"),
    ],
)
def test_a_password_in_a_url_is_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown
