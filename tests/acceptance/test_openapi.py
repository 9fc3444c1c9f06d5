"""What `/openapi.json` says is true: schemathesis asks every operation for what it may and may not be asked for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest

from domain.budgets import GLOBAL_DAY
from domain.documents import ParsedPage
from domain.job_state import JobState
from domain.money import Millicredits
from domain.settlement import DriftKind
from gateway.dependencies import host_now
from models import attempts, drifts, endpoints
from models.database import transaction
from models.jobs import get_job
from models.tokens import Scope
from tests.acceptance.signing import SECRET_003
from tests.gateway_harness import Gateway, complete, end, running_gateway, settings_of, uuid_of, walk
from tests.money import hold, limit
from tests.state import state_of

ROOT: Final = Path(__file__).parents[2]
CONFIGURATION: Final = Path(__file__).with_name("schemathesis.toml")
LEAST_REQUESTS: Final = 2_000
FASTER: Final = 1_000
"""The gateway's clock for spans of time: a stream of events, which goes on for ten minutes, ends in under a second."""
KEY: Final = {"LLAMA_CLOUD_API_KEY": "llx-test", "LLAMAPARSE_WEBHOOK_SECRET": SECRET_003}
NEVER_RIGHT: Final = {"takeEvent003"}
"""Its body must name one of the jobs, which is left to the tests of those webhooks."""
URLS: Final = ["https://example.org/a.pdf", "https://example.org/b.pdf"]
PAGES: Final = [ParsedPage(1, text="A note.", markdown="# A note"), ParsedPage(2, text="More.")]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with (
        state_of("sqlite", tmp_path),
        running_gateway(
            tmp_path / "store", settings=settings_of(**KEY), monotonic=lambda: time.monotonic() * FASTER
        ) as running,
    ):
        yield running


def ordered(http: httpx.Client, tier: str = "agentic") -> str:
    """A job that was just made."""
    files = {"file": ("note.txt", f"A note, {uuid4()}".encode())}
    answer = http.post("/v1/documents", files=files, data={"tier": tier}).raise_for_status()
    return str(answer.json()["job_id"])


def known_values(gateway: Gateway, http: httpx.Client) -> dict[str, list[Any]]:
    """Jobs in several states, files, drifts and a link, by the names that the configuration has for them."""
    limit(GLOBAL_DAY, 8000)
    # Some of each, since they are also cancelled and deleted.
    waiting, parsing, done, failed = ([ordered(http) for _ in range(4)] for _ in range(4))
    for job_id in parsing:
        walk(get_job(uuid_of(job_id)), JobState.RESERVED, JobState.SUBMITTING, JobState.PARSING)
    for job_id in done:
        complete(gateway, job_id, PAGES)
    for job_id in failed:
        end(get_job(uuid_of(job_id)), JobState.RECEIVED, JobState.FAILED, reason="PDF_IS_BROKEN", message="Broken.")
    files = [
        http.post("/api/v1/beta/files", files={"file": ("a.txt", b"A text.")}, data={"purpose": "parse"}).json()["id"]
        for _ in range(5)
    ]
    link = httpx.URL(http.get(f"/api/v1/beta/files/{files[0]}/content").raise_for_status().json()["url"])
    return {
        "jobs": [*waiting, *parsing, *failed[:2], done[0]],
        "done": done[1:],
        "ended": failed[2:],
        "unstarted": [ordered(http) for _ in range(4)],
        "batches": [http.post("/v1/batches", json={"documents": URLS}).raise_for_status().json()["batch_id"]],
        "deliveries": told(http),
        "endpoints": failing(),
        "files": files[1:],
        "drifts": drifted(),
        **{name: [link.params[name]] for name in ("ends", "signature")},
        **dict(zip(("kind", "about"), ([part] for part in link.path.split("/")[2:]), strict=True)),
    }


def told(http: httpx.Client) -> list[str]:
    """Events for a receiver."""
    order = {"source_url": URLS[0], "callback_url": "https://example.org/hook"}
    job_id = http.post("/v1/documents", json=order).raise_for_status().json()["job_id"]
    http.post(f"/v1/documents/{job_id}/cancel").raise_for_status()
    return [one["delivery_id"] for one in http.get("/v1/deliveries").raise_for_status().json()["items"]]


def failing() -> list[str]:
    """Receivers that fail."""
    urls = [f"https://example.org/{number}" for number in range(6)]
    with transaction():
        for url in urls:
            endpoints.failed("default", url, "answered 500", host_now())
    return [str(endpoints.endpoint_id("default", url)) for url in urls]


def drifted() -> list[int]:
    """Bills that nobody has explained."""
    for _ in range(3):
        attempt, now = hold(30), host_now()
        attempts.settle(attempt, Millicredits(30_000), now=now, why="assumed", assumed=True)
        assert drifts.report(attempt, DriftKind.UNEXPLAINED_ZERO, Millicredits(0), now=now)
    return [drift.drift_id for drift in drifts.find(10, every=True)]


def closed(said: Any) -> Any:
    """The description, in which answers have no members but those that it names: others are to be found."""
    schemas, waiting, seen = said["components"]["schemas"], [operation_answers(said)], set[str]()
    while waiting:
        for name in set(re.findall(r"#/components/schemas/(\w+)", json.dumps(waiting.pop()))) - seen:
            seen.add(name)
            waiting.append(schemas[name])
            if "properties" in schemas[name]:
                schemas[name]["additionalProperties"] = False
    return said


def operation_answers(said: Any) -> list[Any]:
    """What is answered where nothing is wrong; problems may have members of their own."""
    return [operation["responses"] for item in said["paths"].values() for operation in item.values()]


def run(gateway: Gateway, token: str, values: dict[str, list[Any]], folder: Path) -> subprocess.CompletedProcess[str]:
    """Schemathesis, with its configuration and the values that are known."""
    folder.mkdir()
    known = "\n".join(f"[dictionaries.{name}]\nvalues = {json.dumps(each)}\n" for name, each in values.items())
    (folder / "schemathesis.toml").write_text(f"{CONFIGURATION.read_text()}\n{known}")
    (folder / "openapi.json").write_text(json.dumps(closed(httpx.get(f"{gateway.url}/openapi.json").json())))
    command = Path(sysconfig.get_path("scripts")) / "schemathesis"
    return subprocess.run(
        [command, "--config-file", "schemathesis.toml", "run", "openapi.json", "--url", gateway.url],
        cwd=folder,
        env={**os.environ, "PARSEGATE_TOKEN": token, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(600)
def test_schemathesis_finds_nothing(gateway: Gateway, tmp_path: Path) -> None:
    """In at least 2,000 requests, right ones and wrong ones, to every operation."""
    token = gateway.token(Scope.ADMIN)
    with httpx.Client(base_url=gateway.url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as http:
        values = known_values(gateway, http)
    done = run(gateway, token, values, tmp_path / "schemathesis")
    assert done.returncode == 0, done.stdout + done.stderr
    sent = requests_in(tmp_path / "schemathesis")
    assert len(sent) >= LEAST_REQUESTS
    assert never_right(tmp_path / "schemathesis", sent) <= NEVER_RIGHT


def requests_in(folder: Path) -> list[tuple[str, str, int]]:
    """Method, path and status of every request."""
    entries = json.loads((folder / "report.har").read_text())["log"]["entries"]
    return [
        (one["request"]["method"], urlsplit(one["request"]["url"]).path, one["response"]["status"]) for one in entries
    ]


def never_right(folder: Path, sent: Sequence[tuple[str, str, int]]) -> set[str]:
    """Operations that never did what they are for: what is only ever refused shows little."""
    paths = json.loads((folder / "openapi.json").read_text())["paths"]
    # A path without parameters is nobody else's.
    forms = {path: re.compile(re.sub(r"{\w+}", "[^/]+", path)) for path in sorted(paths, key=lambda path: "{" in path)}
    worked = {
        (next((path for path, form in forms.items() if form.fullmatch(asked)), ""), method.lower())
        for method, asked, status in sent
        if status < 400
    }
    return {
        operation["operationId"]
        for path, item in paths.items()
        for method, operation in item.items()
        if (path, method) not in worked
    }
