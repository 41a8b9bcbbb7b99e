"""The circuit breaker of each subscriber, and the rate at which it is sent to.

Deliveries flow freely where a subscriber is well, slower where it is overburdened, and hardly at
all where it fails again and again: then the breaker opens, and after a while lets one delivery
through as a probe. If failures go on the account is told, and later the subscriber is disabled; 410
Gone disables it at once.

Pure, with time and chance as arguments: the results of attempts are applied to the subscriber's
health in the order in which they are recorded.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from service.kit.backoff import SPREAD, jittered
from service.kit.timestamps import format_rfc3339
from service.subjects.domain.event import HealthNotice

OVERBURDENED: Final = frozenset({429, 502, 503, 504})  # and time-outs
OPEN_AFTER: Final = 10  # failures in a row: fewer happen to a subscriber that is only restarted
OPEN_FIRST: Final = 1.0  # seconds; doubled with each probe that fails
OPEN_MOST: Final = 60.0  # seconds; one that is well again hears so within about a minute
STEP: Final = timedelta(seconds=1)  # a rate changes once in this time, however many answers come
SLOWER: Final = 0.5
FASTER: Final = 1.5
RATE_LEAST: Final = 0.2  # deliveries a second: one each five seconds still finds out
RATE_MOST: Final = 1000.0  # beyond this it is no bound any more
START: Final = 10.0  # deliveries a second after a breaker has closed
PAUSE_MOST: Final = 60.0  # seconds that one Retry-After can pause a whole subscriber


@dataclass(frozen=True, slots=True)
class FailureThresholds:
    """How long a subscriber may fail, with no success in between, in seconds."""

    failing: float
    """From the first failure until the account is told."""
    disable: float
    """From there until the subscriber is disabled."""


@dataclass(frozen=True, slots=True)
class SubscriberHealth:
    """How it stands with one subscriber; one that has only its id is well."""

    subscriber_id: str
    current_rate: float | None = None
    """Deliveries a second that it seems to bear at present; None if no bound is known."""
    rate_changed_at: datetime | None = None
    """When the rate last changed; None if it never has."""
    rate_limited_until: datetime | None = None
    """Nothing is claimed before: until then earlier claims use up the rate, or it asked for a pause
    with Retry-After. None if neither ever happened."""
    failures: int = 0
    """How many attempts in a row have failed."""
    failing_since: datetime | None = None
    """When the first of these failures was; None if there is none."""
    circuit_open_until: datetime | None = None
    """When the circuit breaker lets the next probe through; None if the breaker is closed."""
    failed_probes: int = 0
    """How many probes have failed since the breaker opened."""
    status: HealthNotice | None = None
    """What the account is to be told, or was told last; None if that is nothing."""
    status_since: datetime | None = None
    """Since when that is so."""
    reason: str | None = None
    """The reason that the account is given, in words."""


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """What one attempt says of the subscriber's health."""

    well: bool
    at: datetime
    """When the attempt ended."""
    overburdened: bool = False
    """Whether the subscriber asked for less, or was too slow."""
    retry_after: float | None = None
    """The seconds that it asked to be left alone; None if it did not ask."""
    gone: bool = False
    """Whether it answered 410 Gone: it wants no more."""


def apply_results(
    health: SubscriberHealth,
    results: Iterable[AttemptResult],
    answer_rate: float,
    thresholds: FailureThresholds,
    dice: float,
) -> SubscriberHealth:
    """The health after these results. `answer_rate` is how many deliveries a second the subscriber
    has answered of late: where there is no rate yet, it is slowed down from that."""
    for result in results:
        if result.gone:
            health = _with_notice(health, HealthNotice.DISABLED, result.at, "it answered 410 Gone")
        elif result.well:
            health = _after_success(health, result.at)
        else:
            health = _after_failure(health, result, answer_rate, dice)
            health = _with_failure_notice(health, result.at, thresholds)
    return health


def recovered(before: SubscriberHealth, after: SubscriberHealth) -> bool:
    """Whether the circuit breaker has closed: what waits for a later try need not wait."""
    return before.circuit_open_until is not None and after.circuit_open_until is None


def _after_success(health: SubscriberHealth, at: datetime) -> SubscriberHealth:
    if health.status is HealthNotice.FAILING:
        health = _with_notice(health, HealthNotice.RECOVERED, at)
    if health.circuit_open_until is not None:
        health = replace(health, current_rate=START, rate_changed_at=at, rate_limited_until=None)
    elif health.current_rate is not None and _may_change(health, at):
        faster = health.current_rate * FASTER
        health = replace(
            health, current_rate=faster if faster < RATE_MOST else None, rate_changed_at=at
        )
    return replace(health, failures=0, failing_since=None, circuit_open_until=None, failed_probes=0)


def _after_failure(
    health: SubscriberHealth, result: AttemptResult, answer_rate: float, dice: float
) -> SubscriberHealth:
    at = result.at
    if result.overburdened and _may_change(health, at):
        base = answer_rate if health.current_rate is None else health.current_rate
        health = replace(
            health, current_rate=max(RATE_LEAST, min(base, RATE_MOST) * SLOWER), rate_changed_at=at
        )
    if result.overburdened and result.retry_after:
        pause = at + timedelta(seconds=min(result.retry_after, PAUSE_MOST))
        health = replace(health, rate_limited_until=max(pause, health.rate_limited_until or pause))
    health = replace(health, failures=health.failures + 1, failing_since=health.failing_since or at)
    if health.circuit_open_until is None and health.failures < OPEN_AFTER:
        return health
    if health.circuit_open_until is not None and health.circuit_open_until > at:
        return health  # it was under way when the breaker opened, and tells nothing new
    probes = 0 if health.circuit_open_until is None else health.failed_probes + 1
    closed = jittered(min(OPEN_FIRST * 2.0 ** min(probes, 30), OPEN_MOST), SPREAD, dice)
    return replace(health, failed_probes=probes, circuit_open_until=at + timedelta(seconds=closed))


def _with_failure_notice(
    health: SubscriberHealth, at: datetime, thresholds: FailureThresholds
) -> SubscriberHealth:
    """Failing once failures span long enough, disabled once they have gone on from there: so one
    that is seldom written to is never disabled by two failures that lie far apart."""
    if health.failing_since is None:
        return health
    reason = f"it has failed since {format_rfc3339(health.failing_since)}"
    if health.status is HealthNotice.FAILING:
        long = _seconds(health.status_since, at) >= thresholds.disable
        return _with_notice(health, HealthNotice.DISABLED, at, reason) if long else health
    long = _seconds(health.failing_since, at) >= thresholds.failing
    return _with_notice(health, HealthNotice.FAILING, at, reason) if long else health


def _with_notice(
    health: SubscriberHealth, notice: HealthNotice, at: datetime, reason: str | None = None
) -> SubscriberHealth:
    """What is disabled stays so until somebody says otherwise."""
    if health.status is HealthNotice.DISABLED:
        return health
    return replace(health, status=notice, status_since=at, reason=reason)


def _seconds(since: datetime | None, at: datetime) -> float:
    return 0.0 if since is None else (at - since).total_seconds()


def _may_change(health: SubscriberHealth, at: datetime) -> bool:
    return health.rate_changed_at is None or at - health.rate_changed_at >= STEP
