"""uvicorn's HTTP protocol with patience that ends, so that half-sent requests can't lock everybody out.

uvicorn limits only the pause between requests. Here a head and a body must arrive in time as well, and when too many
connections are open, the one that has kept us waiting longest makes room for the new one. A request that is being
worked on, or uploaded with a token in force, is never closed for another's sake.
"""

from __future__ import annotations

import asyncio
import resource
from dataclasses import dataclass
from typing import Final, Literal

from parsegate.strict_http import REQUEST_TIMEOUT, StrictProtocol

MOST_CONNECTIONS: Final = 1024
LEAST_CONNECTIONS: Final = 16
UNGUARDED: Final = ("/webhooks/", "/webhook/", "/api/v1/webhooks/")
"""Below these paths bodies are read without a token. Elsewhere who has none is answered before the body is read."""

LOOKS: Final = 50
"""Over how many moments the looks at connections are spread."""

_Phase = Literal["head", "body", "answer", "rest", "pause"]
"""What a connection waits for: a head, a body, our answer, the rest of a body that was answered already, or nothing."""


@dataclass(frozen=True)
class Patience:
    """How long a connection may let us wait.

    Args:
        connections: how many may be open at once.
        head_s: from the connection, or the head's first byte, to the head's last.
        body_s: for a body, and a second more for each `bytes_per_s` that have come. An event gets no more than this.
        silent_s: for the next byte of a body, however fast it came before.
        rest_s: for what still comes of a body after its answer.
        pause_s: between two requests.
        look_s: between two looks at a connection.
    """

    connections: int = MOST_CONNECTIONS
    head_s: float = 8.0
    body_s: float = 8.0
    silent_s: float = 8.0
    bytes_per_s: int = 16 * 1024
    rest_s: float = 5.0
    pause_s: float = 30.0
    look_s: float = 1.0


def usual_patience() -> Patience:
    """As many connections as half of the files that this process may open."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    half = MOST_CONNECTIONS if files == resource.RLIM_INFINITY else files // 2
    return Patience(connections=max(LEAST_CONNECTIONS, min(half, MOST_CONNECTIONS)))


def protocol_with(patience: Patience) -> type[StrictProtocol]:
    """The protocol class for a server with this patience."""

    class WithPatience(PatientProtocol):
        pass

    WithPatience.patience = patience
    return WithPatience


class PatientProtocol(StrictProtocol):
    """A connection."""

    patience: Patience
    _phase: _Phase = "head"
    _begun: float
    _last_byte: float
    _in_head = False
    _received = 0
    _next_look: asyncio.TimerHandle

    @property
    def is_dispensable(self) -> bool:
        """True if it does nothing but let us wait, and shows no token."""
        is_upload = self._phase == "body" and not self._is_unguarded
        return self._phase != "answer" and not is_upload and not self.transport.is_closing()

    @property
    def begun(self) -> float:
        """Since when it waits for what it waits for; the loop's time."""
        return self._begun

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._enter("head")
        # Those who came together are not given up together: the others would wait while hundreds are answered.
        first_look_s = self.patience.look_s * (1 + len(self.connections) % LOOKS) / LOOKS
        self._next_look = self.loop.call_later(first_look_s, self._look)
        if len(self.connections) > self.patience.connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._next_look.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        if self._phase == "pause":
            self._enter("head")

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_head = False
        if self._phase != "answer":  # else it was sent ahead, and waits for the answer before it
            self._received = 0
            self._enter("body")

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._received += len(body)
        self._last_byte = self.loop.time()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._enter("pause" if self.cycle.response_complete else "answer")

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.cycle.response_complete:  # the next one, sent ahead, begins
            self._received = 0
            self._enter("body" if self.cycle.more_body else "answer")
        elif self._phase in {"answer", "body"}:
            self._enter("pause" if self._phase == "answer" else "rest")

    @property
    def _is_unguarded(self) -> bool:
        return str(self.scope["path"]).startswith(UNGUARDED)

    def _enter(self, phase: _Phase) -> None:
        # Half a head may have been sent ahead.
        self._phase, self._begun = "head" if phase == "pause" and self._in_head else phase, self.loop.time()
        self._last_byte = self._begun

    def _make_room(self) -> None:
        others = [other for other in self.connections if isinstance(other, PatientProtocol) and other is not self]
        waiting = [other for other in others if other.is_dispensable]
        min(waiting, key=lambda other: other.begun, default=self).transport.abort()

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        self._next_look = self.loop.call_later(self.patience.look_s, self._look)
        if self.flow.read_paused:  # we are the slow ones
            self._begun += self.patience.look_s
            self._last_byte = self.loop.time()
        elif self.loop.time() - self._begun > self._allowed_s() or self._is_silent:
            self._give_up()

    @property
    def _is_silent(self) -> bool:
        return self._phase == "body" and self.loop.time() - self._last_byte > self.patience.silent_s

    def _allowed_s(self) -> float:
        match self._phase:
            case "head":
                return self.patience.head_s
            case "body" if self._is_unguarded:
                return self.patience.body_s
            case "body":
                return self.patience.body_s + self._received / self.patience.bytes_per_s
            case "rest":
                return self.patience.rest_s
            case "pause":
                return self.patience.pause_s
            case "answer":
                return float("inf")

    def _give_up(self) -> None:
        if self._phase in {"head", "body"}:
            self.refuse(REQUEST_TIMEOUT)
        else:
            self.transport.close()
