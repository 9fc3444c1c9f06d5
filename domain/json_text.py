"""JSON only as every reader understands it: what another one, or the database, would choke on is not let in."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NoReturn

MAX_DEPTH: Final = 64
"""How deep JSON may be nested."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
WHOLE_NUMBERS: Final = range(-(2**63), 2**63)
"""Whole numbers that 64 bits hold; larger ones are rounded by most readers."""


class NotFinite(ValueError):
    """JSON with a number in it that is NaN, not finite, or too large."""


def parse_json(body: bytes | str) -> Any:
    """A JSON value that can be stored and passed on.

    No NaN, no infinity, no whole number beyond 64 bits, no NUL, no half of a surrogate pair, at most 64 levels, no name
    twice in an object (readers differ in which they take), and no other encoding than UTF-8, without a byte order mark.

    Raises:
        ValueError: it is not JSON, or is such; in one sentence.
    """
    try:
        # `json.loads` would guess the encoding of bytes.
        text = body if isinstance(body, str) else body.decode()
        value = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_whole,
            object_pairs_hook=_object,
        )
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error.msg} at character {error.pos}") from None
    _check(value)
    return value


def check_text(text: str) -> None:
    """Refuse what a database can't store or no encoding can carry.

    Raises:
        ValueError: in one sentence.
    """
    if "\0" in text:
        raise ValueError("it has a NUL character in it")
    if _SURROGATE.search(text):
        raise ValueError("it has half of a surrogate pair in it")


def _check(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                check_text(item)
            elif isinstance(item, dict):
                below += item.keys()
                below += item.values()
            elif isinstance(item, list):
                below += item
        if not below:
            return
        level = below
    raise ValueError("it is nested too deep")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("it has the same name twice in an object")
    return made


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotFinite("it has a number in it that is too large")
    return number


def _whole(text: str) -> int:
    # No 64 bits have more than 19 digits; Python reads no number of more than some thousands.
    if len(text) > 20 or int(text) not in WHOLE_NUMBERS:
        raise NotFinite("it has a number in it that is too large")
    return int(text)


def _refuse_constant(name: str) -> NoReturn:
    raise NotFinite(f"it has {name} in it, which is not JSON")
