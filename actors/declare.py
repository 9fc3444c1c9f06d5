"""The actors themselves: thin shells around one plain function each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import dramatiq
from dramatiq import Broker

from actors.budget_check import check_budget
from actors.doubt import search_in_doubt
from actors.notify import notify
from actors.parse import start_parse, upload_file
from actors.result_ingest import ingest_result
from actors.services import Services
from actors.submit import fetch_source, submit_document
from domain.errors import ParsegateError
from domain.messages import ACTORS, DeliveryMessage, EventMessage, JobMessage
from domain.orders import Order

_JobStep = Callable[[Services, Any], None]

_JOB_STEPS: Final[dict[str, _JobStep]] = {
    "fetch_source": fetch_source,
    "check_budget": check_budget,
    "upload_file": upload_file,
    "start_parse": start_parse,
    "search_in_doubt": search_in_doubt,
}


def declare_actors(broker: Broker, services: Callable[[], Services]) -> None:
    """Declare every actor on `broker`.

    Args:
        services: what they work with; asked for with every message, since it is there only once a process has booted.
    """

    def submit(**kwargs: Any) -> None:
        submit_document(services(), Order.model_validate(kwargs))

    def ingest(**kwargs: Any) -> None:
        ingest_result(services(), EventMessage.model_validate(kwargs))

    def tell(**kwargs: Any) -> None:
        notify(services(), DeliveryMessage.model_validate(kwargs).delivery_id)

    shells: dict[str, Callable[..., None]] = {"submit_document": submit, "ingest_result": ingest, "notify": tell}
    for name, step in _JOB_STEPS.items():
        shells[name] = _shell(services, step)
    for name, spec in ACTORS.items():
        declared = dramatiq.actor(actor_name=name, queue_name=spec.queue, broker=broker, throws=ParsegateError)
        declared(shells[name])


def _shell(services: Callable[[], Services], step: _JobStep) -> Callable[..., None]:
    def run(**kwargs: Any) -> None:
        step(services(), JobMessage.model_validate(kwargs).job_id)

    return run
