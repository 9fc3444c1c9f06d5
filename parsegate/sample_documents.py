"""The documents that come with Parsegate, and what must become of each. Made by ``scripts/make-samples``."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal


@dataclass(frozen=True)
class Sample:
    """A sample document.

    Args:
        pages: how many it really has; 1 where the format knows none.
        tier: the tier to parse it with.
        expected_state: what its job must end as.
        expected_reason: why it must fail; None for one that completes.
        snippet: stands in its text; empty for one that fails.
    """

    filename: str
    title: str
    pages: int
    tier: str
    snippet: str = ""
    expected_state: Literal["completed", "failed"] = "completed"
    expected_reason: str | None = None


def _fails(filename: str, title: str, tier: str, reason: str) -> Sample:
    return Sample(filename, title, 1, tier, expected_state="failed", expected_reason=reason)


SAMPLES: Final[tuple[Sample, ...]] = (
    Sample("policy-letter.pdf", "A letter of one page, with a table", 1, "cost_effective", "HH-204-7781"),
    Sample("service-contract.pdf", "A contract of 40 pages", 40, "fast", "40.3 What is agreed on governing law"),
    Sample("greek-and-cyrillic.pdf", "Two pages in Greek and Russian", 2, "agentic", "Полис действует двенадцать"),
    _fails("scanned-receipt.pdf", "A scan without a text layer", "cost_effective", "NO_DATA_FOUND_IN_FILE"),
    Sample("premiums.csv", "A table as CSV", 1, "fast", "Aoife Byrne"),
    Sample("claims-guide.html", "A web page", 1, "cost_effective", "thirty days"),
    _fails("broken-invoice.pdf", "A broken PDF", "fast", "PDF_IS_BROKEN"),
    _fails("protected-statement.pdf", "A PDF with a password", "agentic", "PDF_IS_PROTECTED"),
    Sample("minutes.docx", "A Word document", 1, "agentic", "The flood model is replaced in May."),
    Sample("inventory.xlsx", "An Excel workbook", 1, "cost_effective", "Upright piano"),
    Sample("handover-notes.txt", "A plain text", 1, "fast", "Readings after the work: 5.6 bar."),
)


def sample_path(sample: Sample) -> Path:
    """Where the sample's file lies."""
    return Path(str(files("parsegate") / "samples" / sample.filename))
