"""Where settings are read from, and what is said of one that can't be used."""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from domain.errors import BadSetting

PREFIX: Final = "PARSEGATE_"
NOT_SETTINGS: Final = ("PARSEGATE_DEBUG", "PARSEGATE_PORT", "PARSEGATE_TEST_")
"""Names with our prefix that are read elsewhere: by the command line, docker-compose.yml and the tests."""
LONGEST_SHOWN: Final = 60


def read_dotenv(path: Path) -> dict[str, str]:
    """The names and values of a ``.env`` file, without the empty ones; nothing if there is no such file.

    Raises:
        BadSetting: it is no file, no text, or has a line that says nothing.
    """
    if not path.exists():
        return {}
    if not path.is_file():
        what = "a folder" if path.is_dir() else "not a regular file"
        raise BadSetting(f"{path} is {what}, where settings are looked for: rename it, or work in another folder")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BadSetting(f"{path} is not a text in UTF-8: write lines such as NAME=value") from None
    except OSError as error:
        raise BadSetting(f"{path} can't be read: {error.strerror}") from None
    if "\0" in text:
        raise BadSetting(f"{path} is not a text: write lines such as NAME=value")
    for statement in parse_stream(io.StringIO(text)):
        if statement.error:
            raise BadSetting(f"{path} can't be understood at line {statement.original.line}: write NAME=value")
    return {name: value for name, value in dotenv_values(stream=io.StringIO(text)).items() if value}


def read_secret(name: str, path: str) -> str:
    """The value of a setting that lies in a file of its own.

    Raises:
        BadSetting: there is no such file, or nothing in it.
    """
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise BadSetting(f"{name}_FILE: can't read {path}: it is not a text in UTF-8") from None
    except (OSError, ValueError) as error:
        raise BadSetting(f"{name}_FILE: can't read {path}: {getattr(error, 'strerror', None) or error}") from None
    if not text:
        raise BadSetting(f"{name}_FILE: {path} is empty")
    return text


def unknown_names(given: Iterable[str], known: Iterable[str]) -> list[str]:
    """What looks like a setting of ours and is none, a sentence each."""
    names = {variant for name in known for variant in (name, f"{name}_FILE")}
    strange = (name for name in given if name.startswith(PREFIX) and not name.startswith(NOT_SETTINGS))
    return [_unknown(name, names) for name in sorted(set(strange) - names)]


def _unknown(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f"{name} is not a setting" + (f": did you mean {close[0]}?" if close else " (docs/settings.md has them all)")


def fault(name: str, problem: Mapping[str, Any], shown: str | None) -> str:
    """One sentence about a malformed setting.

    Args:
        problem: an error of pydantic's.
        shown: the value; None if it may be a secret.
    """
    words = _words(problem)
    told = shown is not None and words.startswith(("must ", "write "))
    return f"{name}: {words}, not {_short(shown or '')!r}" if told else f"{name}: {words}"


def _words(problem: Mapping[str, Any]) -> str:
    limits: Mapping[str, Any] = problem.get("ctx") or {}
    match problem["type"]:
        case "int_parsing" | "int_parsing_size" | "int_from_float":
            return "must be a whole number"
        case "greater_than_equal":
            return f"must be {limits['ge']:,} or more"
        case "less_than_equal":
            return f"must be at most {limits['le']:,}"
        case "enum":
            return f"must be {limits['expected']}"
        case "value_error":
            return str(limits["error"])
    said = str(problem["msg"])
    return f"{said[:1].lower()}{said[1:]}"


def _short(value: str) -> str:
    value = without_password(value)
    return value if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}..."


def without_password(url: str) -> str:
    """A URL for people: its password, and what follows a question mark, hidden. Other texts as they are."""
    if "://" not in url:
        return url
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        return f"{url.split('://', 1)[0]}://********"
    user = "" if parts.username is None else parts.username + (":********@" if password is not None else "@")
    place = parts.netloc.rpartition("@")[2]
    query = "?********" if parts.query else ""
    return f"{parts.scheme}://{user}{place}{parts.path}{query}"
