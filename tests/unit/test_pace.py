"""The rule of the provider's pace: exact whatever the network does, in order, and quick to learn."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.pace import (
    HOLD_S,
    KEEP_WINDOWS,
    LEAST_AT_ONCE,
    MOST_HOLD_S,
    Gate,
    Learned,
    Route,
    hold_s,
    is_trusted,
    learning_window_s,
    opens_at,
    spacing,
    words,
)
from domain.settings import Rate, parse_rates

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
CALL = timedelta(milliseconds=50)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@dataclass
class Past:
    """Calls, as lists."""

    ends: list[datetime] = field(default_factory=list)
    under_way: int = 0
    promises: list[datetime] = field(default_factory=list)
    usual: timedelta = CALL

    @property
    def ahead(self) -> int:
        return len(self.promises)

    def ended(self, rank: int) -> datetime | None:
        ends = sorted(self.ends, reverse=True)
        return ends[rank - 1] if rank <= len(ends) else None

    def promised(self, rank: int) -> datetime:
        return self.promises[-rank]


def gate(past: Past, *rates: Rate, **said: object) -> Gate:
    return Gate(past, [(rate, words(rate)) for rate in rates], **said)  # type: ignore[arg-type]


seconds = st.integers(-30_000, 0).map(lambda ms: ms / 1000)
rates = st.lists(st.builds(Rate, st.integers(1, 6), st.integers(1, 20)), min_size=1, max_size=3)


@given(st.lists(seconds, max_size=12), st.integers(0, 4), rates)
def test_it_is_open_only_with_room_in_every_window_for_what_runs_and_what_just_ended(
    ends: list[float], under_way: int, windows: list[Rate]
) -> None:
    opening = opens_at(gate(Past([after(end) for end in ends], under_way), *windows), NOW)
    has_room = all(under_way + sum(-end < rate.seconds for end in ends) < rate.count for rate in windows)
    assert (opening.at <= NOW) is has_room
    assert bool(opening.why) is not has_room


@given(st.lists(seconds, max_size=12), st.integers(0, 4), rates, st.integers(2, 20))
def test_promised_times_rise_and_each_is_its_own(
    ends: list[float], under_way: int, windows: list[Rate], count: int
) -> None:
    past = Past([after(end) for end in ends], under_way)
    asked = gate(past, *windows)
    for _ in range(count):
        past.promises.append(opens_at(asked, NOW).at)
    gaps = [later - earlier for earlier, later in zip(past.promises, past.promises[1:], strict=False)]
    assert min(gaps) >= spacing(asked)
    assert past.promises[0] >= NOW


@given(st.lists(seconds, max_size=12), rates, st.integers(1, 20))
def test_promises_alone_never_overfill_a_window(ends: list[float], windows: list[Rate], count: int) -> None:
    past = Past([after(end) for end in ends])
    for _ in range(count):
        past.promises.append(opens_at(gate(past, *windows), NOW).at)
    # Each call starts when promised and takes as long as usual.
    spans = [(after(end), after(end)) for end in ends] + [(at, at + CALL) for at in past.promises]
    for rate in windows:
        for start in past.promises:
            opened = start - timedelta(seconds=rate.seconds)
            assert sum(began <= start and ended > opened for began, ended in spans) <= rate.count


def test_an_empty_window_is_open_to_the_brim() -> None:
    assert opens_at(gate(Past(under_way=49), Rate(50, 10)), NOW).at == NOW
    full = opens_at(gate(Past(under_way=50), Rate(50, 10)), NOW)
    assert full.at == NOW + CALL + timedelta(seconds=10)
    assert full.why == "50 per 10 s"


def test_room_is_back_exactly_a_window_after_the_end() -> None:
    past = Past([after(-10), after(-9.999)])
    assert opens_at(gate(past, Rate(2, 10)), NOW).at == NOW
    assert opens_at(gate(past, Rate(1, 10)), NOW).at == after(0.001)


def test_who_came_first_goes_first() -> None:
    past = Past([after(-9.5)], promises=[after(0.5)])
    assert opens_at(gate(past, Rate(1, 10)), NOW).at >= after(10.5)
    assert opens_at(gate(past, Rate(5, 10)), NOW).at == after(0.505)
    late = Past(promises=[after(-1.5)], under_way=1)
    assert opens_at(gate(late, Rate(1, 1)), NOW).at > NOW


def test_beyond_what_is_known_few_calls_go_at_once() -> None:
    known, wide = Rate(3, 10), Rate(5000, 10)
    busy = Past([after(-1), after(-2)], under_way=LEAST_AT_ONCE - 1)
    assert opens_at(gate(busy, wide, known=known), NOW).at == NOW
    busy.under_way = LEAST_AT_ONCE
    blocked = opens_at(gate(busy, wide, known=known), NOW)
    assert blocked.at == NOW + CALL
    assert "being tried" in blocked.why
    assert opens_at(gate(Past(under_way=2), wide, known=known), NOW).at == NOW
    much = Rate(160, 10)
    assert opens_at(gate(Past([after(-1)] * 160, under_way=9), wide, known=much), NOW).at == NOW
    assert opens_at(gate(Past([after(-1)] * 160, under_way=10), wide, known=much), NOW).at > NOW


def test_in_flight_the_hour_and_the_providers_word_hold_too() -> None:
    wide = Rate(50, 10)
    assert opens_at(gate(Past(), wide, room_in_flight=1), NOW).at == NOW
    assert "in flight" in opens_at(gate(Past(), wide, room_in_flight=0), NOW).why
    assert "in flight" in opens_at(gate(Past(promises=[NOW]), wide, room_in_flight=1), NOW).why
    hour = opens_at(gate(Past(), wide, everything=Past([after(-600)] * 3), hourly=[Rate(3, 3600)]), NOW)
    assert (hour.at, hour.why) == (after(3000), "3 per 3600 s over all routes")
    held = opens_at(gate(Past(), wide, hold_until=after(7)), NOW)
    assert (held.at, held.why) == (after(7), "the provider asked to wait")


def test_a_refusal_halves_the_pace_and_it_grows_back_within_a_window() -> None:
    learned = Learned.nothing(10).after_refusal(48, NOW, NOW)
    paces = [learned.pace(after(seconds)) for seconds in (0.0, 2.5, 5.0, 7.5, 9.99)]
    assert [pace.count for pace in paces if pace is not None] == [24, 30, 36, 42, 47]


def test_what_went_through_with_the_refusal_counts_for_the_ceiling() -> None:
    """Two calls were under way when a third one was refused; they went through."""
    learned = Learned.nothing(10).after_refusal(48, NOW, NOW).after_success(49).after_success(50)
    assert learned.pace(after(20)) == Rate(50, 10)


def test_a_ceiling_stands_for_some_windows_and_then_higher_ones_are_tried() -> None:
    learned = Learned.nothing(10).after_refusal(48, NOW, NOW)
    paces = [learned.pace(after(10.0 * window + 0.1)) for window in range(KEEP_WINDOWS + 5)]
    assert [pace.count for pace in paces if pace is not None] == [24] + [48] * KEEP_WINDOWS + [52, 60, 76, 108]
    assert learned.known(trusted=True) == Rate(48, 10)


def test_one_incident_is_one_cut() -> None:
    learned = Learned.nothing(10).after_refusal(48, after(-0.1), NOW)
    assert learned.after_refusal(2, NOW, after(1)) == learned
    assert learned.after_refusal(20, after(0.1), after(1)).ceiling == 20
    assert Learned.nothing(10).after_refusal(0, NOW, NOW).ceiling == 1


def test_what_went_through_is_known() -> None:
    fresh = Learned.nothing(10)
    assert fresh.known(trusted=True) is None
    assert fresh.known(trusted=False) == Rate(10, 10)
    assert fresh.after_success(30).known(trusted=False) == Rate(30, 10)
    assert fresh.after_success(30).after_success(5).known(trusted=False) == Rate(30, 10)
    assert fresh.pace(NOW) is None


@given(st.integers(1, 1000), st.floats(0, 1e6))
def test_a_learned_pace_is_never_below_one_and_never_falls_back(ceiling: int, elapsed: float) -> None:
    learned = Learned.nothing(10).after_refusal(ceiling, NOW, NOW)
    now, later = learned.pace(after(elapsed)), learned.pace(after(elapsed + 10))
    assert now is not None
    assert later is not None
    assert 1 <= now.count <= later.count


def test_a_clock_that_went_back_gives_the_careful_pace() -> None:
    assert Learned.nothing(10).after_refusal(48, NOW, NOW).pace(after(-3600)) == Rate(24, 10)


@pytest.mark.parametrize(
    ("text", "trusted"),
    [
        ("50/10", True),
        ("10/2", True),
        ("20/2", False),
        ("51/10", False),
        ("5000/10,200/60", False),
        ("5000/10,20/60", True),
    ],
)
def test_a_limit_is_trusted_up_to_what_is_published(text: str, trusted: bool) -> None:
    windows = parse_rates(text)
    assert is_trusted(Route.UPLOAD, windows, Rate(50, 10), 0, told=False) is trusted
    assert is_trusted(Route.CREATE, windows, Rate(50, 10), 0, told=True) is trusted
    most = min(rate.count for rate in windows)
    assert is_trusted(Route.CREATE, windows, Rate(50, 10), most, told=False) is trusted
    assert not is_trusted(Route.CREATE, windows, Rate(50, 10), most - 1, told=False)


def test_the_window_that_is_learned_for_is_the_shortest_and_never_long() -> None:
    assert learning_window_s(parse_rates("50/10,10/2")) == 2
    assert learning_window_s(parse_rates("5000/60")) == 10


def test_retry_after_is_obeyed_within_reason() -> None:
    assert [hold_s(said) for said in (None, 7.0, -5.0, 1e9)] == [HOLD_S, 7.0, 0.0, MOST_HOLD_S]
