"""Authorization of a request: its caller, with the scope it needs, in the account it is about."""

from service.accounts.domain.scopes import KeyScope
from service.accounts.steps import authenticate
from service.accounts.store.authentication import Caller
from service.accounts.store.owners import OWNED_PATH_PARAMETERS
from service.kit.errors import Unauthorized
from service.kit.http.headers import single_header
from service.kit.http.request import Request
from service.kit.http.requests import Query, path_parameter
from service.request_context import resources


async def authorize(request: Request, scope: KeyScope, *, allow_operator: bool = True) -> Caller:
    """Who makes this request, by `Authorization: Bearer` with an API key or access token.

    The scope `operator` permits the call too, unless `allow_operator` is false; an operator acts in
    the account that owns what the path names. Unauthorized without a valid key, Malformed with two,
    Forbidden without the scope, TooManyRequests beyond the rate limit, NotFound if there is nothing
    by the id in the path.
    """
    scheme, _, text = (single_header(request.headers, "authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise Unauthorized
    caller = await authenticate.authenticate(
        resources(request),
        request.app.state.batchers.callers,
        text.strip(),
        scope,
        allow_operator=allow_operator,
    )
    parameters = OWNED_PATH_PARAMETERS & request.path_params.keys() if caller.is_operator else ()
    for parameter in parameters:
        id_ = path_parameter(request, parameter)
        caller = await authenticate.act_as_owner(resources(request), caller, parameter, id_)
    return caller


async def account_filter(request: Request, caller: Caller, query: Query) -> str | None:
    """The id of the account that a list is limited to, by the query parameter `account`.

    Without it that is the caller's own; None: every account, for an operator. Forbidden if somebody
    else names another account than their own.
    """
    name = query.text("account")
    if name is None:
        return None if caller.is_operator else caller.account_id
    account_id = await authenticate.readable_account_id(resources(request), caller, name)
    if account_id is None:
        query.add_error("account", "is not the name of an account")
    return account_id
