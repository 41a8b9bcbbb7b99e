"""What a subscriber may be asked to be. A body is read whole: all that is wrong is said at once.

What lies behind the URL is judged by subscribers/steps/manage.py, and again whenever it is dialled.
"""

import re
import unicodedata
from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
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
TYPES: Final = (WEBHOOK, NATS, REDIS)  # nobody makes one of type callback
DEFAULT_PORTS: Final[
    Mapping[str, Mapping[str, int]]
] = {  # and the port of each, where none is named
    WEBHOOK: url_policy.DEFAULT_PORTS,
    NATS: {name: url_policy.STREAM_PORTS[name] for name in ("nats", "tls")},
    REDIS: {name: url_policy.STREAM_PORTS[name] for name in ("redis", "rediss")},
}
UNENCRYPTED_SCHEMES: Final = frozenset(
    {"http", "nats", "redis"}
)  # unencrypted: only where that is allowed
EVENT_TYPES: Final = (*event.SUBJECT_EVENT_TYPES.values(), *event.SUBSCRIBER_EVENT_TYPES)
SIGNATURES: Final = ("v1", "v1a")

DESCRIPTION_LENGTH: Final = range(201)  # ours: a line in a list
LIST_LENGTH: Final = range(1, 101)  # ours; null asks for all, and repeats are folded
TIMEOUT_RANGE: Final = (
    1.0,
    30.0,
)  # seconds; ours: an attempt keeps a place in a worker for as long
CONCURRENCY_RANGE: Final = range(1, 1001)  # ours; many more than any worker has for one by itself
RATE_RANGE: Final = (
    0.01,
    10_000.0,
)  # deliveries a second; ours: from one in 100 s to no bound at all
SCHEDULE_LENGTH: Final = range(1, 21)  # ours; the default schedule has nine
CHANNEL_LENGTH: Final = range(1, 256)  # ours; either server takes far longer ones
CREDENTIAL_LENGTH: Final = range(1, 257)  # ours; a token fits

# Subjects: tokens between dots, no wildcards, no system subjects; docs.nats.io, "Subject-Based
# Messaging".
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
    """What the settings say of targets, as `targets.check_url` takes it."""

    allowed_networks: url_policy.Networks
    allowed_ports: Container[int] | None = None


def read_create(body: object, rules: UrlRules) -> dict[str, Any]:
    """The fields that a body gives, read; `type` is always among them. Invalid with every error.

    Texts, tuples for lists, floats for seconds and rates, and the key's bytes as `secret`.
    """
    context = ValidationContext()
    given = validation.body_fields(context, body, sorted({*FIELD_NAMES, "type", "secret"}))
    validation.require(context, "", given, ("url",))
    kind = validation.one_of(context, "/type", given.pop("type", WEBHOOK), TYPES)
    if kind in (NATS, REDIS):
        validation.require(context, "", given, ("channel",))
    readers = {**_readers(kind, rules), "secret": _read_secret}
    read = validation.read_fields(context, given, readers)
    context.raise_errors()
    return {"type": kind} | read


def read_change(body: object, kind: str, rules: UrlRules) -> dict[str, Any]:
    """The fields that a subscriber of this type is to change, read; Invalid with every error.

    Null is back to the default, as if never given; where there is none, it is left out.
    """
    context, known = ValidationContext(), sorted({*FIELD_NAMES, "state", "type", "secret"})
    given = validation.body_fields(context, body, known, nulls=True)
    given = {
        name: one for name, one in given.items() if one is not None or name not in _WITHOUT_DEFAULT
    }
    if "type" in given:
        context.add_error("/type", "not_changeable", "stays as it is: make another subscriber")
    if "secret" in given:
        rule = "is changed by POST /v1/subscribers/{id}/rotate-secret alone"
        context.add_error("/secret", "not_changeable", rule)
    read = validation.read_fields(context, given, {**_readers(kind, rules), "state": _read_state})
    context.raise_errors()
    return read


def _readers(kind: str | None, rules: UrlRules) -> Mapping[str, Reader]:
    """Of a type that is none, only what is the same for all is read."""
    if kind not in TYPES:
        return COMMON_READERS
    of_type = _WEBHOOK_READERS if kind == WEBHOOK else _STREAM_READERS
    key = partial(validation.ascii_text, allowed=CHANNEL_LENGTH)
    channel = {} if kind == WEBHOOK else {"channel": _read_nats_subject if kind == NATS else key}

    def url(context: ValidationContext, at: str, value: object) -> str | None:
        return _read_url(context, at, value, kind, rules)

    return {**COMMON_READERS, **of_type, **channel, "url": url}


def _read_url(
    context: ValidationContext, at: str, value: object, kind: str, rules: UrlRules
) -> str | None:
    url = validation.string(context, at, value)
    if url is not None:
        for flaw in _url_errors(url, at, kind, rules):
            context.add_error(at, flaw.code, f"is not usable: {flaw.message}")
    return url


def _url_errors(url: str, at: str, kind: str, rules: UrlRules) -> list[FieldError]:
    """A host is a host: what holds for one in any URL holds for that of a stream."""
    if kind != WEBHOOK:
        parts = _STREAM_URL.fullmatch(url)
        usual = DEFAULT_PORTS[kind].get(parts["scheme"].lower()) if parts else None
        if parts is None or usual is None:
            return [
                FieldError(
                    at, "url_scheme", f"it starts with {'://, '.join(DEFAULT_PORTS[kind])}://"
                )
            ]
        if not _PATH[kind].fullmatch(parts["path"] or ""):
            return [FieldError(at, "url_path", f"after the host comes {_PATH_RULE[kind]}")]
        url = f"https://{parts['host']}{parts['port'] or f':{usual}'}"
    return url_policy.check_url(
        url, pointer=at, https_only=False, allowed=rules.allowed_networks, ports=rules.allowed_ports
    )


def _null_means(default: object, read: Reader) -> Reader:
    """What null stands for in a change."""
    return lambda context, at, value: default if value is None else read(context, at, value)


_optional: Final = partial(_null_means, None)


def _text(allowed: range) -> Reader:
    """So many characters, none a control character; kept exactly as it is."""

    def read(context: ValidationContext, at: str, value: object) -> str | None:
        text = validation.string(context, at, value)
        if text is None:
            return None
        if len(text) not in allowed:
            code = "too_short" if len(text) < allowed[0] else "too_long"
            context.add_error(at, code, f"must have {allowed[0]} to {allowed[-1]} characters")
            return None
        kinds = {unicodedata.category(one) for one in text}
        if kinds & {"Cc", "Cs"}:
            context.add_error(at, "control_character", "must not contain control characters")
        return text

    return read


def _one_of(*allowed: str) -> Reader:
    return lambda context, at, value: validation.one_of(context, at, value, allowed)


def _list_of(allowed: Collection[str]) -> Reader:
    def read(context: ValidationContext, at: str, value: object) -> tuple[str | None, ...]:
        entries = validation.list_items(context, at, value, LIST_LENGTH)
        words = [validation.one_of(context, place, one, allowed) for place, one in entries]
        return tuple(dict.fromkeys(words))

    return read


def _number(low: float, high: float) -> Reader:
    def read(context: ValidationContext, at: str, value: object) -> float | None:
        if type(value) is not int and type(value) is not float:  # a bool is an int to isinstance
            context.add_error(at, "wrong_type", "must be a number")
        elif not low <= value <= high:  # so is NaN
            context.add_error(at, "out_of_range", f"must be from {low:g} to {high:g}")
        else:
            return float(value)
        return None

    return read


def _integer(allowed: range) -> Reader:
    def read(context: ValidationContext, at: str, value: object) -> int | None:
        if type(value) is not int:
            context.add_error(at, "wrong_type", "must be a whole number")
        elif value not in allowed:
            context.add_error(at, "out_of_range", f"must be from {allowed[0]} to {allowed[-1]}")
        else:
            return value
        return None

    return read


def _read_schedule(context: ValidationContext, at: str, value: object) -> tuple[float | None, ...]:
    wait = _number(0, MAX_DELAY)
    return tuple(
        wait(context, *one) for one in validation.list_items(context, at, value, SCHEDULE_LENGTH)
    )


def _read_signatures(context: ValidationContext, at: str, value: object) -> tuple[str, ...]:
    asked = _list_of(SIGNATURES)(context, at, value)
    if isinstance(value, list) and value and "v1" not in value:
        context.add_error(at, "v1_needed", "must have v1, beside which v1a may stand")
    return tuple(one for one in SIGNATURES if one in asked)


def _read_secret(context: ValidationContext, at: str, value: object) -> bytes | None:
    text = validation.string(context, at, value)
    if text is None:
        return None
    try:
        return parse_whsec(text)
    except ValueError as error:  # it never says the text
        context.add_error(at, "secret", f"is not usable: {error}")
        return None


def _read_nats_subject(context: ValidationContext, at: str, value: object) -> str | None:
    subject = validation.ascii_text(context, at, value, CHANNEL_LENGTH)
    if subject is not None and not _NATS_SUBJECT.fullmatch(subject):
        rule = "must be a subject: names between dots, without * and >, and not of the system ($)"
        context.add_error(at, "not_a_subject", rule)
    return subject


def _streams_only(context: ValidationContext, at: str, value: object) -> None:
    if value is not None:
        context.add_error(at, "not_for_webhooks", "is for subscribers of type nats or redis_stream")


def _webhook_format(context: ValidationContext, at: str, value: object) -> str | None:
    format_ = _READ_FORMAT(context, at, value)
    if format_ == Format.CLOUDEVENTS:
        _streams_only(context, at, value)
    return Format.STANDARD if format_ else None


_read_state = _one_of(SubscriberState.ACTIVE, SubscriberState.PAUSED)
_READ_FORMAT: Final = _null_means(Format.STANDARD, _one_of(*Format))
COMMON_READERS: Final[Mapping[str, Reader]] = MappingProxyType(
    {
        "event_types": _optional(_list_of(EVENT_TYPES)),
        "reference_types": _optional(_list_of((VIDEO, IMAGE))),
        "tags": _optional(_list_of(TAGS)),
        "description": _null_means("", _text(DESCRIPTION_LENGTH)),
        "headers": _null_means({}, read_headers),
        "timeout": _optional(_number(*TIMEOUT_RANGE)),
        "concurrency": _optional(_integer(CONCURRENCY_RANGE)),
        "rate": _optional(_number(*RATE_RANGE)),
        "schedule": _optional(_read_schedule),
        "order": _null_means(Ordering.PER_SUBJECT, _one_of(*Ordering)),
        "signatures": _null_means(("v1",), _read_signatures),
    }
)
_WEBHOOK_READERS: Final[Mapping[str, Reader]] = MappingProxyType(
    {
        "format": _webhook_format,
        "channel": _streams_only,
        "username": _streams_only,
        "password": _streams_only,
    }
)
_STREAM_READERS: Final[Mapping[str, Reader]] = MappingProxyType(
    {
        "format": _READ_FORMAT,
        "username": _optional(_text(CREDENTIAL_LENGTH)),
        "password": _optional(_text(CREDENTIAL_LENGTH)),
    }
)
_WITHOUT_DEFAULT: Final = frozenset({"type", "url", "channel", "state", "secret"})
FIELD_NAMES: Final = frozenset({"url", *COMMON_READERS, *_WEBHOOK_READERS})
