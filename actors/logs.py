"""Logs: JSON lines, or readable ones on a terminal; on standard error, with what is bound to the context."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any, Final

import structlog

_QUIET: Final = {
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "uvicorn": logging.WARNING,
    # Its failures are raised too, and said once by who catches them.
    "pika": logging.CRITICAL,
}
_SHARED: Final[list[Any]] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configure_logs(level: int = logging.INFO) -> None:
    """Send every log line, structlog's and the standard library's, through one formatter."""
    terminal = sys.stderr.isatty()
    renderer: Any = structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    finishing: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if not terminal:
        finishing.append(structlog.processors.format_exc_info)
    formatter = structlog.stdlib.ProcessorFormatter(foreign_pre_chain=_SHARED, processors=[*finishing, renderer])
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=level, force=True)
    threading.excepthook = _log_ended_thread
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(least)


def _log_ended_thread(ended: threading.ExceptHookArgs) -> None:
    """A thread must not end unseen: Python's own words on standard error are no log line."""
    if isinstance(ended.exc_value, Exception):
        name = ended.thread.name if ended.thread is not None else "a thread"
        logging.getLogger(__name__).error("%s ended unexpectedly", name, exc_info=ended.exc_value)
