"""What a subscriber is: its type, its state, the order and the format of what it is sent."""

from enum import StrEnum


class SubscriberType(StrEnum):
    """How a subscriber is reached."""

    WEBHOOK = "webhook"
    NATS = "nats"  # a stream of NATS JetStream
    REDIS_STREAM = "redis_stream"
    CALLBACK = "callback"  # hidden: all callback_urls of an account at one origin


class SubscriberState(StrEnum):
    """Whether events are sent to a subscriber."""

    ACTIVE = "active"
    PAUSED = "paused"  # by its account: deliveries are queued, and wait
    DISABLED = "disabled"  # it failed for too long, answered 410 Gone or is being deleted


class Ordering(StrEnum):
    """In which order events are sent to a subscriber."""

    PER_SUBJECT = "per_subject"  # an event waits until the one before of its subject has ended
    NONE = "none"


class Format(StrEnum):
    """The format in which events are sent to a subscriber."""

    STANDARD = "standard"  # the event as Standard Webhooks has it
    CLOUDEVENTS = "cloudevents"  # the event in a CloudEvents envelope
