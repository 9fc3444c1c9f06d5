"""The simulator as a program: it says when it is ready, takes no port twice, and ends cleanly on a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from llamaparse.simulator import RunningSimulator, SimulatorSettings, create_simulator, serve
from llamaparse.simulator.files import FileStore, TooLarge

FAST = {"configuration": '{"tier": "fast", "version": "latest"}'}
PROGRAM = """
from llamaparse.simulator import RunningSimulator, SimulatorSettings, run
run(SimulatorSettings(), port=0, on_ready=lambda url: print(url, flush=True))
print("stopped", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_says_when_it_is_ready_and_stops_on_a_signal(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        base_url = program.stdout.readline().strip()
        assert httpx.get(f"{base_url}/_sim/stats").status_code == 200
        program.send_signal(number)
        out, err = program.communicate(timeout=15)
    assert (program.returncode, out, err) == (0, "stopped\n", "")


def test_a_port_in_use_is_an_oserror() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        serve(SimulatorSettings(), port=taken.getsockname()[1])


def test_stop_closes_the_port_and_ends_the_thread() -> None:
    before = set(threading.enumerate())
    server = serve(SimulatorSettings())
    assert httpx.get(f"{server.base_url}/_sim/stats").status_code == 200
    server.stop()
    server.stop()
    assert set(threading.enumerate()) == before
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.base_url}/_sim/stats")


def test_stopping_leaves_no_files_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with serve(SimulatorSettings(latency_s=60)) as server:
        headers = {"Authorization": "Bearer llx-a"}
        url = f"{server.base_url}/api/v2/parse/upload"
        made = httpx.post(url, files={"file": ("a.txt", b"text")}, data=FAST, headers=headers)
        assert made.status_code == 200
        assert len(list(tmp_path.rglob("*"))) == 2
    assert os.listdir(tmp_path) == []


def test_a_reset_leaves_no_files_behind_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with serve(SimulatorSettings(latency_s=60)) as server:
        url, headers = f"{server.base_url}/api/v2/parse/upload", {"Authorization": "Bearer llx-a"}
        for _ in range(2):
            httpx.post(url, files={"file": ("a.txt", b"text")}, data=FAST, headers=headers).raise_for_status()
            httpx.post(f"{server.base_url}/_sim/reset").raise_for_status()
            assert os.listdir(tmp_path) == []
            assert httpx.get(f"{server.base_url}/_sim/stats").json()["jobs_created"] == 0


@pytest.mark.parametrize(
    ("path", "rest"),
    [
        ("/api/v1/beta/files", b'\r\n--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\npar'),
        ("/api/v1/beta/files", b"\r\n--b--\r\n"),  # no purpose
        ("/api/v2/parse/upload", b"\r\n--b--\r\n"),  # no configuration
    ],
)
def test_a_refused_form_leaves_no_file_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, rest: bytes
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nall of it'
    headers = {"Authorization": "Bearer llx-a", "Content-Type": "multipart/form-data; boundary=b"}
    with serve(SimulatorSettings()) as server:
        answer = httpx.post(server.base_url + path, content=head + rest, headers=headers)
        assert answer.status_code == 422
        assert [found for found in tmp_path.rglob("*") if found.is_file()] == []


LARGE_UPLOAD = (
    b"POST /api/v1/beta/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer llx-a\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 600000000\r\n\r\n"
)


def connected(server: RunningSimulator) -> socket.socket:
    address = urlsplit(server.base_url)
    return socket.create_connection((str(address.hostname), address.port or 0), timeout=10)


def test_a_file_that_says_it_is_too_large_is_refused_before_it_comes() -> None:
    with serve(SimulatorSettings()) as server, connected(server) as connection:
        connection.sendall(LARGE_UPLOAD + b"--b\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("sent", [LARGE_UPLOAD, LARGE_UPLOAD + b"--b\r\n"])
def test_a_client_that_goes_away_harms_nobody(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with serve(SimulatorSettings(max_file_mb=1000)) as server:
        with connected(server) as connection:
            connection.sendall(sent)
        deadline = time.monotonic() + 10
        while not httpx.get(f"{server.base_url}/_sim/stats").json()["requests"] and time.monotonic() < deadline:
            time.sleep(0.01)
    assert [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


def test_the_app_runs_without_a_server_of_ours() -> None:
    async def status() -> int:
        simulator = create_simulator(SimulatorSettings())
        transport = httpx.ASGITransport(simulator.app)  # type: ignore[arg-type] # httpx asks for a looser scope
        async with httpx.AsyncClient(transport=transport, base_url="http://sim") as client:
            answer = await client.get("/api/v2/parse/versions", headers={"Authorization": "Bearer llx-a"})
        await simulator.close()
        return answer.status_code

    assert asyncio.run(status()) == 200


def test_a_file_that_grows_too_large_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = FileStore(SimulatorSettings(max_file_mb=1))

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536

    with pytest.raises(TooLarge):
        asyncio.run(store.spool(endless()))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    store.close()
    assert os.listdir(tmp_path) == []


def test_a_long_parse_does_not_hold_up_other_calls(tmp_path: Path) -> None:
    """20 MB of text take a while to read; meanwhile the loop answers."""
    with serve(SimulatorSettings(latency_s=0)) as server:
        headers = {"Authorization": "Bearer llx-a"}
        text = b"a line of words\n" * (20 * 1024 * 1024 // 16)
        url = f"{server.base_url}/api/v2/parse/upload"
        made = httpx.post(url, files={"file": ("a.txt", text)}, data=FAST, headers=headers, timeout=60).json()
        longest, status, deadline = 0.0, "", time.monotonic() + 60
        while status not in ("COMPLETED", "FAILED") and time.monotonic() < deadline:
            began = time.monotonic()
            job = httpx.get(f"{server.base_url}/api/v2/parse/{made['id']}", headers=headers, timeout=60)
            longest = max(longest, time.monotonic() - began)
            status = job.json()["job"]["status"]
    assert status == "COMPLETED"
    assert longest < 1.5
