"""What is pruned by its age, kind by kind."""

from enum import StrEnum
from typing import Final

from service.subjects.domain.lifecycle import State


class Kind(StrEnum):
    """A kind of what is pruned, as commands and metrics name it."""

    SUCCEEDED = "succeeded"  # subjects, each with the next three kinds
    FAILED = "failed"
    CANCELED = "canceled"
    EVENTS = "events"
    DELIVERIES = "deliveries"
    ATTEMPTS = "attempts"
    SUBSCRIBER_EVENTS = "subscriber_events"  # events about subscribers, as subscriber.failing
    CALLBACKS = "callbacks"
    ANSWERS = "answers"  # the starts of subscribers' answers, without their attempts
    ACTIONS = "actions"
    OPERATIONS = "operations"
    SNAPSHOT = "snapshot"  # what waited in each stage in a minute
    KEYS = "idempotency_keys"
    MEDIA = "media"
    SIGNING_KEYS = "signing_keys"  # that were rotated out
    HOLDS = "holds"


OUTCOMES: Final = {
    State.SUCCEEDED: Kind.SUCCEEDED,
    State.FAILED: Kind.FAILED,
    State.CANCELED: Kind.CANCELED,
}
WALKED: Final = frozenset({*OUTCOMES.values(), Kind.SUBSCRIBER_EVENTS})
