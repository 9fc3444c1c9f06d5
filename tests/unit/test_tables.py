"""Tables of jobs fit the terminal: columns go, nothing is cut."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from parsegate.tables import job_notes, job_table


def job(filename: str, **said: Any) -> dict[str, Any]:
    made = {
        "filename": filename,
        "state": "completed",
        "tier": "cost_effective",
        "pages": 1,
        "pages_guessed": False,
        "parsed_pages": None,
        "credits": 3,
        "usd": 0.00375,
        "provenance": "real",
        "reason": None,
        "message": None,
        "created_at": "2026-11-24T10:00:00Z",
        "finished_at": "2026-11-24T10:00:01.5Z",
    }
    return made | said


def printed(width: int, *jobs: dict[str, Any]) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(job_table(jobs, console))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines() if line.strip()]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
def test_a_table_is_never_wider_than_the_terminal_and_cuts_nothing(width: int) -> None:
    lines = printed(width, job("protected-statement.pdf", state="failed", reason="PDF_IS_PROTECTED"), job("a.txt"))
    assert all(len(line) <= width for line in lines)
    assert "…" not in "".join(lines)
    words = " ".join(lines).split()
    assert {"protected-statement.pdf", "a.txt", "completed", "failed", "1", "3"} <= set(words) or width == 40


def test_what_a_person_asked_for_goes_before_what_only_the_table_tells() -> None:
    """At 80 columns it is still seen whether the provider parsed it, and what it cost."""
    heading = printed(80, job("protected-statement.pdf"))[0]
    assert heading.split() == ["document", "pages", "credits", "dollars", "state", "provenance"]
    assert printed(160, job("a.txt"))[0].split() == [
        *("document", "pages", "tier", "credits", "dollars", "state", "provenance", "seconds")
    ]


def test_a_long_name_is_folded_not_cut() -> None:
    name = "a-very-long-name-" * 8 + "end.pdf"
    lines = printed(60, job(name))
    assert all(len(line) <= 60 for line in lines)
    assert name in "".join(line.split()[0] for line in lines[2:])


def test_names_do_not_command_the_terminal() -> None:
    [row] = printed(160, job("[red]a\x1b[31m.pdf"))[2:]
    assert "[red]a\ufffd[31m.pdf" in row


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"pages": 9, "pages_guessed": True, "parsed_pages": 4}, "4"),
        ({"pages": 9, "pages_guessed": True}, "<= 9"),
        ({"pages": 9}, "9"),
        ({"pages": None}, "-"),
    ],
)
def test_pages_are_those_of_the_result_once_it_is_there(said: dict[str, Any], shown: str) -> None:
    row = printed(160, job("a.pdf", **said))[2]
    assert row.split("  cost_effective")[0].split(maxsplit=1)[1].strip() == shown


def test_why_a_job_failed_stands_below() -> None:
    failed = job("a.pdf", state="failed", reason="PDF_IS_BROKEN", message="The PDF is broken.")
    assert list(job_notes([failed, job("b.pdf")])) == ["a.pdf: The PDF is broken. (PDF_IS_BROKEN)"]
