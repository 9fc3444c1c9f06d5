"""Runs a simulator on uvicorn: in the background for tests and demos, or in the foreground for a person."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from llamaparse.simulator.app import create_simulator
from llamaparse.simulator.settings import SimulatorSettings
from llamaparse.simulator.simulator import Simulator
from llamaparse.simulator.wire import Connection

LOOPBACK: Final = "127.0.0.1"
BACKLOG: Final = 2048
STOP_GRACE_S: Final = 1
"""How long calls in progress may take when the server is told to stop."""
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class TransportProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which lets the application reach its connection, as faults must be able to break it.

    uvicorn gives each request a copy of `app_state` as ``scope["state"]``, for each of its protocols; so nothing in
    its inside is touched.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        self._lost = asyncio.Event()
        self.app_state = {**self.app_state, "connection": Connection(transport, self._lost)}
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._lost.set()


class Server(uvicorn.Server):
    """Says when it accepts connections, and ends quietly on a signal instead of raising it again."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        former = {number: signal.signal(number, self.handle_exit) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)


class RunningSimulator:
    """A simulator on a thread with an event loop of its own.

    Attributes:
        simulator: its state belongs to that loop; from other threads speak HTTP to `base_url`.
        base_url: for example ``http://127.0.0.1:40123``.
    """

    def __init__(self, simulator: Simulator, host: str, port: int) -> None:
        self.simulator = simulator
        listener = _listener(host, port)
        self.base_url = _url(listener)
        ready = threading.Event()
        self._server = Server(_config(simulator), ready.set)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="simulator", daemon=True)
        self._thread.start()
        while not ready.wait(0.05):
            if not self._thread.is_alive():
                raise RuntimeError("the simulator's server did not start; its log says why")

    def stop(self) -> None:
        """Close all connections and end the thread. Calling it again does nothing."""
        self._server.should_exit = True
        self._thread.join()

    def __enter__(self) -> RunningSimulator:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()


def serve(
    settings: SimulatorSettings,
    host: str = LOOPBACK,
    port: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> RunningSimulator:
    """Start a simulator in the background and return when it accepts connections. Port 0 takes a free one.

    Raises:
        OSError: the port is in use, or the host is not ours.
    """
    return RunningSimulator(create_simulator(settings, clock), host, port)


def run(
    settings: SimulatorSettings,
    host: str = LOOPBACK,
    port: int = 9009,
    on_ready: Callable[[str], None] = lambda _base_url: None,
) -> None:
    """Serve until SIGTERM or SIGINT, then stop cleanly and return.

    Args:
        settings: how it behaves.
        host: an address of this machine.
        port: 0 takes a free one.
        on_ready: called with the base URL once connections are accepted.

    Raises:
        OSError: the port is in use, or the host is not ours.
    """
    listener = _listener(host, port)
    base_url = _url(listener)
    Server(_config(create_simulator(settings)), lambda: on_ready(base_url)).run([listener])


def _config(simulator: Simulator) -> uvicorn.Config:
    options: dict[str, Any] = {
        "http": TransportProtocol,
        "ws": "none",
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": STOP_GRACE_S,
    }
    return uvicorn.Config(simulator.app, **options)


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    reachable = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host)  # noqa: S104 - only told apart, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
