"""Documents on their way out: every byte, constant memory, and no silence when the bytes fail us."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from domain.errors import AnswerLost, CallRefused, ProviderUnavailable, StoreUnavailable
from llamaparse.client import LlamaParseClient, Timeouts
from llamaparse.schemas import ParseRequest
from tests.raw_server import Conversation, RawServer, answering, reply

KEY = "llx-0123456789abcdef"
FILE = reply(200, {"id": "dfl-1"})
MIB = 1024 * 1024
LATEST_S = 2.0

UPLOADER = """
import resource, sys, tracemalloc
from llamaparse.client import LlamaParseClient
with LlamaParseClient(sys.argv[1], "llx-key") as client, open(sys.argv[2], "rb") as document:
    client.versions()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    client.upload_file(document, "big.pdf")
    print(tracemalloc.get_traced_memory()[1] // 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_large_upload_takes_no_memory(tmp_path: Path) -> None:
    """300 MB through less than 8 MB, both by Python's count and by the kernel's."""
    size = 300 * MIB
    path = tmp_path / "sparse.pdf"
    with path.open("wb") as file:
        file.truncate(size)
    came: list[int] = []

    def script(conversation: Conversation) -> None:
        conversation.read()
        conversation.send(reply(200, {"latest": {}}))
        _, headers = conversation.read_head()
        came.append(int(headers["content-length"]))
        came.append(conversation.discard_body(came[0]))
        conversation.send(FILE)

    with RawServer(script) as server:
        command = [sys.executable, "-c", UPLOADER, server.url, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    traced_kib, resident_kib = map(int, done.stdout.split())
    assert traced_kib < 8 * 1024
    assert resident_kib < 8 * 1024
    assert came[0] == came[1] > size


def sent_with(content: BinaryIO, filename: str = "a.pdf", content_type: str | None = None) -> tuple[bytes, str | None]:
    """The upload's body and its Content-Length."""
    with RawServer(answering(FILE)) as server, LlamaParseClient(server.url, KEY) as client:
        client.upload_file(content, filename, content_type=content_type)
    (sent,) = server.requests
    return sent.body, sent.headers.get("content-length")


def test_the_whole_document_goes_out_wherever_it_stands() -> None:
    content = io.BytesIO(b"%PDF-whole")
    content.seek(7)
    body, length = sent_with(content)
    assert b"\r\n\r\n%PDF-whole\r\n" in body
    assert length == str(len(body))


def test_an_empty_document_goes_out() -> None:
    assert b'filename="a.pdf"\r\nContent-Type: application/pdf\r\n\r\n\r\n--' in sent_with(io.BytesIO())[0]


def test_a_document_that_cannot_seek_goes_out_in_chunks() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, offset: int, whence: int = 0, /) -> int:
            raise io.UnsupportedOperation

        def tell(self) -> int:
            raise io.UnsupportedOperation

    body, length = sent_with(Pipe(b"%PDF-piped"))
    assert b"%PDF-piped" in body
    assert length is None


@pytest.mark.parametrize(("filename", "sent"), [("", "document"), ("\udcff.pdf", "?.pdf"), ("a\\b.pdf", "a\\\\b.pdf")])
def test_any_file_name_can_be_sent(filename: str, sent: str) -> None:
    assert f'filename="{sent}"'.encode() in sent_with(io.BytesIO(b"x"), filename)[0]


@pytest.mark.parametrize("content_type", ["text/plain\r\nX: y", "nonsense", ""])
def test_a_malformed_content_type_is_not_sent(content_type: str) -> None:
    assert b"Content-Type: application/pdf\r\n\r\n" in sent_with(io.BytesIO(b"x"), content_type=content_type)[0]


class Failing(io.BytesIO):
    """A store that goes away after the first read."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > 0:
            raise OSError("the disk is gone")
        return super().read(size)


class Shrinking(io.BytesIO):
    """A file that someone truncates while it is sent."""

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        self.truncate(self.tell())
        return piece


class Growing(io.BytesIO):
    """A file that someone appends to while it is sent."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size) or b"more"


@pytest.mark.parametrize("kind", [Failing, Shrinking, Growing])
def test_bytes_that_fail_us_are_our_own_fault(kind: type[io.BytesIO]) -> None:
    with RawServer(answering(FILE)) as server, LlamaParseClient(server.url, KEY) as client:
        with pytest.raises(StoreUnavailable):
            client.upload_file(kind(bytes(MIB)), "a.pdf")
        with pytest.raises(AnswerLost):
            client.upload_and_create(kind(bytes(MIB)), "a.pdf", ParseRequest(tier="fast"))
    assert server.requests == []


def test_a_store_that_cannot_be_measured() -> None:
    class Broken(io.BytesIO):
        def seek(self, offset: int, whence: int = 0, /) -> int:
            raise OSError("no")

    with RawServer(answering(FILE)) as server, LlamaParseClient(server.url, KEY) as client:
        with pytest.raises(StoreUnavailable):
            client.upload_file(Broken(), "a.pdf")
        assert server.connections == 0


def test_a_server_that_reads_slowly_meets_the_deadline() -> None:
    def script(conversation: Conversation) -> None:
        while not conversation.closing.wait(0.02):
            conversation.sock.recv(1024)

    timeouts = Timeouts(upload_deadline_s=0.3)
    with RawServer(script) as server, LlamaParseClient(server.url, KEY, timeouts=timeouts) as client:
        start = time.monotonic()
        with pytest.raises(ProviderUnavailable) as free:
            client.upload_file(io.BytesIO(bytes(64 * MIB)), "a.pdf")
        with pytest.raises(AnswerLost):
            client.upload_and_create(io.BytesIO(bytes(64 * MIB)), "a.pdf", ParseRequest(tier="fast"))
        assert 0.5 < time.monotonic() - start < 2 * LATEST_S
    assert type(free.value) is ProviderUnavailable


def test_an_early_refusal_is_heard() -> None:
    """The server says 413 and stops reading: the write fails, but the answer is there."""

    def script(conversation: Conversation) -> None:
        conversation.read_head()
        conversation.send(reply(413, {"detail": "too large"}, headers={"Connection": "close"}))
        conversation.discard_body(8 * MIB)

    refused = pytest.raises(CallRefused, match="too large")
    with RawServer(script) as server, LlamaParseClient(server.url, KEY) as client, refused:
        client.upload_file(io.BytesIO(bytes(64 * MIB)), "a.pdf")
