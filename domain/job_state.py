"""The life of a job, and the only steps it may take.

    received ──► reserved ──► submitting ──► parsing ──► ingesting ──► completed
       │  ▲         │  ▲          │  ▲          │            │
       ▼  │         │  │          ▼  │          │            └──► failed
    deferred        │  └────── in_doubt ──► parsing
                    └──► ingesting (the local parser)

Any state that is not final may also end as `failed` or `cancelled`; `received` and `deferred` as `rejected`.
`submitting` is committed before the paid call and `in_doubt` means that the call may have had its effect: neither may
go back to `reserved` unless it is proved that nothing was made. A retry for which the budget has no room is `deferred`.
"""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """States on ``/v1``."""

    RECEIVED = "received"
    RESERVED = "reserved"
    SUBMITTING = "submitting"
    IN_DOUBT = "in_doubt"
    PARSING = "parsing"
    INGESTING = "ingesting"
    COMPLETED = "completed"
    FAILED = "failed"
    DEFERRED = "deferred"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


FINAL = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.REJECTED, JobState.CANCELLED})
"""States that nothing leaves by itself."""

_S = JobState
_ENDS = frozenset({_S.FAILED, _S.CANCELLED})

STEPS: dict[JobState, frozenset[JobState]] = {
    _S.RECEIVED: _ENDS | {_S.RESERVED, _S.DEFERRED, _S.REJECTED},
    _S.DEFERRED: _ENDS | {_S.RESERVED, _S.REJECTED},
    _S.RESERVED: _ENDS | {_S.SUBMITTING, _S.INGESTING, _S.DEFERRED, _S.REJECTED},
    _S.SUBMITTING: _ENDS | {_S.PARSING, _S.IN_DOUBT, _S.RESERVED},
    _S.IN_DOUBT: _ENDS | {_S.PARSING, _S.RESERVED, _S.DEFERRED},
    _S.PARSING: _ENDS | {_S.INGESTING, _S.RESERVED, _S.DEFERRED},
    _S.INGESTING: _ENDS | {_S.COMPLETED, _S.PARSING, _S.RESERVED},
    _S.COMPLETED: frozenset(),
    _S.FAILED: frozenset(),
    _S.REJECTED: frozenset(),
    _S.CANCELLED: frozenset(),
}
"""From each state, the states it may become."""

STATUS_003 = {
    _S.RECEIVED: "uploaded",
    _S.DEFERRED: "uploaded",
    _S.RESERVED: "parse_queued",
    _S.SUBMITTING: "parse_queued",
    _S.IN_DOUBT: "parse_queued",
    _S.PARSING: "parse_queued",
    _S.INGESTING: "parse_queued",
    _S.COMPLETED: "parsed",
    _S.FAILED: "failed_parse",
    _S.REJECTED: "failed_parse",
    _S.CANCELLED: "failed_parse",
}
"""The name in the older "003" pipeline."""


class AttemptState(StrEnum):
    """The life of one attempt to have a document parsed; money hangs on it, not on the job.

    `open` nothing was sent; `submitting` the paid call may be under way; `in_doubt` it may have had its effect; `sent`
    the provider's job is known; then the provider's word: `completed`, `failed`, `cancelled`, or `never_made`.
    """

    OPEN = "open"
    SUBMITTING = "submitting"
    IN_DOUBT = "in_doubt"
    SENT = "sent"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    NEVER_MADE = "never_made"


ATTEMPT_FINAL = frozenset(
    {AttemptState.COMPLETED, AttemptState.FAILED, AttemptState.CANCELLED, AttemptState.NEVER_MADE}
)
"""A closed attempt never reopens; a retry is a new attempt."""


class Provenance(StrEnum):
    """Where a result came from."""

    REAL = "real"
    CACHED = "cached"
    MOCK = "mock"


def may_step(before: JobState, after: JobState) -> bool:
    """True if a job in `before` may become `after`."""
    return after in STEPS[before]
