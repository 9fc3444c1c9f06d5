"""Private RabbitMQ and PostgreSQL servers on free loopback ports, for the tests. Standard library only.

`scripts/test` starts one of each for the whole run (see `tests.with_servers`). Tests that break servers on purpose
start their own with `start_rabbitmq` and `start_postgres`.
"""

from __future__ import annotations

import base64
import glob
import http.client
import os
import pwd
import random
import re
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Self

ROOT = Path(__file__).resolve().parent.parent
START_DEADLINE_S = 120.0
STOP_DEADLINE_S = 30.0
PORT_ATTEMPTS = 3

# Erlang sizes tables by the limit of open files: in some containers it is a thousand million.
WITH_SANE_LIMITS = 'ulimit -S -n 65536 2>/dev/null || :; exec "$@"'


class StartFailed(Exception):
    """A server did not start; the text ends with the last lines of its log."""


def free_port() -> int:
    """A free loopback port below the range from which the system picks ports for outgoing connections."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


def tail(log: Path, lines: int = 25) -> str:
    """The last lines of a log; empty when there is none."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _answers(port: int, request: bytes, answer: bytes) -> bool:
    """Whether a server on this port answers the opening bytes of its protocol."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(request)
        return connection.recv(len(answer)) == answer
    return False


class Server:
    """One private server: started once, restarted and killed at will, stopped for good.

    Args:
        folder: where its data and logs go; made if missing. The caller removes it.
    """

    name: ClassVar[str]
    package: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "output.log"
        self.main: subprocess.Popen[bytes] | None = None
        self._processes: list[subprocess.Popen[bytes]] = []
        self._closed = False
        self._lock = threading.Lock()

    @classmethod
    def installed(cls) -> bool:
        """Whether the binaries are on this machine."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """Where programs reach it, with user and password."""
        raise NotImplementedError

    @property
    def logs(self) -> list[Path]:
        """What it wrote."""
        return [self.output]

    def start(self) -> Self:
        """Make the folder, start, and return when the server accepts connections.

        Raises:
            StartFailed: it ended, or was not ready in time.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self._prepare()
            try:
                self.launch()
            except StartFailed as failure:
                self._end_processes()
                if attempt == PORT_ATTEMPTS or not re.search("in use|eaddrinuse", str(failure), re.IGNORECASE):
                    raise
            else:
                break
        return self

    def launch(self) -> None:
        """Start the process again on the same ports and data, and return when it accepts connections."""
        self.main = self._start_process()
        deadline = time.monotonic() + START_DEADLINE_S
        while not self._ready():
            if self.main.poll() is not None:
                raise self._failed(f"{self.name} ended with status {self.main.returncode}")
            if time.monotonic() > deadline:
                raise self._failed(f"{self.name} was not ready after {START_DEADLINE_S:.0f} s")
            time.sleep(0.05)

    def restart(self) -> None:
        """An orderly stop, then a start on the same ports and data."""
        self._signal_and_wait(signal.SIGTERM)
        self.launch()

    def kill(self) -> None:
        """End it at once, as a power cut would; `launch` brings it back."""
        if self.main is not None:
            _end_group(self.main)

    def stop(self) -> None:
        """End everything this object started, for good. Its data is not worth an orderly stop."""
        with self._lock:
            self._closed = True
        self._end_processes()

    def _prepare(self) -> None:
        raise NotImplementedError

    def _start_process(self) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _ready(self) -> bool:
        raise NotImplementedError

    def _signal_and_wait(self, signum: signal.Signals) -> None:
        if self.main is None:
            return
        self.main.send_signal(signum)
        with suppress(subprocess.TimeoutExpired):
            self.main.wait(STOP_DEADLINE_S)
        _end_group(self.main)

    def _spawn(
        self, command: Sequence[str], environment: dict[str, str], account: pwd.struct_passwd | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a process in a session of its own, so that Ctrl-C at the terminal does not reach it."""
        with self._lock, self.output.open("ab") as output:
            if self._closed:
                raise StartFailed(f"{self.name} was stopped while it started")
            process = subprocess.Popen(
                ["/bin/sh", "-c", WITH_SANE_LIMITS, "sh", *command],
                cwd=self.folder,
                env=_plain_environment() | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )
            self._processes.append(process)
        return process

    def _end_processes(self) -> None:
        for process in reversed(self._processes):
            _end_group(process)
        self._processes.clear()

    def _failed(self, reason: str) -> StartFailed:
        shown = [f"--- the end of {log}\n{tail(log)}" for log in self.logs if tail(log)]
        return StartFailed("\n".join([reason, *shown]))


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads its group, with the group, unless it was reaped before."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _plain_environment() -> dict[str, str]:
    """No RABBITMQ_*, PG* or locale of the caller's: a private server depends on nothing around it."""
    system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": f"{os.environ.get('PATH', system)}:{system}", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


class RabbitMQ(Server):
    """One RabbitMQ node under the project's own rabbitmq.conf, with the management plugin and the vhost `parsegate`."""

    name = "RabbitMQ"
    package = "rabbitmq-server"
    vhost = "parsegate"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.user, self.password = "tester", secrets.token_hex(12)
        self.node = f"parsegate-{secrets.token_hex(4)}@localhost"

    @classmethod
    def installed(cls) -> bool:
        return _rabbitmq_binary("rabbitmq-server") is not None and shutil.which("epmd") is not None

    @property
    def url(self) -> str:
        return f"amqp://{self.user}:{self.password}@127.0.0.1:{self.port}/{self.vhost}"

    @property
    def management_url(self) -> str:
        """The management HTTP API, with user and password."""
        return f"http://{self.user}:{self.password}@127.0.0.1:{self.management_port}"

    @property
    def logs(self) -> list[Path]:
        return [self.output, *sorted((self.folder / "log").glob("*.log"))]

    def stop_app(self) -> None:
        """Stop the broker inside its running node: clients see an orderly close, then refused connections."""
        self._control("stop_app")

    def start_app(self) -> None:
        """The opposite of `stop_app`."""
        self._control("start_app")

    def _control(self, *arguments: str) -> None:
        command = [_need(_rabbitmq_binary("rabbitmqctl"), self.package), *arguments]
        environment = _plain_environment() | self._environment()
        subprocess.run(command, env=environment, cwd=self.folder, check=True, capture_output=True, timeout=60)

    def _prepare(self) -> None:
        self.port, self.management_port, self.dist_port, self.epmd_port = (free_port() for _ in range(4))
        configuration = self.folder / "conf.d"
        configuration.mkdir(exist_ok=True)
        shutil.copy(ROOT / "rabbitmq.conf", configuration / "10-project.conf")
        (configuration / "90-private.conf").write_text(
            f"listeners.tcp.default = 127.0.0.1:{self.port}\n"
            f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {self.management_port}\n"
            f"default_vhost = {self.vhost}\ndefault_user = {self.user}\ndefault_pass = {self.password}\n"
            "default_user_tags.administrator = true\ndisk_free_limit.absolute = 50MB\n"
        )
        (self.folder / "enabled_plugins").write_text("[rabbitmq_management].\n")
        (self.folder / "inetrc").write_text('{host, {127,0,0,1}, ["localhost"]}.\n{lookup, [file, native]}.\n')
        # In the foreground and ours: the node would start a daemon that outlives it.
        self._spawn([_need(shutil.which("epmd"), self.package)], self._environment())

    def _environment(self) -> dict[str, str]:
        loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
        return {
            "HOME": str(self.folder),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILES": str(self.folder / "conf.d"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": loopback,
            "RABBITMQ_CTL_ERL_ARGS": loopback,
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_INETRC": str(self.folder / "inetrc"),
            "ERL_CRASH_DUMP": str(self.folder / "erl_crash.dump"),
        }

    def _start_process(self) -> subprocess.Popen[bytes]:
        return self._spawn([_need(_rabbitmq_binary("rabbitmq-server"), self.package)], self._environment())

    def _ready(self) -> bool:
        return _answers(self.port, b"AMQP\x00\x00\x09\x01", b"\x01\x00\x00") and self._management_ready()

    def _management_ready(self) -> bool:
        login = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        connection = http.client.HTTPConnection("127.0.0.1", self.management_port, timeout=5)
        try:
            connection.request("GET", f"/api/vhosts/{self.vhost}", headers={"Authorization": f"Basic {login}"})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class Postgres(Server):
    """One PostgreSQL cluster over TCP only, with fsync on. Run by root it belongs to another user, as it insists."""

    name = "PostgreSQL"
    package = "postgresql"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.password = secrets.token_hex(12)
        self.data = folder / "data"
        self.account = _unprivileged_account() if os.geteuid() == 0 else None

    @classmethod
    def installed(cls) -> bool:
        return _postgres_binary("initdb") is not None and _postgres_binary("postgres") is not None

    @property
    def url(self) -> str:
        return f"postgresql://tester:{self.password}@127.0.0.1:{self.port}/postgres"

    def restart_immediate(self) -> None:
        """Recover from the log as after a crash, without an orderly stop."""
        self._signal_and_wait(signal.SIGQUIT)
        self.launch()

    def restart(self) -> None:
        """A fast stop (clients are cut off, work is flushed), then a start on the same port and data."""
        self._signal_and_wait(signal.SIGINT)
        self.launch()

    def launch(self) -> None:
        """Start again; after a `kill` the old processes may hold the memory for a moment longer."""
        deadline = time.monotonic() + STOP_DEADLINE_S
        while True:
            seen = self.output.stat().st_size
            try:
                return super().launch()
            except StartFailed:
                ended = self.output.read_bytes()[seen:]
                if b"still in use" not in ended or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _prepare(self) -> None:
        self.port = free_port()
        if self.data.exists():
            return
        if self.account:
            os.chown(self.folder, self.account.pw_uid, self.account.pw_gid)
        login = self.folder / "password"
        login.write_text(self.password)
        if self.account:
            os.chown(login, self.account.pw_uid, self.account.pw_gid)
        # --no-sync is about making the cluster only; the server itself runs with fsync on.
        options = ["--auth=scram-sha-256", "--username=tester", "--encoding=UTF8", "--locale=C", "--no-sync"]
        initdb = _need(_postgres_binary("initdb"), self.package)
        command = [initdb, *options, f"--pwfile={login}", f"--pgdata={self.data}"]
        made = self._spawn(command, {}, self.account)
        if made.wait(START_DEADLINE_S) != 0:
            raise self._failed("initdb failed")

    def _start_process(self) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "on",
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        command = [_need(_postgres_binary("postgres"), self.package), "-D", str(self.data), *options]
        return self._spawn(command, {}, self.account)

    def _ready(self) -> bool:
        parameters = b"user\0tester\0database\0postgres\0\0"
        startup = struct.pack("!ii", 8 + len(parameters), 3 << 16) + parameters
        return _answers(self.port, startup, b"R")  # it asks for the password; while it starts up it sends an error


def _rabbitmq_binary(name: str) -> str | None:
    """The program itself: Debian's wrapper of the same name runs as its own user or not at all."""
    return shutil.which(name, path="/usr/lib/rabbitmq/bin") or shutil.which(name)


def _postgres_binary(name: str) -> str | None:
    folders = glob.glob("/usr/lib/postgresql/*/bin")
    newest_first = sorted(folders, key=lambda folder: int("0" + re.sub(r"\D", "", folder)), reverse=True)
    return shutil.which(name, path=os.pathsep.join([*newest_first, os.environ.get("PATH", os.defpath)]))


def _need(binary: str | None, package: str) -> str:
    if binary is None:
        raise StartFailed(f"{package} is missing; install it with: apt-get install {package}")
    return binary


def _unprivileged_account() -> pwd.struct_passwd:
    names = {account.pw_name: account for account in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]


def start_rabbitmq(folder: Path) -> RabbitMQ:
    """A running RabbitMQ node in this folder; the caller stops it."""
    return RabbitMQ(folder).start()


def start_postgres(folder: Path) -> Postgres:
    """A running PostgreSQL server in this folder; the caller stops it."""
    return Postgres(folder).start()
