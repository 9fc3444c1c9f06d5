"""Secrets of others at rest: sealed with a key derived from our own (NaCl secret box: XSalsa20 and Poly1305)."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from domain.errors import BadSetting
from domain.signatures import derived_key


def seal(secret_keys: Sequence[bytes], value: Any) -> str:
    """A JSON value as text that only an installation with this key can read.

    Args:
        secret_keys: newest first; the newest seals.

    Raises:
        BadSetting: there is none.
    """
    if not secret_keys:
        raise BadSetting("PARSEGATE_SECRET_KEY is not set, and no secret of others is kept unsealed")
    sealed: bytes = bytes(_box(secret_keys[0]).encrypt(json.dumps(value).encode()))
    return b64encode(sealed).decode()


def unseal(secret_keys: Sequence[bytes], sealed: str) -> Any:
    """The value again.

    Raises:
        BadSetting: no key in force opens it.
    """
    for key in secret_keys:
        try:
            return json.loads(_box(key).decrypt(b64decode(sealed)))
        except (CryptoError, ValueError):
            continue
    raise BadSetting("a secret was sealed with a PARSEGATE_SECRET_KEY that is no longer in force")


def _box(secret_key: bytes) -> SecretBox:
    return SecretBox(derived_key(secret_key, "parsegate-seal"))
