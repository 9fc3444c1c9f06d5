"""What a problem's detail looks like to whoever reads it."""

from __future__ import annotations

import pytest

from gateway.problems import sentence


@pytest.mark.parametrize(
    ("detail", "shown"),
    [
        ("the file is empty", "The file is empty"),
        ("source_url is missing: name the document by it", "source_url is missing: name the document by it"),
        ("user_id: input should be a valid UUID", "user_id: input should be a valid UUID"),
        ("priority: input should be at most 100", "priority: input should be at most 100"),
        ("tier 'gold' is not known", "tier 'gold' is not known"),
        ("pages must be a whole number", "pages must be a whole number"),
        ("", ""),
    ],
)
def test_a_detail_is_a_sentence_and_a_field_keeps_its_name(detail: str, shown: str) -> None:
    assert sentence(detail) == shown
