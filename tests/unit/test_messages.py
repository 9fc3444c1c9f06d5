"""Only well-formed messages of a queue's own actors are let in; everything else is refused with its reason."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.messages import ACTORS, MAX_BODY, QUEUES, Message, MessageRefused, admit, declarations

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


@given(st.binary(max_size=300), st.sampled_from(QUEUES))
def test_no_bytes_raise_anything_else(body: bytes, queue: str) -> None:
    with pytest.raises(MessageRefused):
        admit(body, queue)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.sampled_from(sorted(submit_body())), json_values)
def test_no_value_of_a_field_raises_anything_else(field: str, value: Any) -> None:
    try:
        admitted = admit(encoded(submit_body(**{field: value})), "submit")
    except MessageRefused:
        return
    assert admitted.actor_name in {name for name, spec in ACTORS.items() if spec.queue == "submit"}


def test_a_delay_queue_counts_as_its_own_queue() -> None:
    assert admit(encoded(submit_body(queue_name="submit.DQ", options={"eta": 1})), "submit.DQ").queue_name == "submit"


@pytest.mark.parametrize("name", [name for name in ACTORS if name not in {"submit_document", "notify"}])
def test_what_we_write_ourselves_is_admitted(name: str) -> None:
    message = Message(name, {"job_id": DOCUMENT}, "m-2", 1)
    assert admit(message.encode(), ACTORS[name].queue) == message


def test_dead_letters_are_declared_before_what_points_to_them() -> None:
    declared = [arguments.get("queue") for method, arguments in declarations() if method == "queue_declare"]
    for queue in QUEUES:
        assert declared.index(f"{queue}.XQ") < declared.index(queue) < declared.index(f"{queue}.DQ")
