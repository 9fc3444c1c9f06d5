"""A process whose part has ended ends too, and a start that fails ends with one line."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.boot import wait_for
from domain.errors import Misconfigured, ParsegateError, StoreRefused, StoreUnavailable
from models.database import open_database
from parsegate.parts import Part, running_thread, wait_for_signal

ROOT = Path(__file__).parents[2]


@pytest.fixture
def own_signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_signals")
def test_a_part_that_has_ended_ends_the_wait() -> None:
    with pytest.raises(ParsegateError, match="the gateway has stopped by itself"):
        wait_for_signal([Part("the clock", lambda: True), Part("the gateway", lambda: False)])


@pytest.mark.usefixtures("own_signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait_while_all_goes_on(number: signal.Signals) -> None:
    def asked() -> bool:
        signal.raise_signal(number)
        return True

    wait_for_signal([Part("the clock", asked)])


@pytest.fixture
def state(tmp_path: Path) -> None:
    open_database(f"sqlite:///{tmp_path / 'state.db'}")


@pytest.mark.usefixtures("state")
def test_a_thread_is_running_until_it_ends_and_is_stopped_in_the_end() -> None:
    go, ended = threading.Event(), threading.Event()

    def run(stop: threading.Event) -> None:
        go.wait()
        ended.set()
        stop.wait()

    with running_thread("the clock", run) as part:
        assert part.is_running()
        go.set()
        assert ended.wait(10)
    assert not part.is_running()


@pytest.mark.usefixtures("state")
def test_a_thread_that_ended_early_is_not_running() -> None:
    itself: list[threading.Thread] = []
    began = threading.Event()

    def run(stop: threading.Event) -> None:
        itself.append(threading.current_thread())
        began.set()

    with running_thread("the clock", run) as part:
        assert began.wait(10)
        itself[0].join()
        assert not part.is_running()


def test_what_refuses_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    def attempt() -> None:
        raise StoreRefused("wrong password")

    with pytest.raises(Misconfigured, match="the database at host: wrong password"):
        wait_for("the database at host", attempt, 600)
    assert capsys.readouterr().err == ""


def test_what_is_away_is_waited_for_with_a_line_that_says_where(capsys: pytest.CaptureFixture[str]) -> None:
    answers = [StoreUnavailable("refused"), None]

    def attempt() -> str:
        error = answers.pop(0)
        if error is not None:
            raise error
        return "up"

    assert wait_for("RabbitMQ at host:1/v", attempt, 600) == "up"
    assert capsys.readouterr().err == "waiting for RabbitMQ at host:1/v: refused\n"


BROKEN = """
from actors.boot import Boot
from actors.broker import RabbitBroker

class Broken(Boot):
    def start(self, broker, settings):
        raise LookupError("nobody thought of this")

broker = RabbitBroker(middleware=[Broken()])
broker.emit_after("process_boot")
print("went on")
"""


def test_a_worker_whose_start_fails_in_any_way_ends_with_one_line(tmp_path: Path) -> None:
    """Dramatiq would log it, and go on without any services."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}){BROKEN}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "parsegate worker: unexpected LookupError: nobody thought of this (PARSEGATE_DEBUG=1 shows where)\n"
    )
