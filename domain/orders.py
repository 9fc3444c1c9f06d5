"""An order: one document to parse, as it comes by message or over HTTP."""

from __future__ import annotations

import json
import posixpath
import re
from hashlib import sha256
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from domain.pricing import DEFAULT_TIER, OPTIONS_SCHEMA, TIERS
from domain.settings import Mode

NOBODY: Final = UUID(int=0)
"""The `user_id` of orders that name none."""
DEFAULT_TENANT: Final = "default"
MAX_NAME: Final = 255

ShortText = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME)]
UrlText = Annotated[str, StringConstraints(min_length=1, max_length=4096)]

MOST_CALLBACK: Final = 2000
"""Bytes of a receiver's URL: it is part of the key of its deliveries, for which PostgreSQL has 2,704."""


def _at_most(text: str) -> str:
    if len(text.encode("utf-8", "replace")) > MOST_CALLBACK:
        raise ValueError(f"must have at most {MOST_CALLBACK} bytes")
    return text


CallbackText = Annotated[UrlText, AfterValidator(_at_most), Field(json_schema_extra={"maxLength": MOST_CALLBACK})]

_EXTENSION = re.compile(r"[a-z0-9]{1,10}")


class Order(BaseModel):
    """One document to parse.

    Args:
        document_id: the sender's own id. It makes ordering again harmless.
        user_id: whose document it is; part of the path of file and result.
        source: where the bytes are (``file://``, ``https://``, or the store's own URL); None when they were uploaded.
        filename: the name to show and to tell the type by; the source's last part by default.
        tier: the provider's tier.
        options: members of the provider's create call (`domain.pricing.ALLOWED_OPTIONS`).
        priority: higher leaves first, -100 to 100.
        mode: the order's own mode, over the one in force; for whoever may switch that one too.
        tags: free labels for the usage report.
        correlation_id: runs through every log line and event.
        callback_url: where events about this document are posted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=False)

    document_id: UUID
    user_id: UUID = NOBODY
    source: UrlText | None = None
    filename: ShortText | None = None
    tier: ShortText = Field(default=DEFAULT_TIER, json_schema_extra={"enum": list(TIERS)})
    options: dict[str, Any] = Field(default_factory=dict, json_schema_extra=OPTIONS_SCHEMA)
    tenant: ShortText = DEFAULT_TENANT
    # One wrong tag is enough: a message has room for half a million, and each would be told.
    tags: tuple[ShortText, ...] = Field(default=(), max_length=20, fail_fast=True)
    priority: int = Field(default=0, ge=-100, le=100, strict=True)
    mode: Mode | None = None
    correlation_id: UUID | None = None
    callback_url: CallbackText | None = None

    def fingerprint(self, content_sha256: str | None = None) -> str:
        """SHA-256 over what was ordered, in hex: equal for a repeated order, different for another one.

        Args:
            content_sha256: the bytes' own hash, for an upload, which has no `source`.
        """
        # A later field that was not used leaves the fingerprint as it was.
        later = {"mode"} if self.mode is None else set()
        said = self.model_dump(mode="json", exclude={"document_id", "correlation_id"} | later)
        said["content_sha256"] = content_sha256
        return sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @property
    def display_name(self) -> str:
        """The filename, or the source's last part."""
        if self.filename is not None:
            return safe_filename(self.filename)
        path = (self.source or "").split("?", 1)[0].split("#", 1)[0]
        return safe_filename(posixpath.basename(path.rstrip("/")))


def safe_filename(name: str) -> str:
    """A name without folders and control characters, at most 255 characters; ``document`` if nothing is left."""
    base = posixpath.basename(name.replace("\\", "/"))
    kept = "".join(character for character in base if character.isprintable()).strip()
    return kept[-MAX_NAME:] if kept not in {"", ".", ".."} else "document"


def size_limit(max_bytes: int) -> str:
    """How large a document may be, for people."""
    size = f"{max_bytes // 1_000_000:,} MB" if max_bytes % 1_000_000 == 0 else f"{max_bytes:,} bytes"
    return f"the limit of {size} (PARSEGATE_MAX_FILE_MB)"


def extension(filename: str) -> str:
    """The extension in lower case without its dot, or ``bin``."""
    ending = posixpath.splitext(filename)[1][1:].lower()
    return ending if _EXTENSION.fullmatch(ending) else "bin"


def raw_path(user_id: UUID, document_id: UUID, filename: str) -> str:
    """Where a document's bytes lie in the store (the 003 path)."""
    return f"files/user/{user_id}/raw/{document_id}.{extension(filename)}"


def parsed_path(user_id: UUID, document_id: UUID) -> str:
    """Where a document's Markdown lies in the store (the 003 path)."""
    return f"files/user/{user_id}/parsed/{document_id}.md"


def pages_path(user_id: UUID, document_id: UUID) -> str:
    """Where a document's pages lie in the store, as JSON."""
    return f"files/user/{user_id}/parsed/{document_id}.json"
