"""Tables that are about the service and no document: settings, tokens, pace, who fails, and who changed what."""

from __future__ import annotations

from peewee import BigAutoField, BigIntegerField, IntegerField, JSONField, TextField, UUIDField

from models.database import Base, OptionalUtcField, UtcField


class Slot(Base):
    """One call to the provider: promised for `at`, then used, then ended. `holder` is whoever the slot belongs to."""

    slot_id = BigAutoField()
    route = TextField()
    holder = UUIDField()
    job_id = UUIDField(null=True)
    at = UtcField()
    why = TextField(default="")
    used_at = OptionalUtcField()
    done_at = OptionalUtcField()
    outcome = TextField(null=True)


class Pace(Base):
    """What is set and learned for a route, for all of them by the hour, and for the documents in flight.

    `override` is what was set while running. `ceiling`, `cut_at`, `proven` and `window_s` are `domain.pace.Learned`;
    `broken_at` and what follows `domain.breaker.Breaker`, with the slot of its last probe.
    """

    name = TextField(primary_key=True)
    override = TextField(null=True)
    changed_at = OptionalUtcField()
    changed_by = TextField(null=True)
    ceiling = IntegerField(null=True)
    cut_at = OptionalUtcField()
    proven = IntegerField(null=True)
    window_s = IntegerField(null=True)
    hold_until = OptionalUtcField()
    seen_at = OptionalUtcField()
    broken_at = OptionalUtcField()
    probe_at = OptionalUtcField()
    probe = BigIntegerField(null=True)
    openings = IntegerField(default=0)
    broken_why = TextField(default="")
    recovered_at = OptionalUtcField()
    refused_key = TextField(null=True)


class RejectedWebhook(Base):
    """A webhook that was not let in, or that changed nothing. `said` is what is known of a signed one."""

    rejection_id = BigAutoField()
    at = UtcField()
    route = TextField()
    reason = TextField()
    job_id = TextField(null=True)
    headers = JSONField()
    said = JSONField()
    body_sha256 = TextField(null=True)
    body_bytes = BigIntegerField(null=True)


class RejectionCount(Base):
    """How many webhooks were rejected for a reason, since the beginning."""

    reason = TextField(primary_key=True)
    count = BigIntegerField()


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
    last_used_at = OptionalUtcField()
    user_id = UUIDField(null=True)


class Change(Base):
    """An entry of the audit log (`models.changes`)."""

    change_id = BigAutoField()
    at = UtcField()
    who = TextField()
    what = TextField()
    subject = TextField()
    before = JSONField(null=True)
    after = JSONField(null=True)


class Endpoint(Base):
    """A receiver of events that has failed since `failing_since`; nothing is posted to it from `disabled_at` on."""

    endpoint_id = UUIDField(primary_key=True)
    tenant = TextField()
    url = TextField()
    failing_since = UtcField()
    failures = IntegerField()
    last_error = TextField()
    disabled_at = OptionalUtcField()
