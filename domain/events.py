"""Events that go out, as CloudEvents 1.0 in JSON (cloudevents.io)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4, uuid5

from domain.clock import format_utc


class EventType(StrEnum):
    """Routing keys on the events exchange; the last part of a CloudEvent's type."""

    PARSED = "document.parsed"
    FAILED = "document.failed"
    DEFERRED = "document.deferred"
    THRESHOLD = "budget.threshold"
    EXHAUSTED = "budget.exhausted"
    DRIFT = "billing.drift"
    DEGRADED = "service.degraded"
    RECOVERED = "service.recovered"
    BATCH_COMPLETED = "batch.completed"
    ENDPOINT_DISABLED = "endpoint.disabled"


def cloud_event(
    event_type: EventType, subject: UUID | str, data: Mapping[str, Any], *, instance: str, now: datetime
) -> dict[str, Any]:
    """One event. About a job or a batch its id stays the same however often it is made.

    Args:
        subject: a job's or batch's id, or the budget or endpoint that it is about.
        data: JSON values.
        instance: this installation's id.
    """
    return {
        "specversion": "1.0",
        "id": str(uuid5(subject, event_type.value) if isinstance(subject, UUID) else uuid4()),
        "source": f"/parsegate/{instance}",
        "type": event_type.value,
        "subject": str(subject),
        "time": format_utc(now),
        "datacontenttype": "application/json",
        "data": dict(data),
    }


def encode(event: Mapping[str, Any]) -> str:
    """The event's body."""
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False)
