"""The actors themselves: thin shells around one plain function each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import dramatiq
from dramatiq import Broker

from actors.budget_check import check_budget, check_waiting
from actors.doubt import search_in_doubt
from actors.erase import erase_document
from actors.ingest_003 import ingest_003
from actors.notify import notify
from actors.parse import start_parse, upload_file
from actors.result_ingest import ingest_result
from actors.services import Services
from actors.submit import fetch_source, submit_document
from domain.errors import ParsegateError
from domain.messages import ACTORS, DeliveryMessage, DocumentMessage, Event003Message, EventMessage, JobMessage
from domain.orders import Order

_JobStep = Callable[[Services, Any], None]

_JOB_STEPS: Final[dict[str, _JobStep]] = {
    "fetch_source": fetch_source,
    "check_budget": check_budget,
    "upload_file": upload_file,
    "start_parse": start_parse,
    "search_in_doubt": search_in_doubt,
}


PRIORITIES: Final[dict[str, int]] = {
    "start_parse": 0,
    "upload_file": 10,
    "ingest_result": 20,
    "ingest_003": 20,
    "search_in_doubt": 20,
    "notify": 30,
    "check_budget": 40,
    "check_waiting": 45,
    "fetch_source": 50,
    "submit_document": 50,
    "erase_document": 60,
}
"""What a busy worker takes first (lower goes first): a slot that has come is used before new orders are taken in."""
RATE_LIMITS: Final[dict[str, str]] = {
    "upload_file": "upload",
    "start_parse": "create",
    "search_in_doubt": "read",
    "ingest_result": "read",
    "erase_document": "read",
}
"""The routes of the provider that actors call (`actors.middleware.rate_limit`)."""


def declare_actors(broker: Broker, services: Callable[[], Services]) -> None:
    """Declare every actor on `broker`.

    Args:
        services: what they work with; asked for with every message, since it is there only once a process has booted.
    """

    def submit(**kwargs: Any) -> None:
        submit_document(services(), Order.model_validate(kwargs))

    def ingest(**kwargs: Any) -> None:
        ingest_result(services(), EventMessage.model_validate(kwargs))

    def ingest_old(**kwargs: Any) -> None:
        ingest_003(services(), Event003Message.model_validate(kwargs))

    def tell(**kwargs: Any) -> None:
        notify(services(), DeliveryMessage.model_validate(kwargs).delivery_id)

    def erase(**kwargs: Any) -> None:
        erase_document(services(), DocumentMessage.model_validate(kwargs).document_id)

    shells: dict[str, Callable[..., None]] = {
        "submit_document": submit,
        "check_waiting": lambda: check_waiting(services()),
        "ingest_result": ingest,
        "ingest_003": ingest_old,
        "notify": tell,
        "erase_document": erase,
    }
    for name, step in _JOB_STEPS.items():
        shells[name] = _shell(services, step)
    for name, spec in ACTORS.items():
        declared = dramatiq.actor(
            actor_name=name,
            queue_name=spec.queue,
            priority=PRIORITIES[name],
            broker=broker,
            throws=ParsegateError,
            **_options(name, broker),
        )
        declared(shells[name])


def _options(name: str, broker: Broker) -> dict[str, Any]:
    # A broker without the limiter knows no such option; its actors make no call that needs a slot (`PacedClient`).
    limited = name in RATE_LIMITS and "rate_limit" in broker.actor_options
    return {"rate_limit": RATE_LIMITS[name]} if limited else {}


def _shell(services: Callable[[], Services], step: _JobStep) -> Callable[..., None]:
    def run(**kwargs: Any) -> None:
        step(services(), JobMessage.model_validate(kwargs).job_id)

    return run
