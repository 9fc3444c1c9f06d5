"""The simulator's fixtures: servers, SDK clients and a receiver of webhooks.

The SDK-facing cases know only two fixtures: `provider` (a base URL, and what turns its knobs) and `sdk` (the official
client). A module that defines fixtures of these names runs the same cases against another server.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from llama_cloud import LlamaCloud

from llamaparse.simulator import RunningSimulator, SimulatorSettings, serve
from tests.integration.simulator_kit import QUICK, Provider, Received, Receiver, make_pdf


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSimulator]:
    with serve(SimulatorSettings(**QUICK)) as server:
        yield server


@pytest.fixture
def provider(running: RunningSimulator) -> Provider:
    found = Provider(running.base_url, running.base_url)
    found.reset()
    return found


@pytest.fixture
def sdk(provider: Provider) -> Iterator[LlamaCloud]:
    with provider.sdk() as client:
        yield client


@pytest.fixture
def start() -> Iterator[Callable[..., Provider]]:
    """Starts further simulators: ``start(clock=clock, usage_delay_s=60)``."""
    servers: list[RunningSimulator] = []

    def begin(clock: Callable[[], float] = time.monotonic, **settings: Any) -> Provider:
        servers.append(serve(SimulatorSettings(**{**QUICK, **settings}), clock=clock))
        return Provider(servers[-1].base_url, servers[-1].base_url)

    yield begin
    for server in servers:
        server.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            found.received.append(Received(self.path, headers, body, time.monotonic()))
            self._answer(found.statuses.pop(0) if found.statuses else 200, b"")

        def do_GET(self) -> None:
            content = found.files.get(self.path)
            self._answer(404 if content is None else 200, content or b"")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Silence: the tests look at `received`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def pdf(tmp_path: Path) -> Path:
    """Three pages: "one", "two", "three"."""
    return make_pdf(
        tmp_path / "three.pdf", ["Page one says apple.", "Page two says banana.", "Page three says cherry."]
    )
