"""A running Parsegate as a target, raw sockets to send it what no library would, and a strict reader of its answers."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from domain.signatures import job_secret, lc_signature, signature_003
from tests.processes import Program

HANG_S: Final = 10.0
"""No answer may take longer."""
AT_ONCE: Final = 24
"""Attacks that run side by side: some of them wait until the server has had enough."""
SECRET_KEY: Final = "5ec2e7" * 10 + "beef"
SECRET_003: Final = "hush-003-webhooks"
API_KEY: Final = "llx-hush-api-key"
JOB: Final = "6f1ed002-ab5e-4f3a-9d2c-1f0f0a0b0c0d"
JSON_TYPE: Final = "Content-Type: application/json"
SENTINEL: Final = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
HEALTHY: Final = b'{"status": "ok"}'

# What tells a stranger how it is built; 'python' alone would also match what he sent himself.
INSIDES: Final = re.compile(
    rb"traceback|site-packages|\.py\b|uvicorn|uvloop|httptools|llhttp|falcon|peewee|psycopg|sqlite|pydantic|asyncio"
    rb"|errno|exception|<class|object at 0x",
    re.IGNORECASE,
)
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.1 ([1-5]\d\d)(?: [\x20-\x7e]*)?")
_HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\t]*)")


class Fault(Exception):
    """The target did what it must not."""


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, read strictly.

    Args:
        raw: its bytes as they came.
        headers: by name in lower case.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    raw: bytes


@dataclass(frozen=True)
class Attack:
    """What is sent over one connection, and what may come back.

    Args:
        sent: the raw bytes, in the pieces in which they are sent.
        statuses: one of these; none: whatever is below 500.
        answers: how many answers there are, before that to our own request that follows.
        then: what our own request must meet: ``served``, ``closed`` or, where a server may do either, ``any``.
        may_be_silent: it may be closed without an answer: what is no HTTP has none, and a sender that is cut off in
            the middle of much may lose the answer to a reset.
        method: of the request, since an answer to HEAD has no body.
    """

    name: str
    sent: bytes | Sequence[bytes]
    statuses: frozenset[int] = frozenset()
    answers: int = 1
    then: str = "any"
    may_be_silent: bool = False
    method: str = "GET"


@dataclass
class Target:
    """A running installation.

    Args:
        data: its data folder.
        token: an admin's.
    """

    program: Program
    url: str
    folder: Path
    token: str
    secrets: list[str] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return str(parts.hostname), int(parts.port or 0)

    @property
    def pid(self) -> int:
        """The process."""
        return self.program.process.pid

    def http(self) -> httpx.Client:
        """A client with the token."""
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.token}"}, timeout=HANG_S)

    def find_leak(self, said: bytes) -> str | None:
        """What there is in an answer or a log that must not be there."""
        for secret in [self.token, *self.secrets]:
            if secret.encode() in said:
                return f"the secret {secret[:6]}..."
        return f"the path {self.folder}" if str(self.folder).encode() in said else None

    def check(self, answer: Answer) -> None:
        """An answer that a stranger may see.

        Raises:
            Fault: 5xx, or something in it that tells of our insides.
        """
        if answer.status >= 500:
            raise Fault(f"{answer.status}: {answer.body[:300]!r}")
        if leak := self.find_leak(answer.raw):
            raise Fault(f"the answer tells {leak}")
        if told := INSIDES.search(answer.raw):
            raise Fault(f"the answer tells {told[0]!r}: {answer.raw[:600]!r}")
        if "server" in answer.headers or "x-powered-by" in answer.headers:
            raise Fault("the answer has a banner")


def own_settings(folder: Path) -> dict[str, str]:
    """A target's settings: mock mode, and secrets that must not be told."""
    return {
        "PARSEGATE_DATA_DIR": str(folder / "data"),
        "PARSEGATE_SECRET_KEY": SECRET_KEY,
        "PARSEGATE_MODE": "mock",
        "PARSEGATE_DAILY_BUDGET_USD": "unlimited",
        "LLAMAPARSE_WEBHOOK_SECRET": SECRET_003,
        "LLAMA_CLOUD_API_KEY": API_KEY,
    }


@contextmanager
def running_target(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Target]:
    """``parsegate up`` in mock mode, embedded unless the settings name servers."""
    environment = {**own_settings(folder), **(settings or {})}
    with Program("up", "--port", "0", folder=folder, environment=environment) as program:
        url = program.ready_url()
        token = (folder / "data" / "admin-token").read_text().strip()
        signing = job_secret(bytes.fromhex(SECRET_KEY), JOB)
        yield Target(program, url, folder, token, [SECRET_KEY, SECRET_003, API_KEY, signing])


def check_afterwards(target: Target) -> None:
    """Still healthy, ready and fast, with a clean log."""
    with target.http() as http:
        for path in ("/healthz", "/readyz"):
            assert http.get(path).status_code == 200, path
        seconds = sorted(normal_request(http, number) for number in range(200))
    assert seconds[-3] < 0.2, f"p99 of normal requests: {seconds[-3] * 1000:.0f} ms"
    check_log(target)


def check_log(target: Target) -> None:
    """Nothing is in the log that must not be there."""
    log = target.program.log.read_bytes()
    assert target.find_leak(log) is None
    for words in (b"Traceback", b"unexpected error", b"Exception in"):
        assert words not in log, log[max(0, log.index(words) - 2000) :][:6000].decode(errors="replace")


def normal_request(http: httpx.Client, number: int) -> float:
    """A signed event, or a list with a token, as it should be answered; how many seconds it took."""
    begun = time.monotonic()
    if number % 2:
        answer = http.post(f"/webhooks/llamaparse/{JOB}", content=EVENT, headers={"LC-Signature": sign(EVENT)})
        assert answer.status_code == 204, answer.text
    else:
        answer = http.get("/v1/documents", params={"limit": "5"})
        assert answer.status_code == 200, answer.text
    return time.monotonic() - begun


EVENT: Final = json.dumps({"event_type": "parse.success", "data": {"job_id": "pjb-1"}}).encode()


def sign(body: bytes, job_id: str = JOB) -> str:
    """The right ``LC-Signature``."""
    return lc_signature(job_secret(bytes.fromhex(SECRET_KEY), job_id), body)


def sign_003(body: bytes) -> str:
    """The right ``X-Webhook-Signature``."""
    return signature_003(SECRET_003, body)


def request(
    method: str, path: str, body: bytes | None = None, *headers: str, token: str | None = None, length: bool = True
) -> bytes:
    """A well-formed request, but for what the caller makes of it."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if body is not None and length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def run_all(target: Target, attacks: Sequence[Attack]) -> dict[str, Answer | None]:
    """Run attacks side by side; the first answer to each.

    Raises:
        AssertionError: the target did not stand some of them: which, and how.
    """
    assert len({attack.name for attack in attacks}) == len(attacks), "two attacks have one name"
    with ThreadPoolExecutor(AT_ONCE) as threads:
        outcomes = list(threads.map(lambda attack: _outcome(target, attack), attacks))
    faults = {attack.name: said for attack, said in zip(attacks, outcomes, strict=True) if isinstance(said, Fault)}
    lines = [f"{name}: {fault}" for name, fault in faults.items()]
    assert not faults, f"{len(faults)} of {len(attacks)}:\n" + "\n".join(lines)
    return {attack.name: said for attack, said in zip(attacks, outcomes, strict=True) if not isinstance(said, Fault)}


def _outcome(target: Target, attack: Attack) -> Answer | Fault | None:
    try:
        return run(target, attack)
    except Fault as fault:
        return fault


def run(target: Target, attack: Attack) -> Answer | None:
    """Send an attack, read its answers, and see what a proper request on the same connection meets.

    Raises:
        Fault: an answer that is none, one too many, too late, or that says too much.
    """
    with Line(target.address) as line:
        for piece in [attack.sent] if isinstance(attack.sent, bytes) else attack.sent:
            line.send(piece)
        answers = [line.answer(attack.method) for _ in range(attack.answers)]
        if attack.then != "closed":
            line.send(SENTINEL)
        last = line.answer("GET") if answers[-1] is not None else None
        rest = line.rest()
    for answer in (*answers, last):
        if answer is not None:
            target.check(answer)
    if rest:
        raise Fault(f"one answer too many: {rest[:300]!r}")
    _check_last(attack, last)
    if answers[0] is None and not attack.may_be_silent:
        raise Fault("no answer")
    if answers[0] is not None and None in answers:
        raise Fault(f"{answers.index(None)} answers instead of {attack.answers}")
    if answers[0] is not None and attack.statuses and answers[0].status not in attack.statuses:
        raise Fault(f"{answers[0].status} instead of {sorted(attack.statuses)}: {answers[0].body[:300]!r}")
    return answers[0]


def _check_last(attack: Attack, last: Answer | None) -> None:
    served = last is not None and (last.status, last.body) == (200, HEALTHY)
    if attack.then == "served" and not served:
        raise Fault(f"the request after it met {last and (last.status, last.body[:200])}")
    if attack.then == "closed" and last is not None:
        raise Fault(f"one answer too many: {last.raw[:300]!r}")
    # What was left of the attack may spoil our request, but nobody else's answer may come in its place.
    if last is not None and not served and last.status not in {400, 408, 431}:
        raise Fault(f"the request after it was answered as another one: {last.raw[:300]!r}")


class Line:
    """A connection whose answers are read strictly, each within `HANG_S`."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=HANG_S)
        self._read = b""
        self._is_over = False

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def send(self, piece: bytes) -> None:
        """All of it, unless the other end has closed."""
        with suppress(ConnectionError):
            self.socket.sendall(piece)

    def answer(self, method: str, within_s: float = HANG_S) -> Answer | None:
        """The next final answer; None once the connection is closed.

        Raises:
            Fault: it is malformed, broken off, or late.
        """
        until = time.monotonic() + within_s
        while True:
            found = _take(self._read, method, self._is_over)
            if found is not None:
                answer, self._read = found
                if answer.status >= 200:
                    return answer
            elif self._is_over:
                if self._read:
                    raise Fault(f"a broken answer: {self._read[:300]!r}")
                return None
            else:
                self._more(until)

    def rest(self) -> bytes:
        """What comes until the connection is closed, which must be soon."""
        until = time.monotonic() + HANG_S
        while not self._is_over:
            self._more(until)
        return self._read

    def _more(self, until: float) -> None:
        try:
            self.socket.settimeout(max(0.001, until - time.monotonic()))
            piece = self.socket.recv(65536)
        except TimeoutError:
            raise Fault(f"hangs for {HANG_S:.0f} s after {self._read[:100]!r}") from None
        except ConnectionError:
            piece = b""
        self._read += piece
        self._is_over = not piece


def _take(read: bytes, method: str, is_over: bool) -> tuple[Answer, bytes] | None:
    """The first answer in what was read, and what follows it; None if it is not whole yet."""
    head, found, rest = read.partition(b"\r\n\r\n")
    if not found:
        if read and not _may_begin(read):
            raise Fault(f"no HTTP: {read[:200]!r}")
        return None
    line, *fields = head.split(b"\r\n")
    status_line, matches = _STATUS_LINE.fullmatch(line), [_HEADER.fullmatch(field) for field in fields]
    if status_line is None or None in matches:
        raise Fault(f"a malformed head: {head[:300]!r}")
    status, pairs = int(status_line[1]), [match.groups() for match in matches if match is not None]
    headers = {name.lower().decode(): value.decode() for name, value in pairs}
    if len(headers) != len(pairs):
        raise Fault(f"a header twice: {head[:300]!r}")
    body = _take_body(rest, headers, status, method, is_over)
    if body is None:
        return None
    content, size = body
    raw = read[: len(head) + 4 + size]
    return Answer(status, headers, content, raw), read[len(raw) :]


def _may_begin(read: bytes) -> bool:
    return read.startswith(b"HTTP/1.1 "[: len(read)])


def _take_body(
    rest: bytes, headers: Mapping[str, str], status: int, method: str, is_over: bool
) -> tuple[bytes, int] | None:
    """A body and how many bytes it takes; None if it is not whole yet."""
    if method == "HEAD" or status < 200 or status in {204, 304}:
        return b"", 0
    if "transfer-encoding" in headers:
        if "content-length" in headers or headers["transfer-encoding"] != "chunked":
            raise Fault(f"unclear where the answer ends: {headers}")
        return _take_chunks(rest)
    if "content-length" in headers:
        size = int(headers["content-length"])
        return (rest[:size], size) if len(rest) >= size else None
    return (rest, len(rest)) if is_over else None


def _take_chunks(rest: bytes) -> tuple[bytes, int] | None:
    content, place = b"", 0
    while True:
        line, found, _ = rest[place:].partition(b"\r\n")
        if not found:
            return None
        size, place = int(line, 16), place + len(line) + 2
        if len(rest) < place + size + 2:
            return None
        if rest[place + size : place + size + 2] != b"\r\n":
            raise Fault("a chunk has no end")
        content, place = content + rest[place : place + size], place + size + 2
        if size == 0:
            return content, place


Corpus = Callable[[Target], list[Attack]]


def as_json(value: Any) -> bytes:
    """JSON, lone surrogates and all."""
    return json.dumps(value).encode()
