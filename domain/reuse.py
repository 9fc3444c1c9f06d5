"""What makes two orders the same work, so that it is paid once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from domain.orders import extension


def work_key(
    content_sha256: str, filename: str, tier: str, options: Mapping[str, Any], *, place: str, tenant: str | None
) -> str | None:
    """Equal for the same bytes with the same options, as 64 hex digits; None for an order that wants it done anew.

    The provider tells a file's type by its name's extension, so that belongs to the work.

    Args:
        place: the provider's base URL: what a simulator made is not used for the real one's.
        tenant: whose work it is; None if tenants share their results.
    """
    if options.get("disable_cache"):
        return None
    said = [content_sha256, extension(filename), tier, options, place, tenant]
    return sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
