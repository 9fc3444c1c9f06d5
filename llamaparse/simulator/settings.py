"""What a simulator can be told at its start. Times are seconds unless the name says otherwise."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from llamaparse.simulator.faults import checked_rates


@dataclass(frozen=True)
class Limit:
    """At most `count` calls in any window of `seconds`."""

    count: int
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Read ``50/10``: 50 calls in any 10 seconds.

        Raises:
            ValueError: it is not two positive numbers around a slash.
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9}(?:\.\d{1,6})?)", text.strip())
        if match is None or int(match[1]) < 1 or float(match[2]) <= 0:
            raise ValueError(f"{text!r} is not a limit; write calls/seconds, for example 50/10")
        return cls(int(match[1]), float(match[2]))


@dataclass(frozen=True)
class SimulatorSettings:
    """Everything that shapes a simulator. The defaults are the provider's published numbers where it publishes any.

    Published: the two limits, 512 MB, 48 hours, three webhook attempts after waits of 1 s and 2 s with 30 s each,
    64 KB of text a page. Not published, and so guessed: the limits of `user_metadata`, page sizes of the list, the
    largest page count.
    """

    seed: int = 0
    parse_limit: str = "50/10"
    """Parse creations for the organization (the whole simulator)."""
    upload_limit: str = "50/5"
    """File uploads for each project (each key)."""
    latency_s: float = 0.2
    """Median time from a job's creation to its end."""
    usage_delay_s: float = 0.0
    """How long after a job's end `usage.credits` stays null."""
    list_lag_s: float = 0.0
    """How long a new job is missing from the list."""
    webhook_retry_waits: tuple[float, ...] = (1.0, 2.0)
    """Waits between attempts: one attempt more than there are waits."""
    webhook_timeout_s: float = 30.0
    faults: Mapping[str, float] = field(default_factory=dict)
    """Rates (0 to 1) by the names in `llamaparse.simulator.faults.FAULTS`."""
    page_size: int = 50
    max_page_size: int = 1000
    max_file_mb: int = 512
    max_document_pages: int = 10_000
    max_page_text_bytes: int = 64 * 1024
    metadata_max_entries: int = 16
    metadata_max_key_chars: int = 64
    metadata_max_value_chars: int = 512
    cache_hours: float = 48.0
    cache_entries: int = 10_000
    """How many results the cache holds before it forgets the oldest."""
    source_timeout_s: float = 30.0
    """The longest a `source_url` may take to connect, or fall silent."""
    late_create_s: float = 3.0
    """Fault `create-answer-late`, `create-504-late-job`: how long after its answer the job is made."""
    slow_s: float = 5.0
    """Fault `slow`: how long the answer is held back."""
    webhook_late_s: float = 3.0
    """Fault `webhook-late`: how long the event is held back."""
    fault_list_lag_s: float = 5.0
    """Fault `list-lag`: how long the struck job is missing from the list."""
    webhook_before_answer_wait_s: float = 5.0
    """Fault `webhook-before-answer`: how long the create call waits for the job's webhooks at most."""

    def __post_init__(self) -> None:
        Limit.parse(self.parse_limit)
        Limit.parse(self.upload_limit)
        checked_rates(self.faults)
        for name in ("latency_s", "usage_delay_s", "list_lag_s", "late_create_s", "slow_s", "webhook_late_s"):
            value: float = getattr(self, name)
            if not math.isfinite(value) or value < 0:
                raise ValueError(f"{name} must be a number of seconds, 0 or more; it is {value!r}")

    @property
    def max_file_bytes(self) -> int:
        return self.max_file_mb * 1024 * 1024
