"""A server that does what a test's script says, byte by byte: raw bytes in, raw bytes out."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

LONGEST_WAIT_S: Final = 10.0
PIECE_BYTES: Final = 64 * 1024


@dataclass(frozen=True)
class Received:
    """A request as it came over the wire."""

    line: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def target(self) -> str:
        """Path and query, as sent."""
        return self.line.split(" ")[1]


@dataclass
class Conversation:
    """One connection, from the server's side."""

    sock: socket.socket
    closing: threading.Event
    requests: list[Received]
    _buffer: bytearray = field(default_factory=bytearray)

    def read_head(self) -> tuple[str, dict[str, str]]:
        """The request line and the headers; their names in lower case."""
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer[:] = rest
        line, *fields = head.decode("latin-1").split("\r\n")
        return line, {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in fields)}

    def read(self) -> Received:
        """A whole request."""
        line, headers = self.read_head()
        if headers.get("transfer-encoding") == "chunked":
            while not self._buffer.endswith(b"0\r\n\r\n"):
                self._more()
            length = len(self._buffer)
        else:
            length = int(headers.get("content-length", "0"))
        while len(self._buffer) < length:
            self._more()
        received = Received(line, headers, bytes(self._buffer[:length]))
        del self._buffer[:length]
        self.requests.append(received)
        return received

    def discard_body(self, length: int) -> int:
        """Read and forget a body; how many bytes came."""
        came = len(self._buffer)
        self._buffer.clear()
        while came < length:
            piece = self.sock.recv(PIECE_BYTES)
            if not piece:
                break
            came += len(piece)
        return came

    def _more(self) -> None:
        piece = self.sock.recv(PIECE_BYTES)
        if not piece:
            raise ConnectionError("the client has gone")
        self._buffer += piece

    def send(self, data: bytes) -> None:
        """All of it, at once."""
        self.sock.sendall(data)

    def drip(self, data: bytes, every_s: float = 0.02) -> None:
        """A byte at a time, until the test ends."""
        for byte in data:
            self.send(bytes([byte]))
            if self.closing.wait(every_s):
                return

    def hang(self) -> None:
        """Nothing, until the test ends."""
        self.closing.wait(LONGEST_WAIT_S)

    def reset(self) -> None:
        """Close with a TCP reset instead of a good-bye."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Script = Callable[[Conversation], None]


class RawServer:
    """Runs one script a connection, the last one for all further connections."""

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self._scripts = scripts
        self._tls = tls
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=50)
        self._accepting = threading.Thread(target=self._accept, name="raw server")
        self._accepting.start()

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            if self._closing.is_set():
                sock.close()
                return
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            thread = threading.Thread(target=self._talk, args=(sock, script), name="raw server's connection")
            self._threads.append(thread)
            thread.start()

    def _talk(self, sock: socket.socket, script: Script) -> None:
        sock.settimeout(LONGEST_WAIT_S)
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
            script(Conversation(sock, self._closing, self.requests))
        except OSError:
            pass  # the client has gone, as many tests want it to
        finally:
            sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        # A connection of our own wakes `accept`, which on Linux does not notice that the listener was closed.
        with socket.create_connection(("127.0.0.1", self.port), timeout=1):
            self._accepting.join(LONGEST_WAIT_S)
        self._listener.close()
        for thread in self._threads:
            thread.join(LONGEST_WAIT_S)


def reply(
    status: int = 200,
    body: object = b"",
    content_type: str | None = "application/json",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """A whole answer; a body that is neither bytes nor text is written as JSON."""
    raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    fields = {"Content-Length": str(len(raw))}
    if content_type is not None:
        fields["Content-Type"] = content_type
    fields |= headers or {}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode("latin-1") + raw


def answering(*answers: bytes) -> Script:
    """A script that answers each request of a connection in turn, the last answer for all further ones."""

    def script(conversation: Conversation) -> None:
        turn = 0
        while True:
            conversation.read()
            conversation.send(answers[min(turn, len(answers) - 1)])
            turn += 1

    return script
