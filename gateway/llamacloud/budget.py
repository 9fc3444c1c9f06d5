"""402 as LlamaCloud says it: under the policy `reject`, an order that no budget has room for now is refused at once."""

from __future__ import annotations

from domain.orders import Order
from domain.pricing import price
from domain.settings import Mode, OnExhausted
from gateway.counting import CountingDesk
from gateway.dependencies import Dependencies
from gateway.pool import run_in
from gateway.problems import Problem
from gateway.quote import fits_of
from models.control import read_mode


class BudgetDesk:
    """Looks ahead; only the ledger decides, and what it has no room for then ends as failed."""

    def __init__(self, dependencies: Dependencies, counting: CountingDesk) -> None:
        self._settings, self._configured = dependencies.settings, dependencies.configured_mode
        self._pool, self._clock, self._store = dependencies.pool, dependencies.clock, dependencies.store
        self._counting = counting

    async def check(self, order: Order, path: str, filename: str) -> None:
        """Refuse an order that does not fit, by its bytes at `path` in the store.

        Under the other policies it waits, or is parsed here.

        Raises:
            Problem: 402; 503, too many documents are being counted.
        """
        if self._settings.on_budget_exhausted is not OnExhausted.REJECT:
            return
        if await run_in(self._pool, self._mode, order) is Mode.MOCK:
            return
        counted = await self._counting.count_stored(self._store, path, filename)
        reason = await run_in(self._pool, self._reason, order, counted.pages.pages)
        if reason is not None:
            raise Problem(402, "budget_exhausted", f"The budget is exhausted: {reason}")

    def _mode(self, order: Order) -> Mode:
        return order.mode or read_mode(self._configured).mode

    def _reason(self, order: Order, pages: int) -> str | None:
        now = self._clock()
        amount = price(pages, order.tier, order.options, self._settings.prices_at(now)).amount
        (fit,) = fits_of(self._settings, order.tenant, order.user_id, [amount], now)
        return None if fit.fits else fit.reason
