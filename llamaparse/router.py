"""Who parses a document: the provider or the local parser."""

from __future__ import annotations

from enum import StrEnum

from domain.settings import Mode


class Route(StrEnum):
    """Where an attempt goes."""

    PROVIDER = "provider"
    LOCAL = "local"


def choose(mode: Mode, *, is_down: bool = False) -> Route:
    """The route of an attempt that has not been sent. One that may have been sent never changes its route.

    Args:
        is_down: the breaker of an endpoint that sending needs is open; the local parser may stand in for it in hybrid
            mode only.
    """
    return Route.LOCAL if mode is Mode.MOCK or (mode is Mode.HYBRID and is_down) else Route.PROVIDER
