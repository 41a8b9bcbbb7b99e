"""When a delivery that failed is tried again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.delivery.domain.retries import DELIVERY_SCHEDULE as SCHEDULE
from service.delivery.domain.retries import retry_delay

NEARLY_ONE = 1 - 2**-53

random_numbers = st.floats(0, 1, exclude_max=True)


def test_a_delivery_is_tried_again_after_each_entry() -> None:
    waits = [retry_delay(SCHEDULE, attempts_made, 0.5, None) for attempts_made in range(1, 11)]
    assert waits == [*SCHEDULE, None]


def test_the_default_schedule_lasts_for_three_days() -> None:
    minute, hour = 60, 3600
    expected = [5, 5 * minute, 30 * minute, *(n * hour for n in (2, 5, 10, 14, 20, 24))]
    assert list(SCHEDULE) == expected


def test_without_a_schedule_there_is_one_attempt() -> None:
    assert retry_delay((), 1, 0.5, None) is None


def test_the_wait_is_moved_by_a_fifth_at_most() -> None:
    assert retry_delay(SCHEDULE, 2, 0, None) == pytest.approx(240)
    assert retry_delay(SCHEDULE, 2, NEARLY_ONE, None) == pytest.approx(360)


@pytest.mark.parametrize(
    ("attempts_made", "retry_after", "wait"),
    [
        (1, 0, 5),  # never sooner than planned
        (1, 2, 5),
        (1, 60, 60),
        (1, 3600, 3600),
        (1, 86400, 3600),  # at most an hour here,
        (4, 10000, 10000),
        (4, 86400, 14400),  # and twice the plan where that is more
        (9, 1e64, 172800),
        (10, 60, None),  # asking to wait does not add an attempt
    ],
)
def test_retry_after_puts_an_attempt_off_within_bounds(
    attempts_made: int, retry_after: float, wait: float | None
) -> None:
    assert retry_delay(SCHEDULE, attempts_made, 0.5, retry_after) == wait


@given(
    st.lists(st.floats(0, 1e9), max_size=10),
    st.integers(1, 12),
    random_numbers,
    st.none() | st.floats(0),
)
def test_a_delivery_never_waits_beyond_its_bounds(
    schedule: list[float], attempts_made: int, random: float, retry_after: float | None
) -> None:
    wait = retry_delay(schedule, attempts_made, random, retry_after)
    assert (wait is None) == (attempts_made > len(schedule))
    assert 0 <= (wait or 0) <= max(3600, *(2 * entry for entry in schedule), 0)
