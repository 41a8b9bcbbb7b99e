"""How a subscriber's deliveries may flow: slower where it is overburdened, hardly at all where it
fails again and again, freely where it is well. Pure, with time and chance as arguments.

What each attempt came to is folded into the lane, in the order in which they ended.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from service.core.retries import SPREAD, jittered
from service.core.subjects import rfc3339

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
PAUSE_MOST: Final = 60.0  # seconds that one Retry-After can hold the whole lane


class HealthNotice(StrEnum):
    """What the account was last told of a subscriber."""

    FAILING = "failing"
    DISABLED = "disabled"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True)
class FailureThresholds:
    """Seconds that failures span, with no success among them, until the account is told; and from
    there until the subscriber is disabled."""

    failing: float
    disable: float


@dataclass(frozen=True, slots=True)
class SubscriberHealth:
    """How it stands with one subscriber; the meaning of each is in store/outgoing.py."""

    subscriber_id: str
    rate: float | None = None
    rated_at: datetime | None = None
    next_at: datetime | None = None
    failures: int = 0
    failing_since: datetime | None = None
    open_until: datetime | None = None
    probes: int = 0
    told: HealthNotice | None = None
    told_at: datetime | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """What an attempt says of the subscriber's health, at the time at which it ended.

    `overburdened` is it where it asks for less, or is too slow; `retry_after` in seconds, as it
    asked. `gone`: it wants no more.
    """

    well: bool
    at: datetime
    overburdened: bool = False
    retry_after: float | None = None
    gone: bool = False


def apply_results(
    lane: SubscriberHealth,
    results: Iterable[AttemptResult],
    pace: float,
    patience: FailureThresholds,
    dice: float,
) -> SubscriberHealth:
    """The lane after these results. `pace` is how many deliveries a second it has answered of late:
    where there is no rate yet, that is what it is slowed down from."""
    for result in results:
        if result.gone:
            lane = _say(lane, HealthNotice.DISABLED, result.at, "it answered 410 Gone")
        elif result.well:
            lane = _well(lane, result.at)
        else:
            lane = _failed(lane, result, pace, dice)
            lane = _judged(lane, result.at, patience)
    return lane


def recovered(before: SubscriberHealth, after: SubscriberHealth) -> bool:
    """Whether its breaker has closed: what waits for a later try need not wait."""
    return before.open_until is not None and after.open_until is None


def _well(lane: SubscriberHealth, at: datetime) -> SubscriberHealth:
    if lane.told is HealthNotice.FAILING:
        lane = _say(lane, HealthNotice.RECOVERED, at)
    if lane.open_until is not None:
        lane = replace(lane, rate=START, rated_at=at, next_at=None)
    elif lane.rate is not None and _may_change(lane, at):
        faster = lane.rate * FASTER
        lane = replace(lane, rate=faster if faster < RATE_MOST else None, rated_at=at)
    return replace(lane, failures=0, failing_since=None, open_until=None, probes=0)


def _failed(
    lane: SubscriberHealth, result: AttemptResult, pace: float, dice: float
) -> SubscriberHealth:
    at = result.at
    if result.overburdened and _may_change(lane, at):
        base = pace if lane.rate is None else lane.rate
        lane = replace(lane, rate=max(RATE_LEAST, min(base, RATE_MOST) * SLOWER), rated_at=at)
    if result.overburdened and result.retry_after:
        pause = at + timedelta(seconds=min(result.retry_after, PAUSE_MOST))
        lane = replace(lane, next_at=max(pause, lane.next_at or pause))
    lane = replace(lane, failures=lane.failures + 1, failing_since=lane.failing_since or at)
    if lane.open_until is None and lane.failures < OPEN_AFTER:
        return lane
    if lane.open_until is not None and lane.open_until > at:
        return lane  # it was under way when the breaker opened, and tells nothing new
    probes = 0 if lane.open_until is None else lane.probes + 1
    closed = jittered(min(OPEN_FIRST * 2.0 ** min(probes, 30), OPEN_MOST), SPREAD, dice)
    return replace(lane, probes=probes, open_until=at + timedelta(seconds=closed))


def _judged(lane: SubscriberHealth, at: datetime, patience: FailureThresholds) -> SubscriberHealth:
    """Failing once failures span long enough, disabled once they have gone on from there: so one
    that is seldom written to is never disabled by two failures that lie far apart."""
    if lane.failing_since is None:
        return lane
    why = f"it has failed since {rfc3339(lane.failing_since)}"
    if lane.told is HealthNotice.FAILING:
        long = _seconds(lane.told_at, at) >= patience.disable
        return _say(lane, HealthNotice.DISABLED, at, why) if long else lane
    long = _seconds(lane.failing_since, at) >= patience.failing
    return _say(lane, HealthNotice.FAILING, at, why) if long else lane


def _say(
    lane: SubscriberHealth, told: HealthNotice, at: datetime, why: str | None = None
) -> SubscriberHealth:
    """What is disabled stays so until somebody says otherwise."""
    if lane.told is HealthNotice.DISABLED:
        return lane
    return replace(lane, told=told, told_at=at, why=why)


def _seconds(since: datetime | None, at: datetime) -> float:
    return 0.0 if since is None else (at - since).total_seconds()


def _may_change(lane: SubscriberHealth, at: datetime) -> bool:
    return lane.rated_at is None or at - lane.rated_at >= STEP
