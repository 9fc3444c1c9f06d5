"""Run a command with a private RabbitMQ and PostgreSQL, and stop them afterwards. Standard library only.

    python -m tests.with_servers [--debug] COMMAND...    the status is the command's
    python -m tests.with_servers --missing               print the Debian packages that it would need

The command finds the servers in ``PARSEGATE_TEST_AMQP_URL``, ``PARSEGATE_TEST_MANAGEMENT_URL`` and
``PARSEGATE_TEST_DATABASE_URL``. A server whose variable is already set is not started. With ``--debug`` the servers'
logs are shown at the end and their folder is kept.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import FrameType

from tests.servers import Postgres, RabbitMQ, Server, StartFailed, tail

TEARDOWN_S = 60.0
KINDS: dict[str, type[Server]] = {"PARSEGATE_TEST_AMQP_URL": RabbitMQ, "PARSEGATE_TEST_DATABASE_URL": Postgres}


class Interrupted(SystemExit):
    """A signal came; the exit status is the usual 128 and its number."""


def wanted() -> list[type[Server]]:
    """The kinds of server that the environment does not provide."""
    return [kind for variable, kind in KINDS.items() if not os.environ.get(variable)]


def say(text: str) -> None:
    """A line about what goes on; standard output stays the command's."""
    print(f"scripts/test: {text}", file=sys.stderr, flush=True)


def start(servers: list[Server]) -> None:
    """Start all at the same time.

    Raises:
        StartFailed: one did not start.
    """
    begun = time.monotonic()
    say(f"starting {' and '.join(server.name for server in servers)} (about 15 s)")
    with ThreadPoolExecutor() as pool:
        started = [pool.submit(server.start) for server in servers]
        try:
            for future in started:
                future.result()
        except (StartFailed, Interrupted, OSError):
            for server in servers:
                server.stop()
            raise
    say(f"servers ready after {time.monotonic() - begun:.0f} s")


def addresses(servers: list[Server]) -> dict[str, str]:
    """What the command is told."""
    told: dict[str, str] = {}
    for server in servers:
        if isinstance(server, RabbitMQ):
            told |= {"PARSEGATE_TEST_AMQP_URL": server.url, "PARSEGATE_TEST_MANAGEMENT_URL": server.management_url}
        else:
            told |= {"PARSEGATE_TEST_DATABASE_URL": server.url}
    return told


def run(command: list[str], environment: dict[str, str]) -> int:
    """The command's status. A signal is passed on, and the command has a minute to end what it started."""
    came: list[int] = []
    started: list[subprocess.Popen[bytes]] = []

    def forward(signum: int, frame: FrameType | None) -> None:
        came.append(signum)
        if signum == signal.SIGINT and sys.stdin.isatty():
            return  # Ctrl-C went to every process at the terminal, the command included
        for process in started:
            process.send_signal(signal.SIGTERM)

    # Before the command runs: it may be asked to end at once, or ask for that itself.
    listen(forward)
    process = subprocess.Popen(command, env=os.environ | environment)
    started.append(process)
    if came:
        process.send_signal(signal.SIGTERM)
    patience_s = TEARDOWN_S
    while process.poll() is None and patience_s > 0:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        patience_s -= 1 if came else 0
    process.kill()
    status = process.wait()
    if came:
        return 128 + came[0]
    return status if status >= 0 else 128 - status


def listen(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    """Handle every signal that asks for an end in the same way."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, handler)


def interrupt(signum: int, frame: FrameType | None) -> None:
    """Leave at once, by way of every `finally`."""
    raise Interrupted(128 + signum)


def main(arguments: list[str]) -> int:
    """The command's status, or 1 when a server did not start."""
    parser = argparse.ArgumentParser(prog="tests.with_servers", description="Run a command with private servers.")
    parser.add_argument("--missing", action="store_true", help="print the Debian packages that are needed")
    parser.add_argument("--debug", action="store_true", help="show the servers' logs, keep their folder")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    if options.missing:
        print(*(kind.package for kind in wanted() if not kind.installed()))
        return 0
    listen(interrupt)
    folder = Path(tempfile.mkdtemp(prefix="parsegate-test-"))
    folder.chmod(0o711)  # PostgreSQL's own user passes through
    servers = [kind(folder / kind.name.lower()) for kind in wanted()]
    keep = options.debug
    try:
        if servers:
            start(servers)
        return run(options.command, addresses(servers))
    except (StartFailed, OSError) as failure:
        keep = True
        say(str(failure))
        return 1
    finally:
        listen(signal.SIG_IGN)
        end(servers, show_logs=options.debug)
        if keep:
            say(f"logs are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def end(servers: list[Server], *, show_logs: bool) -> None:
    """Stop all; nothing that this run started is left."""
    for server in servers:
        server.stop()
        for log in server.logs if show_logs else []:
            say(f"--- {log}\n{tail(log, 200)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
