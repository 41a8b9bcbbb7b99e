"""/v1/general/…: the provider's own paths over our subjects, so that its clients only change their
base URL (rules P2 to P4 of service/provider/README.md). Every answer is in its envelope (rule P6).
"""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any
from urllib.parse import unquote

import structlog
from msgspec.structs import replace
from starlette.responses import Response

from service.accounts.domain.scopes import KeyScope
from service.accounts.steps import authenticate
from service.accounts.store.authentication import Caller
from service.accounts.web.authorize import account_filter, act_as_owner, authorize
from service.compat_api.domain import envelopes, task_requests
from service.compat_api.domain.envelopes import INTERNAL_ERROR, UNKNOWN_METHOD, UNKNOWN_PATH
from service.compat_api.steps import tasks
from service.intake.domain.create_request import CreateRequest
from service.intake.domain.door import Door
from service.intake.domain.request_rules import external_id
from service.intake.steps.validate import validate
from service.intake.web.routes import accept_body
from service.kit.errors import CallsheetError, NotFound
from service.kit.http.answered_requests import ROUTE
from service.kit.http.headers import single_header
from service.kit.http.request import Request
from service.kit.http.requests import Query
from service.kit.http.responses import FAULT, JSON, error_response
from service.kit.http.routing import route
from service.kit.request_id import current_request_id
from service.kit.validation import ValidationContext, quotable
from service.provider.domain.requests import PATH
from service.provider.domain.task_records import task_record
from service.request_context import resources

log = structlog.get_logger()

MAX_PAGE_NUMBER, MAX_PAGE_SIZE, DEFAULT_PAGE_SIZE = 1000, 500, 30  # rule P4
FORWARDED_HEADERS = ("retry-after", "www-authenticate")  # that errors of other paths have too
Handler = Callable[[Request], Awaitable[Any]]  # gives the envelope's `data`


def enveloped(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """The handler with what it returns, or raises, as a response in the provider's envelope."""

    @wraps(handler)
    async def answer(request: Request) -> Response:
        request_id = current_request_id() or ""
        try:
            return _response(0, envelopes.success_envelope(request_id, await handler(request)))
        except CallsheetError as error:
            code = envelopes.error_code(error, request.headers.get("authorization"))
            body = envelopes.error_envelope(request_id, code, envelopes.error_message(error))
            return _response(code, body, _forwarded_headers(error))
        except Exception:
            log.exception("web", action="fault", route=request.scope[ROUTE])
            body = envelopes.error_envelope(request_id, INTERNAL_ERROR, FAULT)
            return _response(INTERNAL_ERROR, body)

    return answer


def _response(code: int, body: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(body, envelopes.HTTP_STATUS[code], headers, JSON)


def _forwarded_headers(error: CallsheetError) -> dict[str, str]:
    headers = error_response(error).headers
    return {name: headers[name] for name in FORWARDED_HEADERS if name in headers}


@enveloped
async def create(request: Request) -> dict[str, Any]:
    """Create a task (rule P2); `data` is that of rule P8.

    An external id that is taken is refused, even by an equal request, as the provider does; but a
    repeated idempotency key gets the answer of before.
    """
    caller = await authorize(request, KeyScope.SUBJECTS_WRITE, allow_operator=False)
    settings, account_id = resources(request).settings, caller.account_id
    key = single_header(request.headers, "idempotency-key")

    def read_request(body: object) -> CreateRequest:
        create_request = validate(settings, account_id, task_requests.drop_unset(body), key)
        return replace(create_request, must_be_new=True)

    accepted = await accept_body(request, account_id, read_request, Door.COMPAT_API)
    return envelopes.created_task(accepted.subject) | caller.account_field


@enveloped
async def read(request: Request) -> dict[str, Any]:
    """One task by our id or the account's external id (rule P3); `data` is that of rule P9."""
    caller = await authorize(request, KeyScope.SUBJECTS_READ)
    task_id = _task_id(request)
    subject = None
    if task_id is not None:
        caller = await _act_as_owner(request, caller, task_id)
        subject = await tasks.find_task(resources(request), caller.account_id, task_id)
    if subject is None:
        raise NotFound("Task not found by id or external_task_id")  # as rule P52 has it
    return task_record(subject) | caller.account_field


async def _act_as_owner(request: Request, caller: Caller, task_id: str) -> Caller:
    """The caller; an operator acts in the account of the subject of this id, if there is one."""
    if not caller.sees_all:
        return caller
    try:
        return await act_as_owner(request, caller, "subject_id", task_id)
    except NotFound:
        return caller


def _task_id(request: Request) -> str | None:
    """The id in the path, in NFC; None if no task can have it. The path is split before it is
    decoded: an external id may have slashes."""
    raw: bytes = request.scope["raw_path"]
    segment = raw.split(b"/", PATH.count("/") + 1)[-1].removesuffix(b"/").decode()
    context = ValidationContext()
    task_id = external_id(context, "", unquote(segment, errors="surrogateescape"))
    return None if context.errors else task_id


@enveloped
async def list_tasks(request: Request) -> list[dict[str, Any]]:
    """A page of tasks by its number, the newest first (rule P4)."""
    caller = await authorize(request, KeyScope.SUBJECTS_READ)
    query = Query(request)
    number = query.integer("pageNum", 1, 1, MAX_PAGE_NUMBER)
    size = query.integer("pageSize", DEFAULT_PAGE_SIZE, 1, MAX_PAGE_SIZE)
    account_id: str | None = caller.account_id
    if caller.sees_all:
        account_id = await account_filter(request, caller, query)
    for name in request.query_params:  # other parameters of the provider's clients are ignored
        query.text(name)
    query.finish()
    subjects = await tasks.list_tasks(resources(request), account_id, number, size)
    account_ids = {subject.account_id for subject in subjects}
    fields = await authenticate.account_fields(resources(request), caller, account_ids)
    return [task_record(subject) | fields.get(subject.account_id, {}) for subject in subjects]


async def unknown_path(request: Request) -> Response:
    return _unknown(request, UNKNOWN_PATH)


async def unknown_method(request: Request) -> Response:
    return _unknown(request, UNKNOWN_METHOD)


def _unknown(request: Request, code: int) -> Response:
    message = f"{request.method} {quotable(request.path)}"
    return _response(
        code, envelopes.error_envelope(resources(request).new_id("req"), code, message)
    )


ROUTES = [
    *(route(PATH + slash, create, "POST") for slash in ("", "/")),
    *(route(PATH + slash, list_tasks, "GET") for slash in ("", "/")),
    route(PATH + "/{task_id:path}", read, "GET"),
    *(route(PATH + end, unknown_method) for end in ("", "/", "/{task_id:path}")),
    route("/v1/general/{rest:path}", unknown_path),
]
