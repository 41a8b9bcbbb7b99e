"""The provider's envelope (rules P6 to P8 of service/provider/README.md) and error codes, each with
its HTTP status (rules P45 to P60).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson

from service.kit import errors
from service.kit.errors import CallsheetError
from service.provider.domain.task_records import task_record
from service.subjects.domain.subject import Subject

SUCCEED = "SUCCEED"
NO_CREDENTIAL, MALFORMED_CREDENTIAL, INVALID_CREDENTIAL = 1001, 1000, 1002
TOKEN_NOT_YET_VALID, TOKEN_EXPIRED = 1003, 1004
MALFORMED_BODY, INVALID_PARAMETER = 1200, 1201
UNKNOWN_METHOD, UNKNOWN_PATH = 1202, 1203
TOO_MANY_REQUESTS, QUEUE_FULL = 1302, 1303
INTERNAL_ERROR = 5000

ERROR_CODES: Mapping[type[CallsheetError], int] = MappingProxyType(
    {
        errors.Malformed: MALFORMED_BODY,
        errors.Unauthorized: INVALID_CREDENTIAL,
        errors.SignatureError: INVALID_CREDENTIAL,
        errors.Forbidden: 1103,
        errors.NotFound: INVALID_PARAMETER,  # rule P52: an unknown id is an invalid parameter
        errors.Conflict: INVALID_PARAMETER,
        errors.CursorExpired: INVALID_PARAMETER,
        errors.TooLarge: INVALID_PARAMETER,
        errors.UnsupportedMedia: INVALID_PARAMETER,
        errors.Invalid: INVALID_PARAMETER,
        errors.TooManyRequests: TOO_MANY_REQUESTS,
        errors.IntakeHeld: 5001,  # rule P59: its clients wait, then try again
        errors.Unavailable: 5001,
    }
)
TOKEN_TIME_CODES = MappingProxyType(
    {errors.NOT_YET: TOKEN_NOT_YET_VALID, errors.EXPIRED: TOKEN_EXPIRED}
)
HTTP_STATUS: Mapping[int, int] = MappingProxyType(
    {
        0: 200,
        NO_CREDENTIAL: 401,
        MALFORMED_CREDENTIAL: 401,
        INVALID_CREDENTIAL: 401,
        TOKEN_NOT_YET_VALID: 401,
        TOKEN_EXPIRED: 401,
        1103: 403,
        MALFORMED_BODY: 400,
        INVALID_PARAMETER: 400,
        UNKNOWN_METHOD: 404,
        UNKNOWN_PATH: 404,
        TOO_MANY_REQUESTS: 429,
        QUEUE_FULL: 429,
        INTERNAL_ERROR: 500,
        5001: 503,
    }
)


def error_code(error: CallsheetError, authorization: str | None = None) -> int:
    """The provider's code for an error; `authorization` is the request's header of that name."""
    if isinstance(error, errors.Unauthorized):
        return TOKEN_TIME_CODES.get(error.time_error or "") or _credential_code(authorization)
    if isinstance(error, errors.TooManyRequests) and error.code == errors.QUEUE_FULL:
        return QUEUE_FULL
    if isinstance(error, errors.Invalid) and any(
        (field.pointer, field.code) == ("", "wrong_type") for field in error.errors
    ):
        return MALFORMED_BODY  # the body is no JSON object
    return ERROR_CODES[type(error)]


def _credential_code(authorization: str | None) -> int:
    if not authorization:
        return NO_CREDENTIAL
    scheme, _, key = authorization.partition(" ")
    return (
        INVALID_CREDENTIAL if scheme.lower() == "bearer" and key.strip() else MALFORMED_CREDENTIAL
    )


def error_message(error: CallsheetError) -> str:
    """The message of an error. It names all fields in error: the envelope has no list of them."""
    if isinstance(error, errors.Invalid):
        return "; ".join(f"{field.pointer}: {field.message}" for field in error.errors)
    return str(error)


def success_envelope(request_id: str, data: object) -> bytes:
    """The JSON envelope of a success; `data` is what orjson can encode."""
    return orjson.dumps({"code": 0, "message": SUCCEED, "request_id": request_id, "data": data})


def error_envelope(request_id: str, code: int, message: str) -> bytes:
    """The JSON envelope of an error, which has no `data`."""
    return orjson.dumps({"code": code, "message": message, "request_id": request_id})


def created_task(subject: Subject) -> dict[str, Any]:
    """The `data` of the answer to a create (rule P8)."""
    record = task_record(subject)
    names = ("task_id", "task_info", "task_status", "created_at", "updated_at")
    return {name: record[name] for name in names}
