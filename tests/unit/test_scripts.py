"""The scripts that a stranger runs first, and what they start processes with."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import Program, ProgramFailed

ROOT = Path(__file__).parents[2]
SCRIPTS = ("scripts/demo", "scripts/test", "scripts/lock", ".ci/run")
PROVIDED = {"PARSEGATE_TEST_AMQP_URL": "amqp://given", "PARSEGATE_TEST_DATABASE_URL": "postgresql://given"}


def library(commands: str, checkout: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run commands after `scripts/lib.sh` of a checkout."""
    script = f"set -euo pipefail; program=scripts/demo; . '{checkout}/scripts/lib.sh'; {commands}"
    settings = os.environ | {"PYTHON": sys.executable} | environment
    return subprocess.run(["bash", "-c", script], env=settings, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small checkout whose environment is set up for tests, without a single package."""
    place = tmp_path / "checkout"
    shutil.copytree(ROOT / "scripts", place / "scripts")
    shutil.copytree(ROOT / "requirements", place / "requirements")
    shutil.copy(ROOT / "pyproject.toml", place)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / ".venv"], check=True)
    (place / ".venv/bin/parsegate").write_text("#!/bin/sh\n")
    (place / ".venv/bin/parsegate").chmod(0o755)
    done = library('find_python; wanted_setup test >"$stamp"', place)
    assert done.returncode == 0, done.stderr
    return place


def is_set_up(checkout: Path, level: str) -> bool:
    return library(f"find_python; is_set_up {level}", checkout).returncode == 0


@pytest.fixture
def ordinary_user(tmp_path: Path) -> str:
    """A PATH on which `id -u` says that this is not root."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "id").write_text("#!/bin/sh\necho 1000\n")
    (tools / "id").chmod(0o755)
    return f"{tools}:{os.environ['PATH']}"


@pytest.mark.parametrize("script", [*SCRIPTS, "scripts/lib.sh"])
def test_every_script_is_valid_bash(script: str) -> None:
    subprocess.run(["bash", "-n", ROOT / script], check=True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_can_be_run(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)


def test_a_finished_set_up_is_recognised_and_serves_the_smaller_one_too(checkout: Path) -> None:
    assert is_set_up(checkout, "test")
    assert is_set_up(checkout, "runtime")


def test_the_demo_s_set_up_is_not_enough_for_the_tests(checkout: Path) -> None:
    library('find_python; wanted_setup runtime >"$stamp"', checkout)
    assert is_set_up(checkout, "runtime")
    assert not is_set_up(checkout, "test")


@pytest.mark.parametrize("changed", ["requirements/test.txt", "pyproject.toml"])
def test_a_change_of_what_is_installed_asks_for_a_new_set_up(checkout: Path, changed: str) -> None:
    with (checkout / changed).open("a") as file:
        file.write("# changed\n")
    assert not is_set_up(checkout, "test")


def test_a_moved_checkout_asks_for_a_new_set_up(checkout: Path) -> None:
    moved = checkout.rename(checkout.with_name("moved"))
    assert not is_set_up(moved, "test")
    assert library("find_python; is_usable", moved).returncode != 0


@pytest.mark.parametrize("lost", [".venv/bin/python", ".venv/bin/parsegate", ".venv/parsegate-setup"])
def test_a_half_made_environment_asks_for_a_new_set_up(checkout: Path, lost: str) -> None:
    (checkout / lost).unlink()
    assert not is_set_up(checkout, "test")


def test_a_missing_python_is_told_in_one_line() -> None:
    done = library("find_python", PYTHON="python-of-nobody")
    assert (done.returncode, done.stdout) == (1, "")
    missing = "python-of-nobody is missing; install it with: apt-get install python3 python3-venv"
    assert done.stderr == f"scripts/demo: {missing}\n"


def test_an_old_python_is_told_in_one_line(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\necho 3.9 0 /usr/bin/python3.9\n")
    old.chmod(0o755)
    done = library("find_python", PYTHON=str(old))
    assert done.returncode == 1
    assert done.stderr.startswith(f"scripts/demo: Python 3.11 or newer is needed, and {old} is 3.9")
    assert done.stderr.count("\n") == 1


def test_who_may_not_install_is_told_what_to_install(ordinary_user: str) -> None:
    done = library("install_packages python3-venv postgresql", PATH=ordinary_user)
    assert done.returncode == 1
    missing = "python3-venv, postgresql are missing; install them with: apt-get install python3-venv postgresql"
    assert done.stderr == f"scripts/demo: {missing}\n"


def test_one_script_waits_for_another_that_installs(checkout: Path) -> None:
    take = f"find_python; take_turn '{checkout}/pyproject.toml'"
    holder = subprocess.Popen(
        ["bash", "-c", f". '{checkout}/scripts/lib.sh'; {take}; echo held; read -r _; end_turn"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        waiting = subprocess.Popen(
            ["bash", "-c", f"program=scripts/demo; . '{checkout}/scripts/lib.sh'; {take}; echo mine"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with waiting:
            assert waiting.stderr is not None
            assert b"waiting for another script" in waiting.stderr.readline()
            assert waiting.poll() is None
            holder.communicate(b"\n", timeout=30)
            assert waiting.communicate(timeout=30)[0] == b"mine\n"


def test_the_status_of_the_tests_is_the_scripts() -> None:
    command = [sys.executable, "-m", "tests.with_servers", "sh", "-c", "exit 7"]
    assert subprocess.run(command, cwd=ROOT, env=os.environ | PROVIDED, check=False).returncode == 7


def test_servers_that_are_given_need_nothing_installed() -> None:
    command = [sys.executable, "-m", "tests.with_servers", "--missing"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | PROVIDED, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_script_ends_the_tests(tmp_path: Path, signum: signal.Signals) -> None:
    mark = tmp_path / "ended"
    command = [sys.executable, "-m", "tests.with_servers", "sh", "-c", f"{until_asked(mark)} echo running; {WAITING}"]
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | PROVIDED, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as script:
        assert script.stdout is not None
        assert script.stdout.readline() == b"running\n"
        script.send_signal(signum)
        assert script.wait(60) == 128 + signum
    assert mark.exists()


def until_asked(mark: Path) -> str:
    """Shell that leaves a mark when it is asked to end, once its present child has ended."""
    return f"trap 'touch {mark}; exit 2' TERM;"


WAITING = "while :; do sleep 0.1; done"
"""In short steps: a child that was just forked can miss a signal, and would keep the output open."""


INTERRUPTED = """
import os, signal, subprocess, sys
from tests import with_servers

class Interrupted(subprocess.Popen):
    def __init__(self, *said, **more):
        super().__init__(*said, **more)
        os.kill(os.getpid(), signal.SIGTERM)

subprocess.Popen = Interrupted
sys.exit(with_servers.main(sys.argv[1:]))
"""


def test_a_signal_that_comes_as_the_tests_start_ends_them_too(tmp_path: Path) -> None:
    """Whoever is left holds the script's output open."""
    command = [sys.executable, "-c", INTERRUPTED, "sh", "-c", f"{until_asked(tmp_path / 'ended')} {WAITING}"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | PROVIDED, stdout=subprocess.PIPE, timeout=30, check=False)
    assert done.returncode == 128 + signal.SIGTERM


def shell(folder: Path, commands: str, **environment: str) -> Program:
    return Program("-c", commands, folder=folder, environment=environment, executable="/bin/sh")


def test_a_program_is_ready_when_it_says_so(tmp_path: Path) -> None:
    with shell(tmp_path, "sleep 0.2; echo ready on http://127.0.0.1:1/; exec sleep 60") as program:
        assert program.ready_url() == "http://127.0.0.1:1"
        begun = time.monotonic()
    assert program.process.returncode == -signal.SIGTERM
    assert time.monotonic() - begun < 10


def test_a_program_that_ends_early_shows_its_last_words(tmp_path: Path) -> None:
    with shell(tmp_path, "echo no database >&2; exit 1") as program, pytest.raises(ProgramFailed, match="no database"):
        program.ready_url()
    assert program.process.returncode == 1


def test_a_program_that_will_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    program = shell(tmp_path, "trap '' TERM; sleep 60 & echo child $!; wait; wait")
    child = int(program.wait_for(r"child (\d+)")[1])
    assert program.stop(timeout_s=0.2) == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while _is_running(child):
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.02)


def _is_running(process: int) -> bool:
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_program_has_only_the_settings_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", "llx-someone")
    monkeypatch.setenv("PARSEGATE_MODE", "real")
    with shell(tmp_path, 'echo "[$LLAMA_CLOUD_API_KEY$PARSEGATE_MODE]"', PARSEGATE_MODE="mock") as program:
        assert program.wait_for(r"\[(.*)\]")[1] == "mock"
