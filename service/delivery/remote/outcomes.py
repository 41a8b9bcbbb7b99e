"""Outcomes of an attempt at a delivery, as values: whatever a subscriber does, nothing is raised.

Each outcome has the same members: `delivered`, the HTTP `status` (None if there was none), the
`error` in words (None if it was delivered), the `body` that came back, and the `latency` in
seconds.
"""

from typing import ClassVar, Final

from msgspec import Struct

SUCCESS: Final = range(200, 300)  # HTTP statuses: RFC 9110, section 15.3
MAX_DETAIL: Final = 200  # characters of a failure's description


class Answered(Struct, frozen=True):
    """The subscriber answered with an HTTP status."""

    status: int  # of HTTP
    retry_after: str | None  # the header Retry-After as it came; None if there was none
    body: bytes  # the first 20,000 bytes at most
    latency: float  # seconds until the last byte kept

    @property
    def delivered(self) -> bool:
        """Whether the status is 2xx."""
        return self.status in SUCCESS

    @property
    def error(self) -> str | None:
        """The status in words; None if it is 2xx."""
        return None if self.delivered else f"status {self.status}"


class Published(Struct, frozen=True):
    """The server of a stream has acknowledged the message."""

    body: bytes  # the acknowledgement, in the server's own form: where in the stream it is
    latency: float  # seconds until the acknowledgement

    delivered: ClassVar[bool] = True  # the stream has it
    status: ClassVar[None] = None  # streams have none
    error: ClassVar[None] = None  # it was delivered


class Failed(Struct, frozen=True):
    """No answer came."""

    # blocked, dns, tls, connect, timeout, reset, request or protocol; or refused, by the server of
    # a stream that takes no such message from us.
    reason: str
    detail: str  # for people; it names no URL
    latency: float  # seconds until it failed

    delivered: ClassVar[bool] = False  # as far as is known
    status: ClassVar[None] = None  # there was no answer
    body: ClassVar[bytes] = b""  # there was no answer

    @property
    def error(self) -> str:
        """The reason and the detail."""
        return f"{self.reason}: {self.detail}"


class NotSent(Struct, frozen=True):
    """Nothing was sent, as the subscriber's secrets cannot be decrypted. That is a failure of ours,
    so it says nothing of the subscriber."""

    detail: str  # for people

    delivered: ClassVar[bool] = False  # nothing was sent
    status: ClassVar[None] = None  # there was no answer
    body: ClassVar[bytes] = b""  # there was no answer
    latency: ClassVar[float] = 0.0  # seconds

    @property
    def error(self) -> str:
        """The detail, after the word `secret`."""
        return f"secret: {self.detail}"


SendOutcome = Answered | Published | Failed
AttemptOutcome = SendOutcome | NotSent


def printable(text: str) -> str:
    """A failure's description on one line, cut to MAX_DETAIL characters."""
    return "".join(char if char.isprintable() else " " for char in text)[:MAX_DETAIL]
