"""What the gateway works with, handed in when a process starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

from domain.clock import Clock
from domain.settings import Mode, Settings
from gateway.publisher import Publisher
from llamaparse.parser_pool import ParserPool
from models.store import Store


def host_now() -> datetime:
    """This host's time."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Dependencies:
    """Everything outside the gateway's own rules.

    Args:
        settings: `api_key`, `secret_key`, `private_hosts` and `max_file_mb` are looked at.
        publisher: where messages go; who wires it starts it in the server's loop and stops it there.
        store: where raw files and results are.
        clock: the present moment, as all hosts agree on it; it may ask the database, so it is asked in the pool only.
        configured_mode: the mode that the settings say; it may be switched while running.
        pool: threads for the database and the store. Each keeps a database connection, which whoever wires it closes
            in the thread (`models.database.close_connection`).
        host_clock: this host's time, for the event loop.
        monotonic: seconds on a clock that never goes back.
        parsers: count pages, in processes of their own; whoever wires it closes them.
    """

    settings: Settings
    publisher: Publisher
    store: Store
    clock: Clock
    configured_mode: Mode
    pool: ThreadPoolExecutor
    host_clock: Clock = host_now
    monotonic: Callable[[], float] = time.monotonic
    parsers: ParserPool = field(default_factory=ParserPool)
