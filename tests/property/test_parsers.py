"""Whatever a stranger sends is read, or refused by an error of our own tree, soon, by every parser of what comes in."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final
from unittest.mock import Mock

import falcon.asgi
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from domain.errors import ParsegateError
from domain.job_state import Provenance
from domain.messages import ACTORS, QUEUES, Message, admit
from domain.results import decode_pages, encode_pages
from domain.signatures import job_secret, lc_signature
from domain.webhook_003 import Malformed003, parse_003
from gateway.bodies import Allowance
from gateway.problems import Problem, install
from gateway.webhooks import MAX_EVENT, LlamaParseWebhook
from llamaparse.answers import Answer, Reply, Rules, json_object, judge
from llamaparse.schemas import Deleted, File, Job, JobPage, ParseResult, Versions, failure

JOB: Final = "0b9f6c1e-4f3d-4b6e-9d0e-2f7a54d5c001"
KEY: Final = bytes(range(32))
SOON_S: Final = 2.0
"""Of this thread's own time: a hundred times what it takes, on a busy machine too."""
LARGE_S: Final = 1.5
checked = settings(max_examples=500, deadline=None, derandomize=True)

ARTIFACT: Final = {
    "type": "markdown",
    "content": "é",
    "sha256": "4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c",
    "bytes": 2,
}
OLD: Final = {"job_id": JOB, "document_id": JOB, "parse_job_id": "pjb-1", "error": "x"}
PAGES: Final = [{"page": 2, "md": "# B", "text": "B"}, {"page": 1, "md": "# A", "txt": "A"}]
EVENTS_003: Final[list[Any]] = [
    {**OLD, "status": "parsed", "artifacts": [ARTIFACT]},
    {**OLD, "status": "completed", "result": {"md": "# A", "txt": "A", "json": PAGES}},
    {**OLD, "result": PAGES},
    {**OLD, "status": "failed", "md": "# A"},
]
EVENTS: Final[list[Any]] = [
    {"event_id": JOB, "event_type": "parse.success", "timestamp": 1.5, "data": {"id": "pjb-1", "job_id": "pjb-1"}}
]
_JOB_ROW: Final = {
    **{"id": "pjb-1", "project_id": "p", "status": "FAILED", "created_at": "2026-01-02T03:04:05Z", "tier": "fast"},
    **{"error_message": "TIMEOUT", "usage": {"credits": 3.5}, "user_metadata": {"parsegate_job": JOB}},
}
ANSWERS: Final[list[Any]] = [
    _JOB_ROW,
    {"items": [_JOB_ROW], "next_page_token": "t"},
    {
        "job": _JOB_ROW,
        "markdown": {"pages": [{"page_number": 1, "success": True, "markdown": "# A"}]},
        "text": {"pages": [{"page_number": 1, "text": "A"}]},
        "markdown_full": "# A",
    },
    {"detail": [{"loc": ["body", "tier"], "msg": "bad", "input": 1}], "correlation_id": JOB},
    {"latest": {"fast": "2026-01-01"}, "fast": ["2026-01-01"]},
]
KWARGS: Final = {
    **{"job_id": JOB, "document_id": JOB, "delivery_id": JOB, "source": "file:///a.pdf", "tier": "fast"},
    **{"options": {"version": "latest"}, "tags": ["a"], "priority": 1, "status": "parsed", "parse_job_id": "pjb-1"},
}
MESSAGES: Final[list[Any]] = [
    {
        **{"queue_name": spec.queue, "actor_name": name, "args": [], "options": {}, "message_id": "m"},
        "message_timestamp": 1763900000000,
        "kwargs": {field: value for field, value in KWARGS.items() if field in spec.payload.model_fields},
    }
    for name, spec in ACTORS.items()
]


def check_storable(said: Mapping[str, Any]) -> None:
    """No database and no reader of UTF-8 refuses it."""
    text = json.dumps(dict(said), allow_nan=False, ensure_ascii=False)
    text.encode()
    assert "\\u0000" not in text


def read_003(body: bytes) -> None:
    """A result that is read can be stored, and is the same afterwards."""
    event = parse_003(body)
    if event.result is not None:
        assert decode_pages(encode_pages(event.result, Provenance.REAL, truncated=False)) == event.result
    said = {"job_id": JOB, "status": event.status.value, "parse_job_id": event.parse_job_id, "error": event.error}
    named = {name: value for name, value in said.items() if value is not None}
    assert admit(Message("ingest_003", named, "m", 1).encode(), "result-ingest").kwargs == named
    check_storable(named)


def read_message(body: bytes) -> None:
    """What is let in can be sent again; nothing gets into a queue that is not its own."""
    taken = dict[str, Message]()
    problems = list[ParsegateError]()
    for queue in QUEUES:
        try:
            taken[queue] = admit(body, queue)
        except ParsegateError as error:
            str(error).encode()
            problems.append(error)
    for queue, message in taken.items():
        assert admit(message.encode(), queue) == message
        check_storable(message.kwargs)
        assert [*taken] == [ACTORS[message.actor_name].queue]
    if not taken:
        raise problems[0]


SHAPES: Final[list[type[BaseModel]]] = [Job, JobPage, ParseResult, File, Deleted, Versions]


def texts_of(read: object) -> Iterator[str]:
    """Every text in the fields that we know of; the others stay what they are, and are stored as JSON."""
    if isinstance(read, str):
        yield read
    elif isinstance(read, BaseModel):
        for name in type(read).model_fields.keys() - {"raw"}:
            yield from texts_of(getattr(read, name))
    elif isinstance(read, Mapping):
        for part in (*read.keys(), *read.values()):
            yield from texts_of(part)
    elif isinstance(read, tuple):
        for part in read:
            yield from texts_of(part)


def read_answer(body: bytes) -> None:
    """As the client reads one, by each status and as each shape, of a call that was paid for and of another."""
    raised = list[ParsegateError]()
    for paid in (False, True):
        rules = Rules(paid=paid, secrets=("llx-secret",))
        for status in (400, 403, 422, 429, 503):
            judged = judge(Reply(status, httpx.Headers(), body), rules)
            assert isinstance(judged, ParsegateError)
            str(judged).encode()
        reply = Reply(200, httpx.Headers(), body)
        for shape in SHAPES:
            try:
                read = Answer(json_object(reply, rules), reply, rules).read(shape)
            except ParsegateError as error:
                str(error).encode()
                raised.append(error)
                continue
            for text in texts_of(read):
                assert "\0" not in text.encode().decode()
            if isinstance(read, Job):
                assert read.millicredits is None or read.millicredits >= 0
                assert failure(read) is None or read.status == "FAILED"
    if len(raised) == 2 * len(SHAPES):
        raise raised[0]


class Entrance:
    """The provider's route as it is served, with nothing behind it."""

    def __init__(self) -> None:
        self.sent = list[Message]()

        async def send(message: Message) -> None:
            self.sent.append(message)

        self.app: Any = falcon.asgi.App()
        install(self.app)
        none = Mock()
        webhook = LlamaParseWebhook([KEY], Mock(send=send), lambda: datetime.now(UTC), none, Allowance(MAX_EVENT))
        self.app.add_route("/{job_id}", webhook)

    async def post(self, body: bytes) -> httpx.Response:
        """The answer to a body that is signed as it must be."""
        signed = {"LC-Signature": lc_signature(job_secret(KEY, JOB), body)}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://gateway") as client:
            return await client.post(f"/{JOB}", content=body, headers=signed)

    def __call__(self, body: bytes) -> None:
        """What goes on to the workers is let in by them."""
        self.sent.clear()
        answer = asyncio.run(self.post(body))
        assert answer.status_code in {204, 400}, answer.text
        assert [message.actor_name for message in self.sent] == ["ingest_result"] * (answer.status_code == 204)
        for message in self.sent:
            assert admit(message.encode(), "result-ingest").kwargs == {"job_id": JOB} | dict(message.kwargs)
            check_storable(message.kwargs)
        if not self.sent:
            raise Problem(answer.status_code, "refused", answer.text)


Parser = Callable[[bytes], object]
PARSERS: Final[dict[str, tuple[Parser, list[Any]]]] = {
    "003": (read_003, EVENTS_003),
    "event": (Entrance(), EVENTS),
    "message": (read_message, MESSAGES),
    "answer": (read_answer, ANSWERS),
}
"""With bodies that are right."""


@contextmanager
def soon(seconds: float) -> Iterator[None]:
    """Read, or refused by an error of the tree, in so much of this thread's own time. Any other error is the test's."""
    began = time.thread_time()
    with suppress(ParsegateError, Problem):
        yield
    assert time.thread_time() - began < seconds


ODD: Final = [
    *(
        "null",
        "true",
        "-0",
        "0",
        "1.5",
        "-1",
        "1e999",
        "1e-400",
        "NaN",
        "-Infinity",
        "01",
        "9" * 19,
        "9" * 20,
        "9" * 5000,
    ),
    *('""', '"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '"\ud800"', '"\\ud83d\\ude00"', '"\\x"', '"', "{", "]", ","),
    *("[]", "{}", "[[]]", '[{"page":1},{"page":1}]', '{"pages":[]}', "[" * 70 + "]" * 70, "[" * 3000, '{"a":' * 3000),
    *(json.dumps(text) for text in (JOB, JOB.upper(), "parsed", "FAILED", "é" * 300, "İ", "0" * 5000, "file:///a")),
]
"""Texts in the place of a JSON value, JSON or not."""
texts = st.recursive(
    st.sampled_from(ODD) | st.text().map(json.dumps) | st.integers().map(str) | st.floats().map(json.dumps),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: f"[{','.join(parts)}]")
        | st.lists(st.tuples(st.sampled_from([*KWARGS, "md", "a"]), inner), max_size=3).map(
            lambda pairs: "{" + ",".join(f'"{name}":{part}' for name, part in pairs) + "}"
        )
    ),
    max_leaves=5,
)


def places(said: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value in a value."""
    yield way
    inner = said.items() if isinstance(said, dict) else enumerate(said) if isinstance(said, list) else ()
    for name, value in inner:
        yield from places(value, (*way, name))


def put(said: Any, way: tuple[Any, ...], text: str) -> Any:
    """A value with another one in a place."""
    if not way:
        return text
    copied = dict(said) if isinstance(said, dict) else list(said)
    copied[way[0]] = put(said[way[0]], way[1:], text)
    return copied


@st.composite
def bodies(draw: st.DrawFn, right: list[Any]) -> bytes:
    """A right body with something odd in a place, or something odd alone; plain, or in strings in strings."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=300))
    text = draw(st.sampled_from(ODD) | texts)
    if draw(st.integers(0, 5)):
        said = draw(st.sampled_from(right))
        hole = json.dumps(put(said, draw(st.sampled_from([*places(said)])), "HERE"))
        text = hole.replace('"HERE"', text)
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
        text = json.dumps(text, ensure_ascii=draw(st.booleans()))
    encoding = draw(st.sampled_from(["utf-8"] * 8 + ["utf-8-sig", "utf-16", "utf-32-be"]))
    body = text.encode(encoding, "surrogatepass")
    at = draw(st.integers(0, len(body)))
    return draw(st.sampled_from([body] * 6 + [body[:at], body[:at] + b"\xff" + body[at:]]))


@pytest.mark.parametrize("name", PARSERS)
@checked
@given(st.data())
def test_whatever_comes_is_read_or_refused_soon(name: str, data: st.DataObject) -> None:
    parse, right = PARSERS[name]
    body = data.draw(bodies(right))
    with soon(SOON_S):
        parse(body)


@pytest.mark.parametrize("name", PARSERS)
def test_what_is_right_is_read(name: str) -> None:
    """Otherwise all that the tests around this one show is that everything is refused."""
    parse, right = PARSERS[name]
    for said in right[:3]:
        parse(json.dumps(said).encode())
    if name in {"003", "event"}:
        parse(json.dumps(json.dumps(right[0])).encode())


def filled(text: str, part: str, size: int) -> bytes:
    """A text of that many bytes with as many parts as fit in the place of ``HERE``, a comma between them."""
    count = (size - len(text)) // (len(part) + 1)
    return text.replace("HERE", ",".join([part] * count)).encode()


def large(size: int) -> dict[str, bytes]:
    """Bodies of that many bytes at most that ask for much."""
    order = {**MESSAGES[0], "kwargs": {**MESSAGES[0]["kwargs"], "tags": ["HERE"]}}
    pages = '{"job":{},"markdown":{"pages":[HERE]},"text":{"pages":[{}]}}'
    return {
        "deep": b"[" * size,
        "deep and closed": b"[" * (size // 2) + b"]" * (size // 2),
        "deep objects": b'{"a":' * (size // 5),
        "digits": b"9" * size,
        "digits of a fraction": b"0." + b"9" * (size - 2),
        "an exponent": b"1e" + b"9" * (size - 2),
        "a text": b'"' + b"a" * (size - 2) + b'"',
        "backslashes": b'"' + b"\\" * ((size - 2) // 2 * 2) + b'"',
        "half pairs": b'"' + b"\\ud800" * (size // 6) + b'"',
        "lists": filled("[HERE]", "[]", size),
        "a text of lists": json.dumps(filled("[HERE]", "[]", size - 2).decode()).encode(),
        "a text of texts": json.dumps(json.dumps('"' * (size // 5))).encode(),
        "names": b"{" + b",".join(b'"%d":0' % number for number in range(size // 12)) + b"}",
        "one name": filled("{HERE}", '"job_id":0', size),
        "pages": filled('{"result":[HERE]}', '{"md":"a"}', size),
        "artifacts": filled('{"artifacts":[HERE]}', '{"type":"a","content":""}', size),
        "rows": filled('{"items":[HERE]}', "{}", size),
        "pages of a result": filled(pages, "{}", size),
        "tags": filled(json.dumps(order).replace('"HERE"', "HERE"), '"a"', size),
        "tags that are none": filled(json.dumps(order).replace('"HERE"', "HERE"), "1", size),
        "unfinished": b'{"event_id":"' + b"\xc3\xa9" * (size // 2 - 10),
        "white": b" " * size,
        "NULs": b"\0" * size,
    }


def one_shape(shape: type[BaseModel]) -> Parser:
    """Reads an answer as what was asked for."""
    rules = Rules(paid=False, secrets=("llx-secret",))

    def read(body: bytes) -> None:
        reply = Reply(200, httpx.Headers(), body)
        Answer(json_object(reply, rules), reply, rules).read(shape)

    return read


LARGE: Final[dict[str, Parser]] = {
    "003": parse_003,
    "event": PARSERS["event"][0],
    "message": lambda body: admit(body, "submit"),
    "a page of jobs": one_shape(JobPage),
    "a result": one_shape(ParseResult),
}


@pytest.mark.parametrize("name", LARGE)
def test_what_is_large_is_read_or_refused_soon(name: str) -> None:
    for what, body in large(MAX_EVENT).items():
        assert MAX_EVENT * 3 // 4 < len(body) <= MAX_EVENT or what in {"names", "a text of texts"}, what
        with soon(LARGE_S):
            LARGE[name](body)


def test_an_artifact_of_the_right_length_and_hash_alone_is_read() -> None:
    """The example above is right by its own words, and each of them counts."""
    read_003(json.dumps(EVENTS_003[0]).encode())
    for name in ("content", "sha256", "bytes"):
        spoilt = {**EVENTS_003[0], "artifacts": [{**ARTIFACT, name: "é "}]}
        with pytest.raises(Malformed003, match="is not what its"):
            read_003(json.dumps(spoilt).encode())
