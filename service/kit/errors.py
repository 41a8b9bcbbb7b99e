"""What can be wrong with what a caller sent. kit/http/responses.py decides the HTTP status of each.

CallsheetError
├── Malformed         the bytes are not what they should be
├── Unauthorized      no key, or not a good one
├── Forbidden         the key lacks a scope
├── NotFound          nothing of that name in this account
├── Conflict          it clashes with what is there
├── TooLarge          more bytes than allowed
├── UnsupportedMedia  a content type we do not read
├── Invalid           rules are broken; says which, all of them
├── TooMany           more requests, or more waiting, than the account may have
├── SignatureError    a callback that cannot be believed
└── Unavailable       it could not be stored now
"""

from collections.abc import Sequence
from dataclasses import dataclass

TABLES_MISSING = "the tables are missing: run `callsheet migrate`"  # message of Unavailable
QUEUE_FULL, TOO_MANY_REQUESTS = "queue_full", "too_many_requests"  # codes of TooMany
NOT_YET, EXPIRED = "not_yet", "expired"  # what may be wrong with the time of a token


@dataclass(frozen=True, slots=True)
class FieldError:
    """One broken rule: `pointer` is a JSON Pointer (RFC 6901), `code` a stable name."""

    pointer: str
    code: str
    message: str


class CallsheetError(Exception):
    """Something was wrong with a request."""

    code = "error"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class Malformed(CallsheetError):
    """The request could not be read."""

    code = "malformed"


class Unauthorized(CallsheetError):
    """A valid key is needed: Authorization: Bearer <key>."""

    code = "unauthorized"

    def __init__(self, message: str | None = None, time: str | None = None) -> None:
        """`time` is NOT_YET or EXPIRED for a token that is good at another time."""
        super().__init__(message)
        self.time_error = time


class Forbidden(CallsheetError):
    """The key does not have the scope this call needs."""

    code = "forbidden"


class NotFound(CallsheetError):
    """There is nothing here by that name."""

    code = "not_found"


class Conflict(CallsheetError):
    """The request clashes with what is already there."""

    code = "conflict"

    def __init__(self, message: str, code: str = "conflict", **extra: str) -> None:
        super().__init__(message)
        self.code = code
        self.extra = extra


class TooLarge(CallsheetError):
    """The request has more bytes than allowed."""

    code = "too_large"


class UnsupportedMedia(CallsheetError):
    """Send application/json."""

    code = "unsupported_media_type"


class Invalid(CallsheetError):
    """The request breaks the rules listed in `errors`."""

    code = "invalid"

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__()
        self.errors = tuple(errors)


class TooManyRequests(CallsheetError):
    """More than this account may have; wait, and send it again."""

    code = TOO_MANY_REQUESTS

    def __init__(self, message: str, code: str, retry_after: float) -> None:
        """`retry_after` is in seconds."""
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after


class SignatureError(CallsheetError):
    """The signature does not hold."""

    code = "signature"


class Unavailable(CallsheetError):
    """It could not be stored now; send it again."""

    code = "unavailable"

    @property
    def reason(self) -> str:
        """Its own words, where it has some beside what callers are told; else the kind and the
        first line of what lies behind it. For the log."""
        if str(self) != self.__doc__:
            return str(self)
        behind: BaseException = self
        while behind.__cause__ is not None:
            behind = behind.__cause__
        first = str(behind).strip().partition("\n")[0]
        return first if behind is self else f"{type(behind).__name__}: {first}"
