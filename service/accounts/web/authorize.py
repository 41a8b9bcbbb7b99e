"""Authorization of a request: its caller, with the scope it needs, in the account it is about."""

from dataclasses import replace

from service.accounts.domain.actor import Actor, ActorKind
from service.accounts.domain.scopes import KeyScope, permits
from service.accounts.steps import authenticate
from service.accounts.store.authentication import Caller
from service.accounts.store.owners import OWNED_PATH_PARAMETERS
from service.kit.errors import Forbidden, Unauthorized
from service.kit.http.answered_requests import ACCOUNT
from service.kit.http.headers import single_header
from service.kit.http.request import Request
from service.kit.http.requests import Query, path_parameter
from service.kit.request_id import current_request_id
from service.request_context import resources

READING = frozenset({"GET", "HEAD"})  # methods that change nothing
# In the ASGI scope: the Caller who sees every account, as acting in the account that it asks for.
OPERATOR = "callsheet.operator"


async def authorize(request: Request, scope: KeyScope, *, allow_operator: bool = True) -> Caller:
    """Who makes this request, by `Authorization: Bearer` with an API key or access token.

    The scope `operator` permits the call too, and `operator:read` if the call is a GET, unless
    `allow_operator` is false; who has one of them acts in the account that owns what the path
    names. Unauthorized without a valid key, Malformed with two,
    Forbidden without the scope, TooManyRequests beyond the rate limit, NotFound if there is nothing
    by the id in the path.
    """
    scheme, _, text = (single_header(request.headers, "authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise Unauthorized
    caller = await authenticate.authenticate(
        resources(request), request.app.state.batchers.callers, text.strip()
    )
    request.scope[ACCOUNT] = caller.account_id
    reads = request.method in READING
    if not permits(caller.scopes, scope, reads=reads, allow_operator=allow_operator):
        least = KeyScope.OPERATOR_READ if reads and scope is KeyScope.OPERATOR else scope
        raise Forbidden(f"This key lacks the scope {least}.")
    if not caller.sees_all:
        return caller
    request.scope[OPERATOR] = caller
    for parameter in OWNED_PATH_PARAMETERS & request.path_params.keys():
        id_ = path_parameter(request, parameter)
        caller = await act_as_owner(request, caller, parameter, id_)
    return caller


async def act_as_owner(request: Request, caller: Caller, parameter: str, id_: str) -> Caller:
    """The operator as acting in the account that owns what has this id: see authenticate.py."""
    caller = await authenticate.act_as_owner(resources(request), caller, parameter, id_)
    request.scope[OPERATOR] = caller
    return caller


def actor_of(request: Request, caller: Caller) -> Actor | None:
    """Who makes this request, for the action log; None if the key has not the scope `operator`,
    since what callers do themselves is not written there."""
    if not caller.is_operator:
        return None
    client = request.scope.get("client")  # None on a Unix socket; behind a proxy, the proxy
    origin = None if client is None else str(client[0])
    return Actor(
        ActorKind.KEY,
        caller.own_account,
        origin,
        caller.key_id,
        caller.key_name,
        request_id=current_request_id(),
    )


async def account_filter(request: Request, caller: Caller, query: Query) -> str | None:
    """The id of the account that a list is limited to, by the query parameter `account`.

    Without it that is the caller's own; None: every account, for an operator. Forbidden if somebody
    else names another account than their own.
    """
    name = query.text("account")
    if name is None:
        return None if caller.sees_all else caller.account_id
    account_id = await authenticate.readable_account_id(resources(request), caller, name)
    if account_id is None:
        query.add_error("account", "is not the name of an account")
    elif caller.sees_all:
        request.scope[OPERATOR] = replace(caller, account_id=account_id, account_name=name)
    return account_id
