"""The provider's client that makes no call without a slot.

`actors.middleware.rate_limit` takes a message's slot before its actor runs. Whatever goes wrong there, the client is
the second guard: a call for which no slot is held is not made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, BinaryIO, Final
from uuid import uuid4

from actors.services import log
from domain.errors import CredentialRefused, ParsegateError, ProviderBusy, StoreUnavailable, Transient
from domain.pace import Outcome, Route
from llamaparse.client import LlamaParseClient
from llamaparse.schemas import Created, Deleted, File, JobPage, ParseRequest, ParseResult
from models.pace import Pacer, Taken

FURTHER_WAIT_S: Final = 5.0
"""How long a further call of the same message waits for a slot of its own before it is put off."""
LEAST_PAUSE_S: Final = 0.002


class NoSlot(ProviderBusy):
    """Our own pace: the call was not made."""

    reason = "no_slot"


@dataclass
class Held:
    """The slot that the message in this thread has taken.

    Args:
        used: its call was begun.
        ended: its end is on record.
    """

    pacer: Pacer
    route: Route
    slot_id: int
    used: bool = False
    ended: bool = False


held: Final[ContextVar[Held | None]] = ContextVar("held", default=None)
"""What the message in this thread has taken."""


def let_go() -> None:
    """The message has been handled: return its slot if no call was made.

    Raises:
        StoreUnavailable: the database is away; the slot counts as under way until the client's deadline.
    """
    slot = held.get()
    held.set(None)
    if slot is None or slot.ended:
        return
    if slot.used:
        slot.pacer.finish(slot.slot_id, Outcome.UNKNOWN)
    else:
        slot.pacer.give_back(slot.slot_id)


class PacedClient(LlamaParseClient):
    """Makes the calls that are paced only with a slot, and tells the limiter how they ended."""

    sleep: Callable[[float], None] = staticmethod(time.sleep)

    def upload_file(self, content: BinaryIO, filename: str, **said: Any) -> File:
        """See `LlamaParseClient.upload_file`."""
        with _call(Route.UPLOAD, self):
            return super().upload_file(content, filename, **said)

    def create_job(self, request: ParseRequest) -> Created:
        """See `LlamaParseClient.create_job`."""
        with _call(Route.CREATE, self):
            return super().create_job(request)

    def get_job(self, job_id: str, expand: Sequence[str] = ()) -> ParseResult:
        """See `LlamaParseClient.get_job`."""
        with _call(Route.READ, self):
            return super().get_job(job_id, expand)

    def get_file(self, file_id: str) -> File:
        """See `LlamaParseClient.get_file`."""
        with _call(Route.READ, self):
            return super().get_file(file_id)

    def delete_job(self, job_id: str) -> Deleted:
        """See `LlamaParseClient.delete_job`."""
        with _call(Route.READ, self):
            return super().delete_job(job_id)

    def delete_file(self, file_id: str) -> None:
        """See `LlamaParseClient.delete_file`."""
        with _call(Route.READ, self):
            super().delete_file(file_id)

    def list_jobs(self, **said: Any) -> JobPage:
        """See `LlamaParseClient.list_jobs`."""
        with _call(Route.READ, self):
            return super().list_jobs(**said)


@contextmanager
def _call(route: Route, client: PacedClient) -> Iterator[None]:
    """One call to the provider, within a slot.

    Raises:
        NoSlot: none is held, and none can be had soon.
    """
    slot = held.get()
    if slot is None or slot.route is not route:
        raise NoSlot(f"a {route} call without a slot is not made", retry_after_s=1.0)
    if slot.used:
        slot = Held(slot.pacer, route, _further(slot.pacer, route, client.sleep))
    slot.used = True
    try:
        yield
    except ParsegateError as error:
        _finish(slot, outcome_of(error), error, client.key_id)
        raise
    _finish(slot, Outcome.OK, None, client.key_id)


def outcome_of(error: ParsegateError) -> Outcome:
    """What a call that failed says of the provider: whoever refuses an order or has no credits left is well."""
    match error:
        case ProviderBusy():
            return Outcome.BUSY
        case CredentialRefused():
            return Outcome.REFUSED
        case StoreUnavailable():
            return Outcome.UNKNOWN
        case Transient():
            return Outcome.FAILED
        case _:
            return Outcome.OK


def _finish(slot: Held, outcome: Outcome, error: ParsegateError | None, key_id: str) -> None:
    retry_after_s = error.retry_after_s if isinstance(error, ProviderBusy) else None
    try:
        slot.pacer.finish(slot.slot_id, outcome, retry_after_s=retry_after_s, said=str(error or ""), key_id=key_id)
        slot.ended = True
    except StoreUnavailable as error:
        # What the call itself did must not be lost over this; the slot is let go with the message.
        log.warning("the end of a call is not on record yet", route=slot.route.value, error=str(error))


def _further(pacer: Pacer, route: Route, sleep: Callable[[float], None]) -> int:
    """A slot for a further call of the same message: the next page of a list, another attempt's cost."""
    holder, left_s = uuid4(), FURTHER_WAIT_S
    while True:
        answer = pacer.take(route, holder)
        if isinstance(answer, Taken):
            return answer.slot_id
        wait_s = max(LEAST_PAUSE_S, pacer.seconds_until(answer.at))
        if wait_s > left_s:
            raise NoSlot(f"no {route} slot before {answer.at:%H:%M:%S} UTC ({answer.why})", retry_after_s=wait_s)
        sleep(wait_s)
        left_s -= wait_s
