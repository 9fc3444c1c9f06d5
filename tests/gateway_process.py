"""A gateway alone in a process, so that its memory can be measured: ``python -m tests.gateway_process FOLDER``.

It prints its URL and a token, and ends with its standard input.
"""

from __future__ import annotations

import sys
from pathlib import Path

import structlog

from tests.gateway_harness import running_gateway
from tests.state import state_of


def main() -> None:
    """Serve until standard input ends."""
    folder = Path(sys.argv[1])
    # Nobody reads its standard output to the end.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    with state_of("sqlite", folder), running_gateway(folder / "store") as gateway:
        print(gateway.url, gateway.token(), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
