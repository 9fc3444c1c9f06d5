"""What is sealed is read by whoever has the key, and by nobody else."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BadSetting
from domain.sealing import seal, unseal

KEY, OLD = bytes(range(32)), bytes(range(32, 64))


@given(st.text(max_size=200))
def test_every_key_in_force_opens_what_it_sealed(text: str) -> None:
    sealed = seal([OLD], {"secret": text})
    assert unseal([KEY, OLD], sealed) == {"secret": text}
    assert sealed != seal([OLD], {"secret": text}), "each time with another nonce"
    with pytest.raises(BadSetting, match="no longer in force"):
        unseal([KEY], sealed)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_nothing_changed_is_opened(place: int, change: int) -> None:
    raw = bytearray(b64decode(seal([KEY], "value")))
    raw[place % len(raw)] ^= change
    with pytest.raises(BadSetting):
        unseal([KEY], b64encode(raw).decode())


@pytest.mark.parametrize("sealed", ["", "?", "AAAA", "é"])
def test_what_is_none_is_refused(sealed: str) -> None:
    with pytest.raises(BadSetting):
        unseal([KEY], sealed)


def test_nothing_is_sealed_without_a_key() -> None:
    with pytest.raises(BadSetting, match="PARSEGATE_SECRET_KEY"):
        seal([], "value")
