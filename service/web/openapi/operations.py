"""Makers of operations: parameters, bodies, and answers."""

from collections.abc import Mapping, Sequence
from typing import Any

from service.steps.keys import MAX_NAME
from service.store.callers import OPERATOR
from service.web.openapi.pieces import Schema, id_of, ref, sized, text, whole
from service.web.openapi.problems import fails
from service.web.requests import LIMIT, MAX_LIMIT
from service.web.responses import JSON

Part = dict[str, Any]
KEY = "key"  # the security scheme
ACCOUNT = fails(401, 403, 429, 503)  # of every call that needs a key


def operation(  # noqa: PLR0913 - an operation has so many parts
    id_: str,
    summary: str,
    *,
    tag: str,
    scope: str | None,
    own: bool = False,
    answers: Mapping[str, Any],
    description: str = "",
    parameters: Sequence[Part] = (),
    body: Part | None = None,
) -> Part:
    """One call; `scope` None means that it is open to all. An operator may make each but those that
    are for an account's `own` callers."""
    made: Part = {"operationId": id_, "tags": [tag], "summary": summary}
    if description:
        made["description"] = description
    scopes = [] if scope is None else [scope] if own else dict.fromkeys((scope, OPERATOR))
    made["security"] = [{KEY: [one]} for one in scopes]
    if parameters:
        made["parameters"] = list(parameters)
    if body is not None:
        made["requestBody"] = body
    common = {} if scope is None else ACCOUNT
    made["responses"] = dict(sorted({**common, **answers}.items()))
    return made


def body(schema: Schema, examples: Mapping[str, Any], *, required: bool = True) -> Part:
    """A JSON body; of each example its summary and its value."""
    named = {name: {"summary": why, "value": value} for name, (why, value) in examples.items()}
    return {"required": required, "content": {JSON: {"schema": schema, "examples": named}}}


def answer(
    meaning: str,
    schema: Schema | None = None,
    headers: Part | None = None,
    example: object = None,
) -> Part:
    made: Part = {"description": meaning}
    if headers:
        made["headers"] = headers
    if schema is not None:
        shown = {} if example is None else {"example": example}
        made["content"] = {JSON: {"schema": schema, **shown}}
    return made


def header(description: str, schema: Schema, *, always: bool = True) -> Part:
    """A header of an answer."""
    return {"description": description, "required": always, "schema": schema}


def in_path(name: str, schema: Schema, description: str, example: str) -> Part:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": schema,
        "example": example,
    }


def in_query(name: str, schema: Schema, description: str, example: object = None) -> Part:
    return _optional(name, "query", schema, description, example)


def in_header(name: str, schema: Schema, description: str, example: object = None) -> Part:
    return _optional(name, "header", schema, description, example)


def _optional(name: str, place: str, schema: Schema, description: str, example: object) -> Part:
    made = {"name": name, "in": place, "description": description, "schema": schema}
    return made if example is None else made | {"example": example}


def component(name: str) -> Part:
    return {"$ref": f"#/components/parameters/{name}"}


IF_NONE_MATCH = in_header(
    "If-None-Match",
    text(),
    "The `ETag` of what is known already, also as a web server on the way has marked it: with "
    "`-gzip`, `-br` or `-zstd` at its end.",
)
CURSOR = text(pattern=r"^[A-Za-z0-9_-]+$")
SUBJECT_ID, SUBSCRIBER_ID, CALLBACK_ID = id_of("sub"), id_of("sbr"), id_of("cbk")
DELIVERY_ID = id_of("dlv", r"(_\d{1,9})?")
EVENT_ID = id_of("evt", r"_\d{1,7}")
PARAMETERS: dict[str, Part] = {
    "subject_id": in_path(
        "subject_id", ref("SubjectId"), "Our id of the subject.", "sub_01kcr4v2m8h0x5q7s9t3w6y1za"
    ),
    "subscriber_id": in_path(
        "subscriber_id", ref("SubscriberId"), "Its id.", "sbr_01kcr4v2m8h0x5q7s9t3w6y1zb"
    ),
    "delivery_id": in_path(
        "delivery_id", ref("DeliveryId"), "Its id.", "dlv_01kcr4v2m8h0x5q7s9t3w6y1zc_1"
    ),
    "callback_id": in_path(
        "callback_id", ref("CallbackId"), "Its id.", "cbk_01kcr4v2m8h0x5q7s9t3w6y1zd"
    ),
    "limit": in_query(
        "limit", whole(1, MAX_LIMIT) | {"default": LIMIT}, "Entries of one page, at most.", 20
    ),
    "account": in_query(
        "account",
        sized(range(1, MAX_NAME + 1)),
        "Of the account of this name; anybody but an operator may name its own alone.",
        "acme",
    ),
    "cursor": in_query("cursor", CURSOR, "What `next_cursor` of the page before said."),
}
IDS = {
    "SubjectId": SUBJECT_ID,
    "SubscriberId": SUBSCRIBER_ID,
    "DeliveryId": DELIVERY_ID,
    "CallbackId": CALLBACK_ID,
    "EventId": EVENT_ID,
}
