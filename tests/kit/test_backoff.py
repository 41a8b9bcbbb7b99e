"""Waits between tries stay within their bounds."""

from hypothesis import given
from hypothesis import strategies as st

from service.kit.backoff import full_jitter, jittered

random_numbers = st.floats(0, 1, exclude_max=True)
seconds = st.floats(0, 1e300)
counts = st.integers(0, 10**30)


@given(counts, seconds, seconds, random_numbers)
def test_backing_off_stays_between_nothing_and_the_cap(
    attempt: int, base: float, cap: float, random: float
) -> None:
    assert 0 <= full_jitter(attempt, base, cap, random) <= cap


def test_backing_off_doubles_until_the_cap() -> None:
    waits = [full_jitter(attempt, 1, 60, 0.5) for attempt in range(8)]
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30]


@given(seconds, st.floats(0, 1), random_numbers)
def test_jitter_stays_within_its_spread(delay: float, spread: float, random: float) -> None:
    moved = jittered(delay, spread, random)
    assert moved >= 0
    assert delay * (1 - spread) * 0.999 <= moved <= delay * (1 + spread) * 1.001
