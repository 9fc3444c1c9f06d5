"""The provider's pace: a message whose call may not go yet is acknowledged, and its job is due when it may."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from dramatiq import Broker, MessageProxy, Middleware
from dramatiq.middleware import MiddlewareError, SkipMessage

from actors.doubt import PAID_CALL_S
from actors.erase import may_be_removed_there
from actors.pacing import LEAST_PAUSE_S, Held, held, let_go
from actors.services import Services, log
from domain.errors import StoreUnavailable
from domain.job_state import AttemptState, JobState, Provenance
from domain.pace import Route
from llamaparse.router import Route as Way
from models import attempts, drifts, jobs
from models.pace import Promised, Taken
from models.tables import Attempt, Job

SHORT_WAIT_S: Final = 0.25
"""A slot that is no further away is waited for in the thread: a way over the database and the broker takes longer."""
MOST_SHORT_WAITS: Final = 20


@dataclass(frozen=True)
class Wanted:
    """The call that a message is about to make."""

    holder: UUID
    job_id: UUID | None


class RateLimit(Middleware):
    """Actors opt in with ``@actor(rate_limit="create")``: their message makes one call of that route.

    It must be the last middleware: what comes after it could skip a message that has taken a slot. If its own machinery
    fails in any way, the message is skipped: Dramatiq swallows other exceptions and would run the actor. The job is
    due again in any case, and no retry is used up.

    Args:
        services: asked for with every message.
        sleep: waits so many seconds.
    """

    def __init__(self, services: Callable[[], Services], sleep: Callable[[float], None] = time.sleep) -> None:
        self._services, self._sleep = services, sleep

    @property
    def actor_options(self) -> set[str]:
        """`rate_limit`: the route of the actor's call: ``upload``, ``create`` or ``read``."""
        return {"rate_limit"}

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Take the message's slot, or skip it."""
        with nothing_goes():
            let_go()
            option = broker.get_actor(message.actor_name).options.get("rate_limit")
            if option is not None:
                self._admit(Route(option), message)

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Return the slot if no call was made."""
        self._leave()

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        """Return the slot."""
        self._leave()

    def _leave(self) -> None:
        try:
            let_go()
        except StoreUnavailable as error:
            log.warning("a slot could not be returned; it counts until the client's deadline", error=str(error))

    def _admit(self, route: Route, message: MessageProxy) -> None:
        services = self._services()
        wanted = wanted_call(services, message)
        if wanted is None:
            return
        answer = self._take(services, route, wanted)
        if isinstance(answer, Promised):
            raise SkipMessage(f"{route} slot at {answer.at:%H:%M:%S.%f} UTC: {answer.why}")
        held.set(Held(services.pacer, route, answer.slot_id))

    def _take(self, services: Services, route: Route, wanted: Wanted) -> Taken | Promised:
        answer = services.pacer.take(route, wanted.holder, wanted.job_id)
        for _ in range(MOST_SHORT_WAITS):
            if isinstance(answer, Taken):
                return answer
            wait_s = services.pacer.seconds_until(answer.at)
            if wait_s > SHORT_WAIT_S:
                return answer
            self._sleep(max(wait_s, LEAST_PAUSE_S))
            answer = services.pacer.take(route, wanted.holder, wanted.job_id)
        return answer


@contextmanager
def nothing_goes() -> Iterator[None]:
    """Whatever is raised inside, the message is skipped.

    This is no handler, so nothing is hidden: the failure is logged, and is the cause of what is raised.
    """
    guard = _Guard()
    with guard:
        yield


class _Guard:
    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, MiddlewareError):
            return
        log.error("no slot, so nothing goes", error=str(error) or type(error).__name__, exc_info=error)
        raise SkipMessage(f"the limiter failed: {error}") from error


def wanted_call(services: Services, message: MessageProxy) -> Wanted | None:
    """The call that the message's actor would make now; None if it would make none.

    A wrong answer does no harm: a slot that is not used returns, and without one `PacedClient` makes no call.
    """
    if message.actor_name == "erase_document":
        document_id = UUID(str(message.kwargs["document_id"]))
        return Wanted(document_id, None) if may_be_removed_there(services, document_id) else None
    job = jobs.find_job(UUID(str(message.kwargs["job_id"])))
    if job is None:
        return None
    attempt = attempts.attempt_under_way(job.job_id)
    if message.actor_name == "ingest_result":
        asks = _asks(attempt, message.kwargs.get("provider_job_id")) or _money_is_open(job)
        return Wanted(job.job_id, job.job_id) if asks else None
    if attempt is None or attempt.provenance != Provenance.REAL:
        return None
    if message.actor_name == "search_in_doubt":
        return Wanted(job.job_id, job.job_id) if _is_in_doubt(services, attempt) else None
    if job.state != JobState.RESERVED or attempt.state != AttemptState.OPEN or services.provider is None:
        return None
    if services.route_of(job) is Way.LOCAL or services.exhausted() is not None:
        return None
    is_uploaded = attempt.file_id is not None and attempt.base_url == services.provider.base_url
    if is_uploaded is not (message.actor_name == "start_parse"):
        return None
    return Wanted(attempt.attempt_id, job.job_id)


def _asks(attempt: Attempt | None, said: object) -> bool:
    # Also of a job that has ended: an attempt that is under way still holds money.
    if attempt is None or attempt.provenance != Provenance.REAL:
        return False
    return attempt.state != AttemptState.OPEN and (attempt.provider_job_id is not None or said is not None)


def _money_is_open(job: Job) -> bool:
    return bool(attempts.ended_unsettled(job.job_id) or drifts.to_be_asked(job.job_id))


def _is_in_doubt(services: Services, attempt: Attempt) -> bool:
    if attempt.state == AttemptState.IN_DOUBT:
        return True
    if attempt.state != AttemptState.SUBMITTING or attempt.submitted_at is None:
        return False
    return services.clock() >= attempt.submitted_at + timedelta(seconds=PAID_CALL_S)
