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
SCHEMES: Final[Mapping[str, Mapping[str, int]]] = {  # and the port of each, where none is named
    WEBHOOK: url_policy.DEFAULT_PORTS,
    NATS: {name: url_policy.STREAM_PORTS[name] for name in ("nats", "tls")},
    REDIS: {name: url_policy.STREAM_PORTS[name] for name in ("redis", "rediss")},
}
PLAIN: Final = frozenset({"http", "nats", "redis"})  # unencrypted: only where that is allowed
EVENT_TYPES: Final = (*event.SUBJECT_EVENT_TYPES.values(), *event.SUBSCRIBER_EVENT_TYPES)
SIGNATURES: Final = ("v1", "v1a")

DESCRIPTION_LENGTH: Final = range(201)  # ours: a line in a list
LIST_ENTRIES: Final = range(1, 101)  # ours; null asks for all, and repeats are folded
TIMEOUT: Final = (1.0, 30.0)  # seconds; ours: an attempt keeps a place in a worker for as long
CONCURRENCY: Final = range(1, 1001)  # ours; many more than any worker has for one by itself
RATE: Final = (0.01, 10_000.0)  # deliveries a second; ours: from one in 100 s to no bound at all
RETRIES: Final = range(1, 21)  # ours; the default schedule has nine
CHANNEL_LENGTH: Final = range(1, 256)  # ours; either server takes far longer ones
CREDENTIAL_LENGTH: Final = range(1, 257)  # ours; a token fits

# Subjects: tokens between dots, no wildcards, no system subjects; docs.nats.io, "Subject-Based
# Messaging".
_SUBJECT: Final = re.compile(r"(?!\$)[^.*>]+(\.[^.*>]+)*")
_URL: Final = re.compile(
    r"(?P<scheme>[a-z]+)://(?P<host>[^/?#]*?)(?P<port>:[0-9]*)?(?P<path>[/?#].*)?",
    re.IGNORECASE | re.DOTALL,
)
_PATHS: Final[Mapping[str, re.Pattern[str]]] = {
    NATS: re.compile(r"/?"),
    REDIS: re.compile(r"(/[0-9]{0,5})?"),
}
_MAY_FOLLOW: Final[Mapping[str, str]] = {
    NATS: "nothing",
    REDIS: "the number of a database or nothing",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say of targets, as `targets.check_url` takes it."""

    allowed: url_policy.Networks
    ports: Container[int] | None = None


def read_create(body: object, rules: Rules) -> dict[str, Any]:
    """The fields that a body gives, read; `type` is always among them. Invalid with every error.

    Texts, tuples for lists, floats for seconds and rates, and the key's bytes as `secret`.
    """
    context = ValidationContext()
    given = validation.body_fields(context, body, sorted({*NAMES, "type", "secret"}))
    validation.require(context, "", given, ("url",))
    kind = validation.one_of(context, "/type", given.pop("type", WEBHOOK), TYPES)
    if kind in (NATS, REDIS):
        validation.require(context, "", given, ("channel",))
    readers = {**_readers(kind, rules), "secret": _secret}
    read = validation.read_fields(context, given, readers)
    context.raise_errors()
    return {"type": kind} | read


def read_change(body: object, kind: str, rules: Rules) -> dict[str, Any]:
    """The fields that a subscriber of this type is to change, read; Invalid with every error.

    Null is back to the default, as if never given; where there is none, it is left out.
    """
    context, known = ValidationContext(), sorted({*NAMES, "state", "type", "secret"})
    given = validation.body_fields(context, body, known, nulls=True)
    given = {name: one for name, one in given.items() if one is not None or name not in NO_DEFAULT}
    if "type" in given:
        context.add_error("/type", "not_changeable", "stays as it is: make another subscriber")
    if "secret" in given:
        rule = "is changed by POST /v1/subscribers/{id}/rotate-secret alone"
        context.add_error("/secret", "not_changeable", rule)
    read = validation.read_fields(context, given, {**_readers(kind, rules), "state": _state})
    context.raise_errors()
    return read


def _readers(kind: str | None, rules: Rules) -> Mapping[str, Reader]:
    """Of a type that is none, only what is the same for all is read."""
    if kind not in TYPES:
        return COMMON
    of_type = OF_WEBHOOKS if kind == WEBHOOK else OF_STREAMS
    key = partial(validation.ascii_text, allowed=CHANNEL_LENGTH)
    channel = {} if kind == WEBHOOK else {"channel": _subject if kind == NATS else key}

    def url(context: ValidationContext, at: str, value: object) -> str | None:
        return _url(context, at, value, kind, rules)

    return {**COMMON, **of_type, **channel, "url": url}


def _url(context: ValidationContext, at: str, value: object, kind: str, rules: Rules) -> str | None:
    url = validation.string(context, at, value)
    if url is not None:
        for flaw in _flaws(url, at, kind, rules):
            context.add_error(at, flaw.code, f"is not usable: {flaw.message}")
    return url


def _flaws(url: str, at: str, kind: str, rules: Rules) -> list[FieldError]:
    """A host is a host: what holds for one in any URL holds for that of a stream."""
    if kind != WEBHOOK:
        parts = _URL.fullmatch(url)
        usual = SCHEMES[kind].get(parts["scheme"].lower()) if parts else None
        if parts is None or usual is None:
            return [
                FieldError(at, "url_scheme", f"it starts with {'://, '.join(SCHEMES[kind])}://")
            ]
        if not _PATHS[kind].fullmatch(parts["path"] or ""):
            return [FieldError(at, "url_path", f"after the host comes {_MAY_FOLLOW[kind]}")]
        url = f"https://{parts['host']}{parts['port'] or f':{usual}'}"
    return url_policy.check_url(
        url, pointer=at, https_only=False, allowed=rules.allowed, ports=rules.ports
    )


def _or(default: object, read: Reader) -> Reader:
    """What null stands for in a change."""
    return lambda context, at, value: default if value is None else read(context, at, value)


_or_null: Final = partial(_or, None)


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


def _word(*allowed: str) -> Reader:
    return lambda context, at, value: validation.one_of(context, at, value, allowed)


def _some_of(allowed: Collection[str]) -> Reader:
    def read(context: ValidationContext, at: str, value: object) -> tuple[str | None, ...]:
        entries = validation.list_items(context, at, value, LIST_ENTRIES)
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


def _whole(allowed: range) -> Reader:
    def read(context: ValidationContext, at: str, value: object) -> int | None:
        if type(value) is not int:
            context.add_error(at, "wrong_type", "must be a whole number")
        elif value not in allowed:
            context.add_error(at, "out_of_range", f"must be from {allowed[0]} to {allowed[-1]}")
        else:
            return value
        return None

    return read


def _schedule(context: ValidationContext, at: str, value: object) -> tuple[float | None, ...]:
    wait = _number(0, MAX_DELAY)
    return tuple(wait(context, *one) for one in validation.list_items(context, at, value, RETRIES))


def _signatures(context: ValidationContext, at: str, value: object) -> tuple[str, ...]:
    asked = _some_of(SIGNATURES)(context, at, value)
    if isinstance(value, list) and value and "v1" not in value:
        context.add_error(at, "v1_needed", "must have v1, beside which v1a may stand")
    return tuple(one for one in SIGNATURES if one in asked)


def _secret(context: ValidationContext, at: str, value: object) -> bytes | None:
    text = validation.string(context, at, value)
    if text is None:
        return None
    try:
        return parse_whsec(text)
    except ValueError as error:  # it never says the text
        context.add_error(at, "secret", f"is not usable: {error}")
        return None


def _subject(context: ValidationContext, at: str, value: object) -> str | None:
    subject = validation.ascii_text(context, at, value, CHANNEL_LENGTH)
    if subject is not None and not _SUBJECT.fullmatch(subject):
        rule = "must be a subject: names between dots, without * and >, and not of the system ($)"
        context.add_error(at, "not_a_subject", rule)
    return subject


def _not_here(context: ValidationContext, at: str, value: object) -> None:
    if value is not None:
        context.add_error(at, "not_for_webhooks", "is for subscribers of type nats or redis_stream")


def _standard(context: ValidationContext, at: str, value: object) -> str | None:
    format_ = FORMAT(context, at, value)
    if format_ == Format.CLOUDEVENTS:
        _not_here(context, at, value)
    return Format.STANDARD if format_ else None


_state = _word(SubscriberState.ACTIVE, SubscriberState.PAUSED)
FORMAT: Final = _or(Format.STANDARD, _word(*Format))
COMMON: Final[Mapping[str, Reader]] = MappingProxyType(
    {
        "event_types": _or_null(_some_of(EVENT_TYPES)),
        "reference_types": _or_null(_some_of((VIDEO, IMAGE))),
        "tags": _or_null(_some_of(TAGS)),
        "description": _or("", _text(DESCRIPTION_LENGTH)),
        "headers": _or({}, read_headers),
        "timeout": _or_null(_number(*TIMEOUT)),
        "concurrency": _or_null(_whole(CONCURRENCY)),
        "rate": _or_null(_number(*RATE)),
        "schedule": _or_null(_schedule),
        "order": _or(Ordering.PER_SUBJECT, _word(*Ordering)),
        "signatures": _or(("v1",), _signatures),
    }
)
OF_WEBHOOKS: Final[Mapping[str, Reader]] = MappingProxyType(
    {"format": _standard, "channel": _not_here, "username": _not_here, "password": _not_here}
)
OF_STREAMS: Final[Mapping[str, Reader]] = MappingProxyType(
    {
        "format": FORMAT,
        "username": _or_null(_text(CREDENTIAL_LENGTH)),
        "password": _or_null(_text(CREDENTIAL_LENGTH)),
    }
)
NO_DEFAULT: Final = frozenset({"type", "url", "channel", "state", "secret"})
NAMES: Final = frozenset({"url", *COMMON, *OF_WEBHOOKS})
