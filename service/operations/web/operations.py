"""/v1/operations: resend, replay and cancel of many; and an account's own replays."""

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from service.accounts.domain.scopes import KeyScope
from service.accounts.steps import authenticate
from service.accounts.store.authentication import Caller
from service.accounts.web.authorize import account_filter, actor_of, authorize
from service.kit.http.request import Request
from service.kit.http.requests import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    MAX_SMALL_BODY,
    Query,
    path_parameter,
    read_json,
    refuse_query,
)
from service.kit.http.responses import json_response, page
from service.kit.timestamps import format_rfc3339
from service.operations.domain.operation import OperationKind, OperationState, shown_filter
from service.operations.steps import make_operation, operation_list
from service.operations.steps import replay as replay_steps
from service.operations.store.operations import Operation, OperationList
from service.request_context import resources


async def create(request: Request) -> Response:
    """POST /v1/operations: 202 and the operation; or 200 and what it would be, for a dry run."""
    caller = await authorize(request, KeyScope.OPERATOR)
    body = await read_json(request, MAX_SMALL_BODY)
    made = await make_operation.make_operation(resources(request), actor_of(request, caller), body)
    if not made.dry_run:
        return await _answer(request, caller, made.operation, 202, located=True)
    (shown,) = await _shown(request, caller, [made.operation])
    counted = ("what", "filter", "count", "count_exact", "cannot", "first", "cut_off", "account")
    return json_response({name: shown[name] for name in counted} | {"dry_run": True})


async def list_operations(request: Request) -> Response:
    """GET /v1/operations: a page, newest first, by `state`, `what` or `account`."""
    caller = await authorize(request, KeyScope.OPERATOR)
    query = Query(request)
    state = query.text("state", frozenset(OperationState))
    what = query.text("what", frozenset(OperationKind))
    after = query.text("cursor")
    limit = query.integer("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    account_id = await account_filter(request, caller, query)
    query.finish()
    criteria = OperationList(
        account_id=account_id,
        what=what,
        state=state,
        after=after,
    )
    found, cursor = await operation_list.list_operations(resources(request), criteria, limit)
    return page(await _shown(request, caller, found), cursor)


async def get(request: Request) -> Response:
    """GET /v1/operations/{operation_id}: as it stands now."""
    caller = await authorize(request, KeyScope.SUBSCRIBERS)
    refuse_query(request)
    operation = await operation_list.get(
        resources(request), _seen_by(caller), path_parameter(request, "operation_id")
    )
    return await _answer(request, caller, operation)


async def stop(request: Request) -> Response:
    """POST /v1/operations/{operation_id}/stop: 200, and the operation, stopped or ended before."""
    caller = await authorize(request, KeyScope.SUBSCRIBERS)
    operation = await operation_list.stop(
        resources(request),
        actor_of(request, caller),
        _seen_by(caller),
        path_parameter(request, "operation_id"),
    )
    return await _answer(request, caller, operation)


async def replay(request: Request) -> Response:
    """POST /v1/subscribers/{subscriber_id}/replay: 202, or 200 if it is a dry run, and how many; or
    how many at least, if counting took too long."""
    caller = await authorize(request, KeyScope.SUBSCRIBERS)
    body = await read_json(request, MAX_SMALL_BODY)
    result = await replay_steps.replay_events(
        resources(request),
        caller.account_id,
        actor_of(request, caller),
        path_parameter(request, "subscriber_id"),
        body,
    )
    shown = {"count": result.count, "dry_run": result.dry_run} | caller.account_field
    if not result.operation.count_exact:
        shown["count_exact"] = False
    if result.dry_run:
        return json_response(shown)
    return json_response(shown, 202, _location(result.operation))


def _seen_by(caller: Caller) -> str | None:
    """Whose operations the caller sees; None: everybody's."""
    return None if caller.sees_all else caller.account_id


def _location(operation: Operation) -> dict[str, str]:
    return {"location": f"/v1/operations/{operation.id}"}


async def _answer(
    request: Request,
    caller: Caller,
    operation: Operation,
    status: int = 200,
    *,
    located: bool = False,
) -> Response:
    (shown,) = await _shown(request, caller, [operation])
    return json_response(shown, status, _location(operation) if located else {})


async def _shown(
    request: Request, caller: Caller, found: Sequence[Operation]
) -> list[dict[str, Any]]:
    """Operations as JSON. To operators each names its account; null: it is over every account."""
    shown = [_representation(operation) for operation in found]
    if not caller.sees_all:
        return shown
    account_ids = {operation.account_id for operation in found if operation.account_id is not None}
    named = await authenticate.account_fields(resources(request), caller, account_ids)
    return [
        members | named.get(operation.account_id or "", {"account": None})
        for members, operation in zip(shown, found, strict=True)
    ]


def _representation(operation: Operation) -> dict[str, Any]:
    return {
        "id": operation.id,
        "what": operation.what,
        "state": operation.state,
        "filter": shown_filter(operation.filter),
        "cut_off": format_rfc3339(operation.cut_off),
        "rate": operation.rate,
        "count": operation.count,
        "count_exact": operation.count_exact,
        "done": operation.done,
        "skipped": operation.skipped,
        "failed": operation.failed,
        "cannot": operation.cannot,
        "first": operation.first,
        "stop_reason": operation.stop_reason,
        "created_at": format_rfc3339(operation.created_at),
        "finished_at": format_rfc3339(operation.finished_at),
    }
