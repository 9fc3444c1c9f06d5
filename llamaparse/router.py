"""Who parses a document: the provider or the local parser."""

from __future__ import annotations

from enum import StrEnum

from domain.settings import Mode


class Route(StrEnum):
    """Where an attempt goes."""

    PROVIDER = "provider"
    LOCAL = "local"


def choose(mode: Mode) -> Route:
    """The route of an attempt that has not been sent."""
    return Route.LOCAL if mode is Mode.MOCK else Route.PROVIDER


def may_fall_back(mode: Mode) -> bool:
    """Whether the local parser may stand in where the provider is down. Never for an attempt in doubt."""
    return mode is Mode.HYBRID
