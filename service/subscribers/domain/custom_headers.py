"""Custom headers of a subscriber: which it may have, and how secrets in them are masked."""

import re
from collections.abc import Mapping
from itertools import islice
from typing import Final

from service.kit import validation
from service.kit.validation import ValidationContext

MAX_HEADERS: Final = 20  # our own rule
MAX_NAME_LENGTH: Final = 64  # characters; our own rule: longer than any name in IANA's registry
MAX_TOTAL_BYTES: Final = 4096  # of names and values; our own rule: half of what servers take
MASK: Final = "***"

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token: RFC 9110, section 5.6.2
_VALUE: Final = re.compile(r"([!-~]([ -~]*[!-~])?)?")  # RFC 9110, section 5.5; no space at an end
# About one connection (RFC 9110, section 7.6.1; RFC 9113, section 8.2.2), or about the message.
_MESSAGE_NAMES: Final = frozenset(
    {
        *("connection", "keep-alive", "te", "trailer", "trailers", "transfer-encoding", "upgrade"),
        *("http2-settings", "host", "expect", "max-forwards", "date", "via", "close"),
    }
)
_RESERVED_NAMES: Final = frozenset({"user-agent", "accept-encoding"})
_RESERVED_PREFIXES: Final = ("webhook-", "callsheet-", "nats-", "ce-")  # streams have them too
_MESSAGE_PREFIXES: Final = ("content-", "proxy-", "sec-")
_SECRET_WORDS: Final = ("auth", "cookie", "key", "token", "secret", "password", "signature")


def read_headers(context: ValidationContext, pointer: str, value: object) -> dict[str, str]:
    """The headers' values by name; valid only if `context` has no errors."""
    if not isinstance(value, dict):
        context.add_error(pointer, "wrong_type", "must be a JSON object of texts by name")
        return {}
    if len(value) > MAX_HEADERS:
        context.add_error(pointer, "too_many", f"must have at most {MAX_HEADERS} members")
    seen: set[str] = set()
    for name, text in islice(value.items(), MAX_HEADERS):
        entry = f"{pointer}/{validation.quotable(name).replace('~', '~0').replace('/', '~1')}"
        if name.lower() in seen:
            context.add_error(entry, "duplicate_header", "is there twice: case does not count")
        seen.add(name.lower())
        _check_name(context, entry, name)
        _check_value(context, entry, name, text)
    parts = (*value.keys(), *value.values())
    size = sum(len(part) for part in parts if isinstance(part, str))
    if size > MAX_TOTAL_BYTES:
        context.add_error(pointer, "too_long", f"must have at most {MAX_TOTAL_BYTES} bytes in all")
    return value


def mask_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with MASK in place of every value whose name says that it is a secret."""
    return {name: MASK if is_secret(name) else value for name, value in headers.items()}


def is_secret(name: str) -> bool:
    """Whether a header's value is a secret, going by the header's name."""
    return any(word in name.lower() for word in _SECRET_WORDS)


def _check_name(context: ValidationContext, pointer: str, name: str) -> None:
    if len(name) > MAX_NAME_LENGTH or not _NAME.fullmatch(name):
        rule = f"is not a header's name: 1 to {MAX_NAME_LENGTH} letters, digits or !#$%&'*+-.^_`|~"
        context.add_error(pointer, "header_name", rule)
    elif name.lower() in _RESERVED_NAMES or name.lower().startswith(_RESERVED_PREFIXES):
        context.add_error(pointer, "header_not_allowed", "is set by this service")
    elif name.lower() in _MESSAGE_NAMES or name.lower().startswith(_MESSAGE_PREFIXES):
        rule = "belongs to the connection or the message, not to you"
        context.add_error(pointer, "header_not_allowed", rule)


def _check_value(context: ValidationContext, pointer: str, name: str, value: object) -> None:
    text = validation.string(context, pointer, value)
    if text is None:
        return
    if not _VALUE.fullmatch(text):
        rule = "must have visible ASCII characters, and spaces only between them"
        context.add_error(pointer, "header_value", rule)
    elif text == MASK and is_secret(name):
        context.add_error(pointer, "header_masked", f"must not be {MASK}, which hides its value")
