"""A part of a representation by byte range (RFC 9110, 14): one range; of several the whole is sent, as it may be."""

from __future__ import annotations

import re
from typing import Final

from gateway.problems import Problem

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def asked_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The first and last byte that a `Range` header asks for; None for the whole.

    Args:
        header: what can't be read is ignored, as the RFC says.
        size: bytes that there are.

    Raises:
        Problem: 416, it asks for nothing that is there.
    """
    match = _RANGE.fullmatch(header.strip()) if header is not None else None
    if match is None or match[1] == match[2] == "":
        return None
    if match[1]:
        first, last = int(match[1]), min(int(match[2] or size), size - 1)
        if match[2] and int(match[2]) < first:
            return None
    else:
        first, last = max(0, size - int(match[2])), size - 1
    if first > last:
        words = f"the result has {size} bytes, and none of those asked for"
        raise Problem(416, "range_not_satisfiable", words, headers={"Content-Range": f"bytes */{size}"})
    return first, last
