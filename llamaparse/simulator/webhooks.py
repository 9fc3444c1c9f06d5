"""Sends a job's events to its webhooks, as the provider does, and as it does on its bad days.

Delivery: the facts of the provider's webhook page and SDK 2.19.0 (`parsing_create_params.WebhookConfiguration`).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
import uuid
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Final

import httpx

from llamaparse.simulator.background import Background
from llamaparse.simulator.faults import Faults
from llamaparse.simulator.orders import Event, WebhookConfiguration
from llamaparse.simulator.settings import SimulatorSettings

USER_AGENT: Final = "llamaindex-webhook-service/1.0"
COUNTS: Final = (
    "events",
    "sent",
    "attempts",
    "delivered",
    "failed",
    "failed_attempts",
    "lost",
    "doubled",
    "late",
    "reordered",
    "badly_signed",
    "unsigned",
)
"""What is counted: events that somebody asked for; deliveries begun (a doubled event is two), requests made,
deliveries that got a 2xx, deliveries given up, requests without a 2xx; and the events that a fault struck."""


@dataclass(frozen=True)
class Delivery:
    """One event on its way to one webhook."""

    event_id: str
    event: Event
    body: bytes


@dataclass(eq=False)
class Channel:
    """One webhook of one job. Its events go out one after the other, in the order in which they happened.

    Attributes:
        held: with the fault `webhook-reordered`, the events that wait for the job's end; otherwise None.
        tasks: everything that was ever started for it.
    """

    configuration: WebhookConfiguration
    held: list[Delivery] | None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class Webhooks:
    def __init__(self, settings: SimulatorSettings, faults: Faults, background: Background) -> None:
        self._settings = settings
        self._faults = faults
        self._background = background
        self._client: httpx.AsyncClient | None = None
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))

    def channel(self, configuration: WebhookConfiguration) -> Channel:
        return Channel(configuration, [] if self._faults.strikes("webhook-reordered") else None)

    def emit(self, channel: Channel, job_id: str, event: Event, *, last: bool) -> None:
        """Send an event if the webhook asked for it. `last`: no event of this job will follow."""
        if channel.configuration.wants(event):
            self.counts["events"] += 1
            delivery = _delivery(channel.configuration, job_id, event)
            if self._faults.strikes("webhook-lost"):
                self.counts["lost"] += 1
            elif channel.held is not None:
                channel.held.append(delivery)
            else:
                self._send(channel, delivery)
        if last and channel.held:
            self.counts["reordered"] += len(channel.held)
            for delivery in reversed(channel.held):
                self._send(channel, delivery)
            channel.held.clear()

    async def settled(self, channels: tuple[Channel, ...]) -> None:
        """Return when everything sent so far has been delivered or given up."""
        tasks = [task for channel in channels for task in channel.tasks]
        if tasks:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _send(self, channel: Channel, delivery: Delivery) -> None:
        if self._faults.strikes("webhook-late"):
            self.counts["late"] += 1
            self._start(channel, self._late(channel, delivery))
        else:
            self._start(channel, self._in_turn(channel, delivery))
        if self._faults.strikes("webhook-doubled"):
            self.counts["doubled"] += 1
            self._start(channel, self._in_turn(channel, delivery))

    def _start(self, channel: Channel, work: Coroutine[object, object, None]) -> None:
        channel.tasks.append(self._background.start(work))

    async def _in_turn(self, channel: Channel, delivery: Delivery) -> None:
        async with channel.turn:  # asyncio.Lock is fair: first come, first served
            await self._deliver(channel.configuration, delivery)

    async def _late(self, channel: Channel, delivery: Delivery) -> None:
        await asyncio.sleep(self._settings.webhook_late_s)
        await self._deliver(channel.configuration, delivery)

    async def _deliver(self, configuration: WebhookConfiguration, delivery: Delivery) -> None:
        """Try until a 2xx comes or the attempts are used up."""
        self.counts["sent"] += 1
        headers = self._headers(configuration, delivery)
        for wait_s in (0.0, *self._settings.webhook_retry_waits):
            await asyncio.sleep(wait_s)
            self.counts["attempts"] += 1
            if await self._attempt(configuration.webhook_url or "", headers, delivery.body):
                self.counts["delivered"] += 1
                return
            self.counts["failed_attempts"] += 1
        self.counts["failed"] += 1

    async def _attempt(self, url: str, headers: dict[str, str], body: bytes) -> bool:
        if self._client is None:
            self._client = httpx.AsyncClient(trust_env=False, timeout=None)  # noqa: S113 - the deadline is below
        try:
            async with asyncio.timeout(self._settings.webhook_timeout_s):
                answer = await self._client.post(url, headers=headers, content=body)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, TimeoutError):
            return False
        return answer.is_success

    def _headers(self, configuration: WebhookConfiguration, delivery: Delivery) -> dict[str, str]:
        custom = {name.lower(): str(value) for name, value in (configuration.webhook_headers or {}).items()}
        headers = custom | {
            "content-type": "application/json",
            "user-agent": USER_AGENT,
            "x-webhook-event-id": delivery.event_id,
            "x-webhook-event-type": delivery.event,
        }
        secret = configuration.webhook_signing_secret
        if self._faults.strikes("webhook-unsigned"):
            self.counts["unsigned"] += 1
            secret = None
        elif self._faults.strikes("webhook-badly-signed"):
            self.counts["badly_signed"] += 1
            secret = f"not {secret}"
        if secret is not None:
            headers["lc-signature"] = signature(secret, delivery.body)
        return headers


def signature(secret: str, body: bytes) -> str:
    """The value of `LC-Signature`: HMAC-SHA256 of the raw body, keyed with the secret's characters."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _delivery(configuration: WebhookConfiguration, job_id: str, event: Event) -> Delivery:
    """The event's body. In the format `string`, the default, it is a JSON string that holds JSON."""
    event_id = str(uuid.uuid4())
    payload = json.dumps(
        {
            "event_id": event_id,
            "event_type": event,
            "timestamp": time.time(),
            "data": {"id": job_id, "job_id": job_id},
        }
    )
    if configuration.webhook_output_format != "json":
        payload = json.dumps(payload)
    return Delivery(event_id, event, payload.encode())
