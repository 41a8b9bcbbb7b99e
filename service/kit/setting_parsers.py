"""What a setting may be: each reads a text into a value, or says in a ValueError what it must be,
never what it was."""

import base64
import binascii
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from service.kit.crypto.key_formats import parse_whsec

SECRET_KEY_BYTES = 32
MAX_DELAY = 7 * 86400  # seconds between two delivery attempts
# RFC 3986, 2.2: they end what they stand in.
PERCENT_ENCODING_RULE = "must have each : / ? # @ [ ] of a user's name or password percent-encoded"


def text(value: str) -> str:
    if not value:  # an empty HOST would be every address there is
        msg = "must not be empty"
        raise ValueError(msg)
    return value


def credential(value: str) -> str:
    if not value.isascii() or not value.isprintable() or " " in value:
        msg = "must be visible ASCII characters"
        raise ValueError(msg)
    return value


def integer(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not value.isascii() or not value.isdigit() or not low <= int(value) <= high:
            msg = f"must be a whole number from {low} to {high}"
            raise ValueError(msg)
        return int(value)

    return parse


def seconds(low: float, high: float) -> Callable[[str], float]:
    return number(low, high, "seconds")


def number(low: float, high: float, what: str = "a number") -> Callable[[str], float]:
    def parse(value: str) -> float:
        rule = f"must be {what} from {low:g} to {high:g}"
        try:
            read = float(value)
        except ValueError:
            raise ValueError(rule) from None
        if not low <= read <= high:
            raise ValueError(rule)
        return read

    return parse


def optional(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda value: parse(value) if value else None


def boolean(value: str) -> bool:
    if value not in {"true", "false"}:
        msg = "must be true or false"
        raise ValueError(msg)
    return value == "true"


def one_of(*words: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in words:
            msg = f"must be one of {', '.join(words)}"
            raise ValueError(msg)
        return value

    return parse


def scheme_rule(*schemes: str) -> str:
    """What an error says that a URL must be."""
    return f"must be a URL that starts with {' or '.join(f'{scheme}://' for scheme in schemes)}"


def url(*schemes: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        rule = scheme_rule(*schemes)
        try:
            parts = urlsplit(value)
            usable = parts.scheme in schemes and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            raise ValueError(rule) from None
        if not usable:
            raise ValueError(rule)
        return value.rstrip("/")

    return parse


def base_url(value: str) -> str:
    """An http or https URL to which paths are added."""
    if "?" in value or "#" in value:
        msg = "must have neither a query nor a fragment: paths are added to it"
        raise ValueError(msg)
    return url("http", "https")(value)


def redis_url(value: str) -> str:
    """The address of a server, or `unix://` and the path of a socket; it may name a database."""
    schemes = ("redis", "rediss", "unix")
    try:
        parts = urlsplit(value)
        unix, named, port = parts.scheme == "unix", parts.hostname, parts.port
    except ValueError:
        raise ValueError(PERCENT_ENCODING_RULE) from None
    if parts.scheme not in schemes:
        raise ValueError(scheme_rule(*schemes))
    if bool(named) == unix or port == 0 or parts.fragment:
        raise ValueError(f"must name a host, or a path after unix://, and {PERCENT_ENCODING_RULE}")
    numbers = ["" if unix else parts.path.strip("/"), *parse_qs(parts.query).get("db", [])]
    if not all(number.isascii() and number.isdigit() for number in numbers if number):
        raise ValueError("must end in the number of a database, or in none")
    return value.rstrip("/")


def secret_key(value: str) -> bytes:
    rule = f"must be {SECRET_KEY_BYTES} bytes in Base64"
    if not value:
        raise ValueError(f"is empty: it {rule}, as `openssl rand -base64 32` makes them")
    try:
        key = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(rule) from None
    if len(key) != SECRET_KEY_BYTES:
        raise ValueError(rule)
    return key


def secret_keys(value: str) -> tuple[bytes, ...]:
    return tuple(secret_key(one) for one in value.split())


def webhook_secrets(value: str) -> tuple[bytes, ...]:
    return tuple(parse_whsec(secret) for secret in value.split())


def delays(value: str) -> tuple[float, ...]:
    one = seconds(0, MAX_DELAY)
    return tuple(one(part.strip()) for part in value.split(",") if part.strip())
