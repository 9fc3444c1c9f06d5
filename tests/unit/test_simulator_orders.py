"""Orders and dice: page selections, what tells two orders apart, prices that the provider publishes, seeded faults."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_cloud.types import ParsingListVersionsResponse
from llama_cloud.types.parsing_create_params import ParsingCreateParams, ProcessingOptions

from llamaparse.simulator.auto_mode import tier_of_page
from llamaparse.simulator.faults import FAULTS, Faults
from llamaparse.simulator.orders import PageSelection, ParseOrder
from llamaparse.simulator.orders import ProcessingOptions as OurProcessingOptions
from llamaparse.simulator.pages import Page
from llamaparse.simulator.prices import VERSIONS


def order(**fields: Any) -> ParseOrder:
    return ParseOrder.model_validate({"tier": "agentic", "version": "latest", **fields})


@given(pages=st.sets(st.integers(1, 30), min_size=1), total=st.integers(1, 30), data=st.data())
def test_a_selection_gives_the_pages_that_it_names_in_order(pages: set[int], total: int, data: st.DataObject) -> None:
    spelled = data.draw(st.permutations(sorted(pages)))
    selection = PageSelection.parse(",".join(map(str, spelled)))
    expected = [page for page in sorted(pages) if page <= total]
    assert list(selection.of(total)) == expected
    assert selection.count(total) == len(expected)


@pytest.mark.parametrize("text", ["1-5,5", "2,1-3", "7,7", "1-3,2-4"])
def test_a_page_named_twice_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="duplicate"):
        PageSelection.parse(text)


def test_a_huge_range_costs_no_memory() -> None:
    selection = PageSelection.parse("1-999999999")
    assert list(selection.of(3)) == [1, 2, 3]


def test_the_order_has_the_fields_of_the_sdk() -> None:
    in_the_query = {"organization_id", "project_id"}
    assert set(ParseOrder.model_fields) == set(ParsingCreateParams.__annotations__) - in_the_query
    assert set(OurProcessingOptions.model_fields) == set(ProcessingOptions.__annotations__)


def test_the_versions_are_those_of_the_sdk() -> None:
    fields = ParsingListVersionsResponse.model_fields
    for tier, versions in VERSIONS.items():
        (dates,) = get_args(fields[tier].annotation)
        assert versions == get_args(dates)


@pytest.mark.parametrize(
    "fields",
    [
        {"user_metadata": {"a": "b"}},
        {"webhook_configurations": [{"webhook_url": "https://example.com"}]},
        {"disable_cache": False},
        {"client_name": "me"},
        {"file_id": "dfl-1"},
        {"version": "2026-10-16"},
    ],
)
def test_what_does_not_change_the_result_does_not_change_the_fingerprint(fields: dict[str, Any]) -> None:
    assert order(**fields).fingerprint() == order().fingerprint()


@pytest.mark.parametrize(
    "fields",
    [
        {"tier": "fast"},
        {"version": "2026-10-15"},
        {"page_ranges": {"max_pages": 1}},
        {"processing_options": {"confidence_score_effort": "high"}},
        {"output_options": {"markdown": {"annotate_links": True}}},
        {"agentic_options": {"custom_prompt": "Be brief."}},
    ],
)
def test_what_changes_the_result_changes_the_fingerprint(fields: dict[str, Any]) -> None:
    assert order(**fields).fingerprint() != order().fingerprint()


@pytest.mark.parametrize(
    ("triggers", "holds"),
    [
        ({"text_in_page": "apple"}, True),
        ({"text_in_page": "pear"}, False),
        ({"page_longer_than_n_chars": "5"}, True),
        ({"page_shorter_than_n_chars": 5}, False),
        ({"page_contains_at_least_n_words": 2, "page_contains_at_most_n_words": 2}, True),
        ({"text_in_page": "pear", "page_longer_than_n_chars": 5}, False),
        ({"text_in_page": "pear", "page_longer_than_n_chars": 5, "trigger_mode": "or"}, True),
        ({"filename_match_glob": "*.pdf"}, True),
        ({"filename_match_glob_list": ["*.doc", "a.*"]}, True),
        ({"page_longer_than_n_chars": "many"}, False),
        ({"text_in_page": "apple", "table_in_page": True}, False),
        ({}, False),
    ],
)
def test_auto_mode_rules(triggers: dict[str, Any], holds: bool) -> None:
    rule = {**triggers, "parsing_conf": {"tier": "agentic_plus", "version": "latest"}}
    found = order(processing_options={"auto_mode_configuration": [rule]})
    assert tier_of_page(found, "a.pdf", Page(1, text="an apple")) == ("agentic_plus" if holds else "agentic")


def test_faults_repeat_with_their_seed_and_do_not_disturb_each_other() -> None:
    def strikes(seed: int, **rates: float) -> list[bool]:
        faults = Faults(seed, rates)
        return [faults.strikes("slow") for _ in range(200) if faults.strikes("reset") in (True, False)]

    alone = strikes(1, slow=0.3)
    assert alone == strikes(1, slow=0.3, reset=0.5)
    assert alone != strikes(2, slow=0.3)
    assert 40 <= sum(alone) <= 80


def test_a_fault_that_is_off_never_strikes_and_one_at_rate_1_always_does() -> None:
    faults = Faults(0, {"reset": 1.0})
    assert [faults.strikes(name) for name in FAULTS] == [name == "reset" for name in FAULTS]
    faults.update({"reset": 0})
    assert not faults.strikes("reset")
    assert faults.struck == {"reset": 1}
