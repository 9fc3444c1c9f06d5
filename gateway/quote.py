"""``POST /v1/quote``: what documents would cost, and when they could start. Nothing is stored or paid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import falcon.asgi
from typing_extensions import TypedDict

from domain.budgets import applicable
from domain.errors import OrderRefused
from domain.fitting import Fit, Room, fit_all
from domain.money import Millicredits
from domain.orders import Order
from domain.prices import Prices
from domain.pricing import Quote, price
from domain.settings import Mode, OnExhausted, Settings
from gateway.amounts import Time, credits_number, time_text, usd_number
from gateway.bodies import media_type, parse_json, read_body
from gateway.counting import Counted, CountedDocuments, CountedPages, CountingDesk, FormFiles, counted_by_sender
from gateway.dependencies import Dependencies
from gateway.openapi.description import FORM, JSON, Operation, answer
from gateway.orders import OrderDesk, form_values
from gateway.pool import run_in
from gateway.problems import Problem
from models.budgets import balances_of
from models.control import read_mode
from models.forecasts import count_waiting
from models.tokens import Scope

MAX_JSON: Final = 2 * 1024 * 1024
NEVER: Final[Literal["never"]] = "never"
Start = Time | Literal["never"] | None
"""Null for what can start now."""
_OWN_FIELDS: Final = ("pages", "documents")


class FileQuote(TypedDict):
    """What a document costs at most, whether that fits the budgets, and when it could start if not."""

    filename: str
    kind: str
    pages: int
    pages_guessed: bool
    tier: str
    credits: float
    usd: float
    fits: bool
    starts_at: Start
    reason: str | None


class QuoteSaid(TypedDict):
    """What documents cost at most, each and together."""

    files: list[FileQuote]
    tier: str
    pages: int
    credits: float
    usd: float
    fits: bool
    starts_at: Start
    waiting: int
    mode: Mode
    on_budget_exhausted: OnExhausted


class Quotes:
    """``POST /v1/quote``."""

    scopes: Mapping[str, Scope] | None = {"POST": Scope.READ}
    operations: Mapping[str, Operation] = {
        "POST": Operation(
            "quote",
            {200: answer(QuoteSaid)},
            fails=(415, 422),
            body={FORM: FormFiles, JSON: CountedPages | CountedDocuments},
        )
    }

    def __init__(self, dependencies: Dependencies, counting: CountingDesk) -> None:
        self._pool, self._clock, self._settings = dependencies.pool, dependencies.clock, dependencies.settings
        self._configured_mode = dependencies.configured_mode
        self._orders, self._counting = OrderDesk(dependencies.settings), counting

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """What each document would cost at most, in the order in which they came, and all of them.

        Raises:
            Problem: 400, 403, 415.
            OrderRefused: 413, 422: among others what can't be priced.
        """
        match media_type(req):
            case "multipart/form-data":
                counts = await self._counting.count(req)
                documents: Sequence[Counted] = counts.documents
                order = self._orders.order(req, form_values(counts.fields))
            case "application/json":
                body = await _read_json(req)
                documents = counted_by_sender(body)
                order = self._orders.order(req, {name: body[name] for name in body if name not in _OWN_FIELDS})
            case _:
                raise Problem(
                    415, "unsupported_media_type", 'send multipart/form-data with files, or JSON with "pages"'
                )
        resp.media = await run_in(self._pool, self._quote, order, documents)

    def _quote(self, order: Order, documents: Sequence[Counted]) -> QuoteSaid:
        now = self._clock()
        prices = self._settings.prices_at(now)
        quotes = [_price(order, document, prices) for document in documents]
        amounts = [quote.amount for quote in quotes]
        fits, total = fits_of(self._settings, order.tenant, order.user_id, amounts, now), Millicredits(sum(amounts))
        return {
            "files": [
                _file_view(document, quote, fit, prices)
                for document, quote, fit in zip(documents, quotes, fits, strict=True)
            ],
            "tier": order.tier,
            "pages": sum(quote.pages for quote in quotes),
            "credits": credits_number(total),
            "usd": usd_number(total, prices.usd_per_credit),
            "fits": all(fit.fits for fit in fits),
            "starts_at": starts_at(fits),
            "waiting": count_waiting(),
            "mode": order.mode or read_mode(self._configured_mode).mode,
            "on_budget_exhausted": self._settings.on_budget_exhausted,
        }


def fits_of(
    settings: Settings, tenant: str, user_id: UUID, amounts: Sequence[Millicredits], now: datetime
) -> list[Fit]:
    """Whether amounts fit the budgets that apply to a tenant's user, one after the other."""
    zone = settings.budget_timezone
    rooms = [
        Room(
            key=found.key,
            amount=found.amount,
            taken=Millicredits(found.reserved + found.spent),
            extra=found.extra,
            extra_until=found.extra_until,
        )
        for found in balances_of(applicable(tenant, user_id), now, zone)
        if found.amount is not None
    ]
    return fit_all(amounts, rooms, now=now, zone=zone, usd_per_credit=settings.prices_at(now).usd_per_credit)


def starts_at(fits: Sequence[Fit]) -> Start:
    """When the last of them could start; null for now."""
    return None if all(fit.fits for fit in fits) else _latest([fit.starts_at for fit in fits])


def _price(order: Order, document: Counted, prices: Prices) -> Quote:
    counted = document.pages.pages
    quote = price(counted, order.tier, order.options, prices)
    if not quote.pages:
        raise OrderRefused(
            f"file {document.filename!r} has {counted} pages, none of those asked for", reason="no_such_pages"
        )
    return quote


def _file_view(document: Counted, quote: Quote, fit: Fit, prices: Prices) -> FileQuote:
    return {
        "filename": document.filename,
        "kind": document.pages.kind,
        "pages": quote.pages,
        "pages_guessed": document.pages.guessed,
        "tier": quote.tier,
        "credits": credits_number(quote.amount),
        "usd": usd_number(quote.amount, prices.usd_per_credit),
        "fits": fit.fits,
        "starts_at": starts_at([fit]),
        "reason": fit.reason or None,
    }


def _latest(starts: Sequence[datetime | None]) -> Time | Literal["never"]:
    known = [start for start in starts if start is not None]
    return time_text(max(known)) if len(known) == len(starts) else NEVER


async def _read_json(req: falcon.asgi.Request) -> Mapping[str, Any]:
    try:
        body = parse_json(await read_body(req, MAX_JSON))
    except ValueError as error:
        raise Problem(400, "malformed_json", f"the body can't be read: {error}") from None
    if not isinstance(body, dict):
        raise OrderRefused("the body must be a JSON object")
    if body.get("source_url") is not None:
        raise OrderRefused("a source_url is not fetched for a quote: send the file, or say how many pages it has")
    return body
