"""When the provider is polled for a task that it has not called back about."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from service.reconciliation.domain.poll_schedule import (
    MAX_POLL_DELAY,
    MIN_POLL_DELAY,
    poll_delay,
    typical_duration,
)


def test_what_is_usual_is_learnt_from_enough_durations() -> None:
    assert typical_duration([8.0] * 19) is None
    assert typical_duration([8.0] * 20) == 10


def test_when_the_earliest_look_up_comes_nine_in_ten_have_ended() -> None:
    durations = [float(number) for number in range(100, 0, -1)]
    usual = typical_duration(durations)
    assert usual is not None
    assert poll_delay(0, usual, 0.0) == 90


@given(st.lists(st.floats(0, 1e12), min_size=20))
def test_what_is_usual_keeps_to_sane_bounds(durations: list[float]) -> None:
    usual = typical_duration(durations)
    assert usual is not None
    assert 1 <= usual <= 3600


def test_look_ups_start_near_the_usual_duration_and_widen_to_a_cap() -> None:
    waits = [poll_delay(made, 20, 0.5) for made in range(8)]
    assert waits[0] == 20
    ratios = [later / sooner for sooner, later in pairwise(waits[:5])]
    assert all(1.5 <= ratio <= 2 for ratio in ratios)
    assert waits[6:] == [250, 250]


def test_a_long_task_is_first_asked_for_near_its_usual_end_and_then_at_the_cap() -> None:
    assert [poll_delay(made, 900, 0.5) for made in (0, 1)] == [900, 250]


@given(st.integers(0, 10**30), st.floats(0, 1e9), st.floats(0, 1, exclude_max=True))
def test_look_ups_are_never_in_a_loop_nor_beyond_the_cap(
    made: int, usual: float, random: float
) -> None:
    spacing = poll_delay(made, usual, random)
    ceiling = MAX_POLL_DELAY if made else max(usual, MIN_POLL_DELAY) * 1.2
    assert MIN_POLL_DELAY * 0.79 <= spacing <= ceiling * 1.001
