"""What the code says of limits and words, by the place in the document where it stands."""

import re
from collections.abc import Collection, Mapping

from sqlalchemy import CheckConstraint

from service.accounts.steps import api_keys
from service.callbacks.domain.callback import Verification
from service.callbacks.domain.verdicts import Verdict
from service.callbacks.store.archive import MOST_COUNTED
from service.compat_api.domain import envelopes
from service.compat_api.web import routes
from service.delivery.store.replay import KINDS
from service.delivery.web import routes as delivery_routes
from service.event_feed.web import routes as feeds
from service.intake.domain import request_rules as rules
from service.intake.steps import validate
from service.kit import validation
from service.kit.http import requests
from service.kit.network import url_policy
from service.kit.setting_parsers import MAX_DELAY
from service.provider.domain.model_capabilities import MODELS
from service.provider.domain.task_records import STATUSES
from service.schema import metadata
from service.subjects.domain import event
from service.subjects.domain.lifecycle import State
from service.subjects.domain.reference_types import IMAGE, VIDEO
from service.subscribers.domain import custom_headers, subscriber_rules
from service.subscribers.steps import rotate

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
    "element_name": size(range(1, rules.MAX_NAME + 1)),
    "element_description": size(range(1, rules.MAX_DESCRIPTION + 1)),
    "tag_list": entries(rules.TAG_COUNT),
    "callback_url": {"maxLength": url_policy.MAX_URL},
}
GIVEN_TO_ANY: dict[str, Rules] = {
    "description": size(subscriber_rules.DESCRIPTION_LENGTH),
    "headers": {
        "maxProperties": custom_headers.MAX_HEADERS,
        **size(range(1, custom_headers.MAX_NAME + 1)),
    },
    "order": one_of(ORDERS, or_null=True),
    "signatures": {
        **one_of(subscriber_rules.SIGNATURES),
        **entries(subscriber_rules.LIST_ENTRIES),
        "const": "v1",
    },
}
GIVEN_TO_STREAMS: dict[str, Rules] = GIVEN_TO_ANY | {
    "url": {"maxLength": url_policy.MAX_URL},
    "channel": size(subscriber_rules.CHANNEL_LENGTH),
    "format": one_of(FORMATS, or_null=True),
}
CHANGED = {"state": one_of(["active", "paused"], or_null=True)}
SHOWN_OF_SUBSCRIBERS: dict[str, Rules] = {
    "type": one_of(subscriber_rules.TYPES),
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
    "ImageList.refer_images": entries(rules.REFER_IMAGE_COUNT),
    "VideoList.refer_videos": entries(rules.VIDEO_COUNT),
    "Voice": size(rules.VOICE_LENGTH),
    "ImageVoice": {"maxLength": 0},  # rule P21: none
    "TagId": one_of(rules.TAGS),
    "ExternalId": size(rules.EXTERNAL_ID_LENGTH),
    "OptionalExternalId": size(rules.EXTERNAL_ID_LENGTH),
    "HttpUrl": {"maxLength": url_policy.MAX_URL},
    "IdempotencyKey": size(range(1, validate.MAX_KEY_LENGTH + 1)),
    "BatchIdempotencyKey": size(range(1, validate.MAX_BATCH_KEY_LENGTH + 1)),
    "createSubjects.subjects": entries(range(1, validate.MAX_BATCH + 1)),
    "State": one_of(list(State)),
    "ReferenceType": one_of([IMAGE, VIDEO]),
    "Model.model": one_of([each.model for each in MODELS]),
    "Model.aliases": one_of([alias for each in MODELS for alias in each.aliases]),
    **of("createTask", OF_PROVIDER),
    **of("listTasks", OF_PROVIDER),
    **of("readTask", OF_PROVIDER),
    "listTasks.pageNum": between(1, routes.MAX_PAGE, default=1),
    "listTasks.pageSize": between(1, routes.MAX_PAGE_SIZE, default=routes.PAGE_SIZE),
    "CreatedTask.task_status": one_of(set(STATUSES.values())),
    "Task.task_status": one_of(set(STATUSES.values())),
    "Element.status": one_of([STATUSES["succeeded"]]),
    "Verdict": one_of(list(Verdict)),
    "Callback.trust": one_of(list(Verification)),
    "WholeCallback.trust": one_of(list(Verification)),
    "Count": {"maximum": MOST_COUNTED},
    "SubjectEvent.type": one_of(list(event.SUBJECT_EVENT_TYPES.values())),
    "SubscriberEvent.type": one_of(event.SUBSCRIBER_EVENT_TYPES),
    "account": size(range(1, api_keys.MAX_NAME + 1)),
    "limit": between(1, requests.MAX_LIMIT, default=requests.DEFAULT_LIMIT),
    "wait": between(0, feeds.MOST_ASKED, default=0),
    **of("NewWebhook", GIVEN_TO_ANY | {"type": {"const": subscriber_rules.WEBHOOK}}),
    **of("NewNats", GIVEN_TO_STREAMS | {"type": {"const": subscriber_rules.NATS}}),
    **of("NewRedisStream", GIVEN_TO_STREAMS | {"type": {"const": subscriber_rules.REDIS}}),
    **of("ChangedWebhook", GIVEN_TO_ANY | {"url": {"maxLength": url_policy.MAX_URL}} | CHANGED),
    **of("ChangedNats", GIVEN_TO_STREAMS | CHANGED),
    **of("ChangedRedisStream", GIVEN_TO_STREAMS | CHANGED),
    "NewWebhook.format": one_of(["standard"], or_null=True),
    "ChangedWebhook.format": one_of(["standard"], or_null=True),
    **of("Subscriber", SHOWN_OF_SUBSCRIBERS),
    **of("CreatedSubscriber", SHOWN_OF_SUBSCRIBERS),
    "EventTypes": one_of(subscriber_rules.EVENT_TYPES) | entries(subscriber_rules.LIST_ENTRIES),
    "ReferenceTypes": entries(subscriber_rules.LIST_ENTRIES),
    "TagIds": entries(subscriber_rules.LIST_ENTRIES),
    "Timeout": between(*subscriber_rules.TIMEOUT),
    "Concurrency": between(subscriber_rules.CONCURRENCY[0], subscriber_rules.CONCURRENCY[-1]),
    "Rate": between(*subscriber_rules.RATE),
    "Schedule": between(0, MAX_DELAY) | entries(subscriber_rules.RETRIES),
    "Credential": size(subscriber_rules.CREDENTIAL_LENGTH),
    "Replay.only": one_of(KINDS),
    "Rotation.overlap": between(0, rotate.MAX_OVERLAP, default=rotate.OVERLAP),
    "DeliveryState": one_of(delivery_routes.STATES),
    "FieldErrors": entries(range(1, validation.MAX_ERRORS + validate.MAX_HEADER_ERRORS + 1)),
}
