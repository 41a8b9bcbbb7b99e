"""A subscriber's own headers: which it may have, and how they are shown."""

import re
from collections.abc import Mapping
from itertools import islice
from typing import Final

from service.kit import validation
from service.kit.validation import ValidationContext

MAX_HEADERS: Final = 20  # ours
MAX_NAME_LENGTH: Final = 64  # characters; ours, longer than any name in IANA's registry
MAX_TOTAL_BYTES: Final = 4096  # bytes of names and values; ours: half of what common servers take
MASK: Final = "***"

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_VALUE: Final = re.compile(r"([!-~]([ -~]*[!-~])?)?")  # RFC 9110, section 5.5; no blank at an end
# Of one connection (RFC 9110, section 7.6.1; RFC 9113, section 8.2.2), or about the message.
_MESSAGE_NAMES: Final = frozenset(
    {
        *("connection", "keep-alive", "te", "trailer", "trailers", "transfer-encoding", "upgrade"),
        *("http2-settings", "host", "expect", "max-forwards", "date", "via", "close"),
    }
)
_RESERVED_NAMES: Final = frozenset({"user-agent", "accept-encoding"})
_RESERVED_PREFIXES: Final = (
    "webhook-",
    "callsheet-",
    "nats-",
    "ce-",
)  # and what streams' senders set
_MESSAGE_PREFIXES: Final = ("content-", "proxy-", "sec-")
_SECRET_WORDS: Final = ("auth", "cookie", "key", "token", "secret", "password", "signature")


def read_headers(context: ValidationContext, at: str, value: object) -> dict[str, str]:
    """Values by name; good only if nothing was reported."""
    if not isinstance(value, dict):
        context.add_error(at, "wrong_type", "must be a JSON object of texts by name")
        return {}
    if len(value) > MAX_HEADERS:
        context.add_error(at, "too_many", f"must have at most {MAX_HEADERS} members")
    seen: set[str] = set()
    for name, text in islice(value.items(), MAX_HEADERS):
        place = f"{at}/{validation.quotable(name).replace('~', '~0').replace('/', '~1')}"
        if name.lower() in seen:
            context.add_error(place, "duplicate_header", "is there twice: case makes no difference")
        seen.add(name.lower())
        _check_name(context, place, name)
        _check_value(context, place, name, text)
    size = sum(len(part) for one in value.items() for part in one if isinstance(part, str))
    if size > MAX_TOTAL_BYTES:
        context.add_error(at, "too_long", f"must have at most {MAX_TOTAL_BYTES} bytes, all in all")
    return value


def mask_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    """With a mask in place of what seems to be a secret, by its name."""
    return {name: MASK if is_secret(name) else value for name, value in headers.items()}


def is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET_WORDS)


def _check_name(context: ValidationContext, at: str, name: str) -> None:
    if len(name) > MAX_NAME_LENGTH or not _NAME.fullmatch(name):
        rule = f"is not a header's name: 1 to {MAX_NAME_LENGTH} letters, digits or !#$%&'*+-.^_`|~"
        context.add_error(at, "header_name", rule)
    elif name.lower() in _RESERVED_NAMES or name.lower().startswith(_RESERVED_PREFIXES):
        context.add_error(at, "header_not_allowed", "is set by us")
    elif name.lower() in _MESSAGE_NAMES or name.lower().startswith(_MESSAGE_PREFIXES):
        rule = "belongs to the connection or the message, not to you"
        context.add_error(at, "header_not_allowed", rule)


def _check_value(context: ValidationContext, at: str, name: str, value: object) -> None:
    text = validation.string(context, at, value)
    if text is None:
        return
    if not _VALUE.fullmatch(text):
        rule = "must have visible ASCII characters, and spaces only between them"
        context.add_error(at, "header_value", rule)
    elif text == MASK and is_secret(name):
        context.add_error(at, "header_masked", f"is shown as {MASK}, which stands for its value")
