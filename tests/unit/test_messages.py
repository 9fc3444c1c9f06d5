"""Only well-formed messages of a queue's own actors are let in; everything else is refused with its reason."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.messages import ACTORS, MAX_BODY, QUEUES, Message, MessageRefused, admit, check_payload, declarations

DOCUMENT = "11111111-2222-4333-8444-555555555555"


def submit_body(**changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "queue_name": "submit",
        "actor_name": "submit_document",
        "args": [],
        "kwargs": {"document_id": DOCUMENT, "source": "file:///srv/a.pdf"},
        "options": {},
        "message_id": "m-1",
        "message_timestamp": 1763900000000,
    }
    body.update(changes)
    return body


def encoded(body: object) -> bytes:
    return json.dumps(body).encode()


def test_the_example_of_the_interface_is_admitted() -> None:
    kwargs = {
        "document_id": DOCUMENT.upper(),
        "user_id": str(uuid4()),
        "source": "file:///srv/files/raw/a.pdf",
        "filename": "policy.pdf",
        "tier": "cost_effective",
        "correlation_id": str(uuid4()),
        "callback_url": "https://example.org/hook",
    }
    admitted = admit(encoded(submit_body(kwargs=kwargs)), "submit")
    assert admitted.kwargs == kwargs | {"document_id": DOCUMENT}
    assert (admitted.actor_name, admitted.queue_name) == ("submit_document", "submit")


def test_options_are_built_anew() -> None:
    smuggled = {"pipe_target": {"actor_name": "check_budget"}, "max_retries": 9999, "eta": 1, "throws": "x"}
    admitted = admit(encoded(submit_body(options=smuggled)), "submit")
    assert json.loads(admitted.encode())["options"] == {}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"options": None}, "options must be an object"),
        ({"options": []}, "options must be an object"),
        ({"actor_name": "start_parse"}, "not one of queue 'submit'"),
        ({"actor_name": "os.system"}, "not one of queue 'submit'"),
        ({"actor_name": None}, "not one of queue 'submit'"),
        ({"actor_name": ["submit_document"]}, "not one of queue 'submit'"),
        ({"queue_name": "parse"}, "which delivered the message"),
        ({"queue_name": "unknown"}, "which delivered the message"),
        ({"queue_name": None}, "which delivered the message"),
        ({"args": ["x"]}, "args must be an empty list"),
        ({"kwargs": None}, "kwargs must be an object"),
        ({"kwargs": {"document_id": DOCUMENT}}, "source is missing"),
        ({"kwargs": {"source": "file:///a"}}, "document_id: field required"),
        ({"kwargs": {"document_id": "not-a-uuid", "source": "file:///a"}}, "document_id: input should be a valid UUID"),
        ({"kwargs": {"document_id": DOCUMENT, "source": "file:///a", "shell": "rm"}}, "shell: extra inputs"),
        ({"kwargs": {"document_id": DOCUMENT, "source": "file:///a", "priority": 1e9}}, "priority"),
        ({"message_id": 7}, "message_id must be"),
        ({"message_timestamp": "now"}, "message_timestamp must be"),
        ({"message_timestamp": True}, "message_timestamp must be"),
    ],
)
def test_anything_else_is_refused_with_its_reason(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(MessageRefused, match=why):
        admit(encoded(submit_body(**changes)), "submit")


@pytest.mark.parametrize(
    "body", [b"", b"not json", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 100_000, b"{}" + b" " * MAX_BODY]
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(MessageRefused):
        admit(body, "submit")


def with_options(options: str) -> bytes:
    """An order whose `options` are this text."""
    kwargs = {"document_id": DOCUMENT, "source": "file:///srv/a.pdf", "options": {"version": "HERE"}}
    return encoded(submit_body(kwargs=kwargs)).replace(b'"HERE"', options.encode())


def nested(levels: int) -> list[Any]:
    return [nested(levels - 1)] if levels else []


UNSTORABLE = {
    "300 levels": ("[" * 300 + "]" * 300, "nested too deep"),
    "NaN": ("NaN", "NaN"),
    "infinite": ("-Infinity", "Infinity"),
    "a large float": ("1e999", "too large"),
    "beyond 64 bits": (str(2**63), "too large"),
    "below 64 bits": (str(-(2**63) - 1), "too large"),
    "5000 digits": ("1" * 5000, "too large"),
    "NUL": (r'"a\u0000"', "NUL"),
    "NUL in a name": (r'{"\u0000": 1}', "NUL"),
    "half a pair": (r'"\ud800"', "surrogate"),
}
"""JSON to Python, but nothing that can be stored and passed on."""


@pytest.mark.parametrize(("options", "why"), UNSTORABLE.values(), ids=UNSTORABLE)
def test_what_the_database_or_the_provider_can_not_take_is_refused(options: str, why: str) -> None:
    with pytest.raises(MessageRefused, match=why):
        admit(with_options(options), "submit")


@pytest.mark.parametrize("number", [-(2**63), 2**63 - 1, 1.5])
def test_numbers_come_through_as_they_are(number: float) -> None:
    assert admit(with_options(str(number)), "submit").kwargs["options"] == {"version": number}


@pytest.mark.parametrize("value", [{"deep": nested(300)}, {"a": b"\xff"}])
def test_a_payload_that_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(MessageRefused, match="can't be written as JSON"):
        check_payload(ACTORS["submit_document"], {"document_id": DOCUMENT, "source": "file:///a", "options": value})


def let_in_or_refused(body: bytes, queue: str) -> None:
    """What is let in is an actor of the queue, and can be written, stored and sent again."""
    try:
        admitted = admit(body, queue)
    except MessageRefused as error:
        str(error).encode()
        return
    assert ACTORS[admitted.actor_name].queue == queue
    assert admit(admitted.encode(), queue) == admitted
    text = json.dumps(dict(admitted.kwargs), allow_nan=False, ensure_ascii=False)
    text.encode()
    assert "\\u0000" not in text


@given(
    st.binary(max_size=300) | st.text(st.sampled_from('[]{}",:0e-\\u\ud800NaI'), max_size=99), st.sampled_from(QUEUES)
)
def test_no_bytes_raise_anything_else(body: bytes | str, queue: str) -> None:
    let_in_or_refused(body.encode(errors="surrogatepass") if isinstance(body, str) else body, queue)


texts = st.text() | st.text(st.characters(codec=None)) | st.sampled_from(["\0", "\ud800", DOCUMENT, "submit"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=8,
)


@given(st.sampled_from(sorted(submit_body())), json_values)
def test_no_value_of_a_field_raises_anything_else(field: str, value: Any) -> None:
    let_in_or_refused(encoded(submit_body(**{field: value})), "submit")


@given(st.data(), st.sampled_from(sorted(ACTORS)))
def test_no_payload_raises_anything_else(data: st.DataObject, actor_name: str) -> None:
    spec = ACTORS[actor_name]
    names = st.sampled_from(sorted(spec.payload.model_fields) or ["job_id"]) | texts
    known = {"job_id": DOCUMENT, "delivery_id": DOCUMENT, "document_id": DOCUMENT, "source": "file:///srv/a.pdf"}
    said: dict[str, Any] = {name: value for name, value in known.items() if name in spec.payload.model_fields}
    said |= dict(data.draw(st.lists(st.tuples(names, json_values), max_size=3)))
    let_in_or_refused(encoded(submit_body(actor_name=actor_name, queue_name=spec.queue, kwargs=said)), spec.queue)


def test_a_delay_queue_counts_as_its_own_queue() -> None:
    assert admit(encoded(submit_body(queue_name="submit.DQ", options={"eta": 1})), "submit.DQ").queue_name == "submit"


@pytest.mark.parametrize("name", [name for name in ACTORS if name not in {"submit_document", "ingest_003", "notify"}])
def test_what_we_write_ourselves_is_admitted(name: str) -> None:
    said = dict.fromkeys(ACTORS[name].payload.model_fields.keys() & {"job_id", "document_id"}, DOCUMENT)
    message = Message(name, said, "m-2", 1)
    assert admit(message.encode(), ACTORS[name].queue) == message


def test_dead_letters_are_declared_before_what_points_to_them() -> None:
    declared = [arguments.get("queue") for method, arguments in declarations() if method == "queue_declare"]
    for queue in QUEUES:
        assert declared.index(f"{queue}.XQ") < declared.index(queue) < declared.index(f"{queue}.DQ")
