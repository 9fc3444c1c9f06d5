"""The gateway alone in a process, over RabbitMQ and PostgreSQL: its memory, slow senders, and what others then wait."""

from __future__ import annotations

import math
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from tests.hostile_kit import EVENT, JOB, Line, Target, own_settings, request, sign
from tests.processes import Program

MB: Final = 1_000_000
USUAL_FILES: Final = 1024
"""How many files a process may open on most systems unless told otherwise."""
PAUSE_S: Final = 0.05
"""Between two timed requests, so that they see the senders given up and coming back, not one moment."""

PACE: Final = 10
"""How many slow senders send their bytes at once: each has a moment of its own, the machine has no such fine one."""


@contextmanager
def gateway_alone(folder: Path, database: str, broker: str, **settings: str) -> Iterator[Target]:
    """``parsegate gateway`` in mock mode, which may open no more files than is usual."""
    environment = {
        **own_settings(folder),
        "PARSEGATE_DATABASE_URL": database,
        "PARSEGATE_AMQP_URL": broker,
        **settings,
    }

    def run(*command: str) -> str:
        with Program(*command, folder=folder, environment=environment) as program:
            assert program.wait() == 0, program.output
            return program.output.strip()

    run("db", "migrate")
    token = run("token", "create", "--name", "load", "--scope", "admin")
    with open_files(USUAL_FILES):
        program = Program("gateway", "--port", "0", folder=folder, environment=environment)
    with program, open_files(4 * USUAL_FILES):
        yield Target(program, program.ready_url(), folder, token)


@contextmanager
def open_files(most: int) -> Iterator[None]:
    """Let this process, and what it starts, open so many files."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


def family(pid: int) -> list[int]:
    """A process and all that come from it."""
    found = [pid]
    for parent in found:
        # Each of them may end while it is looked at.
        with suppress(FileNotFoundError, ProcessLookupError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def memory_mb(pid: int, name: str = "VmRSS") -> float:
    """Memory of a process and all that come from it: resident now, or (`VmHWM`) at each one's peak."""
    total = 0
    for one in family(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            status = Path(f"/proc/{one}/status").read_text()
            total += int(status.partition(f"{name}:")[2].split()[0]) * 1024
    return total / MB


def forget_peak(pid: int) -> None:
    """Let each one's `VmHWM` begin at what is resident now."""
    for one in family(pid):
        Path(f"/proc/{one}/clear_refs").write_text("5")


def p99_ms(seconds: Sequence[float]) -> float:
    """What all but a hundredth took at most, in milliseconds."""
    return sorted(seconds)[math.ceil(len(seconds) * 0.99) - 1] * 1000


@dataclass(frozen=True)
class Normal:
    """A request as anybody may send it, and the status that it must meet."""

    method: str
    sent: bytes
    status: int


def normal_requests(target: Target) -> list[Normal]:
    """A read with a token, and a signed event."""
    return [
        Normal("GET", request("GET", "/v1/documents?limit=5", token=target.token), 200),
        Normal("POST", request("POST", f"/webhooks/llamaparse/{JOB}", EVENT, f"LC-Signature: {sign(EVENT)}"), 204),
    ]


def timed_requests(target: Target, count: int, asked: Sequence[Normal] = ()) -> list[float]:
    """The seconds that requests took, by turns, each on a connection of its own.

    Args:
        asked: others than `normal_requests`.
    """
    asked = asked or normal_requests(target)
    seconds = []
    for number in range(count):
        one, begun = asked[number % len(asked)], time.monotonic()
        with Line(target.address) as line:
            line.send(one.sent)
            answer = line.answer(one.method)
        seconds.append(time.monotonic() - begun)
        assert answer is not None
        assert answer.status == one.status, answer
        time.sleep(PAUSE_S)
    return seconds


@dataclass
class SlowSenders:
    """Connections that send the beginning of a request and then a byte now and then; who is given up comes again.

    Args:
        beginnings: what they send at first, in turn.
        count: how many connections.
        every_s: between two bytes of one.
    """

    address: tuple[str, int]
    beginnings: Sequence[bytes]
    count: int
    every_s: float = 1.0
    came_again: int = 0
    open_now: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def wait_until_open(self) -> None:
        """Until all are open."""
        until(lambda: self.open_now == self.count, 30)

    def _run(self) -> None:
        lines: list[socket.socket | None] = [None] * self.count
        while not self._over.is_set():
            for number, line in enumerate(lines):
                if line is None or not _still_takes(line):
                    self.came_again += line is not None
                    lines[number] = self._begin(number)
                if number % PACE == 0 and self._over.wait(self.every_s * PACE / self.count):
                    break
            self.open_now = sum(line is not None for line in lines)
        for line in lines:
            if line is not None:
                line.close()

    def _begin(self, number: int) -> socket.socket | None:
        try:
            line = socket.create_connection(self.address, timeout=5)
        except OSError:
            return None
        line.sendall(self.beginnings[number % len(self.beginnings)])
        line.setblocking(False)
        return line


def _still_takes(line: socket.socket) -> bool:
    """Send a byte; False, and closed, if the other end has had enough."""
    try:
        line.send(b"x")
        line.recv(4096)
    except BlockingIOError:  # nothing was answered
        return True
    except OSError:
        pass
    line.close()
    return False


def until(is_so: Callable[[], object], seconds: float) -> None:
    """Wait for something.

    Raises:
        AssertionError: it did not come in time.
    """
    limit = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < limit, f"not so within {seconds:.0f} s"
        time.sleep(0.02)
