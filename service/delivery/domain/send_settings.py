"""Where and how a subscriber is sent to, with its signing keys and other secrets decrypted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from service.subscribers.domain.subscriber import Format, SubscriberType


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs what is sent to a subscriber."""

    secret: bytes = field(repr=False)  # key of the HMAC: signature v1
    # Seed of the ed25519 key: signature v1a. None if the subscriber has not asked for that.
    seed: bytes | None = field(repr=False)
    expires_at: datetime | None  # when it stops signing; None if it is the current key


@dataclass(frozen=True, slots=True)
class SendSettings:
    """All that must be known of a subscriber to send to it."""

    id: str  # the subscriber's
    account_id: str  # the subscriber's account
    type: SubscriberType  # of a callback subscriber each delivery has a URL of its own
    url: str  # of an endpoint, or of a stream's server
    channel: str | None  # subject of a NATS stream or key of a Redis one; None over HTTP
    username: str | None  # at a stream's server; None if it wants none
    password: str | None = field(repr=False)  # at a stream's server; a token if username is None
    headers: Mapping[str, str] = field(repr=False)  # the subscriber's own, sent with each message
    timeout: float  # seconds that one attempt may take
    schedule: tuple[float, ...]  # seconds to wait after each failed attempt; then it is dead
    format: Format  # of the body: standard or cloudevents
    version: int  # raised with every change of the subscriber
    keys: tuple[SigningKey, ...]  # the current key first, then the previous ones

    def keys_at(self, now: datetime) -> list[SigningKey]:
        """The keys that sign at this time, the current one first."""
        return [key for key in self.keys if key.expires_at is None or key.expires_at > now]
