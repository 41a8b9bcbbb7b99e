"""Dispatch: the handler of a request answers it, or else the response to an error does."""

from collections.abc import Awaitable, Callable

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope

from service.kit.errors import CallsheetError
from service.kit.http.answered_requests import ROUTE
from service.kit.http.request import Request
from service.kit.http.responses import error_response, fault_response, problem_response
from service.kit.http.routing import Match, RouteTable

log = structlog.get_logger()

# Takes a request and the response of its handler, and gives the response that is sent.
Check = Callable[[Request, ASGIApp], Awaitable[ASGIApp]]


async def respond(
    table: RouteTable, scope: Scope, receive: Receive, check: Check | None = None
) -> ASGIApp:
    """The response of the handler, as `check` leaves it, or to the error that either raised. The
    scope has the path of the route as ROUTE from then on, if there is one."""
    match = table.match(scope["path"])
    if match is None:
        return problem_response(404, "not_found", "Not Found")
    scope[ROUTE] = match.template
    handler = match.handlers.get(scope["method"]) or match.handlers.get(None)
    if handler is None:
        return _method_not_allowed(match)
    try:
        request = Request(scope, receive, match.parameters)
        response = await handler(request)
        return response if check is None else await check(request, response)
    except CallsheetError as error:
        return error_response(error)
    except Exception as error:
        log.error("web", action="fault", route=match.template, exc_info=error)  # noqa: TRY400 - it is the traceback
        return fault_response()


def _method_not_allowed(match: Match) -> Response:
    response = problem_response(405, "method_not_allowed", "Method Not Allowed")
    response.headers["allow"] = ", ".join(sorted(filter(None, match.handlers)))
    return response
