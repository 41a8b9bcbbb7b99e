"""What one attempt at a delivery came to: whatever a subscriber does is a value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answered:
    """The subscriber said `status`; what followed may be cut, as `body` is after 20,000 bytes.

    `retry_after` is the header as it came, for `retries.retry_after_seconds`; `latency` is
    seconds until the last byte kept.
    """

    status: int
    retry_after: str | None
    body: bytes
    latency: float


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer. `reason` is one of blocked, dns, tls, connect, timeout, reset, request, protocol,
    and refused: by a stream's server, which takes no such message from us.

    `detail` is for people and names no URL; `latency` is seconds until it failed.
    """

    reason: str
    detail: str
    latency: float


@dataclass(frozen=True, slots=True)
class Published:
    """A stream has it: `receipt` is where, as the server said it."""

    receipt: bytes
    latency: float


AttemptOutcome = Answered | Published | Failed
