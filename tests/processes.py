"""Parsegate's own programs as the tests run them: separate processes, reached over their public interface only."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sysconfig
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.servers import tail

OWN_SETTINGS = ("PARSEGATE_", "LLAMA_CLOUD_", "LLAMAPARSE_", "SERVICE_MODE")
_numbers = itertools.count(1)


class ProgramFailed(Exception):
    """A program ended or stayed silent; the text ends with the last lines of its output."""


def environment_without_settings() -> dict[str, str]:
    """This process's environment without Parsegate's settings: a program under test has those it is given."""
    return {key: value for key, value in os.environ.items() if not key.startswith(OWN_SETTINGS)}


class Program:
    """``parsegate ARGUMENTS`` in a process group of its own, its output in a file.

    Args:
        arguments: the command and its options, such as ``"gateway", "--port", "0"``.
        folder: its working folder, where its `.env` and data would be; its output goes to a file there.
        environment: its settings, over an environment that has none.
        executable: another program than the installed ``parsegate``.
    """

    def __init__(
        self,
        *arguments: str,
        folder: Path,
        environment: dict[str, str] | None = None,
        executable: str | None = None,
    ) -> None:
        self.name = " ".join(arguments[:1]) or "parsegate"
        self.log = folder / f"{next(_numbers):03}-{re.sub(r'[^a-z0-9]+', '-', self.name.lower())}.log"
        self._ended = False
        command = [executable or str(Path(sysconfig.get_path("scripts")) / "parsegate"), *arguments]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment_without_settings() | {"PYTHONUNBUFFERED": "1"} | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def output(self) -> str:
        """What it has written so far, both streams."""
        return self.log.read_text(errors="replace")

    def wait_for(self, pattern: str, timeout_s: float = 60.0) -> re.Match[str]:
        """The first match of a regular expression in its output.

        Raises:
            ProgramFailed: it ended without, or time is up.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            ended = self.process.poll() is not None  # asked first: its last words must not be missed
            found = re.search(pattern, self.output, re.MULTILINE)
            if found:
                return found
            if ended:
                raise self._failed(f"ended with status {self.process.returncode} without {pattern!r}")
            if time.monotonic() > deadline:
                raise self._failed(f"did not write {pattern!r} in {timeout_s:.0f} s")
            time.sleep(0.05)

    def ready_url(self, timeout_s: float = 60.0) -> str:
        """The address it says it is ready on, without a slash at the end."""
        return self.wait_for(r"ready on (\S+)$", timeout_s)[1].rstrip("/")

    def wait(self, timeout_s: float = 60.0) -> int:
        """Its exit status, once it has ended by itself.

        Raises:
            ProgramFailed: time is up.
        """
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired as expired:
            raise self._failed(f"was still running after {timeout_s:.0f} s") from expired

    def stop(self, timeout_s: float = 15.0) -> int:
        """Ask it to end, and after a while insist. Its exit status; a negative one is the signal that ended it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout_s)
        return self.kill()

    def kill(self) -> int:
        """End it and its children at once, as a power cut would."""
        if not self._ended:
            self._ended = True
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()

    def _failed(self, what: str) -> ProgramFailed:
        return ProgramFailed(f"parsegate {self.name} {what}; the end of {self.log}:\n{tail(self.log, 40)}")
