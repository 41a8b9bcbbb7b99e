"""The circuit breaker of each subscriber, and the rate limit that it is sent to under.

Deliveries flow freely while a subscriber is healthy, slower while it is overloaded, and hardly at
all once it fails again and again: then the circuit breaker opens, and after a while lets one
delivery through as a probe. If failures go on, the account is notified, and later the subscriber is
disabled; 410 Gone disables it at once.

Pure, with the time and a random number as arguments: the results of attempts are applied to the
subscriber's health in the order in which they are recorded.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from service.kit.backoff import SPREAD, jittered
from service.kit.timestamps import format_rfc3339
from service.subjects.domain.event import HealthNotice

OVERLOADED: Final = frozenset({429, 502, 503, 504})  # HTTP statuses; time-outs count as well
OPEN_AFTER: Final = 10  # failures in a row: fewer happen to a subscriber that is only restarted
MIN_OPEN: Final = 1.0  # seconds; doubled with each probe that fails
MAX_OPEN: Final = 60.0  # seconds; a subscriber that recovers is sent to again within about a minute
RATE_CHANGE_INTERVAL: Final = timedelta(seconds=1)  # however many answers come in that time
RATE_DECREASE: Final = 0.5  # factor
RATE_INCREASE: Final = 1.5  # factor
MIN_RATE: Final = 0.2  # deliveries a second: one each five seconds still finds out
MAX_RATE: Final = 1000.0  # deliveries a second; beyond that the limit is dropped
RECOVERY_RATE: Final = 10.0  # deliveries a second after a circuit breaker has closed
MAX_PAUSE: Final = 60.0  # seconds that one Retry-After can pause a whole subscriber
# Seconds: no circuit breaker stays open, and no pause lasts, longer from now. What is further in
# the future was written by a clock that was wrong.
MAX_WAIT: Final = 2 * MAX_PAUSE


@dataclass(frozen=True, slots=True)
class FailureThresholds:
    """How long a subscriber may fail, with no success in between, in seconds."""

    failing_after: float  # from the first failure until the account is notified
    disable_after: float  # from that notice until the subscriber is disabled


@dataclass(frozen=True, slots=True)
class SubscriberHealth:
    """The circuit breaker, rate limit and notices of one subscriber, as the row of
    `subscriber_health` holds them. A healthy subscriber has only its id."""

    subscriber_id: str  # whose health it is
    current_rate: float | None = None  # deliveries a second; None if there is no limit
    rate_changed_at: datetime | None = None  # None if the rate has never changed
    # Nothing is claimed before this time: earlier claims have used up the rate until then, or the
    # subscriber asked for a pause with Retry-After. None if neither ever happened.
    rate_limited_until: datetime | None = None
    failures: int = 0  # failed attempts in a row
    failing_since: datetime | None = None  # the first of these failures; None if there is none
    # When the circuit breaker lets the next probe through; None if it is closed.
    circuit_open_until: datetime | None = None
    failed_probes: int = 0  # since the circuit breaker opened
    status: HealthNotice | None = None  # the last notice due to the account; None if there was none
    status_since: datetime | None = None  # when that notice became due
    reason: str | None = None  # that the notice gives, in words; None if it gives none


class AttemptResult(Struct, frozen=True):
    """What one attempt says of the subscriber's health."""

    succeeded: bool  # the subscriber is fine, as far as this attempt shows
    at: datetime  # when the attempt ended
    overloaded: bool = False  # the subscriber asked for less, or was too slow
    retry_after: float | None = None  # seconds that it asked to be left alone; None if it did not
    gone: bool = False  # it answered 410 Gone


def apply_results(
    health: SubscriberHealth,
    results: Iterable[AttemptResult],
    throughput: float,
    thresholds: FailureThresholds,
    random: float,
) -> SubscriberHealth:
    """The health after these results, in their order.

    `throughput` is how many deliveries a second the subscriber has answered of late: where there is
    no rate limit yet, it is slowed down from that. `random` is a random number in [0, 1).
    """
    for result in results:
        if result.gone:
            health = _with_notice(health, HealthNotice.DISABLED, result.at, "it answered 410 Gone")
        elif result.succeeded:
            health = _after_success(health, result.at)
        else:
            health = _after_failure(health, result, throughput, random)
            health = _with_failure_notice(health, result.at, thresholds)
    return health


def circuit_closed(before: SubscriberHealth, after: SubscriberHealth) -> bool:
    """Whether the circuit breaker has closed in between, so that retries need not wait any more."""
    return before.circuit_open_until is not None and after.circuit_open_until is None


def _after_success(health: SubscriberHealth, at: datetime) -> SubscriberHealth:
    if health.status is HealthNotice.FAILING:
        health = _with_notice(health, HealthNotice.RECOVERED, at)
    if health.circuit_open_until is not None:
        health = replace(
            health, current_rate=RECOVERY_RATE, rate_changed_at=at, rate_limited_until=None
        )
    elif health.current_rate is not None and _rate_may_change(health, at):
        faster = health.current_rate * RATE_INCREASE
        health = replace(
            health, current_rate=faster if faster < MAX_RATE else None, rate_changed_at=at
        )
    return replace(health, failures=0, failing_since=None, circuit_open_until=None, failed_probes=0)


def _after_failure(
    health: SubscriberHealth, result: AttemptResult, throughput: float, random: float
) -> SubscriberHealth:
    at = result.at
    if result.overloaded:
        health = _slowed_down(health, result, throughput)
    health = replace(health, failures=health.failures + 1, failing_since=health.failing_since or at)
    if health.circuit_open_until is None and health.failures < OPEN_AFTER:
        return health
    if health.circuit_open_until is not None and health.circuit_open_until > at:
        return health  # it was under way when the breaker opened, and tells nothing new
    probes = 0 if health.circuit_open_until is None else health.failed_probes + 1
    open_for = jittered(min(MIN_OPEN * 2.0 ** min(probes, 30), MAX_OPEN), SPREAD, random)
    open_until = at + timedelta(seconds=open_for)
    return replace(health, failed_probes=probes, circuit_open_until=open_until)


def _slowed_down(
    health: SubscriberHealth, result: AttemptResult, throughput: float
) -> SubscriberHealth:
    at = result.at
    if _rate_may_change(health, at):
        rate = throughput if health.current_rate is None else health.current_rate
        slower = max(MIN_RATE, min(rate, MAX_RATE) * RATE_DECREASE)
        health = replace(health, current_rate=slower, rate_changed_at=at)
    if result.retry_after:
        pause = at + timedelta(seconds=min(result.retry_after, MAX_PAUSE))
        health = replace(health, rate_limited_until=max(pause, health.rate_limited_until or pause))
    return health


def _with_failure_notice(
    health: SubscriberHealth, at: datetime, thresholds: FailureThresholds
) -> SubscriberHealth:
    """The health with the notice that is due once failures span long enough: failing, and later
    disabled. The second counts from the first, so a subscriber that is seldom written to is never
    disabled by two failures that lie far apart."""
    failing = health.status is HealthNotice.FAILING
    since = health.status_since if failing else health.failing_since
    limit = thresholds.disable_after if failing else thresholds.failing_after
    if since is None or (at - since).total_seconds() < limit:
        return health
    notice = HealthNotice.DISABLED if failing else HealthNotice.FAILING
    return _with_notice(
        health, notice, at, f"it has failed since {format_rfc3339(health.failing_since)}"
    )


def _with_notice(
    health: SubscriberHealth, notice: HealthNotice, at: datetime, reason: str | None = None
) -> SubscriberHealth:
    """The health with this notice due; a disabled subscriber stays so until its account says
    otherwise."""
    if health.status is HealthNotice.DISABLED:
        return health
    return replace(health, status=notice, status_since=at, reason=reason)


def _rate_may_change(health: SubscriberHealth, at: datetime) -> bool:
    return health.rate_changed_at is None or at - health.rate_changed_at >= RATE_CHANGE_INTERVAL
