"""Limits that were set while running, over those of the settings. They are read under the limiter's lock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from domain.errors import OrderRefused
from domain.pace import Limits, Route
from domain.settings import Rate, parse_rates
from models.service_tables import Pace

NAMES: Final[Mapping[str, str]] = {
    "parse": Route.CREATE,
    "upload": Route.UPLOAD,
    "read": Route.READ,
    "hourly": "hourly",
    "in_flight": "in_flight",
}
"""What people call a limit: its row in the table `pace`."""
DEFAULT: Final = "default"
NONE: Final = "none"
MOST_IN_FLIGHT: Final = 1_000_000


def check_limit(name: str, said: object) -> str | None:
    """A limit as it is stored; None if the settings are to hold again.

    Args:
        said: ``50/10``, ``50/10,200/60``, a whole number for `in_flight`, ``default``, or, for `hourly` and
            `in_flight`, ``none``.

    Raises:
        OrderRefused: one sentence.
    """
    if name not in NAMES:
        raise OrderRefused(f"there is no limit {name[:40]!r}: use {', '.join(NAMES)}", reason="unknown_limit")
    if said == DEFAULT:
        return None
    if name in {"hourly", "in_flight"} and said in (NONE, None):
        return NONE
    # To JSON, 2.0 is a whole number too.
    number = int(said) if isinstance(said, float) and said.is_integer() else said
    text = str(number) if isinstance(number, int) and not isinstance(number, bool) else number
    try:
        return str(_in_flight(text)) if name == "in_flight" else written(parse_rates(text))
    except ValueError as error:
        raise OrderRefused(f"{name}: {error}, or '{DEFAULT}'", reason="malformed_limit") from None


def _in_flight(text: object) -> int:
    if not isinstance(text, str) or not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST_IN_FLIGHT:
        raise ValueError(f"write a whole number from 1 to {MOST_IN_FLIGHT}, or '{NONE}'")
    return int(text)


def written(rates: tuple[Rate, ...]) -> str:
    """``50/10,200/60``; ``none`` if there is none."""
    return ",".join(str(rate) for rate in rates) or NONE


def in_force(limits: Limits, rows: Mapping[str, Pace]) -> Limits:
    """The limits of the settings, with what was set while running in their place."""
    routes = {route: rates_of(rows[route].override, windows) for route, windows in limits.routes.items()}
    in_flight = rows["in_flight"].override
    return replace(
        limits,
        routes=routes,
        hourly=rates_of(rows["hourly"].override, limits.hourly),
        told=limits.told | {route for route in limits.routes if rows[route].override is not None},
        in_flight=limits.in_flight if in_flight is None else None if in_flight == NONE else int(in_flight),
    )


def rates_of(override: str | None, configured: tuple[Rate, ...]) -> tuple[Rate, ...]:
    """What was set while running, or the setting."""
    if override is None:
        return configured
    return () if override == NONE else parse_rates(override)


def change(said: Mapping[str, object], who: str) -> Callable[[Mapping[str, Pace], datetime], None]:
    """What sets these limits, for `Pacer.reset`. A person's word ends what was learned about a route.

    Raises:
        OrderRefused: one sentence; nothing is set.
    """
    checked = [(name, check_limit(name, value)) for name, value in said.items()]

    def apply(rows: Mapping[str, Pace], now: datetime) -> None:
        for name, override in checked:
            forgotten: dict[str, Any] = dict.fromkeys(("ceiling", "cut_at", "proven", "window_s", "hold_until"))
            Pace.update(override=override, changed_at=now, changed_by=who, **forgotten).where(
                Pace.name == NAMES[name]
            ).execute()

    return apply
