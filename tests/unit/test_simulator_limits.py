"""The sliding window is exact: never more than the limit in any window, and never less than it allows."""

from __future__ import annotations

from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaparse.simulator.limits import SlidingWindow, WindowPeak
from llamaparse.simulator.settings import Limit, SimulatorSettings


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_fifty_in_ten_seconds_and_not_one_more() -> None:
    clock = Clock()
    window = SlidingWindow(Limit.parse("50/10"), clock)
    assert [window.take() for _ in range(60)] == [True] * 50 + [False] * 10
    clock.now = 9.999
    assert not window.take()
    clock.now = 10.0
    assert [window.take() for _ in range(60)] == [True] * 50 + [False] * 10


@given(
    count=st.integers(1, 5),
    seconds=st.integers(1, 8),
    gaps=st.lists(st.integers(0, 4), max_size=60),
)
def test_no_window_holds_more_than_the_limit_and_no_call_is_refused_needlessly(
    count: int, seconds: int, gaps: list[int]
) -> None:
    clock = Clock()
    window = SlidingWindow(Limit(count, seconds), clock)
    peak = WindowPeak(seconds, clock)
    granted: list[float] = []
    for gap in gaps:
        clock.now += gap
        in_window = len(granted) - bisect_right(granted, clock.now - seconds)
        assert window.take() == (in_window < count)
        if in_window < count:
            granted.append(clock.now)
            peak.count()
    worst = max((sum(start <= at < start + seconds for at in granted) for start in granted), default=0)
    assert worst <= count
    assert peak.peak == worst


@pytest.mark.parametrize("text", ["", "50", "50/", "/10", "0/10", "50/0", "-1/10", "50/-1", "a/b", "1.5/10", "50/10/2"])
def test_a_malformed_limit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a limit"):
        SimulatorSettings(parse_limit=text)
    with pytest.raises(ValueError, match="not a limit"):
        SimulatorSettings(upload_limit=text)


@pytest.mark.parametrize("field", ["latency_s", "usage_delay_s", "list_lag_s"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_times_are_finite_and_not_negative(field: str, value: float) -> None:
    settings: dict[str, float] = {field: value}
    with pytest.raises(ValueError, match=field):
        SimulatorSettings(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("faults", [{"nonsense": 1.0}, {"reset": 1.5}, {"reset": float("nan")}])
def test_unknown_faults_are_refused_at_the_start(faults: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"fault|rate"):
        SimulatorSettings(faults=faults)
