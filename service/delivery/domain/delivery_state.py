"""The states of a delivery, which is one event on its way to one subscriber."""

from enum import StrEnum


class DeliveryState(StrEnum):
    """Where a delivery stands. Only a replay or a resend makes one that has ended pending again."""

    PENDING = "pending"  # it is due, or retried later, or waits behind an earlier event
    DELIVERED = "delivered"  # the subscriber answered with success
    DEAD = "dead"  # its schedule is at an end, or the subscriber answered 410 Gone
    CANCELED = "canceled"  # its subscriber was disabled before it could be delivered


ENDED = (DeliveryState.DELIVERED, DeliveryState.DEAD, DeliveryState.CANCELED)
