"""``GET /metrics``: the installation in numbers, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import falcon.asgi
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from domain.breaker import BreakerState
from domain.money import to_credits
from domain.settlement import DriftKind
from gateway.dependencies import Dependencies
from gateway.openapi.description import Answer, Operation
from gateway.pool import run_in
from models.gauges import Gauges, read_gauges
from models.tokens import Scope

UP: Final = {BreakerState.CLOSED: 1.0, BreakerState.HALF_OPEN: 0.5, BreakerState.OPEN: 0.0}


class Metrics:
    """``GET /metrics``. It needs no token, and names no tenant, user or document."""

    scopes: Mapping[str, Scope] | None = None
    operations: Mapping[str, Operation] = {"GET": Operation("getMetrics", {200: Answer({CONTENT_TYPE_LATEST: str})})}

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool, self._clock = dependencies.pool, dependencies.clock
        self._zone = dependencies.settings.budget_timezone

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """The installation in numbers, as Prometheus reads them.

        Raises:
            StoreUnavailable: 503.
        """
        resp.data = await run_in(self._pool, self._read)
        resp.content_type = CONTENT_TYPE_LATEST

    def _read(self) -> bytes:
        registry = CollectorRegistry()
        registry.register(_Moment(read_gauges(self._clock(), self._zone)))
        return generate_latest(registry)


class _Moment(Collector):
    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """Every metric."""
        gauges = self._gauges
        jobs = GaugeMetricFamily("parsegate_unfinished_jobs", "Jobs that have not ended.", labels=["state"])
        for state, count in gauges.unfinished.items():
            jobs.add_metric([state], count)
        yield jobs
        drifts = GaugeMetricFamily(
            "parsegate_unexplained_drifts", "Bills that are not what was priced, and not explained.", labels=["kind"]
        )
        for kind in DriftKind:
            drifts.add_metric([kind.value], gauges.drifts.get(kind.value, 0))
        yield drifts
        for name, words in (("limit", "may be spent"), ("spent", "was settled"), ("reserved", "is held")):
            family = GaugeMetricFamily(
                f"parsegate_budget_{name}_credits", f"What {words} in the current window.", labels=["budget"]
            )
            for balance in gauges.budgets:
                amount: int | None = getattr(balance, name)
                family.add_metric([str(balance.key)], float("inf") if amount is None else float(to_credits(amount)))
            yield family
        endpoints = GaugeMetricFamily(
            "parsegate_endpoint_up",
            "Whether an endpoint of the provider is used: 1, or 0.5 while one call tries it, or 0.",
            labels=["endpoint"],
        )
        for route, state in gauges.endpoints.items():
            endpoints.add_metric([route], UP[state])
        yield endpoints
