"""Responses: JSON, pages, and problem details (RFC 9457) with the HTTP status of each error."""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import orjson
from starlette.responses import Response

from service.kit import errors
from service.kit.errors import CallsheetError
from service.kit.metrics import REQUESTS_REFUSED
from service.kit.request_id import current_request_id

STATUS: Mapping[type[CallsheetError], int] = {
    errors.Malformed: 400,
    errors.Unauthorized: 401,
    errors.SignatureError: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.CursorExpired: 410,
    errors.TooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.Invalid: 422,
    errors.TooManyRequests: 429,
    errors.IntakeHeld: 503,
    errors.Unavailable: 503,
}

OTHER_CODES = ("internal", "method_not_allowed", errors.QUEUE_FULL)
for _code in (*(error.code for error in STATUS), *OTHER_CODES):
    REQUESTS_REFUSED.labels(_code)

JSON = "application/json"
PROBLEM = "application/problem+json"
FAULT = "This is a fault of ours; it has been logged."
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class BytesResponse(Response):
    """A response whose body and headers are ready to be sent: the framework's own works out for
    each what is the same for all."""

    def __init__(
        self, body: bytes, status: int, media_type: str, headers: Mapping[str, str] = NO_HEADERS
    ) -> None:
        self.body = body
        self.status_code = status
        self.background = None
        self.raw_headers = [
            (b"content-type", media_type.encode()),
            (b"content-length", b"%d" % len(body)),
        ]
        for name, value in headers.items():
            self.raw_headers.append((name.encode(), value.encode("latin-1")))


class ProblemResponse(BytesResponse):
    """A response of application/problem+json."""

    def __init__(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        super().__init__(orjson.dumps(body), body["status"], PROBLEM, headers)
        self.code: str = body["code"]
        self.title: str = body["title"]


def json_response(
    value: Any,  # noqa: ANN401
    status: int = 200,
    headers: Mapping[str, str] = NO_HEADERS,
) -> Response:
    """A response whose body is the value as JSON."""
    return BytesResponse(orjson.dumps(value), status, JSON, headers)


def page(items: Sequence[Any], next_cursor: str | None) -> Response:
    """A page of a list; `next_cursor` is None on the last one."""
    return json_response({"data": items, "next_cursor": next_cursor})


def raw_page(items: Sequence[bytes], next_cursor: str) -> Response:
    """A page of items that are JSON already."""
    cursor = orjson.dumps(next_cursor)
    return BytesResponse(
        b'{"data":[' + b",".join(items) + b'],"next_cursor":' + cursor + b"}", 200, JSON
    )


def problem_response(
    status: int, code: str, title: str, extra: Mapping[str, Any] | None = None
) -> Response:
    """A response of application/problem+json: `code` is a stable name, `title` a sentence for
    people, `extra` are further members."""
    headers = {}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = "1"
    if status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    body = _problem_body(status, code, title) | dict(extra or {})
    return ProblemResponse(body, headers)


def fault_response() -> Response:
    """The response to a request that a fault of ours ended."""
    return problem_response(500, "internal", FAULT)


def _problem_body(status: int, code: str, title: str) -> dict[str, Any]:
    REQUESTS_REFUSED.labels(code).inc()
    body = {"type": "about:blank", "title": title, "status": status, "code": code}
    request_id = current_request_id()
    return body if request_id is None else body | {"request_id": request_id}


def error_response(error: CallsheetError) -> Response:
    """The response that tells a caller of an error."""
    response = problem_response(status_of(error), error.code, str(error), _extra(error))
    if isinstance(error, errors.TooManyRequests | errors.IntakeHeld):
        response.headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    return response


def error_body(error: CallsheetError) -> dict[str, Any]:
    """The problem details of an error, as a part of another response."""
    return _problem_body(status_of(error), error.code, str(error)) | _extra(error)


def status_of(error: CallsheetError) -> int:
    """The HTTP status of an error."""
    return STATUS[type(error)]


def _extra(error: CallsheetError) -> dict[str, Any]:
    if isinstance(error, errors.Invalid):
        return {"errors": error.errors}
    return dict(error.extra) if isinstance(error, errors.Conflict | errors.CursorExpired) else {}
