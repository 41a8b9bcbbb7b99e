"""Why a pending delivery waits: a total function over its row, its subscriber and the
conditions."""

from datetime import datetime
from typing import assert_never

from msgspec import Struct

from service.delivery.domain.delivery_state import DeliveryState
from service.delivery.domain.subscriber_why import (
    WaitingSubscriber,
    circuit_open,
    probed,
    slowed,
    stopped,
)
from service.delivery.domain.throughput import INITIAL_CONCURRENCY
from service.status.domain.conditions import Conditions
from service.subjects.domain.why import Why, WhyCode, in_words

MAX_AHEAD = 1000  # deliveries; it stands for all from there on


class WaitingDelivery(Struct, frozen=True):
    """What is read of a delivery to say why it waits."""

    state: DeliveryState  # only a pending one waits
    # When the next attempt is due, or when the lease ends; None: an earlier one goes first.
    due_at: datetime | None
    leased: bool  # whether a worker has claimed it
    waits_since: datetime  # when it was made, replayed, or last attempted, whichever was last
    attempts: int  # made since it was made or last replayed
    max_attempts: int  # after which it is dead
    last_error: str | None  # why the last of these failed, in words; None: there were none
    # The first pending one of an earlier event of the same subject; None, both: there is none.
    earlier_event_id: str | None
    earlier_due_at: datetime | None  # when that is due; None: not known
    ahead: int  # others to the subscriber that were due before this, counted up to MAX_AHEAD


def delivery_why(
    delivery: WaitingDelivery, subscriber: WaitingSubscriber, conditions: Conditions, now: datetime
) -> Why | None:
    """Why a delivery waits at `now`; None if it has ended."""
    match delivery.state:
        case DeliveryState.PENDING:
            return _pending(delivery, subscriber, conditions, now)
        case DeliveryState.DELIVERED | DeliveryState.DEAD | DeliveryState.CANCELED:
            return None
        case _:
            assert_never(delivery.state)


def _pending(
    delivery: WaitingDelivery, subscriber: WaitingSubscriber, conditions: Conditions, now: datetime
) -> Why:
    since, due_at = min(delivery.waits_since, now), delivery.due_at
    held_copy = conditions.held_copy(since, now)
    if held_copy is not None:
        return held_copy
    if delivery.leased and due_at is not None and due_at > now:
        return Why(WhyCode.HELD_LEASE, "A worker is sending it.", since, due_at)
    why = stopped(subscriber, since, conditions, now)
    if why is not None:
        return why
    if due_at is None:
        return _behind(delivery, since, now)
    if due_at > now:
        text = f"{_failure(delivery)}the next attempt is in {in_words(due_at - now)}."
        return Why(WhyCode.RETRY_AT, text[:1].upper() + text[1:], since, due_at)
    return _due(delivery.ahead, subscriber, conditions, max(since, due_at), now)


def _behind(delivery: WaitingDelivery, since: datetime, now: datetime) -> Why:
    text = f"Events of a subject go in order: {delivery.earlier_event_id or 'an earlier one'} first"
    at = delivery.earlier_due_at
    if at is None or at <= now:
        return Why(WhyCode.EARLIER_EVENT_FIRST, f"{text}.", since, None)
    text = f"{text}, which is due in {in_words(at - now)}."
    return Why(WhyCode.EARLIER_EVENT_FIRST, text, since, at)


def _failure(delivery: WaitingDelivery) -> str:
    """How the last attempt failed, before a colon; empty if there was none."""
    if not delivery.attempts:
        return ""
    number = f"Attempt {delivery.attempts} of {delivery.max_attempts}"
    return f"{number} failed ({delivery.last_error or 'no answer'}): "


def _due(
    ahead: int,
    subscriber: WaitingSubscriber,
    conditions: Conditions,
    since: datetime,
    now: datetime,
) -> Why:
    due = conditions.due("sends it", since, now)
    if due.code is WhyCode.NO_WORKER:
        return due
    return (
        circuit_open(subscriber, since, now)
        or slowed(subscriber, ahead, since, now)
        or probed(subscriber, since, conditions, now)
        or _crowded(ahead, subscriber, since, now)
        or due
    )


def _crowded(
    ahead: int, subscriber: WaitingSubscriber, since: datetime, now: datetime
) -> Why | None:
    """Why a delivery waits for others to the same subscriber; None if these leave room."""
    if subscriber.under_way + ahead < (subscriber.concurrency or INITIAL_CONCURRENCY):
        return None
    text = f"Of others to the subscriber, {subscriber.under_way} are being sent, {ahead} go first."
    ends_at = subscriber.next_lease_end
    return Why(WhyCode.SLOWED, text, since, ends_at if ends_at and ends_at > now else None)
