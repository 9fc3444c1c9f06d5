"""The webhooks that a create call asks for: checked, and what the caller gave sealed before it is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, NotRequired

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from domain.errors import OrderRefused
from domain.sealing import seal
from gateway.dependencies import Dependencies
from gateway.orders import HttpUrl
from llamaparse.address_guard import AddressGuard
from models.job_webhooks import EVENTS, Webhook

MOST: Final = 10
MOST_HEADERS: Final = 20
MOST_TEXT: Final = 2000
FORMATS: Final = ("string", "json")
OURS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "expect", "upgrade", "te"})
"""Headers that belong to the connection."""
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")


class WebhookAsked(TypedDict):
    """A webhook that a create call asks for."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    webhook_url: Annotated[HttpUrl, Field(max_length=MOST_TEXT)]
    webhook_events: NotRequired[list[Literal[EVENTS]] | None]  # type: ignore[valid-type]
    webhook_headers: NotRequired[Annotated[dict[str, Any], Field(max_length=MOST_HEADERS)] | None]
    webhook_output_format: NotRequired[Literal["", FORMATS] | None]  # type: ignore[valid-type]
    webhook_signing_secret: NotRequired[Annotated[str, Field(max_length=MOST_TEXT)] | None]


MEMBERS: Final = frozenset(WebhookAsked.__annotations__)


class WebhookDesk:
    """Reads `webhook_configurations`."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._guard = AddressGuard(dependencies.settings.private_hosts)
        self._keys = dependencies.settings.secret_key_bytes

    def read(self, said: object) -> Sequence[Webhook]:
        """The webhooks of an order.

        Raises:
            OrderRefused: 422, malformed, or an address that is not to be reached.
            BadSetting: there is no secret key to seal with.
        """
        if said is None:
            return []
        if not isinstance(said, list) or len(said) > MOST:
            raise OrderRefused(f"webhook_configurations must be a list of at most {MOST}")
        return [self._one(one) for one in said]

    def _one(self, said: object) -> Webhook:
        if not isinstance(said, dict):
            raise OrderRefused("each of webhook_configurations must be an object")
        unknown = sorted(set(said) - MEMBERS)
        if unknown:
            raise OrderRefused(f"webhook_configurations: unknown member {unknown[0][:80]!r}")
        url = said.get("webhook_url")
        if not isinstance(url, str) or len(url) > MOST_TEXT:
            raise OrderRefused("webhook_url is missing")
        self._guard.check_url(url)
        events, form = said.get("webhook_events"), said.get("webhook_output_format")
        form = FORMATS[0] if form is None or form == "" else form
        if events is not None and not (isinstance(events, list) and all(one in EVENTS for one in events)):
            raise OrderRefused(f"webhook_events must be a list of {', '.join(EVENTS)}")
        if form not in FORMATS:
            raise OrderRefused(f"webhook_output_format must be one of {', '.join(FORMATS)}")
        secret = said.get("webhook_signing_secret")
        if secret is not None and not (isinstance(secret, str) and len(secret) <= MOST_TEXT):
            raise OrderRefused("webhook_signing_secret must be text")
        sealed = seal(self._keys, {"secret": secret or None, "headers": _headers(said.get("webhook_headers"))})
        return Webhook(url, events or None, form, sealed)


def _headers(said: object) -> Mapping[str, str]:
    if said is None:
        return {}
    if not isinstance(said, dict) or len(said) > MOST_HEADERS:
        raise OrderRefused(f"webhook_headers must be an object of at most {MOST_HEADERS} entries")
    return {name.lower(): _value(name, value) for name, value in said.items()}


def _value(name: str, value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    if not _NAME.fullmatch(name) or name.lower() in OURS:
        raise OrderRefused(f"webhook_headers: {name[:80]!r} can't be sent")
    if len(text) > MOST_TEXT or not _VALUE.fullmatch(text):
        raise OrderRefused(f"webhook_headers: the value of {name[:80]!r} can't be sent")
    return text
