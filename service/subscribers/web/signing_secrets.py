"""Rotation of signing secrets on demand, and the public keys as a JWKS.

`/.well-known/jwks.json` has the keys of every account's subscribers: whoever verifies must pin the
kids shown to them (`public_keys` of their subscriber), and not trust just any key of the set.
"""

from typing import Any

from starlette.responses import Response

from service.accounts.domain.scopes import KeyScope
from service.accounts.web.authorize import actor_of, authorize
from service.kit.crypto.key_formats import format_whpk
from service.kit.crypto.webhook_signatures import jwk_thumbprint
from service.kit.http.request import Request
from service.kit.http.requests import MAX_SMALL_BODY, Query, path_parameter, read_json
from service.kit.http.responses import json_response
from service.request_context import resources
from service.subscribers.steps import rotate as subscribers_rotate

NO_STORE = {"cache-control": "no-store"}
CACHEABLE = {"cache-control": "public, max-age=300"}  # far less than the shortest usual overlap


async def rotate_secret(request: Request) -> Response:
    """POST /v1/subscribers/{subscriber_id}/rotate-secret: the new secret, and with v1a the keys."""
    caller = await authorize(request, KeyScope.SUBSCRIBERS)
    subscriber_id = path_parameter(request, "subscriber_id")
    rotated = await subscribers_rotate.rotate(
        resources(request),
        caller.account_id,
        subscriber_id,
        await _read_options(request),
        actor_of(request, caller),
    )
    answer: dict[str, Any] = {"id": rotated.subscriber_id, "secret": rotated.secret}
    if rotated.public_keys:
        answer["public_keys"] = [
            {"kid": jwk_thumbprint(key), "key": format_whpk(key)} for key in rotated.public_keys
        ]
    return json_response(answer | caller.account_field, headers=NO_STORE)


async def read_callback_secret(request: Request) -> Response:
    """GET /v1/account/callback-secret: what signs for the account's callback_urls."""
    caller = await authorize(request, KeyScope.SUBSCRIBERS, allow_operator=False)
    secret = await subscribers_rotate.get_callback_url_secret(resources(request), caller.account_id)
    return json_response({"secret": secret} | caller.account_field, headers=NO_STORE)


async def rotate_callback_secret(request: Request) -> Response:
    """POST /v1/account/callback-secret/rotate: the new secret."""
    caller = await authorize(request, KeyScope.SUBSCRIBERS, allow_operator=False)
    secret = await subscribers_rotate.rotate_callback_url_secret(
        resources(request),
        caller.account_id,
        await _read_options(request),
        actor_of(request, caller),
    )
    return json_response({"secret": secret} | caller.account_field, headers=NO_STORE)


async def jwks(request: Request) -> Response:
    """GET /.well-known/jwks.json: the newest public keys; steps/rotate.py says how many."""
    Query(request).finish()
    keys = await subscribers_rotate.public_jwks(resources(request))
    return json_response({"keys": keys}, headers=CACHEABLE)


async def _read_options(request: Request) -> Any:  # noqa: ANN401
    """The JSON value of an optional body; an empty object without a body."""
    length, chunked = request.headers.get("content-length") or "0", "transfer-encoding"
    if length == "0" and chunked not in request.headers:  # RFC 9112, section 6
        return {}
    return await read_json(request, MAX_SMALL_BODY)
