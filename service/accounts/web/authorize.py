"""Reading a request: who asks, and what; everything bounded before it is believed."""

from starlette.requests import Request

from service.accounts.steps import authenticate
from service.accounts.store.authentication import Caller
from service.accounts.store.owners import OWNED_PATH_PARAMETERS
from service.kit.errors import Unauthorized
from service.kit.http.headers import single_header
from service.kit.http.requests import Query, path_parameter
from service.request_context import resources


async def authorize(request: Request, scope: str, *, own: bool = False) -> Caller:
    """Who calls; Unauthorized without a good key, Malformed with two, Forbidden without the scope,
    TooMany beyond the account's rate.

    An operator needs no scope but its own, unless the call is for an account's `own` callers; and
    it acts in the account of what the path names: NotFound if there is no such thing.
    """
    scheme, _, key = (single_header(request.headers, "authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthorized
    batcher = request.app.state.batchers.callers
    caller = await authenticate.authenticate(batcher, key.strip(), scope, own=own)
    named = OWNED_PATH_PARAMETERS & request.path_params.keys() if caller.is_operator else ()
    for name in named:
        id_ = path_parameter(request, name)
        caller = await authenticate.act_as_owner(resources(request), caller, name, id_)
    return caller


async def account_filter(request: Request, caller: Caller, query: Query) -> str | None:
    """The id of the account that a list is of, the parameter `account`; None: of every account, as
    an operator's is without it. Forbidden for anybody else who names another account."""
    name = query.text("account")
    if name is None:
        return None if caller.is_operator else caller.account_id
    account_id = await authenticate.readable_account_id(resources(request), caller, name)
    if account_id is None:
        query.add_error("account", "is not the name of an account")
    return account_id
