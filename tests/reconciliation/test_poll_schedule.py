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


def test_a_typical_duration_is_learnt_from_enough_durations() -> None:
    assert typical_duration([8.0] * 19) is None
    assert typical_duration([8.0] * 20) == 10


def test_nine_in_ten_tasks_have_ended_by_the_earliest_first_poll() -> None:
    durations = [float(number) for number in range(100, 0, -1)]
    typical = typical_duration(durations)
    assert typical is not None
    assert poll_delay(0, typical, 0.0) == 90


@given(st.lists(st.floats(0, 1e12), min_size=20))
def test_a_typical_duration_has_bounds(durations: list[float]) -> None:
    typical = typical_duration(durations)
    assert typical is not None
    assert 1 <= typical <= 3600


def test_polls_start_near_the_typical_duration_and_back_off_to_a_cap() -> None:
    delays = [poll_delay(poll_count, 20, 0.5) for poll_count in range(8)]
    assert delays[0] == 20
    ratios = [later / sooner for sooner, later in pairwise(delays[:5])]
    assert all(1.5 <= ratio <= 2 for ratio in ratios)
    assert delays[6:] == [250, 250]


def test_a_long_task_is_first_polled_near_its_typical_end_and_then_at_the_cap() -> None:
    assert [poll_delay(poll_count, 900, 0.5) for poll_count in (0, 1)] == [900, 250]


@given(st.integers(0, 10**30), st.floats(0, 1e9), st.floats(0, 1, exclude_max=True))
def test_polls_are_never_in_a_busy_loop_nor_beyond_the_cap(
    poll_count: int, typical: float, random: float
) -> None:
    delay = poll_delay(poll_count, typical, random)
    ceiling = MAX_POLL_DELAY if poll_count else max(typical, MIN_POLL_DELAY) * 1.2
    assert MIN_POLL_DELAY * 0.79 <= delay <= ceiling * 1.001
