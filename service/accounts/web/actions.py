"""GET /v1/actions: operators read who did what."""

from starlette.responses import Response

from service.accounts.domain.action import ActionKind
from service.accounts.domain.scopes import KeyScope
from service.accounts.steps import action_log
from service.accounts.store.actions import ActionFilter
from service.accounts.web.authorize import account_filter, authorize
from service.kit.http.request import Request
from service.kit.http.requests import DEFAULT_LIMIT, MAX_LIMIT, Query
from service.kit.http.responses import page
from service.request_context import resources

KINDS = frozenset(ActionKind)


async def list_actions(request: Request) -> Response:
    """A page of the action log, the newest first."""
    caller = await authorize(request, KeyScope.OPERATOR)
    query = Query(request)
    action = query.text("action", KINDS)
    criteria = ActionFilter(
        object_id=query.text("object_id"),
        account_id=await account_filter(request, caller, query),
        action=ActionKind(action) if action in KINDS else None,
        created_after=query.time("created_after"),
        created_before=query.time("created_before"),
        after=query.text("cursor"),
    )
    limit = query.integer("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    query.finish()
    found, cursor = await action_log.page(resources(request), criteria, limit)
    return page([action_log.as_json(entry) for entry in found], cursor)
