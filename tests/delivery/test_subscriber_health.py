"""A subscriber is slowed where it is overburdened, cut off where it fails, and sent to again."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.delivery.domain import subscriber_health
from service.delivery.domain.subscriber_health import (
    MAX_OPEN,
    MAX_PAUSE,
    MAX_RATE,
    MIN_OPEN,
    MIN_RATE,
    OPEN_AFTER,
    RECOVERY_RATE,
    AttemptResult,
    FailureThresholds,
    SubscriberHealth,
    apply_results,
)
from service.kit.timestamps import format_rfc3339
from service.subjects.domain.event import HealthNotice
from tests.support.subjects import NOW

DAY = 86_400.0
THRESHOLDS = FailureThresholds(failing_after=DAY / 2, disable_after=5 * DAY)
NO_JITTER = 0.5  # the random number that leaves a delay as it is


def after(seconds: float, **changes: object) -> AttemptResult:
    values = {"succeeded": False, "at": NOW + timedelta(seconds=seconds)} | changes
    return AttemptResult(**values)  # type: ignore[arg-type]


def applied(
    health: SubscriberHealth, *results: AttemptResult, throughput: float = 100.0
) -> SubscriberHealth:
    return apply_results(health, results, throughput, THRESHOLDS, NO_JITTER)


HEALTHY = SubscriberHealth("sbr_1")
OPEN = applied(HEALTHY, *[after(0)] * OPEN_AFTER)


def test_successes_leave_health_as_it_is() -> None:
    assert applied(HEALTHY, after(0, succeeded=True), after(1, succeeded=True)) == HEALTHY


def test_one_success_ends_a_row_of_failures() -> None:
    failed = applied(HEALTHY, *[after(0)] * (OPEN_AFTER - 1))
    assert (failed.failures, failed.failing_since, failed.circuit_open_until) == (9, NOW, None)
    assert applied(failed, after(1, succeeded=True)) == HEALTHY


def test_many_failures_in_a_row_open_the_circuit_breaker() -> None:
    assert OPEN.circuit_open_until == NOW + timedelta(seconds=MIN_OPEN)
    assert OPEN.failures == OPEN_AFTER


def test_what_was_under_way_when_it_opened_tells_nothing_new() -> None:
    more = applied(OPEN, after(0.5), after(0.9))
    assert (more.circuit_open_until, more.failed_probes) == (OPEN.circuit_open_until, 0)


def test_each_probe_that_fails_keeps_it_open_for_twice_as_long_up_to_a_bound() -> None:
    health, waits = OPEN, []
    for _ in range(9):
        assert health.circuit_open_until is not None
        at = health.circuit_open_until
        health = applied(health, AttemptResult(succeeded=False, at=at))
        assert health.circuit_open_until is not None
        waits.append((health.circuit_open_until - at).total_seconds())
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60, MAX_OPEN]


def test_a_probe_that_succeeds_closes_it_and_the_rate_begins_slowly() -> None:
    health = applied(OPEN, after(2, succeeded=True))
    assert (health.circuit_open_until, health.failures, health.current_rate) == (
        None,
        0,
        RECOVERY_RATE,
    )
    assert subscriber_health.circuit_closed(OPEN, health)
    for second in range(3, 20):
        health = applied(health, after(second, succeeded=True), after(second + 0.5, succeeded=True))
    assert health.current_rate is None, "in the end it flows freely again"


@pytest.mark.parametrize("throughput", [0.0, 1.0, 80.0, 1e9])
def test_an_overloaded_subscriber_is_slowed_down_from_its_throughput(
    throughput: float,
) -> None:
    health = applied(HEALTHY, after(0, overloaded=True), throughput=throughput)
    assert health.current_rate == max(MIN_RATE, min(throughput, MAX_RATE) / 2)


def test_many_answers_of_one_moment_slow_it_down_once() -> None:
    health = applied(HEALTHY, *[after(0, overloaded=True)] * 5)
    assert health.current_rate == 50
    assert applied(health, after(1, overloaded=True)).current_rate == 25


def test_other_failures_do_not_slow_it_down() -> None:
    assert applied(HEALTHY, after(0)).current_rate is None


@pytest.mark.parametrize(("retry_after", "pause"), [(7.0, 7.0), (1e9, MAX_PAUSE)])
def test_retry_after_pauses_a_subscriber_but_not_for_ever(retry_after: float, pause: float) -> None:
    health = applied(HEALTHY, after(0, overloaded=True, retry_after=retry_after))
    assert health.rate_limited_until == NOW + timedelta(seconds=pause)


@pytest.mark.parametrize(
    ("hours", "expected"),
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
def test_an_account_is_notified_first_and_then_the_subscriber_is_disabled(
    hours: list[float], expected: HealthNotice | None
) -> None:
    health = applied(OPEN, *[after(hour * 3600) for hour in hours])
    assert health.status is expected
    assert health.reason == (expected and f"it has failed since {format_rfc3339(NOW)}")


def test_a_success_after_a_notice_is_a_notice_too() -> None:
    failing = applied(OPEN, after(DAY / 2))
    health = applied(failing, after(DAY, succeeded=True))
    assert (health.status, health.status_since, health.reason) == (
        HealthNotice.RECOVERED,
        NOW + timedelta(days=1),
        None,
    )
    assert applied(health, *[after(2 * DAY), after(3 * DAY)]).status is HealthNotice.FAILING


GONE = after(0, gone=True)


@pytest.mark.parametrize(
    "others", [[], [GONE], [after(0, succeeded=True)], [after(0)], [after(0)] * OPEN_AFTER]
)
def test_gone_disables_whatever_comes_before_and_after_it(others: list[AttemptResult]) -> None:
    for results in ([GONE, *others], [*others, GONE]):
        health = applied(HEALTHY, *results)
        assert (health.status, health.reason) == (HealthNotice.DISABLED, "it answered 410 Gone")


results = st.builds(
    AttemptResult,
    succeeded=st.booleans(),
    at=st.floats(0, 1e7).map(lambda seconds: NOW + timedelta(seconds=seconds)),
    overloaded=st.booleans(),
    retry_after=st.none() | st.floats(0, 1e12),
    gone=st.booleans(),
)


@given(st.lists(results, max_size=40), st.floats(0, 1e6), st.floats(0, 1, exclude_max=True))
def test_whatever_the_results_health_keeps_within_its_bounds(
    results: list[AttemptResult], throughput: float, random: float
) -> None:
    health = HEALTHY
    for result in sorted(results, key=lambda result: result.at):
        health = apply_results(health, [result], throughput, THRESHOLDS, random)
        assert (health.failures > 0) == (health.failing_since is not None)
        assert health.current_rate is None or MIN_RATE <= health.current_rate <= MAX_RATE
        if health.circuit_open_until is not None and health.failures == OPEN_AFTER:
            assert health.circuit_open_until <= result.at + timedelta(seconds=MAX_OPEN * 1.2)
        if result.succeeded and not result.gone:
            assert (health.failures, health.circuit_open_until, health.failed_probes) == (
                0,
                None,
                0,
            )
