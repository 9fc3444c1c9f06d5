"""The local parser's children: what a document does to one stays there, and none is left behind."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from domain.documents import ParsedDocument
from domain.errors import DocumentRefused, OrderRefused, Waiting
from llamaparse.local_parser import parse_locally
from llamaparse.page_count import count_pages
from llamaparse.parser_pool import KEPT_BYTES, MEMORY_BYTES, ParserPool
from parsegate.sample_documents import SAMPLES, sample_path
from tests.hostile import nested_forms, packed_catalog

SMALL_MEMORY = 512 * 1024 * 1024
NOTE = b"A note."


@pytest.fixture
def pool() -> Iterator[ParserPool]:
    made = ParserPool(memory_bytes=SMALL_MEMORY)
    yield made
    made.close()
    assert children() == set()


def children(parent: int | None = None) -> set[int]:
    """The parser processes of this process, or of another one; zombies too."""
    pids = {int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()}
    ours = {pid for pid in pids if parent_of(pid) == (parent or os.getpid())}
    return {pid for pid in ours if is_parser(pid) or state_of(pid) == "Z"}


def parent_of(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_parser(pid: int) -> bool:
    try:
        return b"llamaparse.local_child" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return ""


def until(is_so: Callable[[], object], seconds: float = 60.0) -> None:
    limit = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < limit
        time.sleep(0.01)


def parsed(pool: ParserPool, content: bytes, name: str = "a.pdf") -> str:
    return pool.parse(io.BytesIO(content), name).text


def refused(pool: ParserPool, content: bytes, name: str = "a.pdf") -> str:
    with pytest.raises(DocumentRefused) as refusal:
        parsed(pool, content, name)
    return refusal.value.reason


def outcome(parse: Callable[[], ParsedDocument]) -> ParsedDocument | tuple[str, str]:
    try:
        return parse()
    except DocumentRefused as error:
        return error.reason, str(error)


def test_a_child_says_what_the_parser_says(pool: ParserPool) -> None:
    """Pages, refusals and counts of every sample; from a file as from memory."""
    for sample in SAMPLES:
        content = sample_path(sample).read_bytes()
        assert pool.count(io.BytesIO(content), sample.filename) == count_pages(io.BytesIO(content), sample.filename)
        with sample_path(sample).open("rb") as opened:
            said = outcome(partial(pool.parse, opened, sample.filename))
            assert said == outcome(partial(parse_locally, io.BytesIO(content), sample.filename))
    assert len(children()) == 1


def test_pages_asked_for_reach_the_child(pool: ParserPool) -> None:
    text = io.BytesIO(b"one\ftwo\fthree")
    assert pool.parse(text, "a.txt", target_pages="2").text == "two"
    assert pool.parse(text, "a.txt", max_pages=1).text == "one"
    with pytest.raises(OrderRefused):
        pool.parse(text, "a.txt", target_pages="2-x")


def test_a_document_that_eats_memory_fails_alone(pool: ParserPool) -> None:
    """2 KB of forms in forms, and a catalog of a gigabyte; the next document is read as ever."""
    assert refused(pool, nested_forms()) == "DOCUMENT_TOO_LARGE"
    bomb = packed_catalog()
    counted = pool.count(io.BytesIO(bomb), "a.pdf")
    assert (counted.pages, counted.guessed, counted.kind) == (-(-len(bomb) // 2000) + 1, True, "pdf")
    assert parsed(pool, NOTE, "a.txt") == "A note."


def test_a_document_that_takes_too_long_fails() -> None:
    pool = ParserPool(parse_s=0.5, memory_bytes=MEMORY_BYTES)
    parsed(pool, NOTE, "a.txt")
    assert refused(pool, nested_forms()) == "DOCUMENT_TOO_LARGE"
    assert children() == set()
    assert parsed(pool, NOTE, "a.txt") == "A note."
    pool.close()


def test_a_child_that_died_is_replaced(pool: ParserPool) -> None:
    parsed(pool, NOTE, "a.txt")
    (first,) = children()
    os.kill(first, signal.SIGKILL)
    until(lambda: state_of(first) == "Z")
    assert parsed(pool, NOTE, "a.txt") == "A note."
    assert first not in children()


def cpu_of(pid: int) -> int:
    """Hundredths of seconds."""
    return sum(int(part) for part in Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[11:13])


def test_who_finds_every_child_busy_is_told_to_wait() -> None:
    pool = ParserPool(most=1, wait_s=0, memory_bytes=SMALL_MEMORY)
    parsed(pool, NOTE, "a.txt")
    with pool._child(), pytest.raises(Waiting, match="busy"):
        parsed(pool, NOTE, "a.txt")
    assert parsed(pool, NOTE, "a.txt") == "A note."
    pool.close()


def test_closing_ends_busy_children_too(pool: ParserPool) -> None:
    """Who waits for one is told to come again: a restart is no fault of the document."""
    pool.count(io.BytesIO(nested_forms()), "a.pdf")
    (child,) = children()
    before = cpu_of(child)
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(pool.parse, io.BytesIO(nested_forms()), "a.pdf")
        until(lambda: cpu_of(child) > before + 5)
        pool.close()
        with pytest.raises(Waiting, match="stops"):
            asked.result(60)


def test_a_child_knows_no_secret(pool: ParserPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", "llx-very-secret")
    parsed(pool, NOTE, "a.txt")
    (child,) = children()
    assert b"very-secret" not in Path(f"/proc/{child}/environ").read_bytes()


def test_children_of_a_large_parent_are_kept_too(pool: ParserPool) -> None:
    """The kernel counts the parent's peak of memory as the child's own."""
    grown = bytearray(b"x") * (KEPT_BYTES + 1)
    parsed(pool, NOTE, "a.txt")
    assert len(grown) > KEPT_BYTES
    first = children()
    parsed(pool, NOTE, "a.txt")
    assert children() == first != set()


def test_a_child_that_has_grown_is_not_used_again() -> None:
    pool = ParserPool(kept_bytes=1024 * 1024)
    parsed(pool, NOTE, "a.txt")
    assert children() == set()
    pool.close()


def test_no_child_outlives_its_parent(tmp_path: Path) -> None:
    """Killed outright while its child is deep in a hostile document, the parent takes it along."""
    (tmp_path / "a.pdf").write_bytes(nested_forms())
    program = (
        "from llamaparse.parser_pool import ParserPool\n"
        "pool = ParserPool(); pool.count(open('a.pdf', 'rb'), 'a.pdf'); print('ready', flush=True)\n"
        "pool.parse(open('a.pdf', 'rb'), 'a.pdf')"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        (child,) = children(parent.pid)
        before = cpu_of(child)
        until(lambda: cpu_of(child) > before + 20)
        parent.kill()
    until(lambda: not is_parser(child), 10)
