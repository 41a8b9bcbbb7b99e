"""What the provider's own paths answer: its envelope and its codes.

Codes, and the HTTP status of each, are rules P45 to P60 of service/provider/README.md; envelope
and records are rules P6 to P9.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson

from service.kit import errors
from service.kit.errors import (
    CallsheetError,
    Conflict,
    Forbidden,
    Invalid,
    Malformed,
    NotFound,
    SignatureError,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnsupportedMedia,
)
from service.provider.domain.task_records import task_record
from service.subjects.domain.subject import Subject

SUCCEED = "SUCCEED"
NO_KEY, OTHER_SCHEME, WRONG_KEY = 1001, 1000, 1002
TOKEN_EARLY, TOKEN_EXPIRED = 1003, 1004
UNREADABLE, BROKEN_RULE = 1200, 1201
NO_SUCH_METHOD, NO_SUCH_PATH = 1202, 1203
TOO_FAST, QUEUE_FULL = 1302, 1303
FAULT = 5000

CODES: Mapping[type[CallsheetError], int] = MappingProxyType(
    {
        Malformed: UNREADABLE,
        Unauthorized: WRONG_KEY,
        SignatureError: WRONG_KEY,
        Forbidden: 1103,
        NotFound: BROKEN_RULE,  # there an unknown id is a wrong parameter
        Conflict: BROKEN_RULE,
        TooLarge: BROKEN_RULE,
        UnsupportedMedia: BROKEN_RULE,
        Invalid: BROKEN_RULE,
        TooManyRequests: TOO_FAST,
        Unavailable: 5001,
    }
)
AT_ANOTHER_TIME = MappingProxyType({errors.NOT_YET: TOKEN_EARLY, errors.EXPIRED: TOKEN_EXPIRED})
STATUS: Mapping[int, int] = MappingProxyType(
    {
        0: 200,
        NO_KEY: 401,
        OTHER_SCHEME: 401,
        WRONG_KEY: 401,
        TOKEN_EARLY: 401,
        TOKEN_EXPIRED: 401,
        1103: 403,
        UNREADABLE: 400,
        BROKEN_RULE: 400,
        NO_SUCH_METHOD: 404,
        NO_SUCH_PATH: 404,
        TOO_FAST: 429,
        QUEUE_FULL: 429,
        FAULT: 500,
        5001: 503,
    }
)


def code_of(error: CallsheetError, authorization: str | None = None) -> int:
    """The provider's code for what is wrong; `authorization` is the header of that name."""
    if isinstance(error, Unauthorized):
        return AT_ANOTHER_TIME.get(error.time_error or "") or _unauthorized(authorization)
    if isinstance(error, TooManyRequests) and error.code == errors.QUEUE_FULL:
        return QUEUE_FULL
    if isinstance(error, Invalid) and any(
        (one.pointer, one.code) == ("", "wrong_type") for one in error.errors
    ):
        return UNREADABLE  # the body is no JSON object
    return CODES[type(error)]


def _unauthorized(authorization: str | None) -> int:
    if not authorization:
        return NO_KEY
    scheme, _, key = authorization.partition(" ")
    return WRONG_KEY if scheme.lower() == "bearer" and key.strip() else OTHER_SCHEME


def message_of(error: CallsheetError) -> str:
    """Everything that is wrong, in words: there is no other place for it."""
    if isinstance(error, Invalid):
        return "; ".join(f"{one.pointer}: {one.message}" for one in error.errors)
    return str(error)


def succeeded(request_id: str, data: object) -> bytes:
    """The envelope of a success; `data` is for orjson."""
    return orjson.dumps({"code": 0, "message": SUCCEED, "request_id": request_id, "data": data})


def refused(request_id: str, code: int, message: str) -> bytes:
    """The envelope of anything else: without `data`."""
    return orjson.dumps({"code": code, "message": message, "request_id": request_id})


def created(subject: Subject) -> dict[str, Any]:
    """`data` of the answer to a create."""
    record = task_record(subject)
    names = ("task_id", "task_info", "task_status", "created_at", "updated_at")
    return {name: record[name] for name in names}
