"""JSON and forms as they are let in."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import OrderRefused
from gateway.bodies import MAX_DEPTH, check_text, parse_json
from gateway.orders import form_values

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
WHOLE = st.integers(-(2**63), 2**63 - 1)
VALUES = st.recursive(
    st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)


@given(VALUES)
def test_json_is_read_as_it_is(value: object) -> None:
    """Whatever can be stored comes through unchanged, escaped or not, as bytes or text."""
    for escaped in (True, False):
        text = json.dumps(value, ensure_ascii=escaped)
        assert parse_json(text) == parse_json(text.encode()) == value


@given(st.binary() | st.text())
def test_whatever_comes_is_read_or_refused(body: bytes | str) -> None:
    """Never another error than ValueError; and what was read can be written again, as UTF-8."""
    with suppress(ValueError):
        json.dumps(parse_json(body), allow_nan=False, ensure_ascii=False).encode()


REFUSED = {
    "nothing": "",
    "open": "[1",
    "two": "1 2",
    "not a number": "NaN",
    "infinite": "[-Infinity]",
    "too large a float": "1e999",
    "beyond 64 bits": str(2**63),
    "too many digits": "1" * 5000,
    "NUL": '"\\u0000"',
    "NUL in a name": '{"\\u0000": 1}',
    "half a pair": '["\\ud800"]',
    "half a pair in a name": '{"\\udfff": 1}',
    "deep": "[" * 100_000,
    "deep and closed": "[" * 900 + "]" * 900,
    "one too deep": "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
    "not UTF-8": b'"\xff"',
    "UTF-16": '"a"'.encode("utf-16"),
    "UTF-16 without a mark": '"a"'.encode("utf-16-le"),
    "UTF-32": '"a"'.encode("utf-32-be"),
    "a byte order mark": b'\xef\xbb\xbf"a"',
    "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "a name twice": '{"a": 1, "a": 1}',
    "a name twice, spelled differently": '[{"a": {"b": 1, "\\u0062": 2}}]',
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_refused_json(body: bytes | str) -> None:
    """What another reader, or the database, would choke on."""
    with pytest.raises(ValueError, match="it "):
        parse_json(body)


def test_accepted_json() -> None:
    """Right up to the limits; a whole pair is a character like any other."""
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)[0]
    assert parse_json('"\\ud83d\\ude00"') == "😀"
    check_text("\x01\ud7ff\ue000")


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        ({}, {}),
        ({"tier": ["fast"], "user_id": [""]}, {"tier": "fast"}),
        ({"tags": ["a, b", "", " c"]}, {"tags": ["a", "b", "c"]}),
        ({"tags": [" , "]}, {"tags": []}),
        ({"options": ['{"a": [1]}'], "priority": ["-7"]}, {"options": {"a": [1]}, "priority": -7}),
        ({"tenant": ["12"]}, {"tenant": "12"}),
    ],
)
def test_form_becomes_json_values(fields: dict[str, list[str]], values: dict[str, Any]) -> None:
    """Texts, but for what is none."""
    assert form_values(fields) == values


@pytest.mark.parametrize(
    "fields",
    [
        {"tier": ["fast", "fast"]},
        {"options": ["{"]},
        {"options": ["NaN"]},
        {"priority": ["high"]},
        {"priority": ["[" * 100_000]},
        {"tenant": ["\0"]},
    ],
)
def test_form_that_can_t_be_read_names_the_field(fields: dict[str, list[str]]) -> None:
    """One sentence."""
    with pytest.raises(OrderRefused, match=f"field '{next(iter(fields))}'"):
        form_values(fields)
