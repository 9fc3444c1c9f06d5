"""The local parser and the page counter in processes of their own, with a limit of memory and one of time each.

PDFium and the other readers are not made for hostile files: 2 KB can ask for gigabytes, or for hours. What happens in
a child (`llamaparse.local_child`) ends with the child. Children stay alive between documents, so that small ones cost
a message and no start.

The two ends of a Unix socket: the parent sends a descriptor of the document and a JSON object, the child answers with
a JSON object; each is preceded by its length in four bytes. A child whose parent ends, however, sees the socket hang
up, and ends at once.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryFile
from typing import IO, Any, BinaryIO, Final

from domain.documents import PageCount, ParsedDocument, ParsedPage
from domain.errors import DocumentRefused, OrderRefused, StoreUnavailable, Waiting
from llamaparse.page_count import not_counted

LENGTH: Final = struct.Struct(">I")
MOST_CHILDREN: Final = 2
MEMORY_BYTES: Final = 1536 * 1024 * 1024
"""Of address space, for each child."""
KEPT_BYTES: Final = 400 * 1024 * 1024
"""A child that has grown beyond this is not used again, so that one document's memory is not kept for ever."""
PARSE_S: Final = 45.0
COUNT_S: Final = 20.0
WAIT_S: Final = 5.0
"""How long a free child is waited for in the thread."""
START_S: Final = 60.0
TRIES: Final = 2
"""A child may die by no fault of its document, as when the system runs out of memory: a second one tries it again."""
MOST_ANSWER_BYTES: Final = 128 * 1024 * 1024

_CHUNK: Final = 1024 * 1024
_KEPT_VARIABLES: Final = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH")
"""A child has no use for keys and passwords, and what reads strangers' files should not have them."""
_REFUSALS: Final = {"DocumentRefused": DocumentRefused, "OrderRefused": OrderRefused}


class ParserMistake(Exception):
    """The local parser failed by a mistake of its own; the text says how."""


class _Died(Exception):
    """A child ended without an answer."""


class ParserPool:
    """Parses and counts in children, which start when they are needed. Any thread may call it. Close it after use.

    Make it after a fork, never before.

    Args:
        most: how many children may run at once.
        memory_bytes: of address space, for each.
        kept_bytes: of memory that a child may hold between two documents.
        parse_s, count_s: seconds that a document may take.
        wait_s: seconds to wait for a free child.
    """

    def __init__(
        self,
        *,
        most: int = MOST_CHILDREN,
        memory_bytes: int = MEMORY_BYTES,
        kept_bytes: int = KEPT_BYTES,
        parse_s: float = PARSE_S,
        count_s: float = COUNT_S,
        wait_s: float = WAIT_S,
    ) -> None:
        self._memory_bytes, self._kept_bytes = memory_bytes, kept_bytes
        self._parse_s, self._count_s, self._wait_s = parse_s, count_s, wait_s
        self._places = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._all: set[_Child] = set()
        self._is_closed = False
        weakref.finalize(self, _end_all, self._all)

    def parse(
        self, content: BinaryIO, filename: str, *, max_pages: int | None = None, target_pages: str | None = None
    ) -> ParsedDocument:
        """As `llamaparse.local_parser.parse_locally`.

        Raises:
            DocumentRefused: also with DOCUMENT_TOO_LARGE if it takes more memory or time than a document may.
            OrderRefused: `target_pages` is malformed.
            Waiting: every child is busy.
            StoreUnavailable: the document can't be read, or no child started, now.
            ParserMistake: see there.
        """
        task = {"do": "parse", "filename": filename, "max_pages": max_pages, "target_pages": target_pages}
        answer = self._ask(task, content, self._parse_s)
        return ParsedDocument(tuple(ParsedPage(*page) for page in answer["pages"]))

    def count(self, content: BinaryIO, filename: str, *, limit_s: float | None = None) -> PageCount:
        """As `llamaparse.page_count.count_pages`; what takes too much to be counted gets a ceiling by its size.

        Args:
            limit_s: seconds that it may take, if fewer than usual.

        Raises:
            Waiting, StoreUnavailable, ParserMistake: as for `parse`.
        """
        most_s = self._count_s if limit_s is None else min(self._count_s, limit_s)
        try:
            answer = self._ask({"do": "count", "filename": filename}, content, most_s)
        except DocumentRefused:
            return not_counted(content, filename)
        return PageCount(*answer["count"])

    def close(self) -> None:
        """End every child, busy ones too."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
            busy = self._all.difference(idle)
        for child in idle:
            self._end(child)
        for child in busy:  # whose thread closes its socket
            child.kill()

    def _ask(self, task: dict[str, Any], content: BinaryIO, limit_s: float) -> dict[str, Any]:
        with _as_file(content) as descriptor:
            for _ in range(TRIES):
                with self._child() as child, suppress(_Died):
                    return _unpacked(child.ask({**task, "limit_s": limit_s}, descriptor, limit_s))
        raise too_much()

    @contextmanager
    def _child(self) -> Iterator[_Child]:
        """A child for one document."""
        if not self._places.acquire(timeout=self._wait_s):
            raise Waiting("every local parser is busy")
        try:
            child = self._take()
            try:
                yield child
            finally:
                self._give_back(child)
        finally:
            self._places.release()

    def _take(self) -> _Child:
        while True:
            with self._lock:
                if self._is_closed:
                    raise Waiting("this process stops")
                child = self._idle.pop() if self._idle else None
            if child is None:
                break
            if child.is_alive:
                return child
            self._end(child)
        child = _Child(self._memory_bytes, self._kept_bytes)
        with self._lock:
            self._all.add(child)
        return child

    def _give_back(self, child: _Child) -> None:
        with self._lock:
            if child.is_usable and not self._is_closed:
                self._idle.append(child)
                return
        self._end(child)

    def _end(self, child: _Child) -> None:
        with self._lock:
            self._all.discard(child)
        child.end()


class _Child:
    """The parent's end of a child.

    Raises:
        StoreUnavailable: it did not start.
    """

    def __init__(self, memory_bytes: int, kept_bytes: int) -> None:
        self._socket, theirs = socket.socketpair()
        self.is_usable = False
        numbers = (theirs.fileno(), memory_bytes, kept_bytes)
        command = [sys.executable, "-P", "-m", "llamaparse.local_child", *map(str, numbers)]
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - this program itself
                    command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=environment
                )
        except OSError as error:
            self._socket.close()
            raise StoreUnavailable(f"a local parser can't be started: {error.strerror or error}") from error
        try:
            self._receive(time.monotonic() + START_S)
        except (OSError, _Died):
            self.end()
            raise StoreUnavailable(
                f"a local parser did not start: it ended with status {self._process.returncode}"
            ) from None

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, task: dict[str, Any], descriptor: int, limit_s: float) -> dict[str, Any]:
        """Its answer.

        Raises:
            DocumentRefused: none came in time.
            _Died: it ended.
        """
        self.is_usable = False
        until = time.monotonic() + limit_s
        body = json.dumps(task).encode()
        try:
            self._socket.settimeout(limit_s)
            socket.send_fds(self._socket, [LENGTH.pack(len(body))], [descriptor])
            self._socket.sendall(body)
            answer = self._receive(until)
        except TimeoutError:
            raise too_much() from None
        except OSError as error:
            raise _Died from error
        self.is_usable = not answer.get("retires")
        return answer

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        self.kill()
        self._socket.close()

    def _receive(self, until: float) -> dict[str, Any]:
        (length,) = LENGTH.unpack(self._read(LENGTH.size, until))
        if length > MOST_ANSWER_BYTES:
            raise too_much()
        answer: dict[str, Any] = json.loads(self._read(length, until).decode("utf-8", "surrogatepass"))
        return answer

    def _read(self, size: int, until: float) -> bytearray:
        read = bytearray()
        while len(read) < size:
            self._socket.settimeout(max(until - time.monotonic(), 0.001))
            piece = self._socket.recv(min(size - len(read), _CHUNK))
            if not piece:
                raise _Died
            read += piece
        return read


def too_much() -> DocumentRefused:
    """The document took too much."""
    return DocumentRefused(
        "Reading the document takes more memory or time than a document may.", reason="DOCUMENT_TOO_LARGE"
    )


def _end_all(children: set[_Child]) -> None:
    for child in tuple(children):
        child.end()
    children.clear()


def _unpacked(answer: dict[str, Any]) -> dict[str, Any]:
    if "refused" in answer:
        name, message, reason = answer["refused"]
        raise _REFUSALS[name](message, reason=reason)
    if "mistake" in answer:
        raise ParserMistake(answer["mistake"])
    return answer


@contextmanager
def _as_file(content: BinaryIO) -> Iterator[int]:
    """A descriptor of `content`, or of a copy without a name."""
    try:
        descriptor = content.fileno()
    except (OSError, AttributeError):
        with TemporaryFile() as copy:
            _copy(content, copy)
            yield copy.fileno()
    else:
        yield descriptor


def _copy(content: BinaryIO, copy: IO[bytes]) -> None:
    try:
        content.seek(0)
        shutil.copyfileobj(content, copy, _CHUNK)
        copy.flush()
    except OSError as error:
        raise StoreUnavailable(f"a document can't be copied to be read: {error.strerror or error}") from error
