"""Bearer tokens: only their SHA-256 is kept, so that a copy of the database opens nothing."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Final
from uuid import UUID, uuid4

from peewee import IntegrityError

from domain.clock import format_utc
from domain.errors import NotFound, OrderRefused
from domain.orders import DEFAULT_TENANT
from models.changes import OPERATOR, What, record_change
from models.database import reading, transaction
from models.service_tables import Token

PREFIX: Final = "pg_"
NOTED_EVERY: Final = timedelta(minutes=1)
"""How exactly the last use of a token is known."""


class Scope(StrEnum):
    """What a token allows; `admin` allows everything, `submit` also reads."""

    SUBMIT = "submit"
    READ = "read"
    ADMIN = "admin"


ALLOWS: Final = {
    Scope.ADMIN: frozenset(Scope),
    Scope.SUBMIT: frozenset({Scope.SUBMIT, Scope.READ}),
    Scope.READ: frozenset({Scope.READ}),
}


@dataclass(frozen=True)
class Bearer:
    """Who a request comes from.

    Args:
        user_id: the one whose all that it orders is, and whose budget holds it; None leaves that to the order.
    """

    token_id: UUID
    name: str
    scope: Scope
    tenant: str
    user_id: UUID | None = None

    @property
    def sees(self) -> str | None:
        """The tenant whose things it sees; None is everybody's."""
        return None if self.may(Scope.ADMIN) else self.tenant

    def may(self, scope: Scope) -> bool:
        """True if the token allows what `scope` names."""
        return scope in ALLOWS[self.scope]


def create_token(
    name: str,
    scope: Scope,
    *,
    now: datetime,
    tenant: str = DEFAULT_TENANT,
    expires_at: datetime | None = None,
    user_id: UUID | None = None,
    who: str = OPERATOR,
) -> str:
    """Make a token and answer it, the only time it is seen.

    Args:
        expires_at: it is refused from then on; None is never.
        user_id: see `Bearer`.
        who: by whose word, for the audit log.

    Raises:
        OrderRefused: there is one of that name, or it would have expired already.
    """
    if expires_at is not None and expires_at <= now:
        raise OrderRefused(f"a token that ends at {expires_at:%Y-%m-%d %H:%M} UTC has expired already")
    token = PREFIX + secrets.token_urlsafe(32)
    try:
        with transaction():
            Token.create(
                token_id=uuid4(),
                name=name,
                token_sha256=_digest(token),
                scope=scope,
                tenant=tenant,
                created_at=now,
                expires_at=expires_at,
                user_id=user_id,
            )
            ends = None if expires_at is None else format_utc(expires_at)
            said = {
                "scope": scope.value,
                "tenant": tenant,
                "expires_at": ends,
                "user_id": None if user_id is None else str(user_id),
            }
            record_change(What.TOKEN_CREATED, name, who=who, now=now, after=said)
    except IntegrityError:
        raise OrderRefused(f"there is a token named {name!r} already: revoke it or use another name") from None
    return token


def find_bearer(token: str, now: datetime) -> Bearer | None:
    """Who a token belongs to, or None if it is unknown, revoked or expired. That it was used is noted, to a minute."""
    with reading():
        row = Token.get_or_none(Token.token_sha256 == _digest(token), Token.revoked_at.is_null())
    if row is None or (row.expires_at is not None and row.expires_at <= now):
        return None
    if row.last_used_at is None or now - row.last_used_at >= NOTED_EVERY:
        with transaction():
            Token.update(last_used_at=now).where(Token.token_id == row.token_id).execute()
    return Bearer(row.token_id, row.name, Scope(row.scope), row.tenant, row.user_id)


def list_tokens() -> Sequence[Token]:
    """Every token, oldest first."""
    with reading():
        return list(Token.select().order_by(Token.created_at))


def revoke_token(name: str, now: datetime, *, who: str = OPERATOR) -> None:
    """Refuse a token from now on.

    Raises:
        NotFound: there is no such token in force.
    """
    with transaction():
        revoked = Token.update(revoked_at=now).where(Token.name == name, Token.revoked_at.is_null()).execute()
        if not revoked:
            raise NotFound(f"there is no token named {name!r} in force")
        record_change(What.TOKEN_REVOKED, name, who=who, now=now)


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()
