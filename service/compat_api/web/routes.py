"""/v1/general/…: the provider's own paths over our subjects, so that its clients only change their
base URL (rules P2 to P4). Whatever happens under them is answered in its envelope.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import wraps
from typing import Any
from urllib.parse import unquote

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from service.accounts.steps import authenticate
from service.accounts.store.authentication import Caller
from service.accounts.web.authorize import account_filter, authorize
from service.compat_api.domain import envelopes, task_requests
from service.compat_api.domain.envelopes import INTERNAL_ERROR, UNKNOWN_METHOD, UNKNOWN_PATH
from service.compat_api.steps import tasks
from service.intake.domain.create_request import CreateRequest
from service.intake.domain.request_rules import external_id
from service.intake.steps.validate import validate
from service.intake.web.routes import accept_body
from service.kit.errors import CallsheetError, NotFound
from service.kit.http.headers import single_header
from service.kit.http.requests import Query
from service.kit.http.responses import JSON, error_response
from service.kit.validation import ValidationContext, quotable
from service.provider.domain.requests import PATH
from service.provider.domain.task_records import task_record
from service.request_context import resources

log = structlog.get_logger()

MAX_PAGE_NUMBER, MAX_PAGE_SIZE, DEFAULT_PAGE_SIZE = 1000, 500, 30  # rule P4
FORWARDED_HEADERS = ("retry-after", "www-authenticate")  # as with the same error elsewhere
Handler = Callable[[Request], Awaitable[Any]]  # gives the envelope's `data`


def enveloped(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """The handler with its answer, and whatever it raises, in an envelope."""

    @wraps(handler)
    async def answer(request: Request) -> Response:
        id_ = resources(request).new_id("req")
        try:
            return _response(0, envelopes.success_envelope(id_, await handler(request)))
        except CallsheetError as error:
            code = envelopes.error_code(error, request.headers.get("authorization"))
            body = envelopes.error_envelope(id_, code, envelopes.error_message(error))
            return _response(code, body, _forwarded_headers(error))
        except Exception:
            log.exception("web", action="fault", path=request.url.path)
            message = "This is a fault of ours; it has been logged."
            return _response(INTERNAL_ERROR, envelopes.error_envelope(id_, INTERNAL_ERROR, message))

    return answer


def _response(code: int, body: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(body, envelopes.HTTP_STATUS[code], headers, JSON)


def _forwarded_headers(error: CallsheetError) -> dict[str, str]:
    headers = error_response(error).headers
    return {name: headers[name] for name in FORWARDED_HEADERS if name in headers}


@enveloped
async def create(request: Request) -> dict[str, Any]:
    """One whose external id was used is refused, the same request's too; but what comes again under
    its idempotency key is answered as before."""
    caller = await authorize(request, "subjects:write", allow_operator=False)
    settings, account_id = resources(request).settings, caller.account_id
    key = single_header(request.headers, "idempotency-key")

    def read(body: object) -> CreateRequest:
        plain = validate(settings, account_id, task_requests.drop_unset(body), key)
        return replace(plain, must_be_new=True)

    accepted = await accept_body(request, account_id, read)
    return envelopes.created_task(accepted.subject) | caller.account_field


@enveloped
async def read(request: Request) -> dict[str, Any]:
    caller = await authorize(request, "subjects:read")
    name = _task_name(request)
    found = None
    if name is not None:
        caller = await _act_as_owner(request, caller, name)
        found = await tasks.find_task(resources(request), caller.account_id, name)
    if found is None:
        raise NotFound("Task not found by id or external_task_id")
    return task_record(found) | caller.account_field


async def _act_as_owner(request: Request, caller: Caller, name: str) -> Caller:
    """An operator acts in the account of the subject that has this id of ours; in its own, if none
    has."""
    if not caller.is_operator:
        return caller
    try:
        return await authenticate.act_as_owner(resources(request), caller, "subject_id", name)
    except NotFound:
        return caller


def _task_name(request: Request) -> str | None:
    """What the path names, in NFC; None where nothing can be called that. It is cut before it is
    decoded: an external id may have slashes."""
    raw: bytes = request.scope["raw_path"]
    name = raw.split(b"/", PATH.count("/") + 1)[-1].removesuffix(b"/").decode()
    context = ValidationContext()
    read = external_id(context, "", unquote(name, errors="surrogateescape"))
    return None if context.errors else read


@enveloped
async def list_tasks(request: Request) -> list[dict[str, Any]]:
    caller, given = await authorize(request, "subjects:read"), resources(request)
    query = Query(request)
    number = query.integer("pageNum", 1, 1, MAX_PAGE_NUMBER)
    size = query.integer("pageSize", DEFAULT_PAGE_SIZE, 1, MAX_PAGE_SIZE)
    account_id: str | None = caller.account_id
    if caller.is_operator:
        account_id = await account_filter(request, caller, query)
    for name in request.query_params:  # its clients may send others: those are ignored
        query.text(name)
    query.finish()
    found = await tasks.list_tasks(given, account_id, number, size)
    of = await authenticate.account_fields(given, caller, {subject.account_id for subject in found})
    return [task_record(subject) | of.get(subject.account_id, {}) for subject in found]


class NotFoundApp:
    """Answers what none of the calls takes. An application of its own, as only the route of one
    takes every method."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        known = any(route.matches(scope)[0] is Match.PARTIAL for route in TASK_ROUTES)
        code = UNKNOWN_METHOD if known else UNKNOWN_PATH
        message = f"{request.method} {quotable(request.url.path)}"
        body = envelopes.error_envelope(resources(request).new_id("req"), code, message)
        await _response(code, body)(scope, receive, send)


TASK_ROUTES = [
    Route(PATH, create, methods=["POST"]),
    Route(PATH + "/", create, methods=["POST"]),
    Route(PATH, list_tasks, methods=["GET"]),
    Route(PATH + "/", list_tasks, methods=["GET"]),
    Route(PATH + "/{task_id:path}", read, methods=["GET"]),
]
ROUTES = [*TASK_ROUTES, Route("/v1/general/{rest:path}", NotFoundApp())]
