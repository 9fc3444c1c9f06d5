"""A LlamaCloud-compatible server for tests, demos and laptops. It stands in for the provider's parse API v2.

    with serve(SimulatorSettings(faults={"create-answer-lost": 0.1})) as running:
        client = LlamaCloud(api_key="llx-any", base_url=running.base_url)

It is the judge of the gateway's client, so it shares no schema, price or signature code with it: all it knows of the
provider is written down here a second time, from the provider's own SDK and documentation.

Keys: any ``llx-...`` works and is a project of its own; ``llx-wrong`` is refused (401); with ``llx-broke...`` creating
a job answers 402. Faults: `FAULTS`. Truth: ``GET /_sim/stats``.
"""

from __future__ import annotations

from llamaparse.simulator.app import create_simulator
from llamaparse.simulator.faults import FAULTS
from llamaparse.simulator.server import RunningSimulator, run, serve
from llamaparse.simulator.settings import SimulatorSettings
from llamaparse.simulator.simulator import Simulator

__all__ = ["FAULTS", "RunningSimulator", "Simulator", "SimulatorSettings", "create_simulator", "run", "serve"]
