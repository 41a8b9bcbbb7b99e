"""A lane slows where a subscriber is overburdened, closes where it fails, and opens again."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core import subscriber_health
from service.core.subjects import rfc3339
from service.core.subscriber_health import (
    OPEN_AFTER,
    OPEN_FIRST,
    OPEN_MOST,
    PAUSE_MOST,
    RATE_LEAST,
    RATE_MOST,
    START,
    AttemptResult,
    FailureThresholds,
    HealthNotice,
    SubscriberHealth,
    apply_results,
)
from tests.make import NOW

DAY = 86_400.0
PATIENCE = FailureThresholds(failing=DAY / 2, disable=5 * DAY)
HALF = 0.5  # dice that leave a delay as it is


def after(seconds: float, **what: object) -> AttemptResult:
    values = {"well": False, "at": NOW + timedelta(seconds=seconds)} | what
    return AttemptResult(**values)  # type: ignore[arg-type]


def folded(
    lane: SubscriberHealth, *results: AttemptResult, pace: float = 100.0
) -> SubscriberHealth:
    return apply_results(lane, results, pace, PATIENCE, HALF)


WELL = SubscriberHealth("sbr_1")
SHUT = folded(WELL, *[after(0)] * OPEN_AFTER)


def test_what_goes_well_leaves_a_lane_as_it_is() -> None:
    assert folded(WELL, after(0, well=True), after(1, well=True)) == WELL


def test_one_success_ends_a_row_of_failures() -> None:
    failed = folded(WELL, *[after(0)] * (OPEN_AFTER - 1))
    assert (failed.failures, failed.failing_since, failed.open_until) == (9, NOW, None)
    assert folded(failed, after(1, well=True)) == WELL


def test_many_failures_in_a_row_open_the_breaker() -> None:
    assert SHUT.open_until == NOW + timedelta(seconds=OPEN_FIRST)
    assert SHUT.failures == OPEN_AFTER


def test_what_was_under_way_when_it_opened_tells_nothing_new() -> None:
    more = folded(SHUT, after(0.5), after(0.9))
    assert (more.open_until, more.probes) == (SHUT.open_until, 0)


def test_each_probe_that_fails_keeps_it_open_for_twice_as_long_up_to_a_bound() -> None:
    lane, waits = SHUT, []
    for _ in range(9):
        assert lane.open_until is not None
        at = lane.open_until
        lane = folded(lane, AttemptResult(well=False, at=at))
        assert lane.open_until is not None
        waits.append((lane.open_until - at).total_seconds())
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60, OPEN_MOST]


def test_a_probe_that_goes_well_closes_it_and_the_lane_begins_slowly() -> None:
    lane = folded(SHUT, after(2, well=True))
    assert (lane.open_until, lane.failures, lane.rate) == (None, 0, START)
    assert subscriber_health.recovered(SHUT, lane)
    for second in range(3, 20):
        lane = folded(lane, after(second, well=True), after(second + 0.5, well=True))
    assert lane.rate is None, "in the end it flows freely again"


@pytest.mark.parametrize("pace", [0.0, 1.0, 80.0, 1e9])
def test_an_overburdened_subscriber_is_slowed_down_from_what_it_answered(pace: float) -> None:
    lane = folded(WELL, after(0, overburdened=True), pace=pace)
    assert lane.rate == max(RATE_LEAST, min(pace, RATE_MOST) / 2)


def test_many_answers_of_one_moment_slow_it_down_once() -> None:
    lane = folded(WELL, *[after(0, overburdened=True)] * 5)
    assert lane.rate == 50
    assert folded(lane, after(1, overburdened=True)).rate == 25


def test_other_failures_do_not_slow_it_down() -> None:
    assert folded(WELL, after(0)).rate is None


@pytest.mark.parametrize(("asked", "pause"), [(7.0, 7.0), (1e9, PAUSE_MOST)])
def test_retry_after_holds_the_whole_lane_but_not_for_ever(asked: float, pause: float) -> None:
    lane = folded(WELL, after(0, overburdened=True, retry_after=asked))
    assert lane.next_at == NOW + timedelta(seconds=pause)


@pytest.mark.parametrize(
    ("hours", "told"),
    [
        ([11.9], None),
        ([12], HealthNotice.FAILING),
        ([12, 12 + 5 * 24 - 0.1], HealthNotice.FAILING),
        ([12, 12 + 5 * 24], HealthNotice.DISABLED),
        ([6 * 24], HealthNotice.FAILING),  # two failures far apart are no six days of failing
        ([6 * 24, 10 * 24], HealthNotice.FAILING),
        ([6 * 24, 11 * 24], HealthNotice.DISABLED),
    ],
)
def test_an_account_is_told_first_and_then_the_subscriber_is_disabled(
    hours: list[float], told: HealthNotice | None
) -> None:
    lane = folded(SHUT, *[after(hour * 3600) for hour in hours])
    assert lane.told is told
    assert lane.why == (told and f"it has failed since {rfc3339(NOW)}")


def test_a_success_after_it_was_told_of_is_told_too() -> None:
    failing = folded(SHUT, after(DAY / 2))
    lane = folded(failing, after(DAY, well=True))
    assert (lane.told, lane.told_at, lane.why) == (
        HealthNotice.RECOVERED,
        NOW + timedelta(days=1),
        None,
    )
    assert folded(lane, *[after(2 * DAY), after(3 * DAY)]).told is HealthNotice.FAILING


GONE = after(0, gone=True)


@pytest.mark.parametrize(
    "others", [[], [GONE], [after(0, well=True)], [after(0)], [after(0)] * OPEN_AFTER]
)
def test_gone_disables_whatever_comes_before_and_after_it(others: list[AttemptResult]) -> None:
    for results in ([GONE, *others], [*others, GONE]):
        lane = folded(WELL, *results)
        assert (lane.told, lane.why) == (HealthNotice.DISABLED, "it answered 410 Gone")


results = st.builds(
    AttemptResult,
    well=st.booleans(),
    at=st.floats(0, 1e7).map(lambda seconds: NOW + timedelta(seconds=seconds)),
    overburdened=st.booleans(),
    retry_after=st.none() | st.floats(0, 1e12),
    gone=st.booleans(),
)


@given(st.lists(results, max_size=40), st.floats(0, 1e6), st.floats(0, 1, exclude_max=True))
def test_whatever_comes_a_lane_keeps_within_its_bounds(
    found: list[AttemptResult], pace: float, dice: float
) -> None:
    lane = WELL
    for result in sorted(found, key=lambda one: one.at):
        lane = apply_results(lane, [result], pace, PATIENCE, dice)
        assert (lane.failures > 0) == (lane.failing_since is not None)
        assert lane.rate is None or RATE_LEAST <= lane.rate <= RATE_MOST
        if lane.open_until is not None and lane.failures == OPEN_AFTER:
            assert lane.open_until <= result.at + timedelta(seconds=OPEN_MOST * 1.2)
        if result.well and not result.gone:
            assert (lane.failures, lane.open_until, lane.probes) == (0, None, 0)
