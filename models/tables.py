"""The tables. Money is integer millicredits, times are UTC; the schema itself is in `models/migrations`."""

from __future__ import annotations

from uuid import UUID

from peewee import (
    BigAutoField,
    BigIntegerField,
    BooleanField,
    ForeignKeyField,
    IntegerField,
    JSONField,
    TextField,
    UUIDField,
)

from models.database import Base, OptionalUtcField, UtcField


class Document(Base):
    """One document that was ordered. It stays after deletion as a tombstone, so that an old message can't order again.

    `order_sha256` is `Order.fingerprint`; `raw_sha256` and `raw_bytes` are unset until its bytes are in our store.
    """

    document_id = UUIDField(primary_key=True)
    user_id = UUIDField()
    tenant = TextField()
    order_sha256 = TextField()
    source = TextField(null=True)
    filename = TextField()
    raw_path = TextField()
    raw_sha256 = TextField(null=True)
    raw_bytes = BigIntegerField(null=True)
    created_at = UtcField()
    deleted_at = OptionalUtcField()


class Job(Base):
    """One order to parse a document. `due_at` is set in every state that is not final."""

    document_id: UUID
    job_id = UUIDField(primary_key=True)
    document = ForeignKeyField(Document, column_name="document_id", on_delete="RESTRICT")
    tenant = TextField()
    state = TextField()
    tier = TextField()
    options = JSONField()
    tags = JSONField()
    priority = IntegerField()
    correlation_id = UUIDField()
    callback_url = TextField(null=True)
    pages = IntegerField(null=True)
    pages_guessed = BooleanField(default=False)
    estimate = BigIntegerField(null=True)
    cost = BigIntegerField(default=0)
    provenance = TextField(null=True)
    truncated = BooleanField(default=False)
    parsed_path = TextField(null=True)
    parsed_sha256 = TextField(null=True)
    reason = TextField(null=True)
    message = TextField(null=True)
    tries = IntegerField(default=0)
    due_at = OptionalUtcField()
    created_at = UtcField()
    updated_at = UtcField()
    finished_at = OptionalUtcField()


class Attempt(Base):
    """One try to have a job's document parsed. It outlives its job's end until it is settled.

    `base_url` and `project_id` say where it went: it is looked for and settled only there. `provider_date` is the
    provider's own time shortly before the paid call. `due_at` is set while money is open.
    """

    job_id: UUID
    attempt_id = UUIDField(primary_key=True)
    job = ForeignKeyField(Job, column_name="job_id", on_delete="RESTRICT")
    number = IntegerField()
    state = TextField()
    provenance = TextField()
    estimate = BigIntegerField()
    billed = BigIntegerField(null=True)
    base_url = TextField(null=True)
    project_id = TextField(null=True)
    file_id = TextField(null=True)
    provider_job_id = TextField(null=True)
    provider_date = OptionalUtcField()
    submitted_at = OptionalUtcField()
    tries = IntegerField(default=0)
    due_at = OptionalUtcField()
    created_at = UtcField()
    settled_at = OptionalUtcField()


class Result(Base):
    """What came out of a job; the texts themselves are in the store."""

    job_id: UUID
    attempt_id: UUID
    job = ForeignKeyField(Job, column_name="job_id", primary_key=True, on_delete="RESTRICT")
    attempt = ForeignKeyField(Attempt, column_name="attempt_id", on_delete="RESTRICT")
    provenance = TextField()
    markdown_path = TextField()
    markdown_sha256 = TextField()
    markdown_bytes = BigIntegerField()
    pages_path = TextField()
    pages = IntegerField()
    failed_pages = IntegerField()
    truncated = BooleanField()
    created_at = UtcField()


class Delivery(Base):
    """One event for one receiver: the events exchange (`target` is ``events``) or a callback URL."""

    job_id: UUID
    delivery_id = UUIDField(primary_key=True)
    job = ForeignKeyField(Job, column_name="job_id", on_delete="RESTRICT")
    event_type = TextField()
    target = TextField()
    body = TextField()
    tries = IntegerField(default=0)
    due_at = OptionalUtcField()
    last_error = TextField(null=True)
    created_at = UtcField()
    delivered_at = OptionalUtcField()
    given_up_at = OptionalUtcField()


class Setting(Base):
    """What can be changed while running, such as the mode."""

    name = TextField(primary_key=True)
    value = JSONField()
    changed_at = UtcField()
    changed_by = TextField()


class Token(Base):
    """A bearer token; only its SHA-256 is kept."""

    token_id = UUIDField(primary_key=True)
    name = TextField(unique=True)
    token_sha256 = TextField(unique=True)
    scope = TextField()
    tenant = TextField()
    created_at = UtcField()
    expires_at = OptionalUtcField()
    revoked_at = OptionalUtcField()


class History(Base):
    """Every transition of a job or attempt: who, when, why. Only ever added to."""

    history_id = BigAutoField()
    job_id = UUIDField()
    attempt_id = UUIDField(null=True)
    before = TextField(null=True)
    after = TextField()
    who = TextField()
    why = TextField()
    at = UtcField()


TABLES = (Document, Job, Attempt, Result, Delivery, Setting, Token, History)
