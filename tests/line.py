"""A line to a server on this host that can be cut, and mended again."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

_T = TypeVar("_T")
HOST = "127.0.0.1"


class Line:
    """Forwards TCP connections to `port`. Cut, it refuses new ones and resets those that are open.

    Args:
        port: the server's, on loopback.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self._own = int(probe.getsockname()[1])
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the server is, over this line."""
        return f"http://{HOST}:{self._own}"

    def mend(self) -> None:
        """Forward from now on."""
        self._run(self._listen())

    def cut(self) -> None:
        """Forward nothing from now on."""
        self._run(self._reset())

    def stop(self) -> None:
        """Cut it for good."""
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._forward, HOST, self._own)

    async def _reset(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in tuple(self._open):
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection(HOST, self._port)
        self._open |= {writer, ours}
        try:
            await asyncio.gather(_pump(reader, ours), _pump(theirs, writer))
        finally:
            self._open -= {writer, ours}
            for end in (writer, ours):
                end.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


@contextmanager
def line_to(port: int) -> Iterator[Line]:
    """A line that is whole."""
    line = Line(port)
    line.mend()
    try:
        yield line
    finally:
        line.stop()
