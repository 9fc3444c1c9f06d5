"""The outermost layer: everything that can go wrong between an answer and its reader."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import uuid
from dataclasses import dataclass
from typing import Final

from llamaparse.simulator.asgi import AsgiApp, Message, Receive, Scope, Send
from llamaparse.simulator.errors import TOO_MANY_REQUESTS, UNAUTHORIZED
from llamaparse.simulator.simulator import Simulator

EXCHANGE: Final = "parsegate.simulator.exchange"
"""Where the scope keeps the `Exchange` of a call."""
PROXY_PAGE: Final = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    b"<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, 0 s: closing sends a reset instead of an orderly end."""


@dataclass
class Exchange:
    """One call on its way through the application; `dropped`: close the connection instead of answering."""

    dropped: bool = False


@dataclass(frozen=True)
class Connection:
    """The client's connection, put into the scope's state by `server.TransportProtocol`."""

    transport: asyncio.Transport
    lost: asyncio.Event

    async def hang_up(self, *, reset: bool) -> None:
        """Close it without another byte: orderly, or with a TCP reset."""
        if reset:
            held: socket.socket = self.transport.get_extra_info("socket")
            held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self.transport.abort()
        else:
            self.transport.close()
        await self.lost.wait()


class Wire:
    """Counts the calls under /api and lets the faults of the wire strike them; other paths pass untouched."""

    def __init__(self, app: AsgiApp, simulator: Simulator) -> None:
        self._app = app
        self._simulator = simulator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/api/"):
            await self._app(scope, receive, send)
            return
        self._simulator.tally.requests += 1
        strikes = self._simulator.faults.strikes
        if strikes("reset"):
            await _connection(scope).hang_up(reset=True)
        elif strikes("html-error"):
            await _answer(send, 502, b"text/html", PROXY_PAGE)
        elif strikes("too-many-requests"):
            self._simulator.tally.answers_429 += 1
            await _refuse(send, *TOO_MANY_REQUESTS)
        elif strikes("unauthorized"):
            await _refuse(send, *UNAUTHORIZED)
        else:
            await self._pass_on(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange()
        start: Message = {}
        body = bytearray()

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                body.extend(message.get("body", b""))

        await self._app({**scope, EXCHANGE: exchange}, receive, collect)
        if not start:  # the client had gone before the application could begin
            return
        self._simulator.tally.answers_429 += start["status"] == 429
        if exchange.dropped:
            await _connection(scope).hang_up(reset=False)
            return
        if self._simulator.faults.strikes("slow"):
            await asyncio.sleep(self._simulator.settings.slow_s)
        if body and start["status"] < 300 and self._simulator.faults.strikes("truncated-json"):
            del body[len(body) // 2 :]
            start["headers"] = _with_length(start["headers"], len(body))
        await send(start)
        await send({"type": "http.response.body", "body": bytes(body)})


def exchange_of(scope: Scope) -> Exchange:
    found: Exchange = scope[EXCHANGE]
    return found


def error_body(status: int, detail: object) -> dict[str, object]:
    """``{"detail": ...}``, with a correlation id when it is the provider's own fault."""
    return {"detail": detail} | ({"correlation_id": str(uuid.uuid4())} if status >= 500 else {})


def _connection(scope: Scope) -> Connection:
    found: Connection = scope["state"]["connection"]
    return found


def _with_length(headers: list[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in headers if name.lower() != b"content-length"]
    return [*kept, (b"content-length", str(length).encode())]


async def _refuse(send: Send, status: int, detail: str) -> None:
    await _answer(send, status, b"application/json", json.dumps(error_body(status, detail)).encode())


async def _answer(send: Send, status: int, content_type: bytes, body: bytes) -> None:
    headers = _with_length([(b"content-type", content_type)], len(body))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
