"""/v1/holds: operators stop the intake, submissions or deliveries, and let them go on."""

from typing import Any

from starlette.responses import Response

from service.accounts.domain.scopes import KeyScope
from service.accounts.web.authorize import account_filter, actor_of, authorize
from service.kit.http.request import Request
from service.kit.http.requests import MAX_SMALL_BODY, Query, path_parameter, read_json
from service.kit.http.responses import json_response
from service.kit.timestamps import format_rfc3339
from service.operations.domain.hold import Hold
from service.operations.steps import holds
from service.request_context import resources


async def create(request: Request) -> Response:
    """POST /v1/holds: 201 with the hold, which is in force."""
    caller = await authorize(request, KeyScope.OPERATOR)
    body = await read_json(request, MAX_SMALL_BODY)
    hold = await holds.create(resources(request), body, actor_of(request, caller))
    return json_response(_representation(hold), 201)


async def list_holds(request: Request) -> Response:
    """GET /v1/holds: those that are in force, of all accounts or of one, the oldest first."""
    caller, query = await authorize(request, KeyScope.OPERATOR), Query(request)
    account_id = await account_filter(request, caller, query)
    query.finish()
    found = await holds.list_holds(resources(request), account_id)
    return json_response({"data": [_representation(hold) for hold in found]})


async def release(request: Request) -> Response:
    """DELETE /v1/holds/{hold_id}: 204 once it is not in force any more."""
    caller = await authorize(request, KeyScope.OPERATOR)
    hold_id = path_parameter(request, "hold_id")
    await holds.release(resources(request), hold_id, actor_of(request, caller))
    return Response(status_code=204)


def _representation(hold: Hold) -> dict[str, Any]:
    return {
        "id": hold.id,
        "what": hold.what,
        "account": hold.account,
        "reason": hold.reason,
        "until": format_rfc3339(hold.until),
        "created_at": format_rfc3339(hold.created_at),
    }
