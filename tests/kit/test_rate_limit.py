"""A rate limit holds, whatever is asked for and whoever's clock is wrong."""

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from service.kit.rate_limit import RateLimit
from tests.support.subjects import NOW

rates = st.integers(1, 10_000)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_after_a_pause_there_is_a_seconds_worth_and_then_what_the_rate_gives() -> None:
    assert RateLimit(20, None).available(NOW) == 20
    used = RateLimit(20, RateLimit(20, None).spend(20, NOW))
    assert [used.available(after(seconds)) for seconds in (0, 0.04, 0.05, 0.5, 1, 5)] == [
        *(0, 0, 1),
        *(10, 20, 20),
    ]


def test_the_wait_is_for_as_many_as_are_wanted_or_as_there_ever_are() -> None:
    used = RateLimit(20, RateLimit(20, None).spend(20, NOW))
    assert [used.wait(wanted, NOW) for wanted in (0, 1, 8, 20, 500)] == [0, 0.05, 0.4, 1, 1]
    assert used.wait(8, after(0.5)) == 0


@given(rates, st.lists(st.tuples(st.floats(0, 3), st.integers(0, 300)), max_size=50))
def test_no_second_sees_more_than_what_was_saved_and_what_the_rate_gives(
    rate: int, uses: list[tuple[float, int]]
) -> None:
    now, used_until, spent = NOW, None, list[tuple[datetime, int]]()
    for pause, wanted in uses:
        now += timedelta(seconds=pause)
        limit = RateLimit(rate, used_until)
        count = min(wanted, limit.available(now))
        used_until = limit.spend(count, now)
        spent.append((now, count))
        within = [count for at, count in spent if at > now - timedelta(seconds=1)]
        assert sum(within) <= 2 * rate
    whole = (now - NOW).total_seconds()
    assert sum(count for _, count in spent) <= rate * (whole + 1) + 1


@given(rates, st.integers(1, 300))
def test_who_waits_gets_what_it_waited_for(rate: int, wanted: int) -> None:
    used = RateLimit(rate, RateLimit(rate, None).spend(rate, NOW))
    later = after(used.wait(wanted, NOW)) + timedelta(microseconds=1)
    assert used.available(later) >= min(wanted, rate)


@given(rates, st.floats(1, 1e6))
def test_a_clock_that_was_ahead_stops_nothing_for_longer_than_a_second(
    rate: int, ahead: float
) -> None:
    limit = RateLimit(rate, after(ahead))
    assert limit.available(NOW) == 0
    assert limit.wait(1, NOW) <= 1
    assert RateLimit(rate, limit.spend(0, NOW)).available(after(1)) == rate
