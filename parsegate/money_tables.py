"""Tables about money, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from parsegate.tables import plain


def quote_table(said: Mapping[str, Any]) -> Table:
    """A quote as the HTTP interface gives it: a row for each file, and the totals."""
    files = said["files"]
    table = _table({"document": "left", "pages": "right", "tier": "left", "credits": "right", "dollars": "right"})
    table.add_column("starts")
    for file in files:
        table.add_row(
            _cell(file["filename"]),
            f"<= {file['pages']:,}" if file["pages_guessed"] else f"{file['pages']:,}",
            file["tier"],
            _number(file["credits"]),
            _price(file["usd"]),
            _starts(file),
        )
    if len(files) > 1:
        table.add_section()
        table.add_row(
            f"{len(files)} documents",
            f"{said['pages']:,}",
            "",
            _number(said["credits"]),
            _price(said["usd"]),
            _starts(said),
        )
    return table


def quote_notes(said: Mapping[str, Any]) -> Iterator[str]:
    """What a person should know beside the table, a line each."""
    for file in said["files"]:
        if file["reason"]:
            yield f"{plain(file['filename'])}: {file['reason']}"
    if any(file["pages_guessed"] for file in said["files"]):
        yield "<= is a ceiling: those pages can't be counted before they are parsed, and no more are paid for"
    if not said["fits"]:
        yield {
            "defer": "what does not fit waits until there is room",
            "reject": "what does not fit is rejected (PARSEGATE_ON_BUDGET_EXHAUSTED is reject)",
            "mock": "what does not fit is parsed here, by the local parser (PARSEGATE_ON_BUDGET_EXHAUSTED is mock)",
        }[said["on_budget_exhausted"]]
    if said["waiting"]:
        waiting = said["waiting"]
        yield (
            "1 document waits already, and goes first"
            if waiting == 1
            else f"{waiting} documents wait already, and go first"
        )
    if said["mode"] == "mock":
        yield "the mode is mock: documents are parsed here, and nothing is paid"


def budget_table(budgets: Sequence[Mapping[str, Any]]) -> Table:
    """Budgets as the HTTP interface gives them, a row each."""
    table = _table({"budget": "left", "limit": "right", "spent": "right", "held": "right", "free": "right"})
    table.add_column("ends")
    table.add_column("expected by then")
    for budget in budgets:
        table.add_row(
            _cell(budget["budget"]),
            _limit(budget),
            _usd(budget["spent_usd"]),
            _usd(budget["reserved_usd"]),
            "-" if budget["free_usd"] is None else _usd(budget["free_usd"]),
            _time(budget["window"]["ends_at"]),
            _forecast(budget["forecast"]),
        )
    return table


def budget_notes(said: Mapping[str, Any]) -> Iterator[str]:
    """What a person should know beside the table, a line each."""
    if said["daily_limit_usd"] is None:
        yield str(said["note"])
    for budget in said["budgets"]:
        if budget["note"]:
            yield f"{plain(budget['budget'])}: {budget['note']}"
        if budget["extra_until"]:
            yield f"{plain(budget['budget'])}: {_usd(budget['extra_usd'])} on top until {_time(budget['extra_until'])}"
        reached = budget["forecast"]["reaches_limit_at"]
        if reached and not budget["note"]:
            yield f"{plain(budget['budget'])}: used up at about {_time(reached)} at this pace"


def usage_table(said: Mapping[str, Any]) -> Table:
    """A usage report as the HTTP interface gives it: a row for each key, and the total."""
    table = _table({said["by"]: "left", "documents": "right", "pages": "right", "credits": "right", "dollars": "right"})
    for row in said["rows"]:
        table.add_row(_cell(row["key"]), *_sums(row))
    table.add_section()
    table.add_row("total", *_sums(said))
    return table


def _sums(row: Mapping[str, Any]) -> tuple[str, ...]:
    return f"{row['documents']:,}", f"{row['pages']:,}", _number(row["credits"]), _price(row["usd"])


def _table(columns: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, justify in columns.items():
        table.add_column(heading, justify=justify)
    return table


def _cell(text: object) -> str:
    """The same in a table, where brackets would be markup."""
    return escape(plain(text))


def _number(amount: float) -> str:
    return f"{amount:,.3f}".rstrip("0").rstrip(".")


def _price(amount: float) -> str:
    """Five digits, since one page may cost an eighth of a cent."""
    return f"${amount:,.5f}"


def _usd(amount: float) -> str:
    return f"${amount:,.4f}"


def _limit(budget: Mapping[str, Any]) -> str:
    if budget["limit_usd"] == "unlimited":
        return "unlimited"
    extra = f" + {_usd(budget['extra_usd'])}" if budget["extra_usd"] else ""
    return _usd(budget["limit_usd"]) + extra


def _starts(said: Mapping[str, Any]) -> str:
    if said["fits"]:
        return "now"
    return "never" if said["starts_at"] == "never" else _time(said["starts_at"])


def _forecast(expected: Mapping[str, Any]) -> str:
    return f"{_usd(expected['expected_usd'])} ({_usd(expected['low_usd'])} to {_usd(expected['high_usd'])})"


def _time(text: str) -> str:
    return f"{text[:10]} {text[11:16]} UTC"
