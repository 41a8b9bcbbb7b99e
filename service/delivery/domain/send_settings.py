"""How a subscriber is sent to, with its secrets decrypted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from service.subscribers.domain.subscriber import Format, SubscriberType


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs what is sent to a subscriber."""

    secret: bytes = field(repr=False)
    """The key of the HMAC: signature v1."""
    seed: bytes | None = field(repr=False)
    """The seed of the ed25519 key: signature v1a. None if the subscriber has not asked for it."""
    expires_at: datetime | None
    """When it stops signing; None if it is the current key."""


@dataclass(frozen=True, slots=True)
class SendSettings:
    """All that must be known of a subscriber to send to it."""

    id: str
    account_id: str
    type: SubscriberType
    """webhook, nats, redis_stream; or callback, of which each delivery has a URL of its own."""
    url: str
    channel: str | None
    """The subject of a NATS stream or the key of a Redis one; None if it is reached by HTTP."""
    username: str | None
    password: str | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    """The subscriber's own headers, which each message carries."""
    timeout: float
    """Seconds that one attempt may take."""
    schedule: tuple[float, ...]
    """Seconds to wait after each attempt that failed; after the last, the delivery is dead."""
    format: Format
    """standard or cloudevents."""
    version: int
    """Raised with every change of the subscriber."""
    keys: tuple[SigningKey, ...]
    """The current key first, then the previous ones."""

    def keys_at(self, now: datetime) -> list[SigningKey]:
        """The keys that sign at this time, the current one first."""
        return [key for key in self.keys if key.expires_at is None or key.expires_at > now]
