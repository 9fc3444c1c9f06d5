"""Telling others: the events exchange, and callback URLs signed by Standard Webhooks."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import httpx

from actors.services import Services, log
from actors.strangers import BUSY_S
from domain.errors import BadSetting, Misconfigured, OrderRefused, ParsegateError, SourceUnavailable, StoreUnavailable
from domain.sealing import unseal
from domain.signatures import lc_signature, standard_webhook_headers
from models import deliveries, endpoints
from models.database import transaction
from models.job_webhooks import TARGET, urls_of, webhook_of
from models.service_tables import Endpoint
from models.tables import Delivery

CALLBACK_DEADLINE_S: Final = 30.0
USER_AGENT: Final = "llamaindex-webhook-service/1.0"
"""What receivers of LlamaCloud's webhooks know."""
GIVE_UP_AFTER: Final = timedelta(days=3)
MOST_WAIT_S: Final = 6 * 3600.0
MOST_EXCHANGE_WAIT_S: Final = 60.0


def notify(services: Services, delivery_id: UUID) -> None:
    """Deliver one event to its receiver, or make it due again later.

    Raises:
        StoreUnavailable: our own database can't be used now.
    """
    delivery = deliveries.find_open(delivery_id)
    if delivery is None:
        return
    try:
        if delivery.target == deliveries.EVENTS:
            _publish(services, delivery)
        elif not _post_in_its_place(services, delivery):
            return
    except (Misconfigured, OrderRefused, SourceUnavailable, StoreUnavailable) as error:
        _not_delivered(services, delivery, error)
        return
    deliveries.delivered(delivery_id, services.clock())


def _publish(services: Services, delivery: Delivery) -> None:
    if services.emit is None:
        raise StoreUnavailable("this process has no broker")
    services.emit(delivery.event_type, delivery.body, event_id=json.loads(delivery.body)["id"])


def _post_in_its_place(services: Services, delivery: Delivery) -> bool:
    """Post, unless so many others are posting that slow receivers could take every thread."""
    places = services.strangers.callbacks
    if not places.take(delivery.delivery_id):
        deliveries.postpone(delivery.delivery_id, services.after(BUSY_S))
        return False
    try:
        url = urls_of([delivery.target])[delivery.target]
        failing = endpoints.find_failing(str(delivery.tenant), url)
        _check_enabled(delivery, failing)
        _post(services, delivery)
        if failing is not None:
            endpoints.received(failing)
    finally:
        following = places.leave()
        if following is not None:
            services.nudge("notify", delivery_id=following)
    return True


def _check_enabled(delivery: Delivery, failing: Endpoint | None) -> None:
    """Refuse to post to a receiver that is disabled, unless a person has asked for just this.

    Raises:
        EndpointDisabled: it is.
    """
    if failing is None or failing.disabled_at is None:
        return
    if delivery.retried_at is None or delivery.tries:
        raise EndpointDisabled(f"the receiver has failed since {failing.failing_since:%Y-%m-%d %H:%M} UTC")


class EndpointDisabled(OrderRefused):
    """The receiver has failed for days: nothing is posted to it before a person says so, or it has received again."""

    reason = "endpoint_disabled"


def _post(services: Services, delivery: Delivery) -> None:
    body = delivery.body.encode()
    if delivery.target.startswith(TARGET):
        url, headers = _as_llamacloud(services, delivery, body)
    else:
        url, headers = delivery.target, _as_standard_webhook(services, delivery, body)
    try:
        with services.http.stream(
            "POST",
            url,
            content=body,
            headers=headers,
            extensions={"deadline_s": CALLBACK_DEADLINE_S},
        ) as answer:
            status = answer.status_code
    except httpx.TransportError as error:
        raise SourceUnavailable(f"no answer: {str(error) or type(error).__name__}") from error
    except httpx.InvalidURL as error:
        raise OrderRefused(f"not a URL: {error}") from None
    if not 200 <= status < 300:
        raise SourceUnavailable(f"answered {status}")


def _as_standard_webhook(services: Services, delivery: Delivery, body: bytes) -> dict[str, str]:
    keys = services.settings.secret_key_bytes
    if not keys:
        raise BadSetting("PARSEGATE_SECRET_KEY is not set, and nothing goes out unsigned")
    headers = standard_webhook_headers(
        keys, str(delivery.tenant), json.loads(delivery.body)["id"], services.clock(), body
    )
    return headers | {"Content-Type": "application/cloudevents+json"}


def _as_llamacloud(services: Services, delivery: Delivery, body: bytes) -> tuple[str, dict[str, str]]:
    """As LlamaCloud posts it: with the caller's headers, and signed with the caller's secret, if there is one."""
    webhook = webhook_of(delivery.target)
    given = unseal(services.settings.secret_key_bytes, webhook.sealed)
    said = json.loads(delivery.body)
    event = json.loads(said) if isinstance(said, str) else said
    headers = given["headers"] | {
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "x-webhook-event-id": event["event_id"],
        "x-webhook-event-type": event["event_type"],
    }
    headers.pop("lc-signature", None)
    if given["secret"] is not None:
        headers["lc-signature"] = lc_signature(given["secret"], body)
    return webhook.url, headers


def _not_delivered(services: Services, delivery: Delivery, error: ParsegateError) -> None:
    now = services.clock()
    due_at: datetime | None
    if delivery.target == deliveries.EVENTS:
        # Our own exchange: it is away for a while, never for good.
        due_at = services.retry_at(delivery.tries, most_s=MOST_EXCHANGE_WAIT_S)
    elif isinstance(error, OrderRefused) or now - (delivery.retried_at or delivery.created_at) > GIVE_UP_AFTER:
        due_at = None
    else:
        due_at = services.retry_at(delivery.tries, most_s=MOST_WAIT_S)
    with transaction():
        deliveries.failed(delivery.delivery_id, str(error), now=now, due_at=due_at)
        if isinstance(error, SourceUnavailable):
            # It answered wrongly, or not at all. What is our own trouble is not held against it.
            url = urls_of([delivery.target])[delivery.target]
            disabled = endpoints.failed(str(delivery.tenant), url, str(error), now)
            if disabled is not None:
                services.events.endpoint_disabled(disabled, now)
    log.warning("event not delivered", delivery_id=str(delivery.delivery_id), error=str(error), due_at=str(due_at))
