"""What operators' answers show: contents are hidden from the scope `operator:read`, and a look at
another account's, with the scope `operator`, is written to the action log before the answer."""

import json

from starlette.responses import Response
from starlette.types import ASGIApp

from service.accounts.domain.action import Action, ActionKind
from service.accounts.domain.contents import shows_contents, without_contents
from service.accounts.steps import action_log
from service.accounts.store.authentication import Caller
from service.accounts.web.authorize import OPERATOR, READING, actor_of
from service.kit.http.request import Request
from service.request_context import resources

OF_NO_ACCOUNT = {"callback_id"}  # path parameters that name what need not have an account
MAX_PATH = 200  # characters of a path that the action log has


async def checked_response(request: Request, response: ASGIApp) -> ASGIApp:
    """The response as its caller may have it; every response of a handler comes through here.

    A stream hides contents, and writes that they are looked at, by itself.
    """
    caller: Caller | None = request.scope.get(OPERATOR)
    if caller is None or not isinstance(response, Response) or not _is_json(response):
        return response
    if caller.hides_contents:
        response.body = without_contents(bytes(response.body))
        response.headers["content-length"] = str(len(response.body))
    elif request.method in READING and shows_contents(json.loads(bytes(response.body))):
        await record_look(request)
    return response


async def record_look(request: Request) -> None:
    """Write that an operator looks at contents of another account, if that is who asks."""
    caller: Caller | None = request.scope.get(OPERATOR)
    if caller is None or not caller.is_operator:
        return
    one_account = request.path_params.keys() - OF_NO_ACCOUNT or "account" in request.query_params
    if one_account and caller.account_name == caller.own_account:
        return
    look = Action(
        ActionKind.CONTENTS_SEEN,
        next(iter(request.path_params.values()), None),
        caller.account_id if one_account else None,
        after={"path": request.path[:MAX_PATH]},
    )
    await action_log.record_alone(resources(request), actor_of(request, caller), look)


def _is_json(response: Response) -> bool:
    return bool(response.body) and "json" in response.headers.get("content-type", "")
