from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core import retries

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SCHEDULE = retries.DELIVERY_SCHEDULE
NEARLY_ONE = 1 - 2**-53

dice = st.floats(0, 1, exclude_max=True)
seconds = st.floats(0, 1e300)
counts = st.integers(0, 10**30)


@given(counts, seconds, seconds, dice)
def test_backing_off_stays_between_nothing_and_the_cap(
    attempt: int, base: float, cap: float, chance: float
) -> None:
    assert 0 <= retries.full_jitter(attempt, base, cap, chance) <= cap


def test_backing_off_doubles_until_the_cap() -> None:
    waits = [retries.full_jitter(attempt, 1, 60, 0.5) for attempt in range(8)]
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30]


@given(seconds, st.floats(0, 1), dice)
def test_jitter_stays_within_its_spread(delay: float, spread: float, chance: float) -> None:
    moved = retries.jittered(delay, spread, chance)
    assert moved >= 0
    assert delay * (1 - spread) * 0.999 <= moved <= delay * (1 + spread) * 1.001


def test_a_delivery_is_tried_again_after_each_entry() -> None:
    waits = [retries.next_delivery(SCHEDULE, made, 0.5, None) for made in range(1, 11)]
    assert waits == [*SCHEDULE, None]


def test_the_usual_schedule_is_the_contracts() -> None:
    minute, hour = 60, 3600
    contract = [5, 5 * minute, 30 * minute, *(n * hour for n in (2, 5, 10, 14, 20, 24))]
    assert list(SCHEDULE) == contract


def test_without_a_schedule_there_is_one_attempt() -> None:
    assert retries.next_delivery((), 1, 0.5, None) is None


def test_the_wait_is_moved_by_a_fifth_at_most() -> None:
    assert retries.next_delivery(SCHEDULE, 2, 0, None) == pytest.approx(240)
    assert retries.next_delivery(SCHEDULE, 2, NEARLY_ONE, None) == pytest.approx(360)


@pytest.mark.parametrize(
    ("made", "asked", "wait"),
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
    made: int, asked: float, wait: float | None
) -> None:
    assert retries.next_delivery(SCHEDULE, made, 0.5, asked) == wait


@given(st.lists(st.floats(0, 1e9), max_size=10), st.integers(1, 12), dice, st.none() | st.floats(0))
def test_a_delivery_never_waits_beyond_its_bounds(
    schedule: list[float], made: int, chance: float, asked: float | None
) -> None:
    wait = retries.next_delivery(schedule, made, chance, asked)
    assert (wait is None) == (made > len(schedule))
    assert 0 <= (wait or 0) <= max(3600, *(2 * entry for entry in schedule), 0)


def test_what_is_usual_is_learnt_from_enough_durations() -> None:
    assert retries.usual_duration([8.0] * 19) is None
    assert retries.usual_duration([8.0] * 20) == 10


def test_when_the_earliest_look_up_comes_nine_in_ten_have_ended() -> None:
    durations = [float(number) for number in range(100, 0, -1)]
    usual = retries.usual_duration(durations)
    assert usual is not None
    assert retries.poll_spacing(0, usual, 0.0) == 90


@given(st.lists(st.floats(0, 1e12), min_size=20))
def test_what_is_usual_keeps_to_sane_bounds(durations: list[float]) -> None:
    usual = retries.usual_duration(durations)
    assert usual is not None
    assert 1 <= usual <= 3600


def test_look_ups_start_near_the_usual_duration_and_widen_to_a_cap() -> None:
    waits = [retries.poll_spacing(made, 20, 0.5) for made in range(8)]
    assert waits[0] == 20
    ratios = [later / sooner for sooner, later in pairwise(waits[:5])]
    assert all(1.5 <= ratio <= 2 for ratio in ratios)
    assert waits[6:] == [250, 250]


def test_a_long_task_is_first_asked_for_near_its_usual_end_and_then_at_the_cap() -> None:
    assert [retries.poll_spacing(made, 900, 0.5) for made in (0, 1)] == [900, 250]


@given(counts, st.floats(0, 1e9), dice)
def test_look_ups_are_never_in_a_loop_nor_beyond_the_cap(
    made: int, usual: float, chance: float
) -> None:
    spacing = retries.poll_spacing(made, usual, chance)
    ceiling = retries.POLL_CAP if made else max(usual, retries.POLL_FLOOR) * 1.2
    assert retries.POLL_FLOOR * 0.79 <= spacing <= ceiling * 1.001


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        ("120", 120),
        (" 120 ", 120),
        ("9" * 64, 1e64),
        ("9" * 65, None),
        ("-5", None),
        ("1.5", None),
        ("١٢", None),
        ("soon", None),
        ("Sun, 01 Mar 2026 12:01:30 GMT", 90),
        ("Sunday, 01-Mar-26 12:01:30 GMT", 90),
        ("Sun Mar  1 12:01:30 2026", 90),
        ("Sun, 01 Mar 2026 13:01:30 +0100", 90),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0),
        ("Sun, 01 Mar 2026 25:00:00 GMT", None),
        ("Thu, 01 Jan 9999 23:59:59 -9999", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, wait: float | None) -> None:
    assert retries.retry_after_seconds(text, NOW) == wait


@given(
    st.datetimes(
        datetime(1970, 1, 1),  # noqa: DTZ001
        datetime(2200, 1, 1),  # noqa: DTZ001
        timezones=st.integers(-14, 14).map(lambda hours: timezone(timedelta(hours=hours))),
    )
)
def test_any_date_in_any_zone_is_read(date: datetime) -> None:
    whole = date.replace(microsecond=0)
    wait = retries.retry_after_seconds(format_datetime(whole), NOW)
    assert wait == max(0, (whole - NOW).total_seconds())


@given(st.text() | st.from_regex(r"[A-Za-z]{3},? [0-9 :A-Za-z+-]{0,40}"))
def test_any_text_gives_a_wait_or_none(text: str) -> None:
    wait = retries.retry_after_seconds(text, NOW)
    assert wait is None or wait >= 0


@pytest.mark.parametrize("space", ["\x1c", "\x0b", "\x85", "\u2003"])
def test_only_blanks_and_tabs_may_surround_a_retry_after(space: str) -> None:
    assert retries.retry_after_seconds(f"5 {space}", NOW) is None
    assert retries.retry_after_seconds(" \t5\t ", NOW) == 5
