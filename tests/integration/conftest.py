"""What several integration tests stand on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llamaparse.simulator import RunningSimulator, SimulatorSettings, serve


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    """A quick one whose limits are not what is tested."""
    with serve(SimulatorSettings(latency_s=0.01, parse_limit="500/1", upload_limit="500/1")) as running:
        yield running
