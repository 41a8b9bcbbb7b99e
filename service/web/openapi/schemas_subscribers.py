"""Schemas of subscribers and of what is sent to them. Limits: core/subscribing.py, core/headers.py.

What the values of a header's name or of all headers together may not be, no schema can say: it is
in the descriptions.
"""

from service.core import headers, subscribing
from service.core.kinds import IMAGE, VIDEO
from service.core.parameters import LONGEST_WAIT
from service.core.request_rules import TAGS
from service.core.subscribing import NATS, REDIS, WEBHOOK
from service.steps.signing import MAX_OVERLAP, OVERLAP
from service.store.replay import KINDS
from service.web.deliveries import STATES
from service.web.openapi.pieces import (
    PLAIN,
    Schema,
    any_case,
    array,
    given_time,
    may_be_null,
    nullable,
    number,
    of_account,
    record,
    ref,
    shown_time,
    sized,
    text,
    truth,
    url,
    visible,
    whole,
    word,
)

QUADS = "[A-Za-z0-9+/]{4}"
WHSEC = (  # 24 to 64 bytes, padded or not: core/keys.py
    rf"^whsec_(({QUADS}){{8,20}}([A-Za-z0-9+/]{{2}}={{0,2}}|[A-Za-z0-9+/]{{3}}=?)?"
    rf"|({QUADS}){{21}}([A-Za-z0-9+/]{{2}}={{0,2}})?)$"
)
SECRET = text("Whoever knows it can sign as we do.", pattern=WHSEC, format="whsec")
HOST = r"[^\s\\/?#]+"
NATS_URL = rf"^({any_case(['nats', 'tls'])})://{HOST}/?$"
REDIS_URL = rf"^({any_case(['rediss', 'redis'])})://{HOST}(/[0-9]{{0,5}})?$"
NATS_WORD = r"[!-)+,\-/-=?-~]+"
NATS_SUBJECT = rf"^(?!\$){NATS_WORD}(\.{NATS_WORD})*$"
HEADER_NAME = r"^[!#$%&'*+.^_`|~0-9A-Za-z\-]+$"
HEADER_VALUE = r"^([!-~]([ -~]*[!-~])?)?$"
PUBLIC_KEYS = array(
    record({"kid": text(), "key": text(pattern=r"^whpk_")}),
    description="Of `v1a`: pin these.",
)
CREDENTIAL = nullable(sized(subscribing.CREDENTIAL_LENGTH, pattern=PLAIN))
COMMON: dict[str, Schema] = {
    "event_types": nullable(
        array(word(*subscribing.EVENT_TYPES), subscribing.LIST_ENTRIES, "What it hears of.")
    ),
    "reference_types": nullable(array(word(VIDEO, IMAGE), subscribing.LIST_ENTRIES)),
    "tags": nullable(array(word(*TAGS), subscribing.LIST_ENTRIES, "One of them is enough.")),
    "description": sized(subscribing.DESCRIPTION_LENGTH, pattern=PLAIN),
    "headers": {
        "type": "object",
        "description": "Sent with each delivery: none of the connection, the message or ours, each "
        f"once whatever its case, {headers.MAX_SIZE} bytes in all.",
        "maxProperties": headers.MAX_HEADERS,
        "propertyNames": sized(range(1, headers.MAX_NAME + 1), pattern=HEADER_NAME),
        "additionalProperties": text(pattern=HEADER_VALUE),
    },
    "timeout": nullable(number(*subscribing.TIMEOUT, description="Seconds.")),
    "concurrency": nullable(
        whole(subscribing.CONCURRENCY[0], subscribing.CONCURRENCY[-1], "Deliveries at once.")
    ),
    "rate": nullable(number(*subscribing.RATE, description="Deliveries a second.")),
    "schedule": nullable(
        array(number(0, LONGEST_WAIT), subscribing.RETRIES, "Seconds before each further try.")
    ),
    "order": word("per_subject", "none"),
    "signatures": array(word(*subscribing.SIGNATURES), subscribing.LIST_ENTRIES)
    | {"contains": {"const": "v1"}},
}
HOOK_URL = url("https, unless the settings allow more. Checked again whenever it is dialled.")
FORMATS = word("standard", "cloudevents")
NOTHING: Schema = {"type": "null"}
CHANNELS = {
    NATS: sized(subscribing.CHANNEL_LENGTH, "A subject of NATS.", pattern=NATS_SUBJECT),
    REDIS: visible(subscribing.CHANNEL_LENGTH, "The key of the stream."),
}
URLS = {
    WEBHOOK: HOOK_URL,
    NATS: url("nats is unencrypted, tls is not.", NATS_URL),
    REDIS: url("redis is unencrypted, rediss is not.", REDIS_URL),
}
NEW_NAMES = {WEBHOOK: "NewWebhook", NATS: "NewNats", REDIS: "NewRedisStream"}
CHANGED_NAMES = {WEBHOOK: "ChangedWebhook", NATS: "ChangedNats", REDIS: "ChangedRedisStream"}


def schemas() -> dict[str, Schema]:
    made: dict[str, Schema] = {}
    for kind in subscribing.TYPES:
        made[NEW_NAMES[kind]] = _new(kind)
        made[CHANGED_NAMES[kind]] = _changed(kind)
    return made | {
        "NewSubscriber": {"oneOf": [ref(name) for name in NEW_NAMES.values()]},
        "SubscriberChange": {
            "description": "What is not given stays; null is back to the default, and url, "
            "channel and state, which have none, stay. As its type allows.",
            "anyOf": [ref(name) for name in CHANGED_NAMES.values()],
        },
        "Subscriber": record(_shown(), of_account()),
        "CreatedSubscriber": record({**_shown(), "secret": SECRET}, of_account()),
        "Rotation": ROTATION,
        "Replay": REPLAY,
        "Attempt": record(ATTEMPT),
        "Delivery": record({**DELIVERY, "attempts": array(ref("Attempt"))}, of_account()),
        "WholeDelivery": record(
            {**DELIVERY, "attempts": array(record(ATTEMPT | ANSWER))}, of_account()
        ),
        "Trial": TRIAL,
        "PublicKey": JWK,
    }


def _of_kind(kind: str) -> dict[str, Schema]:
    if kind == WEBHOOK:
        none = dict.fromkeys(("channel", "username", "password"), NOTHING)
        return {"format": word("standard"), **none}
    return {"format": FORMATS, "username": CREDENTIAL, "password": CREDENTIAL}


def _new(kind: str) -> Schema:
    type_: Schema = {"type": "string", "const": kind}
    if kind == WEBHOOK:
        required, optional = {"url": URLS[kind]}, {"type": type_}
    else:
        required, optional = {"type": type_, "url": URLS[kind], "channel": CHANNELS[kind]}, {}
    more = may_be_null({**optional, **COMMON, **_of_kind(kind), "secret": SECRET})
    return record(required, more, "What is null is not set.")


def _changed(kind: str) -> Schema:
    channel = {} if kind == WEBHOOK else {"channel": CHANNELS[kind]}
    state = word("active", "paused", description="Also brings back a disabled one.")
    fixed = {"type": NOTHING, "secret": NOTHING}
    members = {"url": URLS[kind], **channel, **COMMON, **_of_kind(kind), "state": state, **fixed}
    return record({}, may_be_null(members))


def _shown() -> dict[str, Schema]:
    return {
        "id": ref("SubscriberId"),
        "type": word(*subscribing.TYPES),
        "url": text(),
        "channel": nullable(text()),
        "description": text(),
        "state": word("active", "paused", "disabled"),
        "disabled_reason": nullable(text()),
        **{name: COMMON[name] for name in ("event_types", "reference_types", "tags", "order")},
        "headers": nullable(
            {"type": "object", "additionalProperties": text(f"{headers.MASK} hides a secret.")}
        ),
        **{name: COMMON[name] for name in ("timeout", "concurrency", "rate", "schedule")},
        "format": FORMATS,
        "signatures": COMMON["signatures"],
        "public_keys": PUBLIC_KEYS,
        "created_at": shown_time(),
    }


ROTATION = record(
    {},
    may_be_null(
        {
            "overlap": whole(
                0, MAX_OVERLAP, "Seconds for which the old secret signs beside the new."
            )
            | {"default": OVERLAP},
            "secret": SECRET,
        }
    ),
    "What is null is not set.",
)
REPLAY = record(
    {
        "since": given_time("Not after `until`."),
        "only": word(*sorted(KINDS), description="`missing`: never delivered; `failed`: dead."),
    },
    may_be_null({"until": given_time("Now, if left out."), "dry_run": truth("Only count.")}),
    "What is null is not set.",
)
ATTEMPT: dict[str, Schema] = {
    "id": text(),
    "at": shown_time(),
    "status": nullable(whole()),
    "latency_ms": number(0),
    "error": nullable(text()),
}
ANSWER = {"answer": text("What was answered, cut, and made fit to be shown.")}
DELIVERY: dict[str, Schema] = {
    "id": ref("DeliveryId"),
    "event_id": ref("EventId"),
    "subscriber_id": ref("SubscriberId"),
    "type": text("The event's."),
    "state": word(*sorted(STATES)),
    "next_attempt_at": nullable(shown_time()),
    "created_at": shown_time(),
}
TRIAL = record(
    {
        "event_id": text(),
        "delivered": truth(),
        "status": nullable(whole()),
        "latency_ms": number(0),
        "error": nullable(text()),
        "answer": nullable(text()),
    },
    of_account(),
)
JWK = record(
    {
        "kty": word("OKP"),
        "crv": word("Ed25519"),
        "x": text(),
        "use": word("sig"),
        "alg": word("EdDSA"),
        "kid": text(),
    },
    description="RFC 8037, section 2.",
)
