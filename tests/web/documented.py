"""What the code says of limits and words, by the place in the document where it stands."""

import re
from collections.abc import Collection, Mapping

from sqlalchemy import CheckConstraint

from service.core import envelopes, events, headers, subscribing, targets, validation
from service.core import request_rules as rules
from service.core.callback import Verification
from service.core.capabilities import MODELS
from service.core.kinds import IMAGE, VIDEO
from service.core.lifecycle import State
from service.core.parameters import LONGEST_WAIT
from service.core.task_records import STATUSES
from service.core.verdicts import Verdict
from service.schema import metadata
from service.steps import keys, signing, validate
from service.store.archive import MOST_COUNTED
from service.store.replay import KINDS
from service.web import compat, deliveries, requests
from service.web import events as feeds

WORDS = re.compile(r"'(\w+)'")

Rules = dict[str, object]


def size(allowed: range) -> Rules:
    """The rules of a text of so many characters."""
    return {"minLength": allowed[0], "maxLength": allowed[-1]}


def entries(allowed: range) -> Rules:
    """The rules of a list of so many entries."""
    return {"minItems": allowed[0], "maxItems": allowed[-1]}


def between(low: float, high: float, **more: object) -> Rules:
    """The rules of a number."""
    return {"minimum": low, "maximum": high, **more}


def one_of(words: Collection[str], *, or_null: bool = False) -> Rules:
    return {"enum": [*words, None] if or_null else [*words]}


def allowed(table: str, column: str) -> list[str]:
    """The words that the database takes in a column."""
    checks = [each for each in metadata.tables[table].constraints if each.name]
    (text,) = [
        str(check.sqltext)
        for check in checks
        if isinstance(check, CheckConstraint) and str(check.sqltext).startswith(f"{column} IN (")
    ]
    return WORDS.findall(text)


ORDERS, FORMATS = allowed("subscribers", "ordering"), allowed("subscribers", "format")
REQUEST: dict[str, Rules] = {
    "element_name": size(range(1, rules.NAME_LIMIT + 1)),
    "element_description": size(range(1, rules.DESCRIPTION_LIMIT + 1)),
    "tag_list": entries(rules.TAG_ENTRIES),
    "callback_url": {"maxLength": targets.MAX_URL},
}
GIVEN_TO_ANY: dict[str, Rules] = {
    "description": size(subscribing.DESCRIPTION_LENGTH),
    "headers": {"maxProperties": headers.MAX_HEADERS, **size(range(1, headers.MAX_NAME + 1))},
    "order": one_of(ORDERS, or_null=True),
    "signatures": {
        **one_of(subscribing.SIGNATURES),
        **entries(subscribing.LIST_ENTRIES),
        "const": "v1",
    },
}
GIVEN_TO_STREAMS: dict[str, Rules] = GIVEN_TO_ANY | {
    "url": {"maxLength": targets.MAX_URL},
    "channel": size(subscribing.CHANNEL_LENGTH),
    "format": one_of(FORMATS, or_null=True),
}
CHANGED = {"state": one_of(["active", "paused"], or_null=True)}
SHOWN_OF_SUBSCRIBERS: dict[str, Rules] = {
    "type": one_of(subscribing.TYPES),
    "state": one_of(allowed("subscribers", "state")),
    "order": one_of(ORDERS),
    "format": one_of(FORMATS),
    "signatures": GIVEN_TO_ANY["signatures"],
}
OF_PROVIDER: dict[str, Rules] = {"code": {"const": 0}, "message": one_of([envelopes.SUCCEED])}


def of(schema: str, members: Mapping[str, Rules]) -> dict[str, Rules]:
    """The rules of a schema's members, each by its place."""
    return {f"{schema}.{member}": rule for member, rule in members.items()}


# Schema or operation, and members in it, down to what the rules are of.
PLACES: dict[str, Rules] = {
    **of("ImageSubjectRequest", REQUEST | {"reference_type": {"const": IMAGE}}),
    **of("VideoSubjectRequest", REQUEST | {"reference_type": {"const": VIDEO}}),
    "ImageList.refer_images": entries(rules.REFER_IMAGES),
    "VideoList.refer_videos": entries(rules.VIDEOS),
    "Voice": size(rules.VOICE_LENGTH),
    "ImageVoice": {"maxLength": 0},  # rule P21: none
    "TagId": one_of(rules.TAGS),
    "ExternalId": size(rules.EXTERNAL_ID_LENGTH),
    "OptionalExternalId": size(rules.EXTERNAL_ID_LENGTH),
    "HttpUrl": {"maxLength": targets.MAX_URL},
    "IdempotencyKey": size(range(1, validate.MAX_KEY + 1)),
    "BatchIdempotencyKey": size(range(1, validate.MAX_KEY_OF_BATCH + 1)),
    "createSubjects.subjects": entries(range(1, validate.MAX_BATCH + 1)),
    "State": one_of(list(State)),
    "ReferenceType": one_of([IMAGE, VIDEO]),
    "Model.model": one_of([each.model for each in MODELS]),
    "Model.aliases": one_of([alias for each in MODELS for alias in each.aliases]),
    **of("createTask", OF_PROVIDER),
    **of("listTasks", OF_PROVIDER),
    **of("readTask", OF_PROVIDER),
    "listTasks.pageNum": between(1, compat.MAX_PAGE, default=1),
    "listTasks.pageSize": between(1, compat.MAX_PAGE_SIZE, default=compat.PAGE_SIZE),
    "CreatedTask.task_status": one_of(set(STATUSES.values())),
    "Task.task_status": one_of(set(STATUSES.values())),
    "Element.status": one_of([STATUSES["succeeded"]]),
    "Verdict": one_of(list(Verdict)),
    "Callback.trust": one_of(list(Verification), or_null=True),
    "WholeCallback.trust": one_of(list(Verification), or_null=True),
    "Count": {"maximum": MOST_COUNTED},
    "SubjectEvent.type": one_of(list(events.TYPES.values())),
    "SubscriberEvent.type": one_of(events.OPERATIONAL),
    "account": size(range(1, keys.MAX_NAME + 1)),
    "limit": between(1, requests.MAX_LIMIT, default=requests.LIMIT),
    "wait": between(0, feeds.MOST_ASKED, default=0),
    **of("NewWebhook", GIVEN_TO_ANY | {"type": {"const": subscribing.WEBHOOK}}),
    **of("NewNats", GIVEN_TO_STREAMS | {"type": {"const": subscribing.NATS}}),
    **of("NewRedisStream", GIVEN_TO_STREAMS | {"type": {"const": subscribing.REDIS}}),
    **of("ChangedWebhook", GIVEN_TO_ANY | {"url": {"maxLength": targets.MAX_URL}} | CHANGED),
    **of("ChangedNats", GIVEN_TO_STREAMS | CHANGED),
    **of("ChangedRedisStream", GIVEN_TO_STREAMS | CHANGED),
    "NewWebhook.format": one_of(["standard"], or_null=True),
    "ChangedWebhook.format": one_of(["standard"], or_null=True),
    **of("Subscriber", SHOWN_OF_SUBSCRIBERS),
    **of("CreatedSubscriber", SHOWN_OF_SUBSCRIBERS),
    "EventTypes": one_of(subscribing.EVENT_TYPES) | entries(subscribing.LIST_ENTRIES),
    "ReferenceTypes": entries(subscribing.LIST_ENTRIES),
    "TagIds": entries(subscribing.LIST_ENTRIES),
    "Timeout": between(*subscribing.TIMEOUT),
    "Concurrency": between(subscribing.CONCURRENCY[0], subscribing.CONCURRENCY[-1]),
    "Rate": between(*subscribing.RATE),
    "Schedule": between(0, LONGEST_WAIT) | entries(subscribing.RETRIES),
    "Credential": size(subscribing.CREDENTIAL_LENGTH),
    "Replay.only": one_of(KINDS),
    "Rotation.overlap": between(0, signing.MAX_OVERLAP, default=signing.OVERLAP),
    "DeliveryState": one_of(deliveries.STATES),
    "FieldErrors": entries(range(1, validation.MAX_ERRORS + validate.MAX_HEADER_ERRORS + 1)),
}
