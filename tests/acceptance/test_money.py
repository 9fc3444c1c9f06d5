"""Money from the command line: quote, budget, usage, against a running installation."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.money import pdf
from tests.processes import Program

Start = Callable[..., Program]


def answer(program: Program, status: int = 0) -> str:
    """The output of a program that ended as it should have."""
    assert program.process.wait(timeout=60) == status, program.output
    assert "Traceback" not in program.output
    return program.output


def said(program: Program) -> dict[str, Any]:
    """Its JSON."""
    return dict(json.loads(answer(program)))


@pytest.fixture
def run(start_program: Start, tmp_path: Path) -> Start:
    """``parsegate ARGUMENTS`` against an embedded installation with the simulator, in a folder with two PDFs."""
    for pages in (1, 7):
        (tmp_path / f"{pages}.pdf").write_bytes(pdf(pages))
    (tmp_path / "[red]notes.txt").write_text("Some text.")
    start_program("up", "--simulator", "--port", "0").wait_for("ready on")
    return start_program


def test_quote_and_dry_run_say_the_same_and_order_nothing(run: Start) -> None:
    quote = answer(run("quote", "7.pdf", "[red]notes.txt", "--tier", "agentic"))
    assert re.search(r"7\.pdf +7 +agentic +70 +\$0\.08750 +now", quote)
    assert re.search(r"\[red\]notes\.txt +<= 2 +agentic +20 +\$0\.02500 +now", quote)
    assert re.search(r"2 documents +9 +90 +\$0\.11250 +now", quote)
    assert answer(run("submit", "7.pdf", "[red]notes.txt", "--tier", "agentic", "--dry-run")) == quote
    as_json = said(run("quote", "7.pdf", "--json"))
    assert (as_json["credits"], as_json["fits"]) == (21, True)
    assert said(run("submit", "7.pdf", "--dry-run", "--json")) == as_json
    mocked = answer(run("submit", "7.pdf", "--mode", "mock", "--dry-run"))
    assert "the mode is mock: documents are parsed here, and nothing is paid" in mocked
    assert "the mode is" not in answer(run("submit", "7.pdf", "--dry-run"))
    assert said(run("usage", "--json"))["rows"] == []


def test_quote_says_what_does_not_fit(run: Start) -> None:
    answer(run("budget", "set", "22credits"))
    quote = answer(run("quote", "7.pdf", "7.pdf", "7.pdf"))
    assert len(re.findall(r"\$0\.02625 +\d{4}-\d\d-\d\d 00:00 UTC", quote)) == 2
    assert "7.pdf: it costs $0.0262, and the daily budget has $0.0012 left" in quote
    assert "what does not fit waits" in quote
    answer(run("budget", "set", "0"))
    assert "never" in answer(run("quote", "1.pdf"))


def test_many_files_are_quoted_as_one(run: Start) -> None:
    answer(run("budget", "set", "99credits"))
    quote = said(run("quote", *["1.pdf"] * 120, "--tier", "fast", "--json"))
    assert (len(quote["files"]), quote["credits"]) == (120, 120)
    assert sum(file["fits"] for file in quote["files"]) == 99


def test_budget_is_set_and_shown(run: Start) -> None:
    assert re.search(r"global/day +\$10\.0000 +\$0\.0000", answer(run("budget", "show")))
    assert said(run("budget", "set", "12.50", "--json"))["daily_limit_usd"] == 12.5
    answer(run("budget", "set", "8000credits", "--budget", "tenant:acme/month"))
    until = (datetime.now(UTC) + timedelta(hours=2)).isoformat(timespec="seconds")
    shown = answer(run("budget", "set", "--extra", "5", "--until", until))
    assert re.search(r"global/day +\$12\.5000 \+ \$5\.0000 +\$0\.0000 +\$0\.0000 +\$17\.5000", shown)
    assert re.search(r"tenant:acme/month +\$10\.0000", shown)
    assert "global/day: $5.0000 on top until" in shown
    assert said(run("budget", "set", "--extra", "0", "--json"))["free_usd"] == 12.5
    assert re.search(r"global/day +unlimited .* - ", answer(run("budget", "set", "unlimited")))
    assert said(run("budget", "show", "--json"))["daily_limit_usd"] == "unlimited"


def test_usage_says_what_was_settled(run: Start) -> None:
    answer(run("submit", "7.pdf", "--tier", "fast", "--wait"))
    table = answer(run("usage", "--by", "tier"))
    assert re.search(r"fast +1 +7 +7 +\$0\.00875", table)
    assert re.search(r"total +1 +7 +7 +\$0\.00875", table)
    assert said(run("usage", "--by", "provenance", "--json"))["credits"] == 7
    head, row = csv.reader(answer(run("usage", "--by", "tenant", "--csv")).splitlines())
    assert (head, row) == (["tenant", "documents", "pages", "credits", "usd"], ["default", "1", "7", "7", "0.00875"])
    assert said(run("usage", "--until", "2020-01-01", "--json"))["credits"] == 0
    budget = said(run("budget", "show", "--json"))
    assert (budget["spent_usd"], budget["reserved_usd"]) == (0.00875, 0)


def test_a_bill_that_is_not_what_was_priced_is_shown_and_explained(start_program: Start, tmp_path: Path) -> None:
    provider = start_program("simulator", "--port", "0", "--fault", "usage-zero=1").wait_for(r"(http://\S+)")[1]
    settings = {"LLAMA_CLOUD_API_KEY": "llx-test", "LLAMA_CLOUD_BASE_URL": provider, "PARSEGATE_DAILY_BUDGET_USD": "1"}
    start_program("up", "--port", "0", environment=settings).wait_for("ready on")
    (tmp_path / "7.pdf").write_bytes(pdf(7))
    assert answer(start_program("drifts", "list")) == "no bill is left to be explained\n"
    answer(start_program("submit", "7.pdf", "--wait"))
    shown = answer(start_program("drifts", "list", environment={"COLUMNS": "80"}))
    assert re.search(r"^ 1 +unexplained zero +21 +0 +21 \(assumed\) ", shown, re.M)
    assert re.search(r"^1: job [-0-9a-f]{36}: the provider is asked again at \S+ \S+ UTC$", shown, re.M)
    explained = answer(start_program("drifts", "explain", "1", "free of charge", "--billed", "0"))
    assert re.search(r"^ 1 +unexplained zero +21 +0 +0 ", explained, re.M)
    assert "free of charge (admin of the data folder)\n" in explained
    assert answer(start_program("drifts", "list")) == "no bill is left to be explained\n"
    (kept,) = json.loads(answer(start_program("drifts", "list", "--all", "--json")))
    assert (kept["explanation"], kept["settled_credits"]) == ("free of charge", 0)
    assert "$1.0000" in answer(start_program("budget", "show"))
    assert "There is no drift 9" in answer(start_program("drifts", "explain", "9", "why"), 1)
    for amount in ("much", "NaN", "1e400", "-1"):
        refused = answer(start_program("drifts", "explain", "1", "why", "--billed", amount), 2)
        assert "no number of credits" in refused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("budget", "set"), "say the limit"),
        (("budget", "set", "5", "--extra", "5"), "say the limit"),
        (("budget", "set", "--extra", "5"), "go together"),
        (("budget", "set", "5", "--until", "2030-01-01T00:00:00Z"), "go together"),
        (("budget", "set", "-5"), "must be from 0 to 1,000,000 dollars"),
        (("budget", "set", "--", "-5"), "must be from 0 to 1,000,000 dollars"),
        *[
            (("budget", "set", amount), "is not a limit")
            for amount in ("NaN", "Infinity", "much", "1000001", "800000001credits", "5euros", "0x10")
        ],
        (("budget", "set", "--extra", "unlimited", "--until", "2030-01-01T00:00:00Z"), "can't be unlimited"),
        (("budget", "set", "--extra", "5", "--until", "tomorrow"), "a time with an offset"),
        (("budget", "set", "5", "--budget", "acme"), "malformed"),
        (("quote",), "Missing argument"),
        (("quote", "nowhere.pdf"), "does not exist"),
        (("usage", "--by", "planet"), "is not one of"),
        (("usage", "--csv", "--json"), "either --csv or --json"),
    ],
)
def test_bad_usage_is_one_sentence_and_2(start_program: Start, arguments: tuple[str, ...], words: str) -> None:
    assert words in answer(start_program(*arguments), 2).strip().splitlines()[-1]


def test_what_the_server_refuses_is_one_sentence_and_1(run: Start) -> None:
    late = ("budget", "set", "--extra", "5", "--until", "2020-01-01T00:00:00Z")
    assert "has passed" in answer(run(*late), 1)
    assert "malformed" in answer(run("usage", "--since", "yesterday"), 1)


@pytest.mark.parametrize(("name", "value"), [("PARSEGATE_PRICES", "fast=-1"), ("PARSEGATE_USD_PER_CREDIT", "NaN")])
def test_a_price_that_is_none_stops_the_start(start_program: Start, name: str, value: str) -> None:
    line = answer(start_program("up", "--port", "0", environment={name: value}), 1).strip().splitlines()[-1]
    assert line.startswith(f"parsegate: {name}")
