"""POST /callbacks: where the provider posts. The answer is 200 only once the callback is durable.

A plain ASGI function in front of the router, since most of what a request costs elsewhere is the
framework's objects for it, and callbacks are the one place where the rate matters.
"""

from time import perf_counter

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.callbacks.domain.callback import RawCallback
from service.callbacks.domain.sources import PROVIDER, SOURCE_NAME
from service.callbacks.steps.apply import CallbackResult
from service.callbacks.steps.verify import verify
from service.kit import tracing
from service.kit.errors import CallsheetError, Malformed, SignatureError, UnsupportedMedia
from service.kit.http.answered_requests import finish_request
from service.kit.http.body import BodyReader
from service.kit.http.headers import combined_headers
from service.kit.http.responses import (
    error_response,
    fault_response,
    json_response,
    problem_response,
)
from service.metrics import CALLBACK_COMMIT
from service.subjects.steps import tracing as subject_tracing

log = structlog.get_logger()

PATH = "/callbacks"
# By how many segments follow PATH, as the routes of other requests are written.
ROUTES = (PATH, f"{PATH}/{{token}}", f"{PATH}/{{source}}/{{token}}")
MAX_BODY = 1_000_000  # bytes, our own bound: a task record has a few thousand


class CallbackEndpoint:
    """ASGI middleware that answers callbacks, and passes every other request to the app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PATH):
            await self._app(scope, receive, send)
            return
        _, root, *address = scope["path"].split("/")
        if address and not address[-1]:  # a slash at the end of an address changes nothing
            address.pop()
        if root != PATH[1:] or len(address) > 2 or "" in address:  # noqa: PLR2004 - source, token
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        response = await _answer(scope, receive, address)
        await response(scope, receive, send)
        finish_request(scope, ROUTES[len(address)], response, began)


async def _answer(scope: Scope, receive: Receive, address: list[str]) -> Response:
    """The response to a callback."""
    if scope["method"] != "POST":
        refused = problem_response(405, "method_not_allowed", "Method Not Allowed")
        refused.headers["allow"] = "POST"
        return refused
    try:
        result = await _receive(scope, receive, address)
    except CallsheetError as error:  # it was not stored: the log line is all there is of it
        return error_response(error)
    except Exception:
        log.exception("web", action="fault", route=ROUTES[len(address)])
        return fault_response()
    if result.refusal is not None:  # not raised, since its frames would hold the body
        return error_response(result.refusal)
    return json_response({"verdict": result.verdict})


async def _receive(scope: Scope, receive: Receive, address: list[str]) -> CallbackResult:
    """Verify a callback, and ingest it together with those that arrive at the same time. Untrusted
    ones have a batcher of their own, so that a flood of them does not hold up the others."""
    state = scope["app"].state
    headers = combined_headers(scope["headers"])
    try:
        body = await BodyReader(receive, headers, MAX_BODY).read(MAX_BODY + 1)
    except UnsupportedMedia as error:  # 415 is no answer of POST /callbacks
        raise Malformed(str(error)) from None
    received = perf_counter()
    source, token = _source_and_token(address)
    raw = RawCallback(source, token, headers, bytes(body), state.resources.clock())
    callback = verify(state.resources, raw)
    batcher = state.batchers.untrusted_callbacks if callback.untrusted else state.batchers.callbacks
    with tracing.span("callback", server=True) as span:
        result: CallbackResult = await batcher.submit(callback)
        CALLBACK_COMMIT.observe(perf_counter() - received)
        span.set(verdict=result.verdict, source=source)
        await subject_tracing.link(state.resources, span, result.subject_id or callback.subject_id)
    return result


def _source_and_token(address: list[str]) -> tuple[str, str | None]:
    """The source and the token in `/callbacks[/{source}][/{token}]`. A token has a dot in it and a
    source's name has none, so neither is ever taken for the other."""
    match address:
        case []:
            return PROVIDER, None
        case [source] if SOURCE_NAME.fullmatch(source):
            return source, None
        case [token]:
            return PROVIDER, token
        case [source, token] if SOURCE_NAME.fullmatch(source):
            return source, token
        case _:
            raise SignatureError("No source of this name is configured.")
