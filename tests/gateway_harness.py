"""A gateway on a real socket in this process: SQLite or PostgreSQL behind it, a publisher of the test's choice."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from domain.documents import ParsedDocument, ParsedPage
from domain.errors import StoreUnavailable
from domain.job_state import JobState
from domain.messages import Message
from domain.orders import pages_path, parsed_path
from domain.settings import Settings
from domain.signatures import job_secret, lc_signature
from gateway.app import Dependencies, create_app
from gateway.dependencies import host_now
from gateway.publisher import Publisher
from models.database import close_connection, transaction
from models.jobs import get_job, step
from models.store import Store
from models.tables import Job
from models.tokens import Scope, create_token
from parsegate.connections import Patience
from parsegate.server import ServerThread, bind

SECRET_KEY: Final = "0f" * 32
THREADS: Final = 4
EVENT: Final = {
    "event_id": "11111111-2222-4333-8444-555555555555",
    "event_type": "parse.success",
    "timestamp": 1753985275.1154444,
    "data": {"id": "pjb-1", "job_id": "pjb-1"},
}


@dataclass
class RecordingPublisher:
    """A publisher that keeps what it is given, and fails when told to."""

    sent: list[Message] = field(default_factory=list)
    nudged: list[Message] = field(default_factory=list)
    ready: bool = True

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Nothing to do."""

    async def send(self, message: Message) -> None:
        """Keep it, unless `ready` is False."""
        if not self.ready:
            raise StoreUnavailable("RabbitMQ at secret-host is not connected")
        self.sent.append(message)

    async def nudge(self, message: Message) -> None:
        """Keep it."""
        self.nudged.append(message)


@dataclass
class Gateway:
    """A running gateway and what a test needs to know about it."""

    url: str
    folder: Path
    store: Store
    http: httpx.Client

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return str(parts.hostname), int(parts.port or 0)

    def token(self, scope: Scope = Scope.SUBMIT, tenant: str = "default") -> str:
        """A new token."""
        return create_token(f"{scope}-{uuid4()}", scope, now=host_now(), tenant=tenant)

    def client(self, scope: Scope = Scope.SUBMIT, tenant: str = "default") -> httpx.Client:
        """A client with a new token, over the same connections."""
        self.http.headers["Authorization"] = f"Bearer {self.token(scope, tenant)}"
        return self.http

    def files(self) -> set[str]:
        """Every file in the store, staging and unfinished ones included."""
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()}

    def post_event(
        self,
        job_id: str,
        body: bytes | None = None,
        signature: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """An event, signed rightly unless told otherwise."""
        sent = json.dumps(EVENT).encode() if body is None else body
        signed = sign(job_id, sent) if signature is None else signature
        url = f"{self.url}/webhooks/llamaparse/{job_id}"
        return httpx.post(url, content=sent, headers={"LC-Signature": signed, **(headers or {})}, timeout=30)


def sign(job_id: str, body: bytes, key: str = SECRET_KEY) -> str:
    """The right signature of an event."""
    return lc_signature(job_secret(bytes.fromhex(key), job_id), body)


def settings_of(**said: str) -> Settings:
    """Settings by their environment names, over a secret key."""
    return Settings.model_validate({"PARSEGATE_SECRET_KEY": SECRET_KEY, "PARSEGATE_DAILY_BUDGET_USD": "10"} | said)


@contextmanager
def worker_threads() -> Iterator[ThreadPoolExecutor]:
    """A pool whose threads close their database connections at the end."""
    pool = ThreadPoolExecutor(THREADS)
    try:
        yield pool
    finally:
        everyone = threading.Barrier(THREADS)

        def leave() -> None:
            everyone.wait(30)
            close_connection()

        for _ in range(THREADS):
            pool.submit(leave)
        pool.shutdown()


@contextmanager
def running_gateway(
    folder: Path,
    *,
    settings: Settings | None = None,
    publisher: Callable[[ThreadPoolExecutor], Publisher] | None = None,
    store: Store | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    patience: Patience | None = None,
) -> Iterator[Gateway]:
    """A gateway over the database that the models are bound to, its store in `folder`.

    Args:
        publisher: makes it, from the pool; a `RecordingPublisher` by default.
        store: another one than `folder` itself.
    """
    settings = settings or settings_of()
    store = store or Store(str(folder))
    with worker_threads() as pool:
        made = publisher(pool) if publisher is not None else RecordingPublisher()
        dependencies = Dependencies(settings, made, store, host_now, settings.effective_mode, pool, monotonic=monotonic)
        listening = bind("127.0.0.1", 0)
        server = ServerThread(
            create_app(dependencies), listening, before=made.start, after=made.stop, patience=patience
        )
        server.start()
        try:
            with httpx.Client(base_url=server.url, timeout=60) as http:
                yield Gateway(server.url, folder, store, http)
        finally:
            server.stop()
            dependencies.parsers.close()


def complete(gateway: Gateway, job_id: str, pages: Sequence[ParsedPage]) -> ParsedDocument:
    """Let a job be completed with these pages, as the actors would."""
    job = get_job(uuid_of(job_id))
    document, parsed = job.document, ParsedDocument(tuple(pages))
    said = [
        {name: getattr(page, name) for name in ("page_number", "markdown", "text", "success", "error")}
        for page in pages
    ]
    body = json.dumps({"provenance": "mock", "truncated": False, "pages": said}).encode()
    gateway.store.write_bytes(pages_path(document.user_id, document.document_id), body)
    path = parsed_path(document.user_id, document.document_id)
    content = gateway.store.write_bytes(path, parsed.markdown.encode())
    with transaction():
        walk(job, JobState.RESERVED, JobState.INGESTING)
        end(
            job,
            JobState.INGESTING,
            JobState.COMPLETED,
            provenance="mock",
            parsed_path=path,
            parsed_sha256=content.sha256,
        )
    return parsed


def walk(job: Job, *states: JobState) -> None:
    """Take a job through states that are not final."""
    for state in states:
        before = JobState(get_job(job.job_id).state)
        assert step(job.job_id, before, state, who="test", why="test", now=host_now(), due_at=host_now())


def end(job: Job, before: JobState, after: JobState, **changes: Any) -> None:
    """Take a job to a final state."""
    assert step(job.job_id, before, after, who="test", why="test", now=host_now(), due_at=None, **changes)


def uuid_of(text: str) -> Any:
    """A UUID, checked."""
    return Job.job_id.python_value(text)


class RawConnection:
    """A socket that says what a test wants, where a library would tidy up."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=30)
        self._reader = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._reader.close()
        self.socket.close()

    def send(self, head: str, body: bytes = b"") -> None:
        """A request: lines of a head, and raw bytes after it."""
        self.socket.sendall("\r\n".join([*head.strip().splitlines(), "", ""]).encode("latin-1") + body)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers in lower case, body."""
        status = int(self._reader.readline().split(b" ")[1])
        headers: dict[str, str] = {}
        while line := self._reader.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, self._reader.read(int(headers.get("content-length", "0")))
