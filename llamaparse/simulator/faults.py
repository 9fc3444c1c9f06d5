"""What can go wrong on purpose, how often, and a seeded die for each."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

FAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # any call under /api
        "reset": "any call: the connection is reset, nothing was done",
        "html-error": "any call: 502 with a proxy's HTML page, nothing was done",
        "truncated-json": "any call: done, but the answer's JSON breaks off in the middle",
        "slow": "any call: done at once, but answered only after `slow_s`",
        "too-many-requests": "any call: 429, nothing was done",
        "unauthorized": "any call: 401, nothing was done",
        # creating a job
        "payment-required": "create: 402, no job",
        "create-500-before": "create: 500, no job",
        "create-500-after": "create: the job is made, then 500",
        "create-answer-lost": "create: the job is made, then the connection closes without an answer",
        "create-answer-late": "create: the connection closes without an answer; the job is made `late_create_s` later",
        "create-504-late-job": "create: 504; the job is made `late_create_s` later",
        "webhook-before-answer": "create: answered only after the job's webhooks were delivered",
        # uploading a file
        "upload-500": "file upload: 500, no file",
        # the life of a job
        "job-stuck": "the job stays PENDING for ever",
        "job-timeout": "the job ends FAILED with TIMEOUT",
        "job-fails": "the job ends FAILED with INTERNAL_ERROR, a reason that is on no list",
        "failure-billed": "the job is billed its price although it ends FAILED",
        "list-lag": "the job is missing from the list for `fault_list_lag_s`",
        "usage-never": "the job is billed, but `usage.credits` stays null",
        "usage-zero": "the job is billed, but `usage.credits` says 0",
        "usage-zero-once": "the job is billed, but `usage.credits` says 0 the first time that it is asked for",
        "usage-wrong": "the job is billed twice its price, and `usage.credits` says so",
        # webhooks, for each event of each configuration
        "webhook-lost": "the event is never sent",
        "webhook-doubled": "the event is delivered twice, with one event id",
        "webhook-late": "the event is sent `webhook_late_s` late, after those that follow it",
        "webhook-reordered": "all of the job's events for this configuration wait for its end and come last first",
        "webhook-badly-signed": "the signature is made with another secret",
        "webhook-unsigned": "the signature is missing",
    }
)
"""Every fault and what it does. A rate is the share of the calls, jobs or events that it strikes."""


def checked_rates(rates: Mapping[str, object]) -> dict[str, float]:
    """The rates as numbers.

    Raises:
        ValueError: a name that is not in `FAULTS`, or a rate that is not a number from 0 to 1.
    """
    checked: dict[str, float] = {}
    for name, rate in rates.items():
        if name not in FAULTS:
            raise ValueError(f"unknown fault {name!r}; there are: {', '.join(FAULTS)}")
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
            raise ValueError(f"the rate of {name} must be a number from 0 to 1; it is {rate!r}")
        checked[name] = float(rate)
    return checked


class Faults:
    """The rates now in force.

    Each fault has a die of its own, seeded with the simulator's seed and its name: switching one on does not change
    when the others strike.
    """

    def __init__(self, seed: int, rates: Mapping[str, float]) -> None:
        self._rates = dict.fromkeys(FAULTS, 0.0) | checked_rates(rates)
        self._dice = {name: random.Random(f"{seed}/{name}") for name in FAULTS}  # noqa: S311 - repeatable, not secret
        self.struck: Counter[str] = Counter()

    @property
    def rates(self) -> dict[str, float]:
        return dict(self._rates)

    def update(self, rates: Mapping[str, object]) -> None:
        """Change the named rates, or none of them.

        Raises:
            ValueError: see `checked_rates`.
        """
        self._rates.update(checked_rates(rates))

    def strikes(self, name: str) -> bool:
        """Throw the die. A fault that is switched off throws none, so that it costs no number of the sequence."""
        rate = self._rates[name]
        if rate == 0 or self._dice[name].random() >= rate:
            return False
        self.struck[name] += 1
        return True
