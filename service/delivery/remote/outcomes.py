"""What one attempt at a delivery came to: whatever a subscriber does is a value.

Each outcome has the same members: `delivered`, the HTTP `status` (None if there was none), the
`error` in words (None if it was delivered), the `body` that came back, and the `latency`, which is
in seconds.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

SUCCESS: Final = range(200, 300)  # RFC 9110, section 15.3


@dataclass(frozen=True, slots=True)
class Answered:
    """The subscriber answered with an HTTP status."""

    status: int
    retry_after: str | None
    """The header Retry-After as it came."""
    body: bytes
    """The first 20,000 bytes at most."""
    latency: float
    """Seconds until the last byte kept."""

    @property
    def delivered(self) -> bool:
        return self.status in SUCCESS

    @property
    def error(self) -> str | None:
        return None if self.delivered else f"status {self.status}"


@dataclass(frozen=True, slots=True)
class Published:
    """The server of a stream has acknowledged the message."""

    receipt: bytes
    """Where in the stream it is, in the server's own form."""
    latency: float

    delivered: ClassVar[bool] = True
    status: ClassVar[None] = None
    error: ClassVar[None] = None

    @property
    def body(self) -> bytes:
        return self.receipt


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer came."""

    reason: str
    """blocked, dns, tls, connect, timeout, reset, request or protocol; or refused, by the server of
    a stream that takes no such message from us."""
    detail: str
    """For people; it names no URL."""
    latency: float
    """Seconds until it failed."""

    delivered: ClassVar[bool] = False
    status: ClassVar[None] = None
    body: ClassVar[bytes] = b""

    @property
    def error(self) -> str:
        return f"{self.reason}: {self.detail}"


@dataclass(frozen=True, slots=True)
class NotSent:
    """Nothing was sent, as the subscriber's secrets cannot be decrypted. That is a failure of ours,
    so it says nothing of the subscriber."""

    detail: str
    """For people."""

    delivered: ClassVar[bool] = False
    status: ClassVar[None] = None
    body: ClassVar[bytes] = b""
    latency: ClassVar[float] = 0.0

    @property
    def error(self) -> str:
        return f"secret: {self.detail}"


SendOutcome = Answered | Published | Failed
AttemptOutcome = SendOutcome | NotSent
