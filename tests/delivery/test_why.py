"""Every delivery that has not ended, and every subscriber that is sent nothing, says why."""

from typing import Any

import pytest
from hypothesis import given
from msgspec.structs import replace

from service.delivery.domain.delivery_state import DeliveryState
from service.delivery.domain.delivery_why import WaitingDelivery, delivery_why
from service.delivery.domain.subscriber_why import WaitingSubscriber, subscriber_why
from service.operations.domain.hold import HoldTarget
from service.status.domain.conditions import Conditions
from service.subjects.domain.why import Why, WhyCode
from service.subscribers.domain.subscriber import SubscriberState
from tests.support.subjects import NOW
from tests.support.waiting_rows import (
    CALM,
    RESTORED,
    conditions,
    deliveries,
    hold,
    moment,
    subscribers,
    waiting_delivery,
    waiting_subscriber,
)
from tests.support.why_rules import check_why


@given(deliveries(), subscribers(), conditions)
def test_every_delivery_that_has_not_ended_has_a_reason(
    delivery: WaitingDelivery, subscriber: WaitingSubscriber, shared: Conditions
) -> None:
    why = delivery_why(delivery, subscriber, shared, NOW)
    assert (why is None) == (delivery.state is not DeliveryState.PENDING)
    if why is not None:
        check_why(why, NOW)


@given(subscribers(), conditions)
def test_every_subscriber_that_is_sent_nothing_has_a_reason(
    subscriber: WaitingSubscriber, shared: Conditions
) -> None:
    why = subscriber_why(subscriber, shared, NOW)
    if subscriber.state is not SubscriberState.ACTIVE:
        assert why is not None
    if why is not None:
        check_why(why, NOW)


PAUSED = {"state": SubscriberState.PAUSED, "state_since": moment(-50)}
DISABLED = {
    "state": SubscriberState.DISABLED,
    "state_since": moment(-50),
    "disabled_reason": "it answered 410 Gone",
}
OPEN = {"circuit_open_until": moment(8), "failures": 12, "failing_since": moment(-70)}
HELD = replace(CALM, holds=[hold(HoldTarget.DELIVERIES, "acc_1", moment(-5))])
WAITED = {"waits_since": moment(-20), "due_at": moment(-10)}
Changes = dict[str, Any]
ROWS: list[tuple[Changes, Changes, Conditions, WhyCode, str, float, float | None]] = [
    (WAITED, {}, CALM, WhyCode.DUE, "In a moment a worker sends it.", -10, 1),
    (
        WAITED,
        {},
        replace(CALM, worker_runs=False),
        WhyCode.NO_WORKER,
        "No worker runs that sends it.",
        -10,
        None,
    ),
    (
        {"due_at": moment(25), "leased": True},
        PAUSED,
        CALM,
        WhyCode.HELD_LEASE,
        "A worker is sending it.",
        0,
        25,
    ),
    (
        WAITED,
        PAUSED,
        CALM,
        WhyCode.PAUSED,
        "The subscriber is paused until its account, or an operator, makes it active again.",
        -20,
        None,
    ),
    (
        WAITED,
        DISABLED,
        CALM,
        WhyCode.DISABLED,
        "The subscriber is disabled, as it answered 410 Gone.",
        -20,
        None,
    ),
    (
        {"due_at": moment(20), "leased": True},
        {},
        replace(CALM, installation=RESTORED),
        WhyCode.HELD_COPY,
        (
            "This database was restored from a backup: nothing is sent until an operator lets it "
            "go on."
        ),
        0,
        None,
    ),
    (
        WAITED,
        {"state_since": moment(-90)},
        HELD,
        WhyCode.HELD,
        "An operator holds deliveries until that is released.",
        -5,
        None,
    ),
    (
        {"due_at": None, "earlier_event_id": "evt_1_1", "earlier_due_at": moment(4)},
        {},
        CALM,
        WhyCode.EARLIER_EVENT_FIRST,
        "Events of a subject go in order: evt_1_1 first, which is due in 4 s.",
        0,
        4,
    ),
    (
        {"due_at": None, "earlier_event_id": "evt_1_1", "earlier_due_at": moment(-4)},
        {},
        CALM,
        WhyCode.EARLIER_EVENT_FIRST,
        "Events of a subject go in order: evt_1_1 first.",
        0,
        None,
    ),
    (
        {"due_at": moment(300), "attempts": 2, "last_error": "status 500"},
        {},
        CALM,
        WhyCode.RETRY_AT,
        "Attempt 2 of 10 failed (status 500): the next attempt is in 5 min.",
        0,
        300,
    ),
    (
        {"due_at": moment(1)},
        {},
        CALM,
        WhyCode.RETRY_AT,
        "The next attempt is in 1 s.",
        0,
        1,
    ),
    (
        WAITED,
        OPEN,
        CALM,
        WhyCode.CIRCUIT_OPEN,
        "The last 12 attempts failed: one is sent as a probe in 8 s.",
        -10,
        8,
    ),
    (
        WAITED,
        OPEN | {"circuit_open_until": moment(-1)},
        CALM,
        WhyCode.CIRCUIT_OPEN,
        "The last 12 attempts failed: one at a time is sent as a probe.",
        -10,
        1,
    ),
    (
        WAITED,
        OPEN | {"circuit_open_until": moment(-1), "under_way": 1, "next_lease_end": moment(6)},
        CALM,
        WhyCode.CIRCUIT_OPEN,
        "The last 12 attempts failed: one at a time is sent as a probe.",
        -10,
        6,
    ),
    (
        WAITED,
        {"max_rate": 0.5, "current_rate": 2.0, "rate_limited_until": moment(3)},
        CALM,
        WhyCode.SLOWED,
        "The subscriber is sent 0.5 deliveries a second: the next goes in 5 s.",
        -10,
        5,
    ),
    (
        WAITED | {"ahead": 2},
        {"max_rate": 2.0},
        CALM,
        WhyCode.SLOWED,
        "The subscriber is sent 2 deliveries a second, 2 before it: the next goes in 1 s.",
        -10,
        0.5,
    ),
    (
        WAITED | {"ahead": 1},
        {"max_rate": 2.0},
        CALM,
        WhyCode.DUE,
        "In a moment a worker sends it.",
        -10,
        1,
    ),
    (
        WAITED,
        {"rate_limited_until": moment(40)},
        CALM,
        WhyCode.SLOWED,
        "The subscriber asked for a pause of 40 s more.",
        -10,
        40,
    ),
    (
        WAITED,
        {"concurrency": 5, "under_way": 5, "next_lease_end": moment(12)},
        CALM,
        WhyCode.SLOWED,
        "Of others to the subscriber, 5 are being sent, 0 go first.",
        -10,
        12,
    ),
    (
        WAITED | {"ahead": 8},
        {},
        CALM,
        WhyCode.SLOWED,
        "Of others to the subscriber, 0 are being sent, 8 go first.",
        -10,
        None,
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=[f"{row[3]} {number}" for number, row in enumerate(ROWS)])
def test_each_reason_of_a_delivery_has_its_sentence_and_its_bounds(
    row: tuple[Changes, Changes, Conditions, WhyCode, str, float, float | None],
) -> None:
    delivery, subscriber, shared, code, text, since, until = row
    subscriber = {"state_since": moment(-90)} | subscriber
    if "state" in subscriber:
        subscriber |= {"state_since": moment(-50)}
    why = delivery_why(waiting_delivery(**delivery), waiting_subscriber(**subscriber), shared, NOW)
    assert why == Why(code, text, moment(since), None if until is None else moment(until))


@pytest.mark.parametrize(
    ("changes", "shared", "code", "since", "until"),
    [
        (PAUSED, CALM, WhyCode.PAUSED, -50, None),
        (DISABLED, CALM, WhyCode.DISABLED, -50, None),
        (OPEN, CALM, WhyCode.CIRCUIT_OPEN, -70, 8),
        ({"state_since": moment(-90)}, HELD, WhyCode.HELD, -5, None),
        (
            {"state_since": moment(-90)},
            replace(HELD, installation=RESTORED),
            WhyCode.HELD_COPY,
            -3,
            None,
        ),
        (
            {"current_rate": 1.0, "rate_limited_until": moment(3), "rate_changed_at": moment(-2)},
            CALM,
            WhyCode.SLOWED,
            -2,
            4,
        ),
    ],
)
def test_a_subscriber_that_is_sent_nothing_says_why(
    changes: Changes, shared: Conditions, code: WhyCode, since: float, until: float | None
) -> None:
    why = subscriber_why(waiting_subscriber(**changes), shared, NOW)
    assert why is not None
    expected = (code, moment(since), None if until is None else moment(until))
    assert (why.code, why.since, why.until) == expected


def test_a_subscriber_in_good_health_has_no_reason_to_give() -> None:
    busy = waiting_subscriber(under_way=300, next_lease_end=moment(9), max_rate=1.0)
    assert subscriber_why(busy, CALM, NOW) is None


def test_what_a_wrong_clock_wrote_is_not_believed() -> None:
    far = waiting_subscriber(rate_limited_until=moment(1000), current_rate=1.0)
    assert subscriber_why(far, CALM, NOW) is None
