"""The "003" pipeline as it was: its upload service and its mock parser, and the installation that they speak to.

None of Parsegate's own code is used here: paths, states, signatures and bodies are those that the old programs knew.
"""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4

import httpx

from tests.acceptance.fifty import billed, stats_of
from tests.acceptance.system import Installation, free_port, installation
from tests.conftest import fresh_database, fresh_vhost
from tests.processes import Program

T = TypeVar("T")

SECRET, EARLIER_SECRET = "the-003-secret", "the-003-secret-before-it"
KEY: Final = "llx-test"
LIMIT_S: Final = 120.0
ROUTES: Final = ("/webhook/llamaparse/{job_id}", "/api/v1/webhooks/llamaparse")
STATUS: Final = {
    **dict.fromkeys(("received", "deferred"), "uploaded"),
    **dict.fromkeys(("reserved", "submitting", "in_doubt", "parsing", "ingesting"), "parse_queued"),
    "completed": "parsed",
    **dict.fromkeys(("failed", "rejected", "cancelled"), "failed_parse"),
}
"""The old name of each state of a job."""


def until(look: Callable[[], T | None], what: str = "it did not come") -> T:
    """What `look` answers, once that is something."""
    limit = time.monotonic() + LIMIT_S
    while not (found := look()):
        assert time.monotonic() < limit, what
        time.sleep(0.02)
    return found


@dataclass(frozen=True)
class Money:
    """What is spent and held, by the gateway's own word, and what the provider made and billed.

    Args:
        most_for_one: how many of the provider's jobs were made for one of ours, at the most.
    """

    spent: int
    held: int
    settled: int
    made: int
    billed: int
    most_for_one: int


@dataclass(frozen=True)
class Standing:
    """All that an event could change of a job."""

    state: str
    status_003: str
    reason: str | None
    message: str | None
    provenance: str | None
    parsed_path: str | None
    parsed_sha256: str | None
    credits: float
    history: tuple[tuple[str | None, str], ...]
    file: bytes | None


@dataclass(frozen=True)
class Upload:
    """A document of the old upload service. No two have the same bytes: nothing is reused."""

    document_id: UUID = field(default_factory=uuid4)
    user_id: UUID = field(default_factory=uuid4)
    correlation_id: UUID = field(default_factory=uuid4)
    extension: str = "txt"

    @property
    def content(self) -> bytes:
        """Its bytes."""
        return f"About policy {self.document_id}\n".encode()

    @property
    def raw_path(self) -> str:
        """Where its bytes lie in the shared store."""
        return f"files/user/{self.user_id}/raw/{self.document_id}.{self.extension}"

    @property
    def parsed_path(self) -> str:
        """Where its result is expected."""
        return f"files/user/{self.user_id}/parsed/{self.document_id}.md"


@dataclass(frozen=True)
class Ordered:
    """A document, its job, and the parser's own job."""

    upload: Upload
    job_id: str
    parse_job_id: str = ""

    @property
    def ids(self) -> dict[str, str]:
        """What every full event begins with."""
        document_id = str(self.upload.document_id)
        return {"job_id": self.job_id, "document_id": document_id, "parse_job_id": self.parse_job_id}


class UploadService:
    """Stores a raw file, orders it, by message where there is a broker, and watches its job.

    Args:
        store: the folder that it shares with Parsegate.
        system: the broker, and the events that came out of it; None where there is none.
    """

    def __init__(self, http: httpx.Client, store: Path, system: Installation | None) -> None:
        self.http, self.store, self.system = http, store, system

    def order(self, upload: Upload) -> Ordered:
        """Order a document; answers it with its job."""
        if self.system is None:
            self._order_over_http(upload)
        else:
            path = self.store / upload.raw_path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(upload.content)
            self.system.publish(self._message(upload, path), exchange="parsegate.submit", routing_key="")
        return Ordered(upload, until(lambda: self._job_id(upload), "no job was made"))

    def _order_over_http(self, upload: Upload) -> None:
        said = {
            "document_id": str(upload.document_id),
            "user_id": str(upload.user_id),
            "correlation_id": str(upload.correlation_id),
            "tier": "cost_effective",
        }
        files = {"file": (f"letter.{upload.extension}", upload.content)}
        answer = self.http.post("/v1/documents", files=files, data=said)
        assert answer.status_code == 202, answer.text

    def _message(self, upload: Upload, path: Path) -> bytes:
        kwargs = {
            "document_id": str(upload.document_id),
            "user_id": str(upload.user_id),
            "correlation_id": str(upload.correlation_id),
            "source": path.as_uri(),
            "filename": f"letter.{upload.extension}",
            "tier": "cost_effective",
        }
        body = {"queue_name": "submit", "actor_name": "submit_document", "args": [], "options": {}, "kwargs": kwargs}
        return json.dumps(body | {"message_id": str(uuid4()), "message_timestamp": 1763900000000}).encode()

    def _job_id(self, upload: Upload) -> str | None:
        said = {"document_id": str(upload.document_id)}
        items = self.http.get("/v1/documents", params=said).raise_for_status().json()["items"]
        return str(items[0]["job_id"]) if items else None

    def job(self, ordered: Ordered) -> dict[str, Any]:
        """Its job as it stands."""
        return dict(self.http.get(f"/v1/documents/{ordered.job_id}").raise_for_status().json())

    def wait_for(self, ordered: Ordered, status: str) -> Standing:
        """The job's standing, once it has the old status; none is ever seen before an earlier one."""
        seen: list[str] = []

        def look() -> bool:
            seen.append(self.job(ordered)["status_003"])
            return seen[-1] == status

        until(look, f"{ordered.job_id} never became {status}")
        passed = [name for name, _ in groupby(seen)]
        assert passed == [name for name in ("uploaded", "parse_queued", status) if name in passed]
        return self.standing(ordered)

    def standing(self, ordered: Ordered) -> Standing:
        """The job, its history and the file, which must be one another's."""
        job, path = self.job(ordered), self.store / ordered.upload.parsed_path
        standing = Standing(
            **{name: job[name] for name in Standing.__dataclass_fields__ if name not in {"history", "file"}},
            history=tuple((step["before"], step["after"]) for step in job["history"]),
            file=path.read_bytes() if path.exists() else None,
        )
        assert standing.status_003 == STATUS[standing.state]
        assert job["correlation_id"] == str(ordered.upload.correlation_id)
        assert (self.store / ordered.upload.raw_path).read_bytes() == ordered.upload.content
        if standing.status_003 == "parsed":
            assert standing.file is not None
            assert standing.parsed_path == ordered.upload.parsed_path
            assert standing.parsed_sha256 == sha256(standing.file).hexdigest()
        else:
            assert (standing.file, standing.parsed_path, standing.parsed_sha256) == (None, None, None)
        return standing

    def statuses(self, ordered: Ordered) -> list[str]:
        """The old statuses that the job went through, by its history."""
        steps = [step for step in self.job(ordered)["history"] if step["attempt_id"] is None]
        return [name for name, _ in groupby(STATUS[step["after"]] for step in steps)]

    def event(self, ordered: Ordered) -> dict[str, Any]:
        """The one event that told of the job's end."""
        assert self.system is not None
        assert self.system.job_of(ordered.upload.document_id) == ordered.job_id
        return dict(self.system.events[str(ordered.upload.document_id)])


class MockParser:
    """Posts results as the old mock did. It knows the parser's own job, since it made it."""

    def __init__(self, url: str, provider_url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=30)
        self._provider = httpx.Client(base_url=provider_url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30)

    def close(self) -> None:
        """Close its connections."""
        self._http.close()
        self._provider.close()

    def faults(self, **rates: float) -> None:
        """What goes wrong at the provider from now on."""
        said = {name.replace("_", "-"): rate for name, rate in rates.items()}
        self._provider.put("/_sim/faults", json=said).raise_for_status()

    def requests(self) -> int:
        """How often the provider was asked anything."""
        return int(self._provider.get("/_sim/stats").json()["requests"])

    def parse_jobs(self) -> dict[str, dict[str, Any]]:
        """The newest of the provider's jobs, by the job of ours that it was made for."""
        items = self._provider.get("/api/v2/parse", params={"page_size": 100}).raise_for_status().json()["items"]
        return {item["user_metadata"]["parsegate_job"]: item for item in reversed(items)}

    def post(
        self,
        body: Mapping[str, Any] | bytes,
        in_route: str | None = None,
        *,
        headers: Sequence[tuple[str, str]] | None = None,
        secret: str = SECRET,
    ) -> httpx.Response:
        """An event, signed unless told otherwise, to the route that names a job, or to the other one."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        if headers is None:
            headers = [("X-Webhook-Signature", signature(raw, secret))]
        path = ROUTES[1] if in_route is None else ROUTES[0].format(job_id=in_route)
        return self._http.post(path, content=raw, headers=[("Content-Type", "application/json"), *headers])


def signature(raw: bytes, secret: str = SECRET) -> str:
    """The value of ``X-Webhook-Signature``."""
    return hmac.new(secret.encode(), raw, sha256).hexdigest()


def artifact(content: str, kind: str = "markdown", **changes: Any) -> dict[str, Any]:
    """A part of a result, with its hash and its length in bytes."""
    raw = content.encode()
    return {"type": kind, "content": content, "sha256": sha256(raw).hexdigest(), "bytes": len(raw), **changes}


@dataclass
class Pipeline:
    """The old programs around a running installation."""

    service: UploadService
    mock: MockParser
    provider_url: str
    programs: Sequence[Program]

    def money(self) -> Money:
        """Where all the money is."""
        day = next(
            budget
            for budget in self.service.http.get("/v1/budget").raise_for_status().json()["budgets"]
            if budget["budget"] == "global/day"
        )
        usage, stats = self.service.http.get("/v1/usage").raise_for_status().json(), stats_of(self.provider_url)
        return Money(
            round(day["spent_credits"] * 1000),
            round(day["reserved_credits"] * 1000),
            round(usage["credits"] * 1000),
            int(stats["jobs_created"]),
            billed(stats),
            max([*stats["by_parsegate_job"].values(), *stats["by_parsegate_attempt"].values()], default=0),
        )

    def parsing(self, count: int) -> list[Ordered]:
        """So many documents whose parse is under way."""
        ordered = [self.service.order(Upload()) for _ in range(count)]
        until(lambda: all(self.service.job(one)["state"] == "parsing" for one in ordered), "not all are being parsed")
        made = self.mock.parse_jobs()
        return [Ordered(one.upload, one.job_id, made[one.job_id]["id"]) for one in ordered]

    def logged(self, event: str, ordered: Ordered) -> list[dict[str, Any]]:
        """The log lines of that kind about a job."""
        return [
            line for line in self.log_lines() if line.get("event") == event and line.get("job_id") == ordered.job_id
        ]

    def log_lines(self) -> list[dict[str, Any]]:
        """Every log line of every process so far."""
        lines = "\n".join(program.output for program in self.programs).splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def rejected(self, ordered: Ordered) -> list[str]:
        """Why events about a job were not taken in, oldest first."""
        items = self.service.http.get("/v1/webhooks/rejected?limit=1000").raise_for_status().json()["items"]
        return [item["reason"] for item in reversed(items) if item["job_id"] == ordered.job_id]


@contextmanager
def old_pipeline(kind: str, folder: Path) -> Iterator[Pipeline]:
    """The old programs around an installation of real processes, configured by the old names.

    Args:
        kind: ``embedded`` or ``distributed``.
    """
    store, programs, port = folder / "shared", list[Program](), free_port()
    store.mkdir()
    with ExitStack() as running:

        def start(*arguments: str, environment: dict[str, str] | None = None) -> Program:
            programs.append(running.enter_context(Program(*arguments, folder=folder, environment=environment)))
            return programs[-1]

        simulator = ("simulator", "--port", str(port), "--parse-limit", "500/1", "--upload-limit", "500/1")
        provider_url = f"http://127.0.0.1:{port}"
        settings = {
            "SERVICE_MODE": "real",
            "LLAMAPARSE_API_KEY": KEY,
            "LLAMAPARSE_BASE_URL": provider_url,
            "LLAMAPARSE_WEBHOOK_SECRET": f"{SECRET},{EARLIER_SECRET}",
            "PARSEGATE_RESULTS_URL": str(store),
            "PARSEGATE_DAILY_BUDGET_USD": "50",
            "PARSEGATE_PARSE_LIMIT": "500/1",
            "PARSEGATE_UPLOAD_LIMIT": "500/1",
            "PARSEGATE_READ_LIMIT": "500/1",
            # Nothing is polled by itself while a test looks.
            "PARSEGATE_POLL_AFTER_SECONDS": "600",
        }
        system = None
        if kind == "embedded":
            start(*simulator).wait_for("ready on")
            http = running.enter_context(_embedded(start, settings, folder / "data"))
        else:
            amqp_url, database_url = running.enter_context(fresh_vhost()), running.enter_context(fresh_database())
            without = {"LLAMA_CLOUD_API_KEY": "", "LLAMA_CLOUD_BASE_URL": "", "PARSEGATE_SOURCE_ROOTS": str(store)}
            said: dict[str, Any] = settings | without
            system = running.enter_context(
                installation(start, amqp_url, database_url, folder, simulator=simulator, **said)
            )
            http = system.http
        mock = MockParser(str(http.base_url), provider_url)
        running.callback(mock.close)
        yield Pipeline(UploadService(http, store, system), mock, provider_url, programs)


@contextmanager
def _embedded(start: Callable[..., Program], settings: dict[str, str], data: Path) -> Iterator[httpx.Client]:
    port = free_port()
    own = {"PARSEGATE_DATA_DIR": str(data), "PARSEGATE_PUBLIC_URL": f"http://127.0.0.1:{port}"}
    start("up", "--port", str(port), environment=settings | own).wait_for("ready on")
    headers = {"Authorization": f"Bearer {(data / 'admin-token').read_text().strip()}"}
    with httpx.Client(base_url=own["PARSEGATE_PUBLIC_URL"], headers=headers, timeout=30) as http:
        yield http
