"""The limits and words of the code, by the place in the OpenAPI document that states them."""

import re
from collections.abc import Collection, Mapping

from sqlalchemy import CheckConstraint

from service.accounts.domain.action import ActionKind
from service.accounts.domain.actor import ActorKind
from service.accounts.steps import api_keys
from service.callbacks.domain.callback import Verification
from service.callbacks.domain.verdicts import Verdict
from service.callbacks.store.archive import MAX_COUNTED
from service.compat_api.domain import envelopes
from service.compat_api.web import routes
from service.delivery.domain.delivery_state import ENDED
from service.delivery.domain.replay_kind import ReplayKind
from service.delivery.web import routes as delivery_routes
from service.erasure.domain.erasure import ErasureState, NotDone
from service.erasure.domain.tombstone import NOT_REQUESTED
from service.erasure.web.routes import FALSE, TRUE
from service.event_feed.web import routes as feeds
from service.intake.domain import request_rules as rules
from service.intake.steps import validate
from service.kit import validation
from service.kit.http import requests
from service.kit.network import url_policy
from service.kit.setting_parsers import MAX_DELAY
from service.operations.domain.hold import HoldTarget
from service.operations.domain.operation import OperationKind, OperationState, StopReason
from service.operations.steps import holds, make_operation, operation_rules
from service.provider.domain.model_capabilities import MODELS
from service.provider.domain.task_records import STATUS_OF_STATE
from service.schema import metadata
from service.subjects.domain import event
from service.subjects.domain.lifecycle import State
from service.subjects.domain.reference_types import IMAGE, VIDEO
from service.subjects.domain.why import MendedBy, WhyCode
from service.subscribers.domain import custom_headers, subscriber_rules
from service.subscribers.steps import rotate
from service.usage.domain.usage import Outcome

WORDS = re.compile(r"'(\w+)'")

Rules = dict[str, object]


def text_length(allowed: range) -> Rules:
    """The rules of a text of so many characters."""
    return {"minLength": allowed[0], "maxLength": allowed[-1]}


def list_length(allowed: range) -> Rules:
    """The rules of a list of so many entries."""
    return {"minItems": allowed[0], "maxItems": allowed[-1]}


def number_range(low: float, high: float, **more: object) -> Rules:
    """The rules of a number."""
    return {"minimum": low, "maximum": high, **more}


def one_of(words: Collection[str], *, or_null: bool = False) -> Rules:
    return {"enum": [*words, None] if or_null else [*words]}


def checked_values(table: str, column: str) -> list[str]:
    """The words that the database takes in a column."""
    checks = [constraint for constraint in metadata.tables[table].constraints if constraint.name]
    (text,) = [
        str(check.sqltext)
        for check in checks
        if isinstance(check, CheckConstraint) and str(check.sqltext).startswith(f"{column} IN (")
    ]
    return WORDS.findall(text)


ORDERS, FORMATS = checked_values("subscribers", "ordering"), checked_values("subscribers", "format")
REQUEST_FIELDS: dict[str, Rules] = {
    "element_name": text_length(range(1, rules.MAX_NAME + 1)),
    "element_description": text_length(range(1, rules.MAX_DESCRIPTION + 1)),
    "tag_list": list_length(rules.TAG_COUNT),
    "callback_url": {"maxLength": url_policy.MAX_URL},
}
SUBSCRIBER_FIELDS: dict[str, Rules] = {
    "description": text_length(subscriber_rules.DESCRIPTION_LENGTH),
    "headers": {
        "maxProperties": custom_headers.MAX_HEADERS,
        **text_length(range(1, custom_headers.MAX_NAME_LENGTH + 1)),
    },
    "order": one_of(ORDERS, or_null=True),
    "signatures": {
        **one_of(subscriber_rules.SIGNATURES),
        **list_length(subscriber_rules.LIST_LENGTH),
        "const": "v1",
    },
}
STREAM_FIELDS: dict[str, Rules] = SUBSCRIBER_FIELDS | {
    "url": {"maxLength": url_policy.MAX_URL},
    "channel": text_length(subscriber_rules.CHANNEL_LENGTH),
    "format": one_of(FORMATS, or_null=True),
}
CHANGED_STATE = {"state": one_of(["active", "paused"], or_null=True)}
SHOWN_SUBSCRIBER_FIELDS: dict[str, Rules] = {
    "type": one_of(subscriber_rules.TYPES),
    "state": one_of(checked_values("subscribers", "state")),
    "order": one_of(ORDERS),
    "format": one_of(FORMATS),
    "signatures": SUBSCRIBER_FIELDS["signatures"],
}
PROVIDER_SUCCESS: dict[str, Rules] = {"code": {"const": 0}, "message": one_of([envelopes.SUCCEED])}


def fields_of(schema: str, members: Mapping[str, Rules]) -> dict[str, Rules]:
    """The rules of a schema's members, each by its place."""
    return {f"{schema}.{member}": rule for member, rule in members.items()}


# Schema or operation, and members in it, down to what the rules are of.
DOCUMENTED: dict[str, Rules] = {
    **fields_of("ImageSubjectRequest", REQUEST_FIELDS | {"reference_type": {"const": IMAGE}}),
    **fields_of("VideoSubjectRequest", REQUEST_FIELDS | {"reference_type": {"const": VIDEO}}),
    "ImageList.refer_images": list_length(rules.REFER_IMAGE_COUNT),
    "VideoList.refer_videos": list_length(rules.VIDEO_COUNT),
    "Voice": text_length(rules.VOICE_LENGTH),
    "ImageVoice": {"maxLength": 0},  # rule P21: none
    "TagId": one_of(rules.TAGS),
    "ExternalId": text_length(rules.EXTERNAL_ID_LENGTH),
    "OptionalExternalId": text_length(rules.EXTERNAL_ID_LENGTH),
    "HttpUrl": {"maxLength": url_policy.MAX_URL},
    "IdempotencyKey": text_length(range(1, validate.MAX_KEY_LENGTH + 1)),
    "BatchIdempotencyKey": text_length(range(1, validate.MAX_BATCH_KEY_LENGTH + 1)),
    "createSubjects.subjects": list_length(range(1, validate.MAX_BATCH + 1)),
    "State": one_of(list(State)),
    "Why.code": one_of(list(WhyCode)),
    "Why.mended_by": one_of(list(MendedBy)),
    "ReferenceType": one_of([IMAGE, VIDEO]),
    "Model.model": one_of([model.model for model in MODELS]),
    "Model.aliases": one_of([alias for model in MODELS for alias in model.aliases]),
    **fields_of("createTask", PROVIDER_SUCCESS),
    **fields_of("listTasks", PROVIDER_SUCCESS),
    **fields_of("readTask", PROVIDER_SUCCESS),
    "listTasks.pageNum": number_range(1, routes.MAX_PAGE_NUMBER, default=1),
    "listTasks.pageSize": number_range(1, routes.MAX_PAGE_SIZE, default=routes.DEFAULT_PAGE_SIZE),
    "CreatedTask.task_status": one_of(set(STATUS_OF_STATE.values())),
    "Task.task_status": one_of(set(STATUS_OF_STATE.values())),
    "Element.status": one_of([STATUS_OF_STATE[State.SUCCEEDED]]),
    "Verdict": one_of(list(Verdict)),
    "Callback.trust": one_of(list(Verification)),
    "WholeCallback.trust": one_of(list(Verification)),
    "HoldTarget": one_of(list(HoldTarget)),
    "NewHold.account": text_length(range(1, api_keys.MAX_ACCOUNT_NAME + 1)),
    "NewHold.reason": text_length(range(1, holds.MAX_REASON + 1)),
    "UsageRow.reference_type": one_of([VIDEO, IMAGE], or_null=True),
    "UsageRow.outcome": one_of(list(Outcome)),
    "ActionKind": one_of(list(ActionKind)),
    "Action.actor.kind": one_of(list(ActorKind)),
    "Count": {"maximum": MAX_COUNTED},
    "SubjectEvent.type": one_of([*event.SUBJECT_EVENT_TYPES.values(), event.ERASED_EVENT_TYPE]),
    "Erasure.state": one_of([NOT_REQUESTED, *ErasureState]),
    "ErasureError.code": one_of(list(NotDone)),
    "eraseSubject.provider": {**one_of([TRUE, FALSE]), "default": FALSE},
    "SubscriberEvent.type": one_of(event.SUBSCRIBER_EVENT_TYPES),
    "account": text_length(range(1, api_keys.MAX_ACCOUNT_NAME + 1)),
    "limit": number_range(1, requests.MAX_LIMIT, default=requests.DEFAULT_LIMIT),
    "wait": number_range(0, feeds.MAX_WAIT, default=0),
    **fields_of("NewWebhook", SUBSCRIBER_FIELDS | {"type": {"const": subscriber_rules.WEBHOOK}}),
    **fields_of("NewNats", STREAM_FIELDS | {"type": {"const": subscriber_rules.NATS}}),
    **fields_of("NewRedisStream", STREAM_FIELDS | {"type": {"const": subscriber_rules.REDIS}}),
    **fields_of(
        "ChangedWebhook",
        SUBSCRIBER_FIELDS | {"url": {"maxLength": url_policy.MAX_URL}} | CHANGED_STATE,
    ),
    **fields_of("ChangedNats", STREAM_FIELDS | CHANGED_STATE),
    **fields_of("ChangedRedisStream", STREAM_FIELDS | CHANGED_STATE),
    "NewWebhook.format": one_of(["standard"], or_null=True),
    "ChangedWebhook.format": one_of(["standard"], or_null=True),
    **fields_of("Subscriber", SHOWN_SUBSCRIBER_FIELDS),
    **fields_of("CreatedSubscriber", SHOWN_SUBSCRIBER_FIELDS),
    "EventTypes": one_of(subscriber_rules.EVENT_TYPES) | list_length(subscriber_rules.LIST_LENGTH),
    "ReferenceTypes": list_length(subscriber_rules.LIST_LENGTH),
    "TagIds": list_length(subscriber_rules.LIST_LENGTH),
    "Timeout": number_range(*subscriber_rules.TIMEOUT_RANGE),
    "Concurrency": number_range(
        subscriber_rules.CONCURRENCY_RANGE[0], subscriber_rules.CONCURRENCY_RANGE[-1]
    ),
    "Rate": number_range(*subscriber_rules.RATE_RANGE),
    "Schedule": number_range(0, MAX_DELAY) | list_length(subscriber_rules.SCHEDULE_LENGTH),
    "Credential": text_length(subscriber_rules.CREDENTIAL_LENGTH),
    "Replay.only": one_of(list(ReplayKind)),
    "ReplayCount.count_exact": {"const": False},
    "OperationKind": one_of(list(OperationKind)),
    "OperationState": one_of(list(OperationState)),
    "Operation.stop_reason": one_of(list(StopReason), or_null=True),
    "OperationCount.dry_run": {"const": True},
    "Operation.first": {"maxItems": make_operation.FIRST},
    "OperationCount.first": {"maxItems": make_operation.FIRST},
    "FilteredAccount": text_length(range(1, api_keys.MAX_ACCOUNT_NAME + 1)),
    "FilteredId": text_length(operation_rules.ID_LENGTH),
    "OptionalFilteredId": text_length(operation_rules.ID_LENGTH),
    "NewResend.what": {"const": OperationKind.RESEND},
    "NewResend.filter.state": one_of(list(ENDED), or_null=True),
    "NewReplay.what": {"const": OperationKind.REPLAY},
    "NewReplay.filter.only": one_of(list(ReplayKind)),
    "NewCancel.what": {"const": OperationKind.CANCEL},
    "NewCancel.filter.state": one_of(list(State), or_null=True),
    "NewCancel.filter.tag": one_of(rules.TAGS, or_null=True),
    "Rotation.overlap": number_range(0, rotate.MAX_OVERLAP, default=rotate.DEFAULT_OVERLAP),
    "DeliveryState": one_of(delivery_routes.STATES),
    "FieldErrors": list_length(range(1, validation.MAX_ERRORS + validate.MAX_HEADER_ERRORS + 1)),
}
