"""Parsers of settings: text in, value out.

A ValueError completes the sentence that begins with the setting's name; it never shows the text,
which may be a secret.
"""

import base64
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from service.kit.crypto.key_formats import parse_whsec
from service.kit.network.ports import MAX_PORT

SECRET_KEY_BYTES = 32
MAX_DELAY = 7 * 86400  # seconds of one wait in a schedule
# RFC 3986, 2.2: they end what they stand in.
PERCENT_ENCODING_RULE = "must have each : / ? # @ [ ] of a user's name or password percent-encoded"


def text(value: str) -> str:
    """Any text but the empty one: an empty HOST would be every address there is."""
    if not value:
        raise ValueError("must not be empty")
    return value


def credential(value: str) -> str:
    """Visible ASCII characters, or nothing at all."""
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("must be visible ASCII characters")
    return value


def integer(low: int, high: int) -> Callable[[str], int]:
    """A parser of decimal digits that stand for a number from `low` to `high`."""

    def parse(value: str) -> int:
        if not value.isascii() or not value.isdigit() or not low <= int(value) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(value)

    return parse


def two_ports(value: str) -> tuple[int | None, int | None]:
    """Two ports with a comma between them; one alone stands for both, and nothing for none."""
    if not value:
        return None, None
    first, comma, second = value.partition(",")
    parse = integer(0, MAX_PORT)
    return parse(first.strip()), parse((second if comma else first).strip())


def seconds(low: float, high: float) -> Callable[[str], float]:
    """A parser of a number of seconds from `low` to `high`."""
    return number(low, high, "seconds")


def number(low: float, high: float, what: str = "a number") -> Callable[[str], float]:
    """A parser of a number from `low` to `high`; `what` names it in the message."""

    def parse(value: str) -> float:
        rule = f"must be {what} from {low:g} to {high:g}"
        try:
            parsed = float(value)
        except ValueError:
            raise ValueError(rule) from None
        if not low <= parsed <= high:
            raise ValueError(rule)
        return parsed

    return parse


def optional(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """A parser that makes None of an empty text, and leaves any other to `parse`."""
    return lambda value: parse(value) if value else None


def boolean(value: str) -> bool:
    """true or false, in these letters."""
    if value not in {"true", "false"}:
        raise ValueError("must be true or false")
    return value == "true"


def one_of(*words: str) -> Callable[[str], str]:
    """A parser that takes one of these words as it is."""

    def parse(value: str) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return value

    return parse


def scheme_rule(*schemes: str) -> str:
    """The message for a URL of any other scheme."""
    return f"must be a URL that starts with {' or '.join(f'{scheme}://' for scheme in schemes)}"


def url(*schemes: str) -> Callable[[str], str]:
    """A parser of a URL with one of these schemes and a host; slashes at its end are taken off."""

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
    """An http or https URL that paths can be added to."""
    if "?" in value or "#" in value:
        raise ValueError("must have neither a query nor a fragment: paths are added to it")
    return url("http", "https")(value)


def redis_url(value: str) -> str:
    """The URL of a Redis server, or `unix://` and the path of its socket; it may name a database
    by number."""
    schemes = ("redis", "rediss", "unix")
    try:
        parts = urlsplit(value)
        unix, host, port = parts.scheme == "unix", parts.hostname, parts.port
    except ValueError:
        raise ValueError(PERCENT_ENCODING_RULE) from None
    if parts.scheme not in schemes:
        raise ValueError(scheme_rule(*schemes))
    if bool(host) == unix or port == 0 or parts.fragment:
        raise ValueError(f"must name a host, or a path after unix://, and {PERCENT_ENCODING_RULE}")
    databases = ["" if unix else parts.path.strip("/"), *parse_qs(parts.query).get("db", [])]
    if not all(database.isascii() and database.isdigit() for database in databases if database):
        raise ValueError("must end in the number of a database, or in none")
    return value.rstrip("/")


def secret_key(value: str) -> bytes:
    """SECRET_KEY_BYTES bytes in Base64."""
    rule = f"must be {SECRET_KEY_BYTES} bytes in Base64"
    if not value:
        raise ValueError(f"is empty: it {rule}, as `openssl rand -base64 32` makes them")
    try:
        key = base64.b64decode(value, validate=True)
    except ValueError:
        raise ValueError(rule) from None
    if len(key) != SECRET_KEY_BYTES:
        raise ValueError(rule)
    return key


def secret_keys(value: str) -> tuple[bytes, ...]:
    """Keys as `secret_key` takes one, with blanks between them; none in an empty text."""
    return tuple(secret_key(key) for key in value.split())


def webhook_secrets(value: str) -> tuple[bytes, ...]:
    """The keys of `whsec_…` texts with blanks between them; none in an empty text."""
    return tuple(parse_whsec(secret) for secret in value.split())


def delays(value: str) -> tuple[float, ...]:
    """A retry schedule: waits of at most MAX_DELAY seconds with commas between them; none in an
    empty text."""
    parse = seconds(0, MAX_DELAY)
    return tuple(parse(delay.strip()) for delay in value.split(",") if delay.strip())
