"""The metrics of attempts at deliveries: what came of them, how long they took, and how late they
were."""

from collections.abc import Container, Iterable
from enum import StrEnum
from typing import Final

from service.delivery.domain.delivery_state import DeliveryState
from service.delivery.store.claim import DueDelivery
from service.delivery.store.record import AttemptRecord
from service.kit.timestamps import seconds_between
from service.metrics import DELIVERY_ATTEMPT_DURATION, DELIVERY_ATTEMPTS, DELIVERY_DELAY
from service.subscribers.domain.subscriber import SubscriberType


class AttemptLabel(StrEnum):
    """What came of an attempt: the label `outcome`."""

    DELIVERED = "delivered"
    FAILED = "failed"  # it is to be tried again
    DEAD = "dead"  # it failed, and was the last one
    FENCED = "fenced"  # nothing was recorded, as its lease was over


UNKNOWN_TYPE: Final = "unknown"  # where the subscriber's secrets cannot be decrypted
_LABELS = {
    DeliveryState.DELIVERED: AttemptLabel.DELIVERED,
    DeliveryState.PENDING: AttemptLabel.FAILED,
    DeliveryState.DEAD: AttemptLabel.DEAD,
}
_UNTIL_FIRST_ATTEMPT = DELIVERY_DELAY.labels("first_attempt")
_UNTIL_DELIVERED = DELIVERY_DELAY.labels("delivered")
for _type in SubscriberType:
    DELIVERY_ATTEMPT_DURATION.labels(_type)
    for _label in AttemptLabel:
        DELIVERY_ATTEMPTS.labels(_type, _label)


def count_attempts(attempts: Iterable[AttemptRecord], recorded: Container[str]) -> None:
    """Count attempts after the commit; `recorded` has the ids of the deliveries whose lease was
    not over by then."""
    for attempt in attempts:
        delivery = attempt.delivery
        fenced = delivery.id not in recorded
        label = AttemptLabel.FENCED if fenced else _LABELS[attempt.state]
        type_ = delivery.settings.type if delivery.settings else UNKNOWN_TYPE
        DELIVERY_ATTEMPTS.labels(type_, label).inc()
        if delivery.settings is not None:  # else nothing was sent
            DELIVERY_ATTEMPT_DURATION.labels(type_).observe(attempt.latency_ms / 1000)
        if not fenced:
            _observe_delay(delivery, attempt)


def _observe_delay(delivery: DueDelivery, attempt: AttemptRecord) -> None:
    """Observe how long the event waited; what was replayed says nothing of that."""
    if delivery.event_at is None:
        return
    waited = seconds_between(delivery.event_at, attempt.started_at)
    if delivery.attempts == 0:
        _UNTIL_FIRST_ATTEMPT.observe(waited)
    if attempt.state is DeliveryState.DELIVERED:
        _UNTIL_DELIVERED.observe(waited + attempt.latency_ms / 1000)
