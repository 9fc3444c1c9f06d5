"""Each call when the provider, or what stands before it, fails: the right error, and nothing sent twice."""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc

import httpx
import pytest

from domain.errors import (
    AnswerLost,
    CallRefused,
    CredentialRefused,
    OddAnswer,
    ParsegateError,
    ProviderBusy,
    ProviderUnavailable,
)
from llamaparse.client import LlamaParseClient
from llamaparse.transport import DeadlineTransport
from tests.client_calls import (
    FREE,
    JOB,
    KEY,
    PAID,
    REQUEST,
    Ask,
    assert_secret_free,
    connect,
    error_of,
    every_call,
    every_typed_call,
)
from tests.raw_server import Conversation, RawServer, Script, answering, reply

HTML = b"<html><h1>Bad gateway</h1></html>"
LATEST_S = 2.0


def reset_after_the_request(conversation: Conversation) -> None:
    conversation.read()
    conversation.reset()


def close_after_the_request(conversation: Conversation) -> None:
    conversation.read()


def close_at_once(conversation: Conversation) -> None:
    """Without having read anything: the client can't know that."""


def promise_more_than_comes(conversation: Conversation) -> None:
    conversation.read()
    conversation.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n" + b"{}")


def end_a_chunk_early(conversation: Conversation) -> None:
    conversation.read()
    conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{}")


def speak_no_http(conversation: Conversation) -> None:
    conversation.read()
    conversation.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


def redirect_nowhere(conversation: Conversation) -> None:
    """httpx fails on this location, though it is not to follow it."""
    conversation.read()
    conversation.send(reply(302, headers={"Location": "http:foo"}))


@pytest.mark.parametrize(
    "script",
    [
        redirect_nowhere,
        reset_after_the_request,
        close_after_the_request,
        close_at_once,
        promise_more_than_comes,
        end_a_chunk_early,
        speak_no_http,
    ],
)
@every_call
def test_a_lost_answer(ask: Ask, paid: bool, script: Script) -> None:
    assert type(error_of(ask, script)) is (AnswerLost if paid else ProviderUnavailable)


def drip_the_head(conversation: Conversation) -> None:
    conversation.read()
    conversation.drip(reply(200, JOB, headers={"X-Slow": "y" * 500}))


def drip_the_body(conversation: Conversation) -> None:
    conversation.read()
    conversation.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    conversation.drip(b" " * 500)


@pytest.mark.parametrize("script", [drip_the_head, drip_the_body, Conversation.hang])
@every_call
def test_the_deadline_ends_every_call(ask: Ask, paid: bool, script: Script) -> None:
    start = time.monotonic()
    error = error_of(ask, script, deadline_s=0.3)
    assert 0.25 < time.monotonic() - start < LATEST_S
    assert type(error) is (AnswerLost if paid else ProviderUnavailable)


@every_call
def test_nobody_there(ask: Ask, paid: bool) -> None:
    """Nothing was sent, so nothing can have been made, whatever the call."""
    with LlamaParseClient("http://127.0.0.1:1", KEY) as client, pytest.raises(ProviderUnavailable) as caught:
        ask(client)
    assert type(caught.value) is ProviderUnavailable
    assert_secret_free(caught.value)


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout])
@pytest.mark.parametrize("ask", PAID.values(), ids=PAID)
def test_what_was_never_sent_cannot_be_lost(ask: Ask, error: type[httpx.TransportError]) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise error("no")

    client = LlamaParseClient("http://x", KEY, transport=httpx.MockTransport(fail))
    with client, pytest.raises(ProviderUnavailable) as caught:
        ask(client)
    assert type(caught.value) is ProviderUnavailable


@pytest.mark.parametrize(
    "error",
    [
        httpx.ReadTimeout,
        httpx.WriteTimeout,
        httpx.ReadError,
        httpx.WriteError,
        httpx.CloseError,
        httpx.RemoteProtocolError,
        httpx.LocalProtocolError,
        httpx.ProxyError,
    ],
)
@pytest.mark.parametrize("ask", PAID.values(), ids=PAID)
def test_what_may_have_been_sent_is_lost(ask: Ask, error: type[httpx.TransportError]) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise error(f"with {KEY}", request=request)

    client = LlamaParseClient("http://x", KEY, transport=httpx.MockTransport(fail))
    with client, pytest.raises(AnswerLost) as caught:
        ask(client)
    assert_secret_free(caught.value)


def test_a_stale_connection_loses_a_create() -> None:
    """Kept alive by a shared transport, and closed by the server just as the create is written."""

    def script(conversation: Conversation) -> None:
        conversation.read()
        conversation.send(reply(200, {"latest": {}}))
        conversation.read_head()
        conversation.reset()

    with RawServer(script) as server, connect(server, transport=DeadlineTransport()) as client:
        client.versions()
        with pytest.raises(AnswerLost):
            client.create_job(REQUEST)
        assert server.connections == 1


def test_a_create_has_its_own_connection() -> None:
    """So that the stale connection of another call can't lose it."""
    with RawServer(answering(reply(200, {"latest": {}} | JOB))) as server, connect(server) as client:
        client.versions()
        client.versions()
        assert server.connections == 1
        client.create_job(REQUEST)
        client.create_job(REQUEST)
        assert server.connections == 3


ODD = {
    "HTML": reply(200, HTML, "text/html"),
    "HTML that says it is JSON": reply(200, HTML),
    "JSON that says it is HTML": reply(200, JOB, "text/html"),
    "cut": reply(200, b'{"id": "pjb-1", "project_id": "p", "sta'),
    "nothing": reply(200),
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "a list": reply(200, [JOB]),
    "null": reply(200, None),
    "another object": reply(200, {"hello": "world"}),
    "wrong types": reply(200, {"id": 3, "job": 3, "items": 3, "latest": 3, "project_id": 3}),
    "an unknown status": reply(200, {"job": JOB | {"status": "DONE"}, "items": [JOB | {"status": "DONE"}], "id": ""}),
    "another encoding": reply(200, JOB, headers={"Content-Encoding": "br"}),
    "no gzip": reply(200, JOB, headers={"Content-Encoding": "gzip"}),
    "half a gzip": reply(200, gzip.compress(json.dumps(JOB).encode())[:-9], headers={"Content-Encoding": "gzip"}),
    "a redirect": reply(302, HTML, "text/html", headers={"Location": "http://127.0.0.1:1/"}),
    "a kept redirect": reply(307, HTML, "text/html", headers={"Location": "/elsewhere"}),
    "not modified": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "a proxy's 404": reply(404, HTML, "text/html"),
    "a proxy's 400": reply(400, HTML, "text/html"),
}


@pytest.mark.parametrize("answer", ODD.values(), ids=ODD)
@every_typed_call
def test_an_odd_answer(ask: Ask, paid: bool, answer: bytes) -> None:
    error = error_of(ask, answering(answer))
    assert type(error) is (AnswerLost if paid else OddAnswer)
    if HTML in answer:
        assert HTML.decode() in str(error)


def test_a_deleted_file_needs_no_body_but_a_success() -> None:
    assert type(error_of(FREE["delete_file"], answering(ODD["a proxy's 404"]))) is OddAnswer
    assert type(error_of(FREE["delete_file"], answering(ODD["a redirect"]))) is OddAnswer


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (FREE["get_job"], {"job": JOB | {"id": "pjb-2"}}),
        (FREE["cancel_job"], JOB | {"id": "pjb-2"}),
        (FREE["delete_job"], {"id": "pjb-2", "project_id": "p"}),
        (FREE["get_file"], {"id": "dfl-2"}),
    ],
)
def test_the_answer_to_another_question(ask: Ask, answer: dict[str, object]) -> None:
    assert type(error_of(ask, answering(reply(200, answer)))) is OddAnswer


def test_an_unknown_status_is_named() -> None:
    error = error_of(PAID["create_job"], answering(reply(200, JOB | {"status": "DONE"})))
    assert "wrong shape (status: Input should be 'PENDING'" in str(error)
    assert "DONE" in str(error)


@pytest.mark.parametrize("status", [502, 503, 504])
@every_call
def test_a_proxys_page(ask: Ask, paid: bool, status: int) -> None:
    error = error_of(ask, answering(reply(status, HTML + b"x" * 500, "text/html")))
    assert type(error) is (AnswerLost if paid else ProviderUnavailable)
    assert HTML.decode() in str(error)
    assert len(str(error)) < 300


@pytest.mark.parametrize(
    ("status", "error"), [(400, CallRefused), (401, CredentialRefused), (422, CallRefused), (429, ProviderBusy)]
)
@every_call
def test_the_providers_refusal(ask: Ask, paid: bool, status: int, error: type[ParsegateError]) -> None:
    assert type(error_of(ask, answering(reply(status, {"detail": f"because {KEY}"})))) is error


def test_a_refusal_whose_body_never_ends_is_still_one() -> None:
    def script(conversation: Conversation) -> None:
        conversation.read()
        conversation.send(b"HTTP/1.1 401 Unauthorized\r\n\r\n")
        conversation.drip(b"{" * 500)

    assert type(error_of(PAID["create_job"], script, deadline_s=0.3)) is CredentialRefused


def test_informational_answers_are_skipped() -> None:
    answers = answering(b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + reply(200, JOB))
    with RawServer(answers) as server, connect(server) as client:
        assert client.create_job(REQUEST).job.id == "pjb-1"


# Limits


def test_an_answer_over_its_limit() -> None:
    big = reply(200, JOB | {"name": "x" * 2000})
    with RawServer(answering(big)) as server, connect(server, max_answer_bytes=1000) as client:
        with pytest.raises(AnswerLost, match="larger than 1,000 bytes"):
            client.create_job(REQUEST)
        with pytest.raises(OddAnswer, match="larger than 1,000 bytes"):
            client.cancel_job("pjb-1")


def test_a_result_has_its_own_limit() -> None:
    body = {"job": JOB, "markdown_full": "x" * 2000}
    with RawServer(answering(reply(200, body))) as server:
        with connect(server, max_answer_bytes=1000) as client:
            assert client.get_job("pjb-1").markdown_full == "x" * 2000
        with connect(server, max_result_bytes=1000) as client, pytest.raises(OddAnswer, match="larger"):
            client.get_job("pjb-1")


def test_an_endless_answer_ends_at_the_limit() -> None:
    def script(conversation: Conversation) -> None:
        conversation.read()
        conversation.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            conversation.send(b" " * 65536)

    with RawServer(script) as server, connect(server) as client, pytest.raises(OddAnswer, match="larger"):
        client.versions()


def test_a_gzipped_answer() -> None:
    packed = reply(200, gzip.compress(json.dumps({"job": JOB}).encode()), headers={"Content-Encoding": "gzip"})
    with RawServer(answering(packed)) as server, connect(server) as client:
        assert client.get_job("pjb-1").job.id == "pjb-1"
    assert server.requests[0].headers["accept-encoding"] == "gzip"


def test_a_gzip_bomb_ends_at_the_limit() -> None:
    """100 MB in 100 KB: the limit counts what comes out, and no more than that is ever unpacked."""
    bomb = reply(200, gzip.compress(bytes(100 * 1024 * 1024)), headers={"Content-Encoding": "gzip"})
    refused = pytest.raises(OddAnswer, match="larger than 8,388,608 bytes")
    with RawServer(answering(bomb)) as server, connect(server) as client:
        tracemalloc.start()
        with refused:
            client.versions()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 24 * 1024 * 1024
