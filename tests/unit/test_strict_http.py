"""The protocol by itself, over a transport that only keeps what is written: what uvicorn would let through."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from parsegate.strict_http import MOST_HEAD, StrictProtocol

GOOD = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
ODD_HEADS = {
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
    "a host with a path": b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n",
    "a host with a user": b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "HTTP/0.9": b"GET / HTTP/0.9\r\nHost: x\r\n\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
    "CONNECT": b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a star that is not for OPTIONS": b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
    "another scheme": b"GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a length and chunks": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
}


class Kept(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.closed = b"", False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        """Nothing comes by itself."""

    def resume_reading(self) -> None:
        """Nothing comes by itself."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class App:
    """Answers 200 to every request once its body has come; keeps what it saw."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes, list[tuple[bytes, bytes]]]] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                return
            body, more = body + event.get("body", b""), event["more_body"]
        self.seen.append((scope["path"], body, list(scope["headers"])))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


def spoken(*pieces: bytes) -> tuple[list[bytes], bool, App]:
    """The statuses that were answered to what was sent, whether the connection was closed, and the app."""
    app = App()

    async def run() -> Kept:
        config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False)
        config.load()
        protocol, transport = StrictProtocol(config=config, server_state=ServerState(), app_state={}), Kept()
        protocol.connection_made(transport)
        for piece in pieces:
            protocol.data_received(piece)
        while protocol.tasks:
            await asyncio.gather(*protocol.tasks)
            await asyncio.sleep(0)
        closed, transport.closed = transport.closed, True
        protocol.connection_lost(None)
        transport.closed = closed
        return transport

    transport = asyncio.run(asyncio.wait_for(run(), 10))
    lines = transport.written.split(b"\r\n")
    return [line.split()[1] for line in lines if line.startswith(b"HTTP/1.1 ")], transport.closed, app


@pytest.mark.parametrize("head", ODD_HEADS.values(), ids=ODD_HEADS)
def test_an_odd_head_meets_one_400_and_nothing_after_it_is_read(head: bytes) -> None:
    statuses, closed, app = spoken(head + GOOD)
    assert (statuses, closed, app.seen) == ([b"400"], True, [])


@pytest.mark.parametrize(
    "head",
    [
        GOOD,
        b"GET /a HTTP/1.0\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        b"GET http://x/a HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_a_good_head_is_served(head: bytes) -> None:
    assert spoken(head)[0] == [b"200"]


def test_requests_are_answered_in_their_order_and_a_bad_one_after_those_before_it() -> None:
    statuses, closed, app = spoken(GOOD + GOOD + b"GET / HTTP/9.9\r\nHost: x\r\n\r\n" + GOOD)
    assert (statuses, closed, len(app.seen)) == ([b"200", b"200", b"400"], True, 2)


def test_a_byte_at_a_time_is_read_as_at_once() -> None:
    body = b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    _, _, app = spoken(*[bytes([byte]) for byte in body])
    assert [(path, content) for path, content, _ in app.seen] == [("/b", b"abc")]


def test_a_trailer_is_no_header() -> None:
    head = b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    statuses, _, app = spoken(head + b"1\r\na\r\n0\r\nLC-Signature: late\r\n\r\n")
    assert statuses == [b"200"]
    assert b"lc-signature" not in dict(app.seen[0][2])


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX: ",
        b"GET /",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
    ],
    ids=["head", "line", "extension of a chunk", "trailer"],
)
def test_what_is_no_body_has_a_limit(beginning: bytes) -> None:
    statuses, closed, app = spoken(beginning, *[b"a" * 1024] * (MOST_HEAD // 1024 + 1))
    assert (statuses, closed, app.seen) == ([b"431"], True, [])


def test_a_body_larger_than_that_limit_is_read() -> None:
    length = 3 * MOST_HEAD
    head = b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length
    statuses, _, app = spoken(head, *[b"a" * 1024] * (length // 1024))
    assert (statuses, len(app.seen[0][1])) == ([b"200"], length)


def test_another_protocol_is_not_spoken() -> None:
    """The request is served; what follows it is nothing to be read."""
    statuses, closed, _ = spoken(b"GET /a HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n" + GOOD)
    assert (statuses, closed) == ([b"200"], True)


def test_a_bad_chunk_ends_its_request_with_one_answer() -> None:
    head = b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    statuses, closed, app = spoken(head + b"zz\r\n" + GOOD)
    assert (statuses, closed, app.seen) == ([b"400"], True, [])
