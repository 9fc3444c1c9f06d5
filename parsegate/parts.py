"""The parts of a process that must go on for as long as it does, and the wait until somebody ends it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Final

from domain.errors import ParsegateError
from models.database import close_connection

WATCH_S: Final = 1.0


@dataclass(frozen=True)
class Part:
    """Something that must not end by itself.

    Args:
        name: for people, such as ``the clock``.
    """

    name: str
    is_running: Callable[[], bool]


@dataclass(frozen=True)
class Running:
    """A process that serves.

    Args:
        url: where it listens.
    """

    url: str
    parts: tuple[Part, ...]


@contextlib.contextmanager
def running_thread(name: str, run: Callable[[threading.Event], None]) -> Iterator[Part]:
    """A thread that works until the event is set; its database connection is closed at its end."""
    stop = threading.Event()

    def work() -> None:
        try:
            run(stop)
        finally:
            close_connection()

    thread = threading.Thread(target=work, name=name)
    thread.start()
    try:
        yield Part(name, thread.is_alive)
    finally:
        stop.set()
        thread.join()


def wait_for_signal(parts: Sequence[Part]) -> None:
    """Until SIGTERM or SIGINT; a second one ends the process at once.

    Raises:
        ParsegateError: a part has ended before.
    """
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    while not stop.is_set():
        for part in parts:
            if not part.is_running():
                raise ParsegateError(f"{part.name} has stopped by itself, so this process ends; the log says why")
        stop.wait(WATCH_S)
