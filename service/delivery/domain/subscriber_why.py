"""Why a subscriber, and with it each delivery to it, waits: a total function over its row, its
health and the conditions. The rules are those of the claim: `delivery/store/claim.py`."""

from datetime import datetime, timedelta
from typing import assert_never

from msgspec import Struct

from service.delivery.domain.subscriber_health import MAX_WAIT
from service.operations.domain.hold import HoldTarget
from service.status.domain.conditions import Conditions
from service.subjects.domain.why import Why, WhyCode, in_words
from service.subscribers.domain.subscriber import SubscriberState


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
        failing_since = subscriber.failing_since or subscriber.state_since
        why = circuit(subscriber, failing_since, conditions, now)
    if why is None:
        slowed_since = subscriber.rate_changed_at or subscriber.state_since
        why = slowed(subscriber, slowed_since, now)
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
            text = "The account has paused the subscriber until it makes it active again."
            return Why(WhyCode.PAUSED, text, since, None)
        case SubscriberState.ACTIVE:
            return conditions.held(HoldTarget.DELIVERIES, subscriber.account_id, since, now)
        case _:
            assert_never(subscriber.state)


def circuit(
    subscriber: WaitingSubscriber, since: datetime, conditions: Conditions, now: datetime
) -> Why | None:
    """Why what has waited since then is not sent to a subscriber that fails; None unless its
    circuit breaker is open."""
    open_until = subscriber.circuit_open_until
    if open_until is None:
        return None
    failed = f"The last {subscriber.failures} attempts failed"
    if now < open_until <= now + timedelta(seconds=MAX_WAIT):
        text, until = (
            f"{failed}: one is sent as a probe in {in_words(open_until - now)}.",
            open_until,
        )
    else:
        text, until = (
            f"{failed}: one at a time is sent as a probe.",
            now + conditions.sweep_interval,
        )
    return Why(WhyCode.CIRCUIT_OPEN, text, min(since, now), until)


def slowed(subscriber: WaitingSubscriber, since: datetime, now: datetime) -> Why | None:
    """Why what has waited since then is not sent to a subscriber that is sent no more than it
    takes; None if its rate is not used up."""
    used_until, rate = subscriber.rate_limited_until, subscriber.rate
    gap = timedelta(seconds=1 / rate if rate else 0)  # between two deliveries
    if used_until is None or used_until > now + 2 * gap + timedelta(seconds=MAX_WAIT):
        return None
    until = used_until + gap
    if until <= now:
        return None
    slow = f"is sent {rate:.3g} deliveries a second" if rate else "asked for a pause"
    text = f"The subscriber {slow}: the next goes in {in_words(until - now)}."
    return Why(WhyCode.SLOWED, text, min(since, now), until)
