"""What people must hear of that is about no document: budgets that run out, a provider that goes and comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog

from domain.clock import format_utc
from domain.events import EventType, cloud_event, encode
from domain.money import Millicredits, to_credits
from domain.pace import Route
from domain.settlement import DriftKind
from models import deliveries, drifts
from models.breakers import Change
from models.database import after_commit
from models.service_tables import Endpoint
from models.tables import Attempt

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

NAMES: Final = {Route.UPLOAD: "uploads", Route.CREATE: "parse calls", Route.READ: "questions about jobs"}


@dataclass(frozen=True)
class ServiceEvents:
    """Makes such events due, and log lines of them. Each is called in the transaction that makes it true.

    Args:
        instance: this installation's id.
        exchange: whether there is an events exchange; nobody else gets these events.
    """

    instance: str
    exchange: bool

    def tell(self, event_type: EventType, subject: str, data: Mapping[str, Any], now: datetime) -> None:
        """Make an event due for the events exchange; the clock sends it."""
        if self.exchange:
            event = cloud_event(event_type, subject, data, instance=self.instance, now=now)
            deliveries.add_deliveries(deliveries.About(), event_type, {deliveries.EVENTS: encode(event)}, now)

    def report_drift(
        self,
        attempt: Attempt,
        kind: DriftKind,
        billed: Millicredits | None,
        *,
        now: datetime,
        explanation: str | None = None,
    ) -> None:
        """Put on record, once, that a bill is not what was priced, with an alert in the log and an event.

        Args:
            billed: millicredits; None if the provider has not told.
            explanation: what is known about it.
        """
        if not drifts.report(attempt, kind, billed, now=now, explanation=explanation):
            return
        said = {
            "drift": kind.value,
            "job_id": str(attempt.job_id),
            "attempt_id": str(attempt.attempt_id),
            "priced_credits": float(to_credits(attempt.estimate)),
            "billed_credits": None if billed is None else float(to_credits(billed)),
            "explanation": explanation,
        }
        self.tell(EventType.DRIFT, str(attempt.job_id), said, now)
        after_commit(_logged(log.error, "the bill is not what was priced", said))

    def endpoint_disabled(self, endpoint: Endpoint, now: datetime) -> None:
        """A receiver of events has failed for so long that nothing is posted to it any more."""
        said = {
            "endpoint_id": str(endpoint.endpoint_id),
            "tenant": endpoint.tenant,
            "url": endpoint.url,
            "failing_since": format_utc(endpoint.failing_since),
            "failures": endpoint.failures,
            "last_error": endpoint.last_error,
        }
        self.tell(EventType.ENDPOINT_DISABLED, str(endpoint.endpoint_id), said, now)
        after_commit(_logged(log.error, "a receiver of events is disabled", said))

    def breaker_changed(self, change: Change) -> None:
        """An endpoint of the provider is not called any more, or again."""
        before, after = change.before, change.after
        if before.is_open == after.is_open and before.refused_key == after.refused_key:
            return
        said = {"endpoint": change.route.value, "why": after.why or before.why}
        if after.is_open:
            data = {
                **said,
                "cause": "unavailable" if after.refused_key is None else "credential_refused",
                "next_try_at": format_utc(after.probe_at) if after.probe_at is not None else None,
            }
            self.tell(EventType.DEGRADED, change.route.value, data, change.at)
            words = f"{NAMES[change.route]} have stopped"
            after_commit(_logged(log.error, words, said))
        else:
            lasted_s = (change.at - before.opened_at).total_seconds() if before.opened_at is not None else 0.0
            self.tell(EventType.RECOVERED, change.route.value, {**said, "seconds": round(lasted_s, 3)}, change.at)
            after_commit(_logged(log.info, f"{NAMES[change.route]} go on", {**said, "seconds": round(lasted_s, 1)}))


def _logged(write: Callable[..., Any], words: str, said: Mapping[str, Any]) -> Callable[[], None]:
    def run() -> None:
        write(words, **said)

    return run
