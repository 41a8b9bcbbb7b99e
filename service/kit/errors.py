"""Errors that callers get, as a tree; `kit/http/responses.py` gives each its HTTP status.

CallsheetError
├── Malformed         the bytes cannot be read
├── Unauthorized      the key is missing or not valid
├── Forbidden         the key lacks a scope
├── NotFound          nothing has that name, or nothing that the caller may see
├── Conflict          the request clashes with what is there
├── CursorExpired     what comes after a cursor may not be kept any more
├── TooLarge          more bytes than allowed
├── UnsupportedMedia  a content type that is not read
├── Invalid           rules are broken; every one is listed
├── TooManyRequests   the rate is too high, or the queue is full
├── SignatureError    the signature does not prove who sent it
├── IntakeHeld        new requests are not taken for now
└── Unavailable       it cannot be done now
"""

from collections.abc import Sequence
from dataclasses import dataclass

TABLES_MISSING = "The tables are missing: run `callsheet migrate`."  # a message of Unavailable
QUEUE_FULL, TOO_MANY_REQUESTS = "queue_full", "too_many_requests"  # codes of TooManyRequests
NOT_YET, EXPIRED = "not_yet", "expired"  # values of Unauthorized.time_error


@dataclass(frozen=True, slots=True)
class FieldError:
    """One rule that a request breaks."""

    pointer: str  # JSON Pointer (RFC 6901) to the value; a query parameter is its name behind a /
    code: str  # stable name of the rule
    # A clause for people, without capital and period: the field's name, and how the sentence that
    # begins with it goes on ("tags must be an array").
    message: str


class CallsheetError(Exception):
    """Something was wrong with a request."""

    # Callers get the message that is given, a whole sentence, else the docstring of the class.
    code = "error"  # stable name of the problem

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class Malformed(CallsheetError):
    """The request could not be read."""

    code = "malformed"


class Unauthorized(CallsheetError):
    """A valid key is needed: Authorization: Bearer <key>."""

    code = "unauthorized"

    def __init__(self, message: str | None = None, time_error: str | None = None) -> None:
        """`time_error` is NOT_YET or EXPIRED for a token that is valid at another time."""
        super().__init__(message)
        self.time_error = time_error


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
        """`extra` are members that the problem details have beside the usual ones."""
        super().__init__(message)
        self.code = code
        self.extra = extra


class CursorExpired(CallsheetError):
    """Events after a cursor may be gone, and the reader does not know it."""

    code = "cursor_expired"

    def __init__(self, oldest: str) -> None:
        """`oldest` is the cursor to go on from."""
        super().__init__(
            "Events after this cursor may be gone. Go on with `oldest` as `after`, and read anew"
            " what you know by these events."
        )
        self.extra = {"oldest": oldest}


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
    """Too many requests; wait, and send it again."""

    code = TOO_MANY_REQUESTS

    def __init__(self, message: str, code: str, retry_after: float) -> None:
        """`code` is QUEUE_FULL or TOO_MANY_REQUESTS; `retry_after` is in seconds."""
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after


class SignatureError(CallsheetError):
    """The signature does not hold."""

    code = "signature"


class IntakeHeld(CallsheetError):
    """New requests are not taken for now; send it again later."""

    code = "intake_held"

    def __init__(self, retry_after: float) -> None:
        """`retry_after` is in seconds."""
        super().__init__()
        self.retry_after = retry_after


class Unavailable(CallsheetError):
    """It could not be stored now; send it again."""

    code = "unavailable"

    @property
    def reason(self) -> str:
        """For the log: the message, if one was given; else the first cause, in one line."""
        if str(self) != self.__doc__:
            return str(self)
        cause: BaseException = self
        while cause.__cause__ is not None:
            cause = cause.__cause__
        first_line = str(cause).strip().partition("\n")[0]
        return first_line if cause is self else f"{type(cause).__name__}: {first_line}"
