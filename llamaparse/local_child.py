"""The child in which documents are read and counted.

``python -m llamaparse.local_child DESCRIPTOR MEMORY_BYTES KEPT_BYTES``

Its parent is `llamaparse.parser_pool`, which says how they talk.
"""

from __future__ import annotations

import io
import json
import os
import resource
import select
import signal
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import astuple
from typing import Any, BinaryIO, Final

from domain.errors import DocumentRefused, OrderRefused
from llamaparse.local_parser import parse_locally
from llamaparse.page_count import count_pages
from llamaparse.parser_pool import LENGTH, too_much

NICENESS: Final = 10
"""Who answers requests, on as few cores, goes first: he needs a moment, a document may take minutes."""


def main(arguments: list[str]) -> None:
    """The child: answers until its parent hangs up."""
    descriptor, memory_bytes, kept_bytes = map(int, arguments)
    parent = socket.socket(fileno=descriptor)
    # What is sent to the whole group, as Control-C is, is for the parent to act on; its end is ours.
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(NICENESS)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with suppress(ValueError, OSError):  # not every system knows it
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    _send(parent, {"ready": True})
    while True:
        head, descriptors, *_ = socket.recv_fds(parent, LENGTH.size, 1)
        if len(head) < LENGTH.size:
            return
        with io.BufferedReader(_Document(descriptors[0])) as content:
            body = parent.recv(LENGTH.unpack(head)[0], socket.MSG_WAITALL)
            answer = _answer(json.loads(body), content)
        _send(parent, {**answer, "retires": _resident_bytes() > kept_bytes})


def _resident_bytes() -> int:
    """What this process holds now. Not ``ru_maxrss``: the kernel carries the parent's over fork and exec."""
    with open("/proc/self/statm", encoding="ascii") as status:
        return int(status.read().split()[1]) * resource.getpagesize()


def _end_with(parent: socket.socket) -> None:
    """End this process when the other end of its socket is closed, whatever it does; PDFium runs without the GIL."""
    hang_up = select.poll()
    hang_up.register(parent, 0)
    hang_up.poll()
    os._exit(0)


def _answer(task: dict[str, Any], content: BinaryIO) -> dict[str, Any]:
    # Should neither the parent nor the thread above get a word in: the kernel ends this process.
    signal.setitimer(signal.ITIMER_REAL, task["limit_s"] + 10.0)
    try:
        return _done(task, content)
    except MemoryError:
        error = too_much()
        return {"refused": [type(error).__name__, str(error), error.reason]}
    except (DocumentRefused, OrderRefused) as error:
        return {"refused": [type(error).__name__, str(error), error.reason]}
    except Exception as error:  # noqa: BLE001 - the top of this process: the parent raises it
        return {"mistake": f"{type(error).__name__}: {error}"}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _done(task: dict[str, Any], content: BinaryIO) -> dict[str, Any]:
    if task["do"] == "count":
        return {"count": astuple(count_pages(content, task["filename"]))}
    parsed = parse_locally(content, task["filename"], max_pages=task["max_pages"], target_pages=task["target_pages"])
    return {"pages": [astuple(page) for page in parsed.pages]}


def _send(parent: socket.socket, answer: dict[str, Any]) -> None:
    body = json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    parent.sendall(LENGTH.pack(len(body)))
    parent.sendall(body)


class _Document(io.RawIOBase):
    """A document by its descriptor, whose position stays as it is: the parent shares it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._position = descriptor, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: os.fstat(self._descriptor).st_size}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        read = os.preadv(self._descriptor, [buffer], self._position)
        self._position += read
        return read

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


if __name__ == "__main__":
    main(sys.argv[1:])
