"""Why a subscriber, and with it each delivery to it, waits: a total function over its row, its
health and the conditions. The rules are those of the claim: `delivery/store/claim.py`."""

import math
from datetime import datetime, timedelta
from typing import assert_never

from msgspec import Struct

from service.delivery.domain.subscriber_health import MAX_WAIT
from service.operations.domain.hold import HoldTarget
from service.status.domain.conditions import Conditions
from service.subjects.domain.why import Why, WhyCode, in_words
from service.subscribers.domain.subscriber import SubscriberState

ROUNDING = 0.001  # deliveries: what a claim adds, as it reckons with numbers that are rounded


class WaitingSubscriber(Struct, frozen=True):
    """What is read of a subscriber and its health to say why it waits."""

    account_id: str  # whose it is
    state: SubscriberState  # whether events are sent
    state_since: datetime  # since when
    disabled_reason: str | None  # in words; None unless it is disabled
    concurrency: int | None  # the most deliveries at once; None: it sets no limit
    max_rate: float | None  # the most deliveries a second; None: it sets no limit
    current_rate: float | None  # deliveries a second that it seems to take; None: any
    rate_changed_at: datetime | None  # when that was last learnt; None: never
    rate_limited_until: datetime | None  # the claims so far use the rate up until then
    circuit_open_until: datetime | None  # when one is sent as a probe; None: it is closed
    failures: int  # attempts in a row that failed
    failing_since: datetime | None  # the first of these; None: there are none
    under_way: int  # deliveries that workers are sending to it
    next_lease_end: datetime | None  # of the first of these leases to end; None: there are none

    @property
    def rate(self) -> float | None:
        """Deliveries a second that it is sent; None: there is no limit."""
        return min(filter(None, (self.current_rate, self.max_rate)), default=None)


def subscriber_why(
    subscriber: WaitingSubscriber, conditions: Conditions, now: datetime
) -> Why | None:
    """Why a subscriber is sent nothing at `now`; None if it is, or would be."""
    why = stopped(subscriber, subscriber.state_since, conditions, now)
    if why is None:
        why = circuit_open(subscriber, subscriber.failing_since or subscriber.state_since, now)
    if why is None:
        slowed_since = subscriber.rate_changed_at or subscriber.state_since
        why = slowed(subscriber, 0, slowed_since, now)
    return why


def stopped(
    subscriber: WaitingSubscriber, since: datetime, conditions: Conditions, now: datetime
) -> Why | None:
    """Why what has waited since then is not sent, as somebody has stopped it; None if nobody
    has."""
    since = min(max(since, subscriber.state_since), now)
    match subscriber.state:
        case SubscriberState.DISABLED:
            reason = f", as {subscriber.disabled_reason}" if subscriber.disabled_reason else ""
            return Why(WhyCode.DISABLED, f"The subscriber is disabled{reason}.", since, None)
        case SubscriberState.PAUSED:
            text = (
                "The subscriber is paused until its account, or an operator, makes it active again."
            )
            return Why(WhyCode.PAUSED, text, since, None)
        case SubscriberState.ACTIVE:
            held_copy = conditions.held_copy(since, now)
            held = conditions.held(HoldTarget.DELIVERIES, subscriber.account_id, since, now)
            return held_copy or held
        case _:
            assert_never(subscriber.state)


def circuit_open(subscriber: WaitingSubscriber, since: datetime, now: datetime) -> Why | None:
    """Why what has waited since then is not sent to a subscriber that fails; None if its circuit
    breaker is closed, or lets a probe through."""
    open_until = subscriber.circuit_open_until
    if open_until is None or not now < open_until <= now + timedelta(seconds=MAX_WAIT):
        return None
    failed = f"The last {subscriber.failures} attempts failed"
    text = f"{failed}: one is sent as a probe in {in_words(open_until - now)}."
    return Why(WhyCode.CIRCUIT_OPEN, text, min(since, now), open_until)


def probed(
    subscriber: WaitingSubscriber, since: datetime, conditions: Conditions, now: datetime
) -> Why | None:
    """Why what has waited since then is not sent although the circuit breaker lets a probe through,
    one at a time; None if the breaker is closed."""
    if subscriber.circuit_open_until is None:
        return None
    text = f"The last {subscriber.failures} attempts failed: one at a time is sent as a probe."
    until = subscriber.next_lease_end  # of the probe
    if until is None or until <= now:
        until = now + conditions.sweep_interval
    return Why(WhyCode.CIRCUIT_OPEN, text, min(since, now), until)


def slowed(subscriber: WaitingSubscriber, ahead: int, since: datetime, now: datetime) -> Why | None:
    """Why what has waited since then is not sent to a subscriber that is sent no more than it
    takes, as so many others go first; None if there is no rate, or enough is left of it."""
    used_until, rate = subscriber.rate_limited_until, subscriber.rate
    gap = timedelta(seconds=1 / rate if rate else 0)  # from one delivery to the next
    if used_until is not None and used_until > now + 2 * gap + timedelta(seconds=MAX_WAIT):
        used_until = None
    if rate is None:
        if used_until is None or used_until <= now:
            return None
        text = f"The subscriber asked for a pause of {in_words(used_until - now)} more."
        return Why(WhyCode.SLOWED, text, min(since, now), used_until)
    begin = now - max(gap, timedelta(seconds=1))  # no more is saved up
    if used_until is not None:
        begin = max(begin, used_until)
    left = math.floor((now - begin) / gap + ROUNDING)
    if ahead < left:
        return None
    until = now + gap if left > 0 else begin + gap
    before = f", {ahead} before it" if ahead else ""
    text = (
        f"The subscriber is sent {rate:.3g} deliveries a second{before}: "
        f"the next goes in {in_words(until - now)}."
    )
    return Why(WhyCode.SLOWED, text, min(since, now), until)
