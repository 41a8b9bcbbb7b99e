"""Which of the events of a time a replay sends."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from service.delivery.domain.delivery_state import ENDED, DeliveryState


class ReplayKind(StrEnum):
    """Which events a replay sends: by their deliveries, if there are any, to the subscriber."""

    MISSING = "missing"  # that it was never sent, or never took
    FAILED = "failed"  # that it did not take
    ALL = "all"  # but those that are on their way


# The states out of which each kind takes deliveries. Events without a delivery, which the
# subscriber wants by now, are sent too, but for the kind `failed`.
STATES: Mapping[ReplayKind, tuple[DeliveryState, ...]] = MappingProxyType(
    {
        ReplayKind.MISSING: (DeliveryState.DEAD, DeliveryState.CANCELED),
        ReplayKind.FAILED: (DeliveryState.DEAD,),
        ReplayKind.ALL: ENDED,
    }
)
