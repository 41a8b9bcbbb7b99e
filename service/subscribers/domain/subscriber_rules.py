"""Validation of subscribers: the rules for each field of a create and of a change. A body is read
whole, so that every error is reported at once.

Rules without a source are our own. Where a URL's host leads is checked by steps/manage.py, and
again whenever it is dialled (SSRF).
"""

import re
import unicodedata
from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from service.intake.domain.request_rules import TAGS
from service.kit import validation
from service.kit.crypto.key_formats import parse_whsec
from service.kit.errors import FieldError
from service.kit.network import url_policy
from service.kit.setting_parsers import MAX_DELAY
from service.kit.validation import Reader, ValidationContext
from service.subjects.domain import event
from service.subjects.domain.reference_types import IMAGE, VIDEO
from service.subscribers.domain.custom_headers import read_headers
from service.subscribers.domain.subscriber import Format, Ordering, SubscriberState, SubscriberType

WEBHOOK, NATS, REDIS = SubscriberType.WEBHOOK, SubscriberType.NATS, SubscriberType.REDIS_STREAM
TYPES: Final = (WEBHOOK, NATS, REDIS)  # nobody creates one of type callback
DEFAULT_PORTS: Final[Mapping[str, Mapping[str, int]]] = {  # of each type's URL schemes
    WEBHOOK: url_policy.DEFAULT_PORTS,
    NATS: {name: url_policy.STREAM_PORTS[name] for name in ("nats", "tls")},
    REDIS: {name: url_policy.STREAM_PORTS[name] for name in ("redis", "rediss")},
}
UNENCRYPTED_SCHEMES: Final = frozenset({"http", "nats", "redis"})
EVENT_TYPES: Final = (
    *event.SUBJECT_EVENT_TYPES.values(),
    event.ERASED_EVENT_TYPE,
    *event.SUBSCRIBER_EVENT_TYPES,
)
SIGNATURES: Final = ("v1", "v1a")

DESCRIPTION_LENGTH: Final = range(201)  # characters: a line in a list
LIST_LENGTH: Final = range(1, 101)  # entries, repeated ones too; null instead of a list: all
TIMEOUT_RANGE: Final = (1.0, 30.0)  # seconds: an attempt keeps a place in a worker for as long
CONCURRENCY_RANGE: Final = range(1, 1001)  # far more than a worker gives to one subscriber
RATE_RANGE: Final = (0.01, 10_000.0)  # deliveries a second: from one in 100 s to hardly a limit
SCHEDULE_LENGTH: Final = range(1, 21)  # entries; the default schedule has nine
CHANNEL_LENGTH: Final = range(1, 256)  # characters; either server takes far longer ones
CREDENTIAL_LENGTH: Final = range(1, 257)  # characters; a token fits

# Tokens between dots, no wildcards, no system subjects: docs.nats.io, "Subject-Based Messaging".
_NATS_SUBJECT: Final = re.compile(r"(?!\$)[^.*>]+(\.[^.*>]+)*")
_STREAM_URL: Final = re.compile(
    r"(?P<scheme>[a-z]+)://(?P<host>[^/?#]*?)(?P<port>:[0-9]*)?(?P<path>[/?#].*)?",
    re.IGNORECASE | re.DOTALL,
)
_PATH: Final[Mapping[str, re.Pattern[str]]] = {
    NATS: re.compile(r"/?"),
    REDIS: re.compile(r"(/[0-9]{0,5})?"),
}
_PATH_RULE: Final[Mapping[str, str]] = {
    NATS: "nothing",
    REDIS: "the number of a database or nothing",
}


@dataclass(frozen=True, slots=True)
class UrlRules:
    """Which URLs of subscribers the settings allow."""

    allowed_networks: url_policy.Networks  # private networks that may be dialled all the same
    allowed_ports: Container[int] | None = None  # None: any


def read_create(body: object, rules: UrlRules) -> dict[str, Any]:
    """The fields that a create gives, validated; `type` is always among them.

    Lists are tuples, seconds and rates floats, `secret` is the key's bytes. Invalid with every
    error.
    """
    context = ValidationContext()
    raw_fields = validation.body_fields(context, body, sorted({*FIELD_NAMES, "type", "secret"}))
    validation.require(context, "", raw_fields, ("url",))
    type_ = validation.one_of(context, "/type", raw_fields.pop("type", WEBHOOK), TYPES)
    if type_ in (NATS, REDIS):
        validation.require(context, "", raw_fields, ("channel",))
    readers = {**_readers(type_, rules), "secret": _read_secret}
    fields = validation.read_fields(context, raw_fields, readers)
    context.raise_errors()
    return {"type": type_} | fields


def read_change(body: object, type_: str, rules: UrlRules) -> dict[str, Any]:
    """The fields that a change gives to a subscriber of this type, validated as by `read_create`.

    Null puts a field back to its default, or is left out where there is none. Invalid with every
    error.
    """
    context, known = ValidationContext(), sorted({*FIELD_NAMES, "state", "type", "secret"})
    body_fields = validation.body_fields(context, body, known, nulls=True)
    raw_fields = {
        name: value
        for name, value in body_fields.items()
        if value is not None or name not in _WITHOUT_DEFAULT
    }
    if "type" in raw_fields:
        context.add_error("/type", "not_changeable", "cannot be changed: make another subscriber")
    if "secret" in raw_fields:
        rule = "is changed by POST /v1/subscribers/{id}/rotate-secret alone"
        context.add_error("/secret", "not_changeable", rule)
    readers = {**_readers(type_, rules), "state": _read_state}
    fields = validation.read_fields(context, raw_fields, readers)
    context.raise_errors()
    return fields


def _readers(type_: str | None, rules: UrlRules) -> Mapping[str, Reader]:
    """The readers of all fields of this type; of those that all types share, if it is unknown."""
    if type_ not in TYPES:
        return COMMON_READERS

    def read_url(context: ValidationContext, pointer: str, value: object) -> str | None:
        url = validation.string(context, pointer, value)
        if url is not None:
            for error in _url_errors(url, pointer, type_, rules):
                context.add_error(pointer, error.code, error.message)
        return url

    return {**COMMON_READERS, **_READERS_OF_TYPE[type_], "url": read_url}


def _url_errors(url: str, pointer: str, type_: str, rules: UrlRules) -> list[FieldError]:
    """What is wrong with a URL; a stream's is checked as an https URL of its host and port."""
    if type_ != WEBHOOK:
        parts = _STREAM_URL.fullmatch(url)
        port = DEFAULT_PORTS[type_].get(parts["scheme"].lower()) if parts else None
        if parts is None or port is None:
            rule = f"must start with {':// or '.join(DEFAULT_PORTS[type_])}://"
            return [FieldError(pointer, "url_scheme", rule)]
        if not _PATH[type_].fullmatch(parts["path"] or ""):
            rule = f"must have {_PATH_RULE[type_]} after its host"
            return [FieldError(pointer, "url_path", rule)]
        url = f"https://{parts['host']}{parts['port'] or f':{port}'}"
    return url_policy.check_url(
        url,
        pointer=pointer,
        https_only=False,
        allowed=rules.allowed_networks,
        ports=rules.allowed_ports,
    )


def _null_means(default: object, read: Reader) -> Reader:
    """A reader of null as this default; anything else is read by `read`."""
    return lambda context, pointer, value: (
        default if value is None else read(context, pointer, value)
    )


_optional: Final = partial(_null_means, None)


def _text(allowed: range) -> Reader:
    """A reader of text with so many characters, none of them a control character."""

    def read(context: ValidationContext, pointer: str, value: object) -> str | None:
        text = validation.string(context, pointer, value)
        if text is None:
            return None
        if len(text) not in allowed:
            code = "too_short" if len(text) < allowed[0] else "too_long"
            context.add_error(pointer, code, f"must have {allowed[0]} to {allowed[-1]} characters")
            return None
        if {unicodedata.category(character) for character in text} & {"Cc", "Cs"}:
            context.add_error(pointer, "control_character", "must not contain control characters")
        return text

    return read


def _one_of(*allowed: str) -> Reader:
    return lambda context, pointer, value: validation.one_of(context, pointer, value, allowed)


def _list_of(allowed: Collection[str]) -> Reader:
    def read(context: ValidationContext, pointer: str, value: object) -> tuple[str | None, ...]:
        entries = validation.list_items(context, pointer, value, LIST_LENGTH)
        words = [validation.one_of(context, entry, word, allowed) for entry, word in entries]
        return tuple(dict.fromkeys(words))

    return read


def number_between(low: float, high: float) -> Reader:
    """A reader of numbers from `low` to `high`."""

    def read(context: ValidationContext, pointer: str, value: object) -> float | None:
        if type(value) is not int and type(value) is not float:  # a bool is an int to isinstance
            context.add_error(pointer, "wrong_type", "must be a number")
        elif not low <= value <= high:  # so is NaN
            context.add_error(pointer, "out_of_range", f"must be from {low:g} to {high:g}")
        else:
            return float(value)
        return None

    return read


def _integer(allowed: range) -> Reader:
    def read(context: ValidationContext, pointer: str, value: object) -> int | None:
        if type(value) is not int:
            context.add_error(pointer, "wrong_type", "must be a whole number")
        elif value not in allowed:
            rule = f"must be from {allowed[0]} to {allowed[-1]}"
            context.add_error(pointer, "out_of_range", rule)
        else:
            return value
        return None

    return read


def _read_schedule(
    context: ValidationContext, pointer: str, value: object
) -> tuple[float | None, ...]:
    read_delay = number_between(0, MAX_DELAY)
    entries = validation.list_items(context, pointer, value, SCHEDULE_LENGTH)
    return tuple(read_delay(context, entry, delay) for entry, delay in entries)


def _read_signatures(context: ValidationContext, pointer: str, value: object) -> tuple[str, ...]:
    signatures = _list_of(SIGNATURES)(context, pointer, value)
    if isinstance(value, list) and value and "v1" not in value:
        context.add_error(pointer, "v1_needed", "must have v1, beside which v1a may stand")
    return tuple(name for name in SIGNATURES if name in signatures)


def _read_secret(context: ValidationContext, pointer: str, value: object) -> bytes | None:
    text = validation.string(context, pointer, value)
    if text is None:
        return None
    try:
        return parse_whsec(text)
    except ValueError as error:  # its message never has the text
        context.add_error(pointer, "secret", f"is not usable: {error}")
        return None


def _read_nats_subject(context: ValidationContext, pointer: str, value: object) -> str | None:
    subject = validation.ascii_text(context, pointer, value, CHANNEL_LENGTH)
    if subject is not None and not _NATS_SUBJECT.fullmatch(subject):
        rule = "must be a NATS subject: names between dots, without * or >, not starting with $"
        context.add_error(pointer, "not_a_subject", rule)
    return subject


def _streams_only(context: ValidationContext, pointer: str, value: object) -> None:
    if value is not None:
        context.add_error(pointer, "not_for_webhooks", "is for types nats and redis_stream alone")


def _webhook_format(context: ValidationContext, pointer: str, value: object) -> str | None:
    format_ = _READ_FORMAT(context, pointer, value)
    if format_ == Format.CLOUDEVENTS:
        _streams_only(context, pointer, value)
    return Format.STANDARD if format_ else None


_read_state = _one_of(SubscriberState.ACTIVE, SubscriberState.PAUSED)
_READ_FORMAT: Final = _null_means(Format.STANDARD, _one_of(*Format))
COMMON_READERS: Final[Mapping[str, Reader]] = {
    "event_types": _optional(_list_of(EVENT_TYPES)),
    "reference_types": _optional(_list_of((VIDEO, IMAGE))),
    "tags": _optional(_list_of(TAGS)),
    "description": _null_means("", _text(DESCRIPTION_LENGTH)),
    "headers": _null_means({}, read_headers),
    "timeout": _optional(number_between(*TIMEOUT_RANGE)),
    "concurrency": _optional(_integer(CONCURRENCY_RANGE)),
    "rate": _optional(number_between(*RATE_RANGE)),
    "schedule": _optional(_read_schedule),
    "order": _null_means(Ordering.PER_SUBJECT, _one_of(*Ordering)),
    "signatures": _null_means(("v1",), _read_signatures),
}
_WEBHOOK_READERS: Final[Mapping[str, Reader]] = {
    "format": _webhook_format,
    **dict.fromkeys(("channel", "username", "password"), _streams_only),
}
_STREAM_READERS: Final[Mapping[str, Reader]] = {
    "format": _READ_FORMAT,
    "username": _optional(_text(CREDENTIAL_LENGTH)),
    "password": _optional(_text(CREDENTIAL_LENGTH)),
}
_REDIS_KEY: Final = partial(validation.ascii_text, allowed=CHANNEL_LENGTH)
_READERS_OF_TYPE: Final[Mapping[str, Mapping[str, Reader]]] = {
    WEBHOOK: _WEBHOOK_READERS,
    NATS: {**_STREAM_READERS, "channel": _read_nats_subject},
    REDIS: {**_STREAM_READERS, "channel": _REDIS_KEY},
}
_WITHOUT_DEFAULT: Final = frozenset({"type", "url", "channel", "state", "secret"})
FIELD_NAMES: Final = frozenset({"url", *COMMON_READERS, *_WEBHOOK_READERS})
