"""The tables. Money is integer millicredits, times are UTC; the schema itself is in `models/migrations`."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from peewee import (
    BigAutoField,
    BigIntegerField,
    BooleanField,
    CompositeKey,
    ForeignKeyField,
    IntegerField,
    JSONField,
    TextField,
    UUIDField,
)

from models.database import Base, OptionalUtcField, UtcField
from models.service_tables import Change, Endpoint, Pace, RejectedWebhook, RejectionCount, Setting, Slot, Token


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
    """One order to parse a document. `due_at` is set in every state that is not final.

    `pages` is what was priced; `parsed_pages` what the result has. `turn` is its place among those that wait to be
    admitted (`models.admission`), and `waits_for` the budget that it waits for. `mode` is the order's own, if it named
    one. `work_key` is equal for the same work (`domain.reuse`), `twin_of` the job that does it now, and `reused_from`
    the one whose result this is a copy of; `redoes` the one that this does again. `user_metadata` is what a caller of
    LlamaCloud's interface wrote on it. `erased_at` is set once its document was deleted; it is
    there for the index of those that are kept still, `Document.deleted_at` is what counts.
    """

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
    turn = BigIntegerField(null=True)
    waits_for = TextField(null=True)
    parsed_pages = IntegerField(null=True)
    mode = TextField(null=True)
    work_key = TextField(null=True)
    twin_of = UUIDField(null=True)
    reused_from = UUIDField(null=True)
    redoes = UUIDField(null=True)
    user_metadata = JSONField(null=True)
    has_webhooks = BooleanField(default=False)
    erased_at = OptionalUtcField()
    batch_id = UUIDField(null=True)


class Attempt(Base):
    """One try to have a job's document parsed. It outlives its job's end until it is settled.

    `base_url` and `project_id` say where it went: it is looked for and settled only there. `provider_date` is the
    provider's own time shortly before the paid call. `due_at` is set while money is open. `page_price` is in
    millicredits; `assumed` marks one that was settled at its estimate because the provider never told; `key_id` says
    which API key it was sent with.
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
    assumed = BooleanField(default=False)
    page_price = BigIntegerField(null=True)
    key_id = TextField(null=True)


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

    job_id: UUID | None
    delivery_id = UUIDField(primary_key=True)
    job = ForeignKeyField(Job, column_name="job_id", on_delete="RESTRICT", null=True)
    event_type = TextField()
    target = TextField()
    body = TextField()
    tries = IntegerField(default=0)
    due_at = OptionalUtcField()
    last_error = TextField(null=True)
    created_at = UtcField()
    delivered_at = OptionalUtcField()
    given_up_at = OptionalUtcField()
    batch_id = UUIDField(null=True)
    tenant = TextField(null=True)
    retried_at = OptionalUtcField()


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


class Budget(Base):
    """A limit in force, millicredits a window; NULL is unlimited. `budget` is a `domain.budgets.BudgetKey` as text.

    `usd` is the limit as it was written, if that was in dollars. `extra` is granted on top until `extra_until`.
    `configured` is the setting that it was last taken from.
    """

    budget = TextField(primary_key=True)
    amount = BigIntegerField(null=True)
    usd = TextField(null=True)
    extra = BigIntegerField(default=0)
    extra_until = OptionalUtcField()
    configured = TextField(null=True)
    changed_at = UtcField()
    changed_by = TextField()


class BudgetWindow(Base):
    """One day or month of a budget: its limit, and what is held and spent in it, millicredits.

    `fired` is the highest threshold, in percent, that was told of; `exhausted_at` is when the first document did not
    fit.
    """

    budget = TextField()
    window_name = TextField()
    amount = BigIntegerField(null=True)
    extra = BigIntegerField(default=0)
    extra_until = OptionalUtcField()
    reserved = BigIntegerField(default=0)
    spent = BigIntegerField(default=0)
    fired = IntegerField(default=0)
    exhausted_at = OptionalUtcField()

    class Meta:
        primary_key = CompositeKey("budget", "window_name")


class LedgerEntry(Base):
    """Why a balance is what it is. Only ever added to; the rules stand in the schema too."""

    attempt_id: UUID
    entry_id = BigAutoField()
    attempt = ForeignKeyField(Attempt, column_name="attempt_id", on_delete="RESTRICT")
    budget = TextField()
    window_name = TextField()
    kind = TextField()
    amount = BigIntegerField()
    reserved_change = BigIntegerField()
    spent_change = BigIntegerField()
    reserved_after = BigIntegerField()
    spent_after = BigIntegerField()
    limit_then = BigIntegerField(null=True)
    closes = BigIntegerField(null=True)
    follows = BigIntegerField(null=True)
    carried = BooleanField(default=False)
    drift = BooleanField(default=False)
    at = UtcField()
    why = TextField()


class Drift(Base):
    """What the provider billed otherwise than was priced, until it is explained; at `due_at` the provider is asked."""

    attempt_id: UUID
    drift_id = BigAutoField()
    attempt = ForeignKeyField(Attempt, column_name="attempt_id", on_delete="RESTRICT")
    kind = TextField()
    priced = BigIntegerField()
    billed = BigIntegerField(null=True)
    at = UtcField()
    tries = IntegerField(default=0)
    due_at = OptionalUtcField()
    explained_at = OptionalUtcField()
    explanation = TextField(null=True)
    explained_by = TextField(null=True)


EVERYBODY: Final = ""
"""Stands for all tenants; a tenant's name is never empty."""


class TenantTurn(Base):
    """The last turn that a tenant's documents of a priority were given; of `EVERYBODY`, the last one admitted."""

    priority = IntegerField()
    tenant = TextField()
    turn = BigIntegerField()

    class Meta:
        primary_key = CompositeKey("priority", "tenant")


class UploadFile(Base):
    """A file that was uploaded by LlamaCloud's interface, to be ordered by its id."""

    file_id = UUIDField(primary_key=True)
    tenant = TextField()
    name = TextField()
    purpose = TextField()
    external_file_id = TextField(null=True)
    sha256 = TextField()
    bytes = BigIntegerField()
    path = TextField()
    created_at = UtcField()


class MadeCall(Base):
    """The job that a call of LlamaCloud's interface made, by the call's own hash; `was_repeat` if that was a repeat."""

    call_sha256 = TextField(primary_key=True)
    job_id = UUIDField(null=True)
    was_repeat = BooleanField()
    made_at = UtcField()


class JobWebhook(Base):
    """A webhook that an order asked for (`models.job_webhooks`)."""

    job_id: UUID
    webhook_id = UUIDField(primary_key=True)
    job = ForeignKeyField(Job, column_name="job_id", on_delete="RESTRICT")
    url = TextField()
    events = JSONField(null=True)
    output_format = TextField()
    sealed = TextField()


class Batch(Base):
    """Documents that were ordered together. `finished_at` is when the end of the last one was told."""

    batch_id = UUIDField(primary_key=True)
    tenant = TextField()
    order_sha256 = TextField()
    ordered_by = TextField()
    callback_url = TextField(null=True)
    correlation_id = UUIDField()
    total = IntegerField()
    created_at = UtcField()
    finished_at = OptionalUtcField()


class Erasure(Base):
    """A document that was deleted: while `due_at` is set, something of it may be there still."""

    document_id: UUID
    document = ForeignKeyField(Document, column_name="document_id", primary_key=True, on_delete="RESTRICT")
    asked_at = UtcField()
    asked_by = TextField()
    why = TextField()
    tries = IntegerField(default=0)
    due_at = OptionalUtcField()
    last_error = TextField(null=True)
    finished_at = OptionalUtcField()


class ErasedThing(Base):
    """What an erasure has removed: `place` is a path in the store, or a URL at the provider."""

    thing_id = BigAutoField()
    document = ForeignKeyField(Erasure, column_name="document_id", on_delete="RESTRICT")
    what = TextField()
    place = TextField()
    outcome = TextField()
    at = UtcField()


TABLES = (
    *(Document, Job, Attempt, Result, Delivery, Setting, Token, History),
    *(Budget, BudgetWindow, LedgerEntry, Drift, TenantTurn),
    *(Slot, Pace),
    *(RejectedWebhook, RejectionCount),
    *(UploadFile, MadeCall, JobWebhook),
    *(Erasure, ErasedThing),
    *(Batch, Endpoint, Change),
)
