"""The words that say what a subscriber is and what it wants."""

from enum import StrEnum


class SubscriberType(StrEnum):
    """How a subscriber is reached."""

    WEBHOOK = "webhook"
    NATS = "nats"  # a stream of NATS JetStream
    REDIS_STREAM = "redis_stream"
    CALLBACK = "callback"  # hidden: it stands for the callback_urls of an account at one origin


class SubscriberState(StrEnum):
    """Whether a subscriber is sent to."""

    ACTIVE = "active"
    PAUSED = "paused"  # by its account: deliveries are made, and wait
    DISABLED = "disabled"  # it failed for too long, answered 410 Gone or is being removed


class Ordering(StrEnum):
    """In which order a subscriber is sent events."""

    PER_SUBJECT = "per_subject"  # each of a subject once the one before has ended
    NONE = "none"


class Format(StrEnum):
    """What a subscriber is sent."""

    STANDARD = "standard"  # the event as Standard Webhooks has it
    CLOUDEVENTS = "cloudevents"  # the event in a CloudEvents envelope
