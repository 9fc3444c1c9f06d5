"""The API key and the webhook secrets never show: not in errors, logs or `repr`, nor where a server echoes them."""

from __future__ import annotations

import logging
import traceback

import pytest

from domain.errors import BadSetting, CredentialRefused, ParsegateError
from llamaparse.client import LlamaParseClient
from llamaparse.schemas import ParseRequest, WebhookConfiguration
from tests.client_calls import JOB, KEY, SECRET, Ask, assert_secret_free, connect, error_of, every_call
from tests.raw_server import RawServer, answering, reply


@pytest.mark.parametrize("key", ["", " ", f"{KEY}\n", f"{KEY}\r\nX: y", f"Bearer {KEY}", f"{KEY}\0", f"{KEY}ü", "\t"])
def test_a_key_that_no_header_can_hold(key: str) -> None:
    with pytest.raises(BadSetting, match="LLAMA_CLOUD_API_KEY") as caught:
        LlamaParseClient("http://x", key)
    assert_secret_free(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "ftp://x",
        "http://",
        "http://[::1",
        "http://x:0",
        "http://x:99999",
        "http://x?a=b",
        "http://x#a",
        "http://user:hunter2@x",
        "http://:hunter2@x",
        "http://user:hunter2@x:y",
    ],
)
def test_a_base_url_that_cannot_be_used(url: str) -> None:
    with pytest.raises(BadSetting, match="LLAMA_CLOUD_BASE_URL") as caught:
        LlamaParseClient(url, KEY)
    assert "hunter2" not in str(caught.value)


def test_the_repr_shows_no_key() -> None:
    with LlamaParseClient("http://x", KEY) as client:
        assert repr(client) == "LlamaParseClient(base_url='http://x')"


@pytest.mark.parametrize("answer", [reply(500, {"detail": "oh"}), reply(200, b"{"), b"nonsense\r\n\r\n"])
@every_call
def test_no_local_of_a_traceback_shows_the_key(ask: Ask, paid: bool, answer: bytes) -> None:
    """Some log handlers print the locals of every frame."""
    with RawServer(answering(answer)) as server, connect(server) as client:
        try:
            ask(client)
        except ParsegateError as error:
            shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        else:
            shown = ask.__name__
    assert KEY not in shown


def test_the_logs_show_no_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    request = ParseRequest(
        tier="fast",
        file_id="f",
        webhook_configurations=[WebhookConfiguration(url="https://gate", signing_secret=SECRET)],
    )
    made, refused = answering(reply(200, JOB)), answering(reply(401, {"detail": KEY}))
    with RawServer(made, refused) as server, connect(server) as client:
        client.create_job(request)
        with pytest.raises(CredentialRefused):
            client.versions()
    assert "httpcore" in caplog.text
    assert KEY not in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("answer", [reply(422, {"detail": f"no {SECRET}"}), reply(200, SECRET), reply(502, SECRET)])
def test_an_echoed_webhook_secret_is_hidden(answer: bytes) -> None:
    request = ParseRequest(
        tier="fast",
        file_id="f",
        webhook_configurations=[
            WebhookConfiguration(url="https://gate", signing_secret=SECRET, headers={"X-Token": "0123456789"})
        ],
    )
    assert "[secret]" in str(error_of(lambda client: client.create_job(request), answering(answer)))


def test_an_echoed_key_does_not_come_back_in_a_jobs_words() -> None:
    failed = {"job": JOB | {"status": "FAILED", "error_message": f"bad key {KEY}"}}
    with RawServer(answering(reply(200, failed))) as server, connect(server) as client:
        assert client.get_job("pjb-1").job.error_message == "bad key [secret]"


def test_cookies_are_not_kept() -> None:
    answers = answering(reply(200, {"latest": {}}, headers={"Set-Cookie": "a=b"}))
    with RawServer(answers) as server, connect(server) as client:
        client.versions()
        client.versions()
    assert "cookie" not in server.requests[1].headers
