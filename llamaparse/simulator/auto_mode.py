"""Auto mode: rules that move single pages to another tier, and so change their price.

Known triggers: those that a text layer can answer. A rule with any other trigger never holds, in both trigger modes:
the simulator has no layout, no images and no OCR to ask, and does not guess. Regular expressions are left out too, as
one from outside could hold the interpreter for ever.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from typing import Final

from llamaparse.simulator.orders import AutoModeRule, ParseOrder
from llamaparse.simulator.pages import Page
from llamaparse.simulator.prices import Tier

Trigger = Callable[[object, str, Page], bool]


def _words(page: Page) -> int:
    return len(page.text.split())


def _matches(value: object, name: str, _page: Page) -> bool:
    patterns = value if isinstance(value, list) else [value]
    return any(fnmatch.fnmatchcase(name, str(pattern)) for pattern in patterns)


def _number(value: object) -> float:
    """A count as the provider takes it: a number or its text. What is neither is never reached."""
    try:
        return float(str(value))
    except ValueError:
        return float("nan")


TRIGGERS: Final[Mapping[str, Trigger]] = {
    "filename_match_glob": _matches,
    "filename_match_glob_list": _matches,
    "page_contains_at_least_n_words": lambda value, _name, page: _words(page) >= _number(value),
    "page_contains_at_most_n_words": lambda value, _name, page: _words(page) <= _number(value),
    "page_longer_than_n_chars": lambda value, _name, page: len(page.text) > _number(value),
    "page_shorter_than_n_chars": lambda value, _name, page: len(page.text) < _number(value),
    "page_md_error": lambda value, _name, page: bool(value) and page.error is not None,
    "text_in_page": lambda value, _name, page: str(value) in page.text,
}


def tier_of_page(order: ParseOrder, name: str, page: Page) -> Tier:
    """The tier that parses a page: that of the first rule which holds for it and names one, or the order's."""
    for rule in order.processing_options.auto_mode_configuration or ():
        if rule.parsing_conf.tier is not None and _holds(rule, name, page):
            return rule.parsing_conf.tier
    return order.tier


def _holds(rule: AutoModeRule, name: str, page: Page) -> bool:
    asked = {key: value for key, value in (rule.model_extra or {}).items() if value is not None}
    if not asked or not asked.keys() <= TRIGGERS.keys():
        return False
    answers = (TRIGGERS[key](value, name, page) for key, value in asked.items())
    return any(answers) if rule.trigger_mode == "or" else all(answers)
