"""The bundled sample documents, and how each must end. `scripts/make-samples` makes them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final


@dataclass(frozen=True)
class Sample:
    """One sample.

    Args:
        pages: as a person would count them; 0 for what can't be opened.
        expected_reason: why it fails, if it must.
        snippet: a text that a result must hold.
    """

    filename: str
    title: str
    pages: int
    tier: str
    expected_state: str = "completed"
    expected_reason: str | None = None
    snippet: str = ""


SAMPLES: Final = (
    Sample("policy.pdf", "an insurance policy", 1, "agentic", snippet="HP-2026-00417"),
    Sample("contract.pdf", "a contract of 40 pages", 40, "cost_effective", snippet="clause 280"),
    Sample("greek-and-russian.pdf", "Greek and Russian", 1, "agentic_plus", snippet="Договор вступает в силу"),
    Sample("scan.pdf", "a picture of a page", 1, "cost_effective", "failed", "NO_DATA_FOUND_IN_FILE"),
    Sample("claims.csv", "a table", 1, "fast", snippet="C-020"),
    Sample("terms.html", "a web page", 1, "cost_effective", snippet="within fourteen days"),
    Sample("minutes.txt", "plain text", 1, "fast", snippet="three directors"),
    Sample("broken.pdf", "a broken file", 0, "cost_effective", "failed", "PDF_IS_BROKEN"),
    Sample("locked.pdf", "protected by a password", 0, "cost_effective", "failed", "PDF_IS_PROTECTED"),
)


def sample_path(sample: Sample) -> Path:
    """Where the sample's file is."""
    return Path(str(resources.files("parsegate") / "samples" / sample.filename))
